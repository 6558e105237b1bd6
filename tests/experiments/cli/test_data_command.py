"""``reverie data``: lists, descriptions, conversions, replays, and what they refuse."""

import json
import re
import shutil
import sys
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from command_lines import run_here
from numpy.typing import NDArray

from reverie.agents.policies import RandomPolicy
from reverie.envs.catch import CatchConfig
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording


def run(*args: str) -> int:
    return run_here("data", *args)


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two recordings, and one that was interrupted."""
    folder = tmp_path_factory.mktemp("recordings")
    collect(RandomPolicy(3), CatchConfig(), folder / "catch", frames=400, num_envs=2)
    collect(RandomPolicy(6), MinAtarConfig(), folder / "breakout", frames=200, num_envs=2)
    shutil.copytree(folder / "catch", folder / "half")
    (folder / "half/manifest.json").rename(folder / "half/unfinished.json")
    return folder


@pytest.fixture(autouse=True)
def in_temporary_folder(recorded: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "80")
    shutil.copytree(recorded, "d")


def test_recordings_are_listed_at_80_columns(capsys: pytest.CaptureFixture[str]) -> None:
    Path("d/broken").mkdir()
    Path("d/broken/manifest.json").write_text('{"shards": 5}')
    Path("d/broken/00000.npz").touch()
    assert run("list", "d") == 0
    printed = capsys.readouterr().out
    lines = printed.splitlines()
    assert max(map(len, lines)) <= 80
    assert [line.split()[0] for line in lines[1:5]] == ["breakout", "broken", "catch", "half"]
    recording = Recording("d/catch")
    returns = recording.columns["reward"][recording.columns["reward"] != 0]
    catch = lines[3].split()
    assert catch[1:6] == ["catch", "random", "1x10x5", "400", "40"]
    assert float(catch[6]) == pytest.approx(float(returns.mean()), abs=0.005)
    assert lines[2].split()[1] == "damaged"
    assert lines[4].split()[1] == "unfinished"
    assert "4 recordings, " in lines[5]
    assert run("list", "d", "--json", "--sort", "return") == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["state"] for row in rows] == ["complete", "complete", "damaged", "unfinished"]
    assert rows[0]["mean_return"] >= rows[1]["mean_return"]


def test_a_recording_is_described(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("show", "d/catch") == 0
    printed = capsys.readouterr().out
    facts = dict(re.findall(r"^(\S[a-z- ]*?)  +(.*)$", printed, re.M))
    assert max(map(len, printed.splitlines())) <= 80
    assert facts["frames"] == "400, 1x10x5 uint8"
    assert facts["episodes"] == "40 whole (40 deaths, 0 time-outs), 0 unfinished"
    assert facts["rewards"] == "40 other than 0, from -1 to 1"
    assert facts["lengths"] == "mean 9.00; 9 to 9, median 9, quartiles 9 and 9"
    assert facts["true state"] == "ball_row, ball_column, paddle"
    shares = [int(x) for x in re.findall(r"(\d+)%", facts["actions"])]
    recording = Recording("d/catch")
    acted = ~recording.columns["last"]
    expected = recording.columns["action"][acted].bincount(minlength=3) / acted.sum()
    assert np.allclose(np.array(shares) / 100, expected, atol=0.0051)


def test_a_film_shows_every_frame_of_the_first_episodes() -> None:
    assert run("convert", "d/catch", "film.mp4", "--episodes", "3") == 0
    assert run("convert", "d/catch", "films", "--to", "mp4", "--episodes", "2", "--fps", "5") == 0
    frames = {}
    for path in (Path("film.mp4"), *Path("films").iterdir()):
        with av.open(str(path)) as film:
            frames[path.name] = [x.to_ndarray(format="rgb24") for x in film.decode(video=0)]
    lengths = {"film.mp4": 30, "episode-00000.mp4": 10, "episode-00001.mp4": 10}
    assert {name: len(x) for name, x in frames.items()} == lengths
    recorded = Recording("d/catch").frames(torch.arange(0, 20, 2))[:, 0].numpy()
    shown: NDArray[np.uint8] = np.stack(frames["episode-00000.mp4"])
    scale = shown.shape[1] // 10
    centers = shown[:, scale // 2 :: scale, scale // 2 :: scale, 0][:, :10, :5]
    assert np.array_equal(centers > 127, recorded > 127)


def test_a_replay_says_whether_the_env_agrees(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("replay", "d/catch", "--threads", "1") == 0
    assert "catch plays the recorded 400 frames of 40 episodes again" in _line(capsys)
    manifest = json.loads(Path("d/catch/manifest.json").read_text())
    manifest["provenance"]["torch"] = "1.0"
    manifest["seed"] = 5
    Path("d/catch/manifest.json").write_text(json.dumps(manifest))
    assert run("replay", "d/catch", "--threads", "1") == 1
    printed = _line(capsys)
    assert "at timestep 0, which is step 0 of its episode 0: " in printed
    assert "recorded with torch 1.0 (here " in printed


def _line(capsys: pytest.CaptureFixture[str]) -> str:
    return " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["shew", "d/catch"], "There is no 'reverie data shew'. Did you mean show?"),
        (["list", "nowhere"], "There is no folder nowhere"),
        (["list", "d/catch/lock"], "There is no folder d/catch/lock"),
        (["show", "d/half"], "was interrupted before its end"),
        (["show", "d/catch", "--html", "d"], "d cannot be written"),
        (["show", "d/catch", "--max-frames", "3"], "max_frames is 3; it must be 16 or more"),
        (["replay", "d"], "d is not a recording"),
        (["convert", "d/catch", "x"], "add --to minari, hdf5 or mp4"),
        (["convert", "d/catch", "x", "--to", "hdf5"], "x is no name for --to hdf5; end it in"),
        (["convert", "d/catch", "x.mp4", "--to", "minari"], "x.mp4 is no name for --to minari"),
        (["convert", "d/catch", "x", "--to", "own"], "is a recording already; copy the folder"),
        (["convert", "d/catch", "x", "--to", "minari"], "x is no id of a Minari dataset; end"),
        (["convert", "d/catch", "d/breakout", "--to", "mp4"], "d/breakout exists already"),
        (["convert", "d/catch", "/proc/x.hdf5"], "/proc/x.hdf5 cannot be written"),
        (["convert", "d/catch", "x.hdf5", "--name", "y"], "are for others' episodes; leave them"),
        (["convert", "d/half", "x.hdf5"], "was interrupted before its end"),
        (["convert", "nowhere", "x"], "There is no nowhere; name a recording"),
        (["convert", "d", "x"], "d is nothing that can be converted; name a recording, a dataset"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_refused_changes_nothing(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    before = {x: x.stat().st_mtime_ns for x in Path().rglob("*") if x.is_file()}
    assert run(*args) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert message in printed
    assert {x: x.stat().st_mtime_ns for x in Path().rglob("*") if x.is_file()} == before


@pytest.mark.parametrize(("package", "target"), [("h5py", "x.hdf5"), ("minari", "x-v0")])
def test_a_missing_extra_is_named(
    package: str,
    target: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    to = ["--to", "minari"] if package == "minari" else []
    assert run("convert", "d/catch", target, *to) == 2
    assert "run 'pip install 'reverie[data]''" in capsys.readouterr().err
    assert not Path(target).exists()
