"""The commands compress and decompress: what goes in comes out, and nothing is overwritten."""

import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from command_lines import run_here as run

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.cli import compress
from reverie.experiments.datasets.archive import Archive
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.world_models.density.cts import CTS
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.density.quantization import quantize_frames


@pytest.fixture(autouse=True)
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Recording:
    monkeypatch.chdir(tmp_path)
    return collect(RandomPolicy(3), CatchConfig(), "catch", frames=60, num_envs=2)


@pytest.fixture
def pretrained(monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a run of every name a pretraining of its own, on frames of 10 x 5 pixels."""

    def load(folder: Path, *, device: str) -> Any:
        density = HistogramConfig().build(shape=(10, 5), levels=2)
        density.observe(torch.ones(len(str(folder)), 10, 5, dtype=torch.uint8))
        return SimpleNamespace(role="density", part=HistogramConfig()), density

    monkeypatch.setattr(compress, "load_model", load)


@pytest.mark.parametrize(
    ("flags", "shape", "levels"),
    [
        ([], (10, 5), 8),
        (["--no-temporal"], (10, 5), 8),
        (["--density", "histogram", "--levels", "4"], (10, 5), 4),
        (["density:cts", "--resolution", "5", "--batch-size", "7"], (5, 5), 8),
    ],
)
def test_the_symbols_of_a_recording_come_back(
    flags: list[str], shape: tuple[int, int], levels: int, recording: Recording,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    before = [path.read_bytes() for path in sorted(Path("catch").iterdir())]
    assert run("compress", "catch", *flags) == 0
    assert "bits a frame; coded at " in capsys.readouterr().out
    assert run("decompress", "catch.reverie", "--out", "out/symbols.npz") == 0
    assert "decoded at " in capsys.readouterr().out
    with np.load("out/symbols.npz") as found:
        symbols, found_levels = torch.from_numpy(found["symbols"]), int(found["levels"])
    frames = recording.frames(torch.arange(len(recording)))
    assert torch.equal(symbols, quantize_frames(frames, shape, levels))
    assert found_levels == levels
    assert [path.read_bytes() for path in sorted(Path("catch").iterdir())] == before


def test_frames_are_given_those_before_by_default_if_the_density_can_be() -> None:
    for flags, temporal in (
        ([], True), (["--no-temporal"], False), (["--density", "histogram"], False),
    ):  # fmt: skip
        assert run("compress", "catch", *flags) == 0
        header = Archive("catch.reverie").header
        assert (header.temporal, header.num_envs) == (temporal, 2)
        Path("catch.reverie").unlink()


def test_nothing_is_overwritten(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compress", "catch") == 0
    assert run("decompress", "catch.reverie") == 0
    files = {path: path.read_bytes() for path in Path().iterdir() if path.is_file()}
    assert {path.name for path in files} == {"catch.reverie", "catch.npz"}
    assert run("compress", "catch") == 2
    assert run("decompress", "catch.reverie") == 2
    assert capsys.readouterr().err.count("exists already; remove it, or name another") == 2
    assert {path: path.read_bytes() for path in files} == files


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compress"], "Name the recording first"),
        (["compress", "--density", "cts"], "Name the recording first"),
        (["compress", "nowhere"], "There is no recording nowhere"),
        (["compress", "catch", "--density", "ctz"], "Did you mean cts"),
        (["compress", "catch", "--density", "bound"], "BoundDensity cannot code frames"),
        (["compress", "catch", "--levels", "1"], "levels is 1; it must be in 2..256"),
        (["compress", "catch", "--batch-size", "0"], "batch_size is 0; it must be 1 or more"),
        (["compress", "catch", "--out", "catch"], "catch exists already"),
        (["compress", "catch", "--init-from", "nowhere"], "nowhere"),
        (
            ["compress", "catch", "--density", "histogram", "--init-from", "runs/a"],
            "leave out --density, or --init-from",
        ),
        (["decompress", "nowhere.reverie"], "nowhere.reverie cannot be read"),
        (["decompress", "catch/manifest.json"], "is no archive of 'reverie compress'"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_invalid_arguments_are_refused_and_nothing_is_written(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*args) == 2
    assert message in " ".join(capsys.readouterr().err.split())
    assert [path.name for path in Path().iterdir()] == ["catch"]


@pytest.mark.usefixtures("pretrained")
@pytest.mark.parametrize("learn", ["--learn", "--no-learn"])
def test_what_a_pretrained_density_codes_needs_the_same_one(
    learn: str, recording: Recording, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("compress", "catch", "--init-from", "run", learn) == 0
    for flags, message in (
        ([], "coded by the pretrained density of run; name that run as --init-from"),
        (["--init-from", "another"], "which was run, as --init-from"),
    ):
        assert run("decompress", "catch.reverie", *flags) == 2
        assert message in " ".join(capsys.readouterr().err.split())
        assert not Path("catch.npz").exists()
    assert run("decompress", "catch.reverie", "--init-from", "run") == 0
    frames = recording.frames(torch.arange(len(recording)))
    with np.load("catch.npz") as found:
        assert torch.equal(torch.from_numpy(found["symbols"]), quantize_frames(frames, (10, 5), 2))


@pytest.mark.usefixtures("pretrained")
def test_a_pretrained_density_of_other_frames_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    collect(RandomPolicy(4), MazeConfig(), "maze", frames=60, num_envs=2)
    assert run("compress", "maze", "--init-from", "run") == 2
    assert "frames (10, 5) with 2 levels, and those of maze" in " ".join(
        capsys.readouterr().err.split()
    )
    assert not Path("maze.reverie").exists()


@pytest.mark.usefixtures("pretrained")
def test_what_no_pretrained_density_coded_needs_none(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("compress", "catch") == 0
    assert run("decompress", "catch.reverie", "--init-from", "run") == 2
    assert "leave out --init-from" in " ".join(capsys.readouterr().err.split())


def test_the_pretraining_of_another_role_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    job = SimpleNamespace(role="predictor", part=None)
    monkeypatch.setattr(compress, "load_model", lambda folder, *, device: (job, None))
    assert run("compress", "catch", "--init-from", "run") == 2
    assert "run is the pretraining of a predictor" in capsys.readouterr().err


def test_a_signal_leaves_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    observe = CTS.observe

    def interrupted(self: CTS, x: torch.Tensor) -> Any:
        if self.num_frames == 9:
            signal.raise_signal(signal.SIGTERM)
        return observe(self, x)

    monkeypatch.setattr(CTS, "observe", interrupted)
    assert run("compress", "catch") == 128 + signal.SIGTERM
    assert [path.name for path in Path().iterdir()] == ["catch"]


@pytest.mark.parametrize(("here", "named"), [("catch", "."), ("catch/below", "..")])
def test_the_working_folder_can_be_compressed(
    here: str, named: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The file is beside it, not in it."""
    Path(here).mkdir(exist_ok=True)
    monkeypatch.chdir(here)
    assert run("compress", named, "--density", "histogram") == 0
    assert (tmp_path / "catch.reverie").is_file()
