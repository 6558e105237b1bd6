"""`reverie play` as a command: which runs it plays, films, its address, and bad input."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import pytest
from playing import panels
from websockets.sync.client import connect

from envs.atari import AtariConfig
from envs.errors import UsageError
from experiments import Experiment, cli
from experiments.play import command
from experiments.play.cast import cast
from experiments.play.panels import (
    Bars,
    Images,
)
from experiments.play.session import Session
from experiments.play.wishes import carry_out


def test_a_busy_port_is_passed_over() -> None:
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        with command.free_port(port) as bound:
            assert bound.getsockname()[1] > port


def test_without_the_extra_a_sentence_says_what_to_install(monkeypatch: Any) -> None:
    monkeypatch.setattr(command.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"needs starlette, uvicorn, websockets.*pip install"):
        command.check_extra()


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("runs") / "catch"
    words = ["--steps", "64", "--streams", "2", "--agent.capacity", "200", "--device", "cpu"]
    words += ["--bare-seconds", "0", "--quiet", "--folder", str(folder), "--env.rows", "16"]
    assert cli.main(["train", "dqn", "env:catch", "agent.network:mlp", *words]) == 0
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("data") / "catch"
    words = ["--frames", "400", "--streams", "2", "--folder", str(folder), "--device", "cpu"]
    assert cli.main(["collect", "random", "env:catch", "--env.rows", "16", *words]) == 0
    return folder


def pretrained(part: str, recording: Path, *words: str) -> Path:
    folder = recording.parent / f"{part.replace(':', '-')}{len(words)}"
    command = ["pretrain", part, "--data", str(recording), "--folder", str(folder), *words]
    assert cli.main([*command, "--steps", "3", "--batch", "4", "--device", "cpu", "--quiet"]) == 0
    return folder


def test_a_pretrained_predictor_is_played_by_chance_by_hand_or_by_another_runs_agent(
    run: Path, recording: Path
) -> None:
    dream = pretrained("predictor:mlp", recording, "--stack", "1")
    for agent, player in (("", "random play"), (str(run), "DoubleDQN")):
        session = Session(cast(dream, agent=agent, device="cpu"))
        assert session.hello()["player"] == player
        assert session.dream is not None
        carry_out(session, {"do": "mode", "to": "dream"})
        for _ in range(5):
            assert session.tick()
        assert session.dream.horizon == 5
        assert bool(panels(session, Bars)) == bool(agent), "the agent's values, where there is one"
        session.close()
    other = pretrained("predictor:mlp", recording)  # reads stacks of four
    with pytest.raises(UsageError, match=r"looks \(1, 16, 5\); the predictor is of catch"):
        cast(other, agent=str(run), device="cpu")


def test_a_pretrained_representation_is_watched(recording: Path) -> None:
    fit = pretrained("representation:vae", recording)
    session = Session(cast(fit, device="cpu"))
    assert session.mode == "watch"
    session.tick()
    assert [p.caption for p in panels(session, Images)["Representation"].pictures][:2] == [
        "seen", "reconstructed",
    ]  # fmt: skip
    session.close()


def test_a_film_is_made_by_a_command(run: Path, capsys: Any) -> None:
    film = run / "watch.gif"
    assert cli.main(["play", str(run), "--film", str(film), "--ticks", "12", "--threads", "1"]) == 0
    assert imageio.imread(film, index=None).shape[:3] == (6, 330, 640)
    assert "12 steps in" in capsys.readouterr().out


def test_a_film_that_cannot_be_written_is_refused(run: Path, capsys: Any) -> None:
    (run / "file").touch()
    for film in ("film.mp4", "film.gif"):
        path = str(run / "file" / film)
        assert cli.main(["play", str(run), "--film", path, "--ticks", "3", "--threads", "1"]) == 2
        assert f"The film {path} cannot be written" in capsys.readouterr().err


def test_the_command_says_where_the_page_is_and_ends_with_it(run: Path) -> None:
    """In a process of its own, on a port that is busy; the page is a socket that is closed."""
    with socket.socket() as busy:
        busy.bind(("127.0.0.1", 0))
        busy.listen()
        port = busy.getsockname()[1]
        process = subprocess.Popen(
            [sys.executable, "-m", "experiments.cli", "play", str(run), "--port", str(port)],
            cwd=Path(__file__).parent.parent, stdout=subprocess.PIPE, text=True,
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        )  # fmt: skip
        assert process.stdout is not None
        said = [next(process.stdout) for _ in range(4)]
    assert said[0] == f"Port {port} is busy; took the next free one.\n"
    assert said[2].startswith("Watch only. This run has no predictor")
    address = re.search(r"http://(127\.0\.0\.1:\d+)", said[1])
    assert address
    with connect(f"ws://{address[1]}/play") as page:
        assert json.loads(page.recv())["world"] == "catch"
    assert process.wait(30) == 0
    process.stdout.close()


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ([], "Name the run to play"),
        (["/nowhere"], "no run folder"),
        (["RUN", "--mode", "dream"], "has no predictor"),
        (["RUN", "--agent", "RUN"], "leave out --agent"),
        (["ROMLESS"], "There is no game 'pack_man'. Did you mean"),
    ],
)
def test_bad_input_is_one_sentence(run: Path, words: list[str], says: str, capsys: Any) -> None:
    romless = run.parent / "romless"
    if not romless.exists():
        romless.mkdir()
        (romless / "checkpoints").symlink_to(run / "checkpoints")
        config = json.loads((run / "config.json").read_text())
        experiment = Experiment(env=AtariConfig("ms_pacman"))
        from experiments.config import encode

        config["env"] = encode(experiment)["env"] | {"game": "pack_man"}
        (romless / "config.json").write_text(json.dumps(config))
    named = {"RUN": str(run), "ROMLESS": str(romless)}
    assert cli.main(["play", *(named.get(word, word) for word in words)]) == 2
    said = capsys.readouterr().err
    assert re.search(re.escape(says), said), said
    assert said.count("\n") == 1
