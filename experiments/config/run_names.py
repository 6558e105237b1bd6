"""Names of run folders: a preset, its env and seed, and what was changed."""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from typing import Any

from .experiment import Experiment, Job
from .presets import PRESETS
from .registry import resolve
from .roles import roles
from .serialization import fingerprint

MAX_LABEL = 80
"""Characters of what was changed; of more the beginning is kept, before a fingerprint."""


@dataclass(frozen=True)
class Start:
    """What a new run varies: a preset, or the experiment of another run."""

    name: str
    """Name of the preset, or the run folder."""
    experiment: Experiment

    @property
    def preset(self) -> str:
        """Name of the preset; empty if it is a run."""
        return self.name if self.name in PRESETS else ""

    def folder(self, experiment: Experiment) -> Path:
        """Return the default folder of a run of an experiment that varies this one."""
        if self.preset:
            return default_folder(self.name, experiment)
        return repeated_folder(Path(self.name), self.experiment, experiment)


def default_folder(preset: str, experiment: Experiment) -> Path:
    """Return runs/PRESET-ENV-sSEED, with the choices and settings that the preset does not have.

    For example ``runs/dqn-pong-s0-simhash-num_envs=4``. Experiments that differ in more than their
    length have different names.
    """
    base = replace(PRESETS[preset], seed=experiment.seed)
    env_name = experiment.env.env_name
    parts = [preset, env_name, f"s{experiment.seed}", changes(base, experiment, env_name)]
    return Path("runs") / "-".join(filter(None, parts))


def repeated_folder(folder: Path, base: Experiment, experiment: Experiment) -> Path:
    """Return the folder of an experiment that varies that of a run, beside the run's folder.

    Its name has the env, the seed and the changes of the experiment, or ends with ``-again``.
    """
    env_name = experiment.env.env_name
    before, after = f"-{base.env.env_name}-s{base.seed}", f"-{env_name}-s{experiment.seed}"
    name = folder.name.replace(before, after) if before in folder.name else folder.name + after
    label = changes(replace(base, seed=experiment.seed), experiment, env_name)
    label = label or "again" * (name == folder.name)
    return folder.parent / "-".join(filter(None, [name, label]))


def changes(base: Job, job: Job, env_name: str) -> str:
    """Return the choices and settings that turn a job into another one, as in simhash-dim=32.

    The lengths may differ, and so may a setting that is the name of the env.
    """
    base = replace(base, **{job.length_field: job.length})
    tables, settings = dict(roles(job)), [*_settings(job)]
    labels, exact = list[str](), True
    for path, value in _differences(base, job, tables):
        text, is_exact = _value_text(value, env_name)
        exact &= is_exact
        # Not the latent of a representation, which has its name.
        own = tables.get(path)
        others = [x for role, x in tables.items() if x is own or not role.startswith(f"{path}.")]
        if path in tables and text != "none" and sum(text in x for x in others) == 1:
            labels.append(text)
        elif text:
            labels.append(f"{short_path(path, [*tables, *settings])}={text}")
    label = "-".join(labels)
    if len(label) > MAX_LABEL or not exact:
        label = f"{label[:MAX_LABEL].rstrip('-')}-{fingerprint(job)}"
    return label


def _differences(
    base: Any, config: Any, tables: dict[str, Any], path: str = ""
) -> Iterator[tuple[str, Any]]:
    """Yield the chosen parts and the settings that turn ``base`` into a config, by path.

    ``tables`` are those of all roles of the experiment.
    """
    for field in fields(config):
        before, value = getattr(base, field.name), getattr(config, field.name)
        where = f"{path}.{field.name}".lstrip(".")
        if before == value:
            continue
        if not is_dataclass(value):
            yield where, value
            continue
        name, start = _nearest_part(before, value, tables.get(where, {}))
        if name and where != "env":  # its name is in that of the run
            yield where, name
        yield from _differences(start, value, tables, where)


def _settings(config: Any, path: str = "") -> Iterator[str]:
    """Yield the paths of all settings of a config that are no parts."""
    for field in fields(config):
        value, where = getattr(config, field.name), f"{path}.{field.name}".lstrip(".")
        yield from _settings(value, where) if is_dataclass(value) else [where]


def short_path(path: str, paths: Collection[str]) -> str:
    """Return the shortest end of a dotted path that no other of the paths has."""
    names = path.split(".")
    ends = [".".join(names[i:]) for i in range(len(names) - 1, -1, -1)]
    return next(x for x in ends if sum(f".{y}".endswith(f".{x}") for y in paths) == 1 or x == path)


def _nearest_part(before: Any, value: Any, table: Any) -> tuple[str, Any]:
    """Return the part that differs least from a config: its name, empty for ``before``, and it."""
    parts = {"": before} | {name: resolve(entry) for name, entry in table.items()}
    parts = {name: x() if isinstance(x, type) else x for name, x in parts.items()}
    alike = [name for name, part in parts.items() if type(part) is type(value)]

    def distance(name: str) -> int:
        names = [field.name for field in fields(value)]
        return sum(getattr(parts[name], x) != getattr(value, x) for x in names)

    nearest = min(alike, key=distance)
    return nearest, parts[nearest]


def _value_text(value: Any, env_name: str) -> tuple[str, bool]:
    """Return a value as a part of a folder's name, and whether it tells the value exactly.

    The text is empty for the name of the env.
    """
    if isinstance(value, tuple):
        return "+".join(map(str, value)), True
    if isinstance(value, Path):
        return value.name, value == Path("runs") / value.name
    text = str(value).replace("/", "-")
    text = "" if text == env_name else text.removesuffix(f":{env_name}")
    safe = re.sub(r"[^\w.+-]", "_", text)
    return safe, safe == text
