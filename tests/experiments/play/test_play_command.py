"""`reverie play` as a command: which runs it plays, videos, its address, and bad input."""

import importlib.util
import json
import os
import re
import shutil
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest
import torch
from websockets.sync.client import connect

from reverie import Experiment
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.inspectors.learned_parts import PretrainedDensity
from reverie.experiments.inspectors.panels import BarChart, Images, Table
from reverie.experiments.play import launch
from reverie.experiments.play.messages import execute
from reverie.experiments.play.session import Session
from reverie.experiments.play.setup import load_setup

from play_fixtures import panels_by_title, socket_address


def test_a_busy_port_is_skipped() -> None:
    with socket.socket() as busy_socket:
        busy_socket.bind(("127.0.0.1", 0))
        busy_socket.listen()
        port = busy_socket.getsockname()[1]
        with launch.free_port(port) as bound_socket:
            assert bound_socket.getsockname()[1] > port


def test_a_missing_extra_is_refused_with_the_command_that_installs_it(monkeypatch: Any) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs starlette, uvicorn, websockets.*pip install"):
        launch.check_extra()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "catch"
    argv = ["--total-timesteps", "64", "--num-envs", "2", "--agent.buffer-size", "200"]
    argv += ["--random-play-seconds", "0", "--quiet", "--folder", str(folder)]
    argv += ["--env.rows", "16", "--device", "cpu"]
    assert cli.main(["train", "dqn", "env:catch", "agent.network:mlp", *argv]) == 0
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "catch"
    argv = ["--frames", "400", "--num-envs", "2", "--folder", str(folder), "--device", "cpu"]
    assert cli.main(["collect", "random", "env:catch", "--env.rows", "16", *argv]) == 0
    return folder


def pretrain(part: str, recording: Path, *flags: str) -> Path:
    folder = recording.parent / f"{part.replace(':', '-')}{len(flags)}"
    argv = ["pretrain", part, "--data", str(recording), "--folder", str(folder), *flags]
    argv += ["--num-updates", "3", "--batch-size", "4", "--device", "cpu", "--quiet"]
    assert cli.main(argv) == 0
    return folder


def test_a_pretrained_predictor_is_played_by_a_random_policy_or_by_another_runs_agent(
    run: Path, recording: Path
) -> None:
    folder = pretrain("predictor:mlp", recording, "--stack", "1")
    for agent, player in (("", "random policy"), (str(run), "DQN")):
        session = Session(load_setup(folder, agent=agent, device="cpu"))
        assert session.info()["player"] == player
        assert session.dream is not None
        execute(session, {"command": "set_mode", "value": "dream"})
        for _ in range(5):
            assert session.step()
        assert session.dream.horizon == 5
        assert bool(panels_by_title(session, BarChart)) == bool(agent), "an agent has action values"
        session.close()
    other = pretrain("predictor:mlp", recording)  # of stacks of four frames
    with pytest.raises(UsageError, match=r"shape \(1, 16, 5\), but the predictor in .* on catch"):
        load_setup(other, agent=str(run), device="cpu")


def test_a_pretrained_representation_is_inspected(recording: Path) -> None:
    folder = pretrain("representation:vae", recording)
    session = Session(load_setup(folder, device="cpu"))
    assert session.mode == "watch"
    session.step()
    pictures = panels_by_title(session, Images)["Representation"].pictures
    assert [picture.caption for picture in pictures][:2] == ["observation", "reconstruction"]
    session.close()


def test_a_pretrained_density_completes_frames_and_learns_none(run: Path, recording: Path) -> None:
    folder = pretrain("density:histogram", recording)
    for agent, player in (("", "random policy"), (str(run), "DQN")):
        session = Session(load_setup(folder, agent=agent, device="cpu"))
        assert session.info()["player"] == player
        assert session.info()["erasable"]
        assert not any("density" in reason for reason in session.view.untrained)
        assert execute(session, {"command": "erase_lower_half"})
        panels = panels_by_title(session, Images)
        assert panels["Completion"].pictures[1].caption == "completed"
        assert {"Completion", "Surprise"} <= panels.keys()
        (part,) = (x for x in session.setup.parts if isinstance(x, PretrainedDensity))
        frame = part.density.quantizer(session.game.time_step.frame)
        before = part.density.density.log_prob(frame)
        for _ in range(3):
            assert session.step()
        assert torch.equal(part.density.density.log_prob(frame), before)
        rows = dict(panels_by_title(session, Table)["Density Histogram"].rows)
        assert rows["frames learned"] == "12"
        session.close()


def test_a_density_of_other_frames_than_those_of_the_agent_is_refused(
    run: Path, tmp_path: Path
) -> None:
    argv = ["--frames", "100", "--num-envs", "2", "--folder", str(tmp_path / "small")]
    assert cli.main(["collect", "random", "env:catch", *argv, "--device", "cpu"]) == 0
    folder = pretrain("density:histogram", tmp_path / "small")
    with pytest.raises(UsageError, match=r"\(1, 16, 5\), but the density .* \(1, 10, 5\)"):
        load_setup(folder, agent=str(run), device="cpu")


def record(run: Path, video: Path, timesteps: int) -> int:
    argv = ["--video", str(video), "--timesteps", str(timesteps), "--threads", "1"]
    return cli.main(["play", str(run), *argv])


def test_the_command_records_a_video(run: Path, capsys: Any) -> None:
    video = run / "watch.gif"
    assert record(run, video, 12) == 0
    assert imageio.imread(video, index=None).shape[:3] == (7, 480, 853)
    assert "12 timesteps in" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (["--timesteps", "5"], "A page is played until it is closed; remove --timesteps, which"),
        (["--video", "a.gif", "--port", "80"], "is written to a.gif; remove --port, which has no"),
        (["--video", "a.gif", "--open"], "A video is written to a.gif; remove --open, which has"),
    ],
)
def test_options_without_effect_are_refused(
    argv: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.chdir(tmp_path)
    assert cli.main(["play", "runs/a", *argv]) == 2
    assert message in capsys.readouterr().err
    assert not [*tmp_path.iterdir()]


def test_a_video_that_cannot_be_written_is_refused(run: Path, capsys: Any) -> None:
    (run / "file").touch()
    for name in ("video.mp4", "video.gif"):
        path = run / "file" / name
        assert record(run, path, 3) == 2
        message = f"{path} cannot be written (Not a directory); choose another path with --video."
        assert message in capsys.readouterr().err


def test_the_command_prints_the_pages_address_and_ends_when_the_page_is_closed(run: Path) -> None:
    """In a separate process, with a busy port; a WebSocket takes the place of the page."""
    with socket.socket() as busy_socket:
        busy_socket.bind(("127.0.0.1", 0))
        busy_socket.listen()
        port = busy_socket.getsockname()[1]
        command = [sys.executable, "-m", "reverie.experiments.cli.main", "play", str(run)]
        process = subprocess.Popen(
            [*command, "--port", str(port)],
            cwd=Path(__file__).parents[3], stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        lines = [next(process.stdout) for _ in range(5)]
    assert lines[0].startswith(f"Port {port} is busy; using ")
    assert lines[2].startswith("From another machine: ssh -L ")
    assert lines[3].startswith("Watch mode only. This run has no learned predictor")
    address = re.search(r"http://127\.0\.0\.1:\d+/\?token=\S{32}$", lines[1])
    assert address
    with connect(socket_address(address[0])) as page:
        assert json.loads(page.recv())["players"][0]["env"] == "catch"
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        ([], "RUN is missing"),
        (["/nowhere"], "no run folder"),
        (["RUN", "--mode", "dream"], "has no learned predictor"),
        (["RUN", "--agent", "RUN"], "remove --agent"),
        (["MISSING_GAME"], "There is no game 'pack_man'. Did you mean"),
    ],
)
def test_bad_input_is_refused_in_one_line(
    run: Path, argv: list[str], message: str, capsys: Any
) -> None:
    missing_game = run.parent / "missing_game"
    if not missing_game.exists():
        missing_game.mkdir()
        shutil.copytree(run / "checkpoints", missing_game / "checkpoints")
        config = json.loads((run / "config.json").read_text())
        experiment = Experiment(env=AtariConfig("ms_pacman"))
        from reverie.experiments.config.serialization import encode

        config["env"] = encode(experiment)["env"] | {"game": "pack_man"}
        (missing_game / "config.json").write_text(json.dumps(config))
    folders = {"RUN": str(run), "MISSING_GAME": str(missing_game)}
    assert cli.main(["play", *(folders.get(arg, arg) for arg in argv)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
