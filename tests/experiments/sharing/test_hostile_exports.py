"""A file from elsewhere is refused in one sentence, or is a run; nothing between."""

import os
import shutil
import struct
from collections.abc import Callable
from copy import deepcopy
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie import Experiment, train
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.runs.files import write_json
from reverie.experiments.runs.run import find_runs
from reverie.experiments.sharing.exporting import export_run
from reverie.experiments.sharing.importing import import_run
from reverie.experiments.sharing.share_file import MAX_HEADER, write_share_file
from reverie.world_models.density.cts import CTSConfig

from sample_agents import OPTIONS

Content = tuple[dict[str, Any], dict[str, Tensor]]
FILE = Path("run.safetensors")


@pytest.fixture(scope="module")
def content(tmp_path_factory: pytest.TempPathFactory) -> Content:
    agent = PPOConfig(network=MLPConfig((4,)), num_steps=8, num_minibatches=2)
    folder = tmp_path_factory.mktemp("runs") / "run"
    train(Experiment(agent, CatchConfig(), total_timesteps=64, num_envs=4), folder, OPTIONS)
    return export_run(folder)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: Content) -> None:
    monkeypatch.chdir(tmp_path)
    write_share_file(FILE, *content)


def refused(match: str, path: Path = FILE) -> None:
    """Check that a file is refused in one line, and leaves nothing behind."""
    before = sorted(os.listdir())
    with pytest.raises(UsageError, match=match) as caught:
        import_run(path, Path("imported"))
    assert len(str(caught.value).splitlines()) == 1
    assert sorted(os.listdir()) == before


def test_every_part_of_a_file_is_protected() -> None:
    whole = FILE.read_bytes()
    rng = torch.Generator().manual_seed(0)
    places = [0, 7, 8, 9, len(whole) - 1, *torch.randint(len(whole), (60,), generator=rng).tolist()]
    for place in places:
        changed = bytearray(whole)
        changed[place] ^= 1 << (place % 8)
        FILE.write_bytes(changed)
        refused("damaged|no file of")
    for length in [0, 5, 8, 100, len(whole) // 2, len(whole) - 1]:
        FILE.write_bytes(whole[:length])
        refused("damaged|no file of")
    FILE.write_bytes(whole + b"\0")
    refused("damaged")
    FILE.write_bytes(whole)
    import_run(FILE, Path("imported"))


def test_a_foreign_file_is_refused() -> None:
    from safetensors.torch import save

    foreign = Path("foreign.safetensors")
    foreign.write_bytes(save({"x": torch.zeros(3)}))
    refused("no file of `reverie export`", foreign)
    torch.save({"x": torch.zeros(3)}, foreign)
    refused("no file of `reverie export`", foreign)
    deep = b'{"__metadata__":' + b"[" * 100_000
    foreign.write_bytes(struct.pack("<Q", len(deep)) + deep)
    refused("no file of `reverie export`", foreign)
    with open(foreign, "wb") as file:  # a header larger than the bound, in a sparse file
        file.write(struct.pack("<Q", MAX_HEADER + 1))
        file.truncate(MAX_HEADER + 100)
    refused("no file of `reverie export`", foreign)
    refused("There is no file", Path("absent"))
    os.mkfifo("pipe")
    refused("There is no file", Path("pipe"))
    os.mkdir("hub")
    Path("hub/model.safetensors").symlink_to(FILE.resolve())
    refused("is a link to another place", Path("hub"))


def changed(edit: Callable[[dict[str, Any], dict[str, Tensor]], object], content: Content) -> None:
    """Write a file with a right checksum, of which something was changed before."""
    about, tensors = deepcopy(content)
    edit(about, tensors)
    write_share_file(FILE, about, tensors)


def first(tensors: dict[str, Tensor]) -> str:
    return next(name for name, x in tensors.items() if x.ndim == 2 and x.dtype == torch.float32)


def drop(about: dict[str, Any], tensors: dict[str, Tensor], part: str) -> None:
    del about["state"]["agent"][part]
    for name in [x for x in tensors if x.startswith(f"agent.{part}.")]:
        del tensors[name]


EDITS: dict[str, Callable[[dict[str, Any], dict[str, Tensor]], object]] = {
    "it has the tensor extra": lambda about, x: x.update(extra=torch.zeros(2)),
    "it names a tensor that it lacks": lambda about, x: x.pop(first(x)),
    "has the shape": lambda about, x: x.update({first(x): x[first(x)][:, :-1]}),
    "it lacks agent.network": lambda about, x: drop(about, x, "network"),
    "it holds no state of agent, bonus": lambda about, x: about.update(state=[]),
    "not finite": lambda about, x: x.update({first(x): x[first(x)] / 0}),
    "not torch.float32": lambda about, x: x.update({first(x): x[first(x)].double()}),
    "outside of the file": lambda about, x: about["config"].update(init_from="../other"),
    "is not registered": lambda about, x: about["config"]["agent"].update({"class": "os:system"}),
    "unknown fields": lambda about, x: about["config"].update(evil=1),
    "that are not imported": lambda about, x: about.update(imports=["antigravity"]),
    "results named": lambda about, x: about.update(results={"../config.json": {}}),
    "results named evil": lambda about, x: about.update(results={"evil.json": {}}),
    "has no env_name": lambda about, x: about.update(results={"scores.json": {}}),
    "KeyError: 'errors'": lambda about, x: about.update(results={"evaluation.json": {}}),
    "its step is -1": lambda about, x: about["plain"].update(step=-1),
    "its step is a str": lambda about, x: about["plain"].update(step="1"),
    "format 5": lambda about, x: about.update(format=5),
    "an older format": lambda about, x: about.pop("format"),
    "KeyError": lambda about, x: about.pop("plain"),
    "its protocol is no text": lambda about, x: about.pop("protocol"),
    "its model is no text": lambda about, x: about.update(model=[]),
    "cannot be built": lambda about, x: about["config"]["agent"]["network"].update(
        hidden=[1 << 24, 1 << 24]
    ),
}


@pytest.mark.parametrize("match", EDITS)
def test_a_file_that_does_not_fit_its_config_is_refused(match: str, content: Content) -> None:
    changed(EDITS[match], content)
    refused(match)


def test_an_existing_folder_is_not_overwritten() -> None:
    folder = Path("imported")
    folder.mkdir()
    refused("exists already")
    folder.rmdir()
    folder.symlink_to("nowhere")
    refused("exists already")


def test_a_killed_import_leaves_nothing_that_seems_a_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """A killed process removes nothing, whichever file it was writing."""
    monkeypatch.setattr(shutil, "rmtree", lambda *args, **kwargs: None)
    count = 0

    def killed(path: Path, data: Any) -> None:
        nonlocal count
        count += 1
        if path.name == "config.json":
            raise KeyboardInterrupt
        write_json(path, data)

    monkeypatch.setattr("reverie.experiments.sharing.importing.write_json", killed)
    with pytest.raises(KeyboardInterrupt):
        import_run(FILE, Path("imported"))
    assert count > 1
    assert not Path("imported").exists()
    with pytest.raises(UsageError, match="holds no run"):
        find_runs(Path())
    monkeypatch.undo()


def test_columns_of_tables_must_have_one_length(tmp_path: Path) -> None:
    run = tmp_path / "mfec"
    agent = MFECConfig(num_neighbors=2)
    train(Experiment(agent, CatchConfig(), total_timesteps=400, num_envs=4), run, OPTIONS)
    about, tensors = export_run(run)
    name = "agent.tables.returns.0"
    assert len(tensors[name]) > 1
    write_share_file(FILE, about, tensors | {name: tensors[name][:-1]})
    refused("columns of different lengths")


@pytest.mark.parametrize(("name", "row", "value"), [("nodes", 1, 99), ("nodes", 3, -1)])
def test_links_out_of_the_trees_are_refused(name: str, row: int, value: int) -> None:
    """The compiled code does not check them, and would read other memory."""
    density = CTSConfig().build(shape=(2, 2), levels=3)
    density.observe(torch.zeros(2, 2, 2, dtype=torch.uint8))
    state = density.state_dict()
    CTSConfig().build(shape=(2, 2), levels=3).load_state_dict(state)
    state[name][row, -1] = value
    with pytest.raises(ValueError, match="links to nodes that are not there"):
        CTSConfig().build(shape=(2, 2), levels=3).load_state_dict(state)
