"""``reverie pretrain ROLE:NAME --data FOLDER [--flags]``."""

from dataclasses import make_dataclass
from typing import Annotated, Any

import tyro

from ...envs.atari.games import did_you_mean
from ...envs.errors import UsageError
from ..config.arguments import import_modules, parse_flags, split_roles
from ..config.registry import PRETRAININGS, choose_all, roles
from ..training.pretrain import Pretraining, PretrainOptions, default_pretrain_folder, pretrain


def run(argv: list[str]) -> int:
    """Pretrain a model on recordings; return 130 if interrupted."""
    job, options = parse_pretraining(argv)
    folder = options.folder or default_pretrain_folder(job)
    return 130 if pretrain(job, folder, options).interrupted else 0


def parse_pretraining(argv: list[str]) -> tuple[Pretraining, PretrainOptions]:
    """Parse ROLE:NAME [role:name ...] --data FOLDER [--flags] into a job and its options."""
    argv = import_modules(argv)
    if argv[:1] in (["-h"], ["--help"]):
        known = dict(entry for role in PRETRAININGS for entry in roles(PRETRAININGS[role].load()()))
        names = ", ".join(f"{role}:{name}" for role in PRETRAININGS for name in known[role])
        print(f"reverie pretrain ROLE:NAME --data FOLDER ...; ROLE:NAME is one of {names}.")
        print("`reverie pretrain ROLE:NAME --help` shows every setting of that model.")
        raise SystemExit(0)
    role = argv[0].partition(":")[0] if argv else ""
    if role not in PRETRAININGS:
        hint = did_you_mean(role, PRETRAININGS) or f" The roles are {', '.join(PRETRAININGS)}."
        raise UsageError(f"Name what to pretrain first, as ROLE:NAME, not '{role}'.{hint}")
    job = PRETRAININGS[role].load()()
    tokens, flags = split_roles([arg for arg in argv if arg != role], job)
    kind = _job_with_options(type(job))
    default = kind(choose_all(job, tokens))
    parsed = parse_flags(kind, flags, f"reverie pretrain {argv[0]}", default=default)
    return parsed.job, parsed.options


def _job_with_options(job: type[Pretraining]) -> Any:
    """A dataclass of a job and its options, for tyro."""
    return make_dataclass(
        "_Pretrain",
        [
            ("job", Annotated[job, tyro.conf.arg(name="")]),
            ("options", Annotated[PretrainOptions, tyro.conf.arg(name="")], PretrainOptions()),
        ],
        frozen=True,
    )
