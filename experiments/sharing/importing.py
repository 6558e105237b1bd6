"""Import: an exported file as a run folder, to evaluate, to play and to start from.

A file may come from anywhere, so it is checked before it becomes a run: every tensor against the
parts that its config builds, and every number for being finite. Neither code nor pickles are in it.
"""

import os
import resource
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import torch

from ...envs.batched_env import spec_of
from ...envs.errors import UsageError
from ...envs.interface import Stateful
from ..config.experiment import Experiment, Job
from ..config.serialization import decode, encode_job, require_imports
from ..datasets.dataset import Recording
from ..datasets.writer import MANIFEST, Manifest
from ..runs.checkpoints import Checkpoints
from ..runs.config_differences import config_differences
from ..runs.disk_errors import reporting_disk_errors
from ..runs.files import WEIGHTS, check_format, make_folder, sync_folder, write_file, write_json
from ..runs.part_errors import building
from ..runs.scores import Scores
from ..runs.state_checks import check_count, restore
from ..sessions.driver import FINISHED_FILE
from ..training.pretrain import Pretraining
from .exporting import RECORDING, RESULTS, paths_of
from .model_card import result_rows
from .share_file import ShareFile
from .shared_state import check_tree, complete, names_in, unpack

Parts = dict[str, Stateful]


def import_run(path: Path, folder: Path, data: tuple[Path, ...] = ()) -> dict[str, Any]:
    """Make a run folder from an exported file, or from the one in a folder for Hugging Face.

    ``data`` are recordings for a pretraining, which holds none: of the same env, actions and
    frames. The folder appears when it is complete. Returns the description in the file. Raises
    UsageError for a folder that exists, or a file that is damaged, foreign or not of this version.
    """
    if folder.exists() or folder.is_symlink():
        raise UsageError(f"{folder} exists already; choose another with --folder, or remove it.")
    if path.is_dir():
        path /= WEIGHTS
        if path.is_symlink():
            raise UsageError(
                f"{path} is a link to another place, which is not followed; name the file that it "
                "leads to."
            )
    if not path.is_file():
        raise UsageError(f"There is no file {path}; name a file of `reverie export`.")
    file = ShareFile(path)
    about = file.about
    check_format(path, about.get("format"), "export the run again")
    with _refusing(path):
        for name in ("model", "env_name", "protocol"):
            if not isinstance(about.get(name), str):
                raise ValueError(f"its {name} is no text")
        job, manifest = _read_job(path, about)
        parts = _build(job, manifest)
        tree = about["state"]
        if not isinstance(tree, dict) or tree.keys() != parts.keys():
            raise ValueError(f"it holds no state of {', '.join(parts)}")
        names = sorted(names_in(tree))
        if surplus := sorted(file.header.keys() - set(names)):
            raise ValueError(f"it has the tensor {surplus[0]}, which its config does not need")
        if len(names) != len(file.header):
            raise ValueError("it names a tensor that it lacks, or one twice")
        for name, part in parts.items():
            check_tree(tree[name], part, name, file.header)
        for name, part in parts.items():
            restore(part, complete(unpack(tree[name], file), part.state_dict()), name)
        state = _plain(job, manifest, about["plain"])
        state |= {name: part.state_dict() for name, part in parts.items()}
        results = _checked_results(about["results"])
        origin = {"file": path.name, "sha256": file.checksum}
        provenance = dict(about["provenance"]) | {"imported": origin}
    job = _placed(job, folder)
    if data:
        job = _with_data(path, job, manifest, data)
    config = encode_job(job, folder, about["imports"]) | {"format": about["format"]}
    with (
        _appearing(folder) as new,
        reporting_disk_errors(folder.parent, "nothing was imported", "import it again"),
    ):
        if manifest is not None and not data:
            manifest.write(new / RECORDING / MANIFEST, {"imported": origin})
        for name, result in results.items():
            write_json(new / name, result)
        write_json(new / "provenance.json", provenance)
        Checkpoints(new / "checkpoints").save(state["step"], state)
        write_file(new / FINISHED_FILE, str(state["step"]))
        write_json(new / "config.json", config)  # it makes the folder a run
    return about


@contextmanager
def _refusing(path: Path) -> Iterator[None]:
    """Turn an error of reading a file of another config or version into a UsageError."""
    try:
        yield
    except UsageError as error:
        raise UsageError(f"{path} is not imported: {error}") from error
    except (MemoryError, OSError):
        raise
    except Exception as error:  # loading a wrong state may raise anything
        text = str(error) if isinstance(error, ValueError) else f"{type(error).__name__}: {error}"
        raise UsageError(
            f"{path} does not fit its config in this version ({' '.join(text.split())}); export "
            "the run again, or get another copy."
        ) from error


def _read_job(path: Path, about: dict[str, Any]) -> tuple[Job, Manifest | None]:
    """Return the job of a file and, of a pretraining, the description of its recording."""
    require_imports(path, about["imports"])
    job, manifest = decode(Job, about["config"]), None
    for name, found in paths_of(job):
        if {"data": RECORDING, "init_from": Path()}.get(name) != found:
            raise ValueError(f"its {name} is the folder {found}, outside of the file")
    if isinstance(job, Pretraining):
        manifest = decode(Manifest, about["manifest"])
        require_imports(path, manifest.imports)
        if job.data != (RECORDING,) or manifest.shards or any(paths_of(manifest)):
            raise ValueError("its recording is not described")
    return job, manifest


def _build(job: Job, manifest: Manifest | None) -> Parts:
    """Return the parts that a config describes, untrained and on the CPU."""
    device = torch.device("cpu")
    with _bounded_memory(), building("model"):
        if isinstance(job, Pretraining):
            assert manifest is not None
            return {"model": job.build(manifest, device)}
        if not isinstance(job, Experiment):
            raise ValueError("its config is neither an agent's nor a model's")
        spec = spec_of(
            job.env,
            job.num_envs,
            privileged=job.needs_privileged,
            snapshots=job.needs_snapshots,
        )
        return {
            "agent": job.agent.build(spec, seed=job.seed, device=device),
            "bonus": job.bonus.build(spec, seed=job.seed, device=device),
        }


@contextmanager
def _bounded_memory() -> Iterator[None]:
    """Let an allocation beyond the machine's memory fail, as a config may ask for any size."""
    used = int(Path("/proc/self/statm").read_text(encoding="utf-8").split()[0])
    limit = (used + os.sysconf("SC_PHYS_PAGES")) * os.sysconf("SC_PAGE_SIZE")
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    limit = min(x for x in (limit, soft, hard) if x != resource.RLIM_INFINITY)
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def _plain(job: Job, manifest: Manifest | None, values: dict[str, Any]) -> dict[str, Any]:
    """Return the checked plain values of a checkpoint."""
    found: dict[str, Any] = {"step": check_count(values["step"], "step")}
    if isinstance(job, Pretraining):
        assert manifest is not None
        recording = {
            "env_name": manifest.env.env_name,
            "frames": check_count(values["recording"]["frames"], "recording.frames"),
            "obs_shape": manifest.obs_shape(job.stack),
            "num_actions": manifest.num_actions,
        }
        found |= {
            "frames": check_count(values["frames"], "frames"),
            "seconds": float(values["seconds"]),
            "recording": recording,
        }
    return found


def _checked_results(results: dict[str, Any]) -> dict[str, Any]:
    """Return results by file name; raises ValueError for another file, or no scores."""
    for name, data in results.items():
        if Path(name).name == name and name.startswith("scores") and name.endswith(".json"):
            Scores.from_json(data)
        elif name not in RESULTS or not isinstance(data, dict):
            raise ValueError(f"it has results named {name}")
    result_rows({"results": results})  # fails for measures that no card could show
    return results


def _placed(job: Job, folder: Path) -> Job:
    """Return a job whose folders are in the run folder."""
    if isinstance(job, Pretraining):
        return replace(job, data=(folder / RECORDING,))
    assert isinstance(job, Experiment)
    return replace(job, init_from=folder) if job.init_from else job


def _with_data(
    path: Path, job: Job, manifest: Manifest | None, data: tuple[Path, ...]
) -> Pretraining:
    """Return a pretraining that names recordings; raises UsageError if they do not fit it."""
    if not isinstance(job, Pretraining) or manifest is None:
        raise UsageError(f"{path} holds an agent, which has no recording; leave out --data.")
    found = Recording(*data, cache_bytes=0).manifest
    theirs, own = (
        {"env": x.env.env_name, "num_actions": x.num_actions, "frame_shape": x.frame_shape}
        for x in (found, manifest)
    )
    if differences := config_differences(theirs, own):
        raise UsageError(
            f"--data {data[0]} does not fit the model in {path} ({'; '.join(differences)}); record "
            "the same env in the same format."
        )
    return replace(job, data=tuple(x.resolve() for x in data))


@contextmanager
def _appearing(folder: Path) -> Iterator[Path]:
    """Make a folder under a temporary name, and give it its own when it is complete.

    Raises UsageError if it cannot be written, or another process was first.
    """
    new = folder.with_name(f".{folder.name}.{uuid4().hex}.tmp")
    try:
        make_folder(new)
        yield new
        new.rename(folder)
        sync_folder(folder.parent)
    except OSError as error:
        raise UsageError(
            f"The folder {folder} cannot be written ({error.strerror or error}); choose another "
            "with --folder."
        ) from error
    finally:
        shutil.rmtree(new, ignore_errors=True)
