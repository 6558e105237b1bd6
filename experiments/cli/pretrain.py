"""``reverie pretrain ROLE:NAME --data FOLDER [--flags]``."""

from typing import Any

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ..config.arguments import parse_job, split_roles, take_imports, take_switch
from ..config.config_file import ConfigFile, take_config
from ..config.config_text import config_text
from ..config.registry import PRETRAININGS, resolve
from ..config.roles import choose_all, roles
from ..config.serialization import read_job
from ..sessions.options import PretrainOptions
from ..text.terminal_text import paragraph
from ..training.pretrain import Pretraining, pretrain

OWN_FLAGS = ("--config", "--print-config")
EXAMPLE = "reverie pretrain predictor:small --data runs/data/RECORDING"


def run(argv: list[str]) -> int:
    """Pretrain a model on recordings; raises Interrupted if a signal ends it."""
    job, options = parse_pretraining(argv)
    folder = options.folder or job.default_folder
    pretrain(job, folder, options).raise_interrupted()
    return 0


def parse_pretraining(argv: list[str]) -> tuple[Pretraining, PretrainOptions]:
    """Parse ROLE:NAME [role:name ...] --data FOLDER [--flags] into a job and its options."""
    argv, imports = take_imports(argv)
    if argv[:1] in (["-h"], ["--help"]):
        known = {role: dict(roles(resolve(job)())) for role, job in PRETRAININGS.items()}
        names = ", ".join(f"{role}:{name}" for role in known for name in known[role].get(role, ()))
        print(paragraph(f"reverie pretrain ROLE:NAME --data FOLDER; ROLE:NAME is one of {names}."))
        print(paragraph("reverie pretrain ROLE:NAME --help shows every setting of that model."))
        print(paragraph(f"Example: {EXAMPLE}"))
        raise SystemExit(0)
    argv, file = take_config(argv)
    argv, prints = take_switch(argv, "--print-config")
    options = PretrainOptions(imports=(*imports, *file.take_imports()))
    job, argv = _begin(argv, file)
    job = file.apply(job)
    options = file.apply(options, without=["imports"])
    file.check_empty()
    tokens, flags = split_roles(argv, type(job), PretrainOptions)
    chosen = choose_all(job, tokens)
    job, options = parse_job(chosen, options, flags, f"reverie pretrain {job.role}", OWN_FLAGS)
    if prints:
        print(config_text({"import": options.imports}, job, options), end="")
        raise SystemExit(0)
    return job, options


def _begin(argv: list[str], file: ConfigFile) -> tuple[Any, list[str]]:
    """Return the pretraining that a run, the first argument or a key of a file names.

    The other arguments are returned, too, with the name of the model.
    """
    if file.path is not None and file.is_run:
        job = read_job(file.path)
        if not isinstance(job, Pretraining):
            raise UsageError(f"{file.path} is the run of an agent; `reverie train` takes it.")
        return job, argv
    role = argv[0].partition(":")[0] if argv else ""
    if role not in PRETRAININGS and (written := [x for x in PRETRAININGS if x in file.nodes]):
        return resolve(PRETRAININGS[written[0]])(), argv
    if role not in PRETRAININGS:
        hint = did_you_mean(role, PRETRAININGS) or f" The roles are {', '.join(PRETRAININGS)}."
        named = f", not '{role}'" if role else ""
        raise UsageError(f"Name what to pretrain first{named}, as in {EXAMPLE}.{hint}")
    return resolve(PRETRAININGS[role])(), argv[argv[0] == role :]
