"""Export: a run as one file, or as a folder for Hugging Face.

The file holds what is needed to evaluate, to play and to start from the run (``--init-from``), and
not its replay, its optimizer or the state of its envs.
"""

from collections.abc import Iterator
from dataclasses import fields, is_dataclass, replace
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from ...agents.episodic.neighbor_tables import NeighborTables
from ...agents.interface import Agent
from ...envs.errors import UsageError
from ..config.experiment import Experiment
from ..config.roles import part_name
from ..config.serialization import encode, read_job
from ..evaluation.trained_agent import load_trained
from ..runs.files import FORMAT, WEIGHTS, read_json, write_file, write_json
from ..runs.run import Run
from ..training.pretrain import Pretraining, load_model
from .model_card import model_card
from .share_file import write_share_file
from .shared_state import loses_by_rounding, pack, round_weights, shared_state

RECORDING = Path("recording")
"""Folder in an imported run that describes the recording of a pretraining, without its frames."""
RESULTS = ("evaluation.json", "held_out.json")
"""Files of measures in a run folder, beside those of scores."""

WeightsDtype = Literal["float32", "bf16"]


def export_run(
    folder: Path | str,
    *,
    max_keys: int = 0,
    dtype: WeightsDtype = "float32",
    license_name: str = "",
    description: str = "",
) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Return the description of a run's last checkpoint, and its tensors by name.

    Up to ``max_keys`` keys of each action are kept, those visited last, as in training with that
    capacity; 0 keeps all. Weights and keys are rounded to bfloat16 if ``dtype`` says so. Scores and
    measures are left out if either changes what was measured. Raises UsageError for a run that
    cannot be exported.
    """
    run, job = Run(folder), read_job(folder)
    for name, path in paths_of(job):
        if name not in ("data", "init_from"):
            raise UsageError(
                f"{folder} names {path} as {name}, and a file holds one run alone; copy the "
                "folders of both instead."
            )
    about: dict[str, Any] = {
        "format": FORMAT,
        "license": license_name,
        "description": description,
        "protocol": "",
        "imports": run.config().get("imports", []),
    }
    if isinstance(job, Pretraining):
        _, model = load_model(folder, device="cpu")
        parts, plain = {"model": model}, _pretraining_state(run)
        manifest = job.manifest
        about |= {"kind": job.role, "manifest": encode(replace(manifest, shards=()))}
        env = manifest.env
        job = replace(job, data=(RECORDING,), init_from=None)
    else:
        assert isinstance(job, Experiment)
        experiment, agent, bonus, step = load_trained(folder, device="cpu")
        parts, plain, env = {"agent": agent, "bonus": bonus}, {"step": step}, job.env
        about |= {"kind": "agent"}
        job = replace(job, init_from=Path() if experiment.agent.untrained_reason else None)
    num_dropped = _cap(parts.get("agent"), folder, max_keys)
    changed, tensors = num_dropped > 0, dict[str, Tensor]()
    states = {name: shared_state(part) for name, part in parts.items()}
    if dtype == "bf16":
        states = round_weights(states)
        changed |= any(loses_by_rounding(part, states[name]) for name, part in parts.items())
    tree = {name: pack(state, name, tensors) for name, state in states.items()}
    about |= {
        "env_name": env.env_name,
        "protocol": env.protocol_label,
        "model": _model_name(job),
        "config": encode(job),
        "state": tree,
        "plain": plain,
        "dtype": dtype,
        "dropped_keys": num_dropped,
        "results": {} if changed else _results(run),
        "results_left_out": changed and bool(_results(run)),
        "provenance": read_json(run.folder / "provenance.json"),
    }
    return about, tensors


def write_hugging_face(folder: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Write a folder that Hugging Face shows as a model: the file, its config and its card.

    Raises UsageError if the folder holds another file.
    """
    own = {WEIGHTS, "config.json", "README.md"}
    if folder.exists() and (not folder.is_dir() or {x.name for x in folder.iterdir()} - own):
        raise UsageError(f"{folder} exists and holds other files; name a new folder.")
    write_share_file(folder / WEIGHTS, about, tensors)
    shown = ("kind", "model", "env_name", "protocol", "format", "license", "plain", "config")
    values = {"library_name": "reverie", **{name: about[name] for name in shown}}
    write_json(folder / "config.json", values)
    write_file(folder / "README.md", model_card(about))


def paths_of(config: Any, name: str = "") -> Iterator[tuple[str, Path]]:
    """Yield the folders that a config names, with the dotted names of their settings."""
    if isinstance(config, Path):
        yield name, config
    elif isinstance(config, tuple):
        for item in config:
            yield from paths_of(item, name)
    elif is_dataclass(config):
        for field in fields(config):
            yield from paths_of(getattr(config, field.name), f"{name}.{field.name}".lstrip("."))


def _pretraining_state(run: Run) -> dict[str, Any]:
    """Return the plain values of a pretraining's checkpoint that other commands read."""
    names = ("step", "frames", "seconds", "recording")
    state = run.checkpoints.load(lambda state: {name: state[name] for name in names})
    assert state is not None  # its model has been loaded
    return state


def _cap(agent: Agent | None, folder: Path | str, max_keys: int) -> int:
    """Keep the keys of an agent that were visited last; return the number of others."""
    tables = [x for x in vars(agent).values() if isinstance(x, NeighborTables)] if agent else []
    if max_keys and not tables:
        raise UsageError(f"{folder} has no tables of keys; leave out --max-keys.")
    return sum(table.keep_most_recent(max_keys or max(table.sizes)) for table in tables)


def _model_name(job: Pretraining | Experiment) -> str:
    return job.model_name if isinstance(job, Pretraining) else part_name(job.agent)


def _results(run: Run) -> dict[str, Any]:
    """Return the scores and measures of a run by file name."""
    paths = [*sorted(run.folder.glob("scores*.json")), *(run.folder / name for name in RESULTS)]
    return {path.name: read_json(path) for path in paths if path.exists()}
