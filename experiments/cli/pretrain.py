"""``reverie pretrain ROLE:NAME --data FOLDER [--flags]``."""

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ..config.arguments import parse_job, split_roles, take_imports
from ..config.registry import PRETRAININGS, resolve
from ..config.roles import choose_all, roles
from ..runs.terminal_text import paragraph
from ..sessions.options import PretrainOptions
from ..training.pretrain import Pretraining, pretrain

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
    role = argv[0].partition(":")[0] if argv else ""
    if role not in PRETRAININGS:
        hint = did_you_mean(role, PRETRAININGS) or f" The roles are {', '.join(PRETRAININGS)}."
        named = f", not '{role}'" if role else ""
        raise UsageError(f"Name what to pretrain first{named}, as in {EXAMPLE}.{hint}")
    job = resolve(PRETRAININGS[role])()
    tokens, flags = split_roles(argv[argv[0] == role :], type(job), PretrainOptions)
    chosen, options = choose_all(job, tokens), PretrainOptions(imports=imports)
    return parse_job(chosen, options, flags, f"reverie pretrain {argv[0]}")
