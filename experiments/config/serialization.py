"""Configs as JSON values: each dataclass with the name of its class, paths relative to the file.

Parts must be registered. Decoding imports no module of the user's.
"""

import hashlib
import os
import sys
from collections.abc import Sequence
from dataclasses import MISSING, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from typeguard import CollectionCheckStrategy, TypeCheckError, check_type

from ...envs.errors import UsageError
from ..runs.files import check_format, read_json, to_json
from ..runs.run import Run, refuse_links
from .experiment import Experiment, Job
from .registry import TABLES, class_name, public_name, registered_class, role_name

C = TypeVar("C")
ALL_ITEMS = CollectionCheckStrategy.ALL_ITEMS

MOVED = (
    "a run finds recordings and other runs relative to its own folder, so move them together, or "
    "correct the path in its config.json"
)
"""The remedy if a folder that a run names is missing."""


def encode(config: Any, folder: Path | None = None) -> dict[str, Any]:
    """Return a config as JSON values; invert ``decode``.

    Paths become relative to ``folder``, where the values are to be stored, so that a tree of
    folders can be moved. Raises UsageError for a part that is not registered, or a value of a wrong
    type.
    """
    kind, name = type(config), class_name(config)
    if _is_part(kind) and registered_class(name) is not kind:
        raise UsageError(f"{name} is not registered; decorate it with @reverie.register(NAME).")
    values = {field.name: getattr(config, field.name) for field in fields(config)}
    _check_types(kind, values)
    return {"class": name} | {field: _encoded(value, folder) for field, value in values.items()}


def decode(base: type[C], data: dict[str, Any], folder: Path | None = None) -> C:
    """Return the config that ``encode`` turned into JSON values stored in ``folder``.

    Its class must be ``base`` or, if that is a role's, a registered part. Raises UsageError for
    another class, an unknown field or a value of a wrong type.
    """
    kind, name = _class_named(base, data.get("class")), data["class"]
    hints = get_type_hints(kind)
    if unknown := data.keys() - hints.keys() - {"class"}:
        raise UsageError(f"The config of {name} has unknown fields: {', '.join(sorted(unknown))}.")
    values = {x: _decoded(data[x], hints[x], folder) for x in hints if x in data}
    _check_types(kind, values)
    try:
        return kind(**values)
    except TypeError as error:
        raise UsageError(f"The config of {name} lacks a field: {error}.") from error


def decode_file(base: type[C], path: Path, data: dict[str, Any], imports: Any) -> C:
    """Return the config that a file holds, which was written with these imported modules.

    Raises UsageError, which names the file, if a module is not imported or ``decode`` refuses it.
    """
    require_imports(path, imports)
    try:
        return decode(base, data, path.parent)
    except UsageError as error:
        raise UsageError(f"{path} cannot be read: {error}") from error


def require_imports(path: Path, names: Any) -> None:
    """Raise UsageError, which names the flags, unless the modules of a file are imported."""
    if not isinstance(names, list | tuple) or not all(isinstance(name, str) for name in names):
        raise UsageError(f"{path} has the imports {names}; they must be names of modules.")
    imported = {*sys.modules, public_name("__main__")}
    missing = [name for name in names if name not in imported]
    if missing:
        flags = " ".join(f"--import {name}" for name in missing)
        raise UsageError(f"{path} was written with modules that are not imported; add {flags}.")


def fingerprint(config: Any) -> str:
    """Return six hexadecimal digits of everything in a config but its length of training."""
    lengths = dict.fromkeys(("total_timesteps", "num_updates", "minutes"), 1)
    text = to_json(encode(config) | lengths, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:6]


def encode_job(job: Job, folder: Path, imports: Sequence[str]) -> dict[str, Any]:
    """Return the content of a run's ``config.json``: the job, and the modules given by --import."""
    return {"imports": list(imports)} | encode(job, folder)


def with_defaults(data: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON values of a config with the settings that its classes have gained since.

    They have their defaults, as in ``decode``.
    """
    values = {x: with_defaults(y) if isinstance(y, dict) else y for x, y in data.items()}
    kind = registered_class(data.get("class"))
    for field in fields(kind) if kind else ():
        default = field.default
        if field.default_factory is not MISSING:
            default = field.default_factory()
        if default is not MISSING:
            values.setdefault(field.name, _encoded(default, None))
    return values


def open_run(folder: Path | str, job: Job, imports: Sequence[str]) -> Run:
    """Return the run of a folder that is new or holds a run of this job.

    Raises UsageError if it holds another one, one made with modules that are not imported, or a
    link in the place of one of its folders.
    """
    refuse_links(Path(folder))
    run = Run.open(folder, encode_job(job, Path(folder), imports), with_defaults)
    path = run.folder / "config.json"
    if path.exists():
        require_imports(path, run.config().get("imports", ()))
    return run


def read_job(folder: Path | str) -> Job:
    """Return the job of a run folder, or of a copy of its ``config.json``.

    Raises UsageError if there is none, or if it was made with modules that are not imported.
    """
    path = Path(folder)
    if path.is_file():
        try:
            data = read_json(path)
        except UsageError as error:
            if path.suffix == ".json":
                raise
            raise UsageError(
                f"{path} is a file, and neither a run folder nor a copy of a run's config.json."
            ) from error
        check_format(path, data.pop("format", None), "name a run of this version")
    else:
        refuse_links(path)
        data, path = Run(path).config(), path / "config.json"
    return decode_file(Job, path, data, data.pop("imports", ()))


def read_experiment(folder: Path | str) -> Experiment:
    """Return the experiment of a run folder; raises UsageError if the folder holds none."""
    job = read_job(folder)
    if not isinstance(job, Experiment):
        raise UsageError(
            f"{folder} holds the pretraining of a model, not an agent's run; "
            "name a run of `reverie train`."
        )
    return job


def _class_named(base: type[C], name: Any) -> type[C]:
    """Return the class of a stored name; raises UsageError if it is not accepted for ``base``."""
    if not _is_part(base) and name == class_name(base):
        return base
    kind: type[C] | None = registered_class(name)
    if kind is None:
        module, colon, _ = str(name).partition(":")
        remedy = "decorate it with @reverie.register(NAME)"
        if not colon:
            remedy = "this version of reverie has no such class"
        elif module not in sys.modules:
            remedy = f"add --import {module}"
        raise UsageError(f"The {role_name(base)} {name} is not registered; {remedy}.")
    if not issubclass(kind, base):
        raise UsageError(f"{name} is no {role_name(base)}.")
    return kind


def _is_part(kind: type) -> bool:
    return issubclass(kind, tuple(TABLES))


def _check_types(kind: type, values: dict[str, Any]) -> None:
    """Raise UsageError, which names the field, if a value is not of its type."""
    hints = get_type_hints(kind)
    for field, value in values.items():
        try:
            check_type(value, hints[field], collection_check_strategy=ALL_ITEMS)
            if isinstance(value, bool) and hints[field] in (int, float):
                raise TypeCheckError(f"{value} is no number")
        except TypeCheckError as error:
            raise UsageError(
                f"The config of {class_name(kind)} has a wrong {field}: {error}."
            ) from error


def _encoded(value: Any, folder: Path | None) -> Any:
    if is_dataclass(value):
        return encode(value, folder)
    if isinstance(value, tuple):
        return [_encoded(item, folder) for item in value]
    if isinstance(value, Path):
        return os.path.relpath(value.resolve(), folder.resolve()) if folder else str(value)
    return value


def _decoded(value: Any, hint: Any, folder: Path | None) -> Any:
    if isinstance(value, dict) and isinstance(hint, type) and is_dataclass(hint):
        return decode(hint, value, folder)
    if isinstance(value, list):
        return tuple(_decoded(item, hint, folder) for item in value)
    if isinstance(value, str) and _holds_paths(hint):
        return (folder / value).resolve() if folder else Path(value)
    return value


def _holds_paths(hint: Any) -> bool:
    return hint is Path or any(map(_holds_paths, get_args(hint)))
