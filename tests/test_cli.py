"""Bad input: a clear sentence, a non-zero exit, nothing lost."""

import hashlib
import io
import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from experiments import Experiment, cli, commands
from experiments.config import encode
from experiments.parse import default_folder, parse_experiment
from experiments.recipes import RECIPES
from experiments.run import Run

ROOT = Path(__file__).parent.parent
SMALL = ["env:catch", "--steps", "800", "--streams", "4", "--log-every", "200"]
QUIET = ["--quiet", "--bare-seconds", "0", "--device", "cpu", "--threads", "1"]


def run(*words: str) -> int:
    try:
        return cli.main(list(words))
    except SystemExit as stop:  # tyro's own refusals
        return int(stop.code or 0)


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["trane"], "Did you mean train"),
        (["train"], "Name a preset first: episodic"),
        (["train", "episodik"], "Did you mean episodic"),
        (["train", "episodic", "--game", "mspacman"], "Did you mean ms_pacman"),
        (["train", "episodic", "--games", "pong,breakuot"], "Did you mean breakout"),
        (["train", "episodic", "--game"], "--env.game"),
        (["train", "episodic", "--steps", "0"], "steps is 0; it must be 1 or more"),
        (["train", "episodic", "--streams", "-3"], "streams is -3; it must be 1 or more"),
        (["train", "episodic", "--steps", "many"], "many"),
        (["train", "episodic", "--colour", "red"], "--colour"),
        (["train", "episodic", "env:ataari"], "Did you mean atari"),
        (["train", "episodic", "memory:large"], "There is no role 'memory'"),
        (["train", "episodic", "agent.representation:vea"], "There is no agent.representation"),
        (["train", "episodic", "--agent.neighbours", "0"], "agent.neighbours is 0"),
        (["train", "episodic", "--agent.representation.size", "3"], "--agent.representation.size"),
        (["train", "dqn", "agent.network:natur"], "Did you mean nature"),
        (["train", "dqn", "--agent.replay-ratio", "0"], "agent.replay_ratio is 0"),
        (["train", "dqn", "--agent.reward-clip", "-1"], "agent.reward_clip is -1"),
        (["train", "actor-critic", "--agent.total-clip", "nan"], "agent.total_clip is nan"),
        (["train", "episodic", "--agent.representation.dim", "0"], "representation.dim is 0"),
        (["train", "episodic", "--env.protocol.noops", "-3"], "protocol.noops is -3"),
        (["train", "shooting", "--agent.predictor.channels", "0"], "predictor.channels is 0"),
        (["train", "dqn-pixelcnn", "--bonus.density.maps", "0"], "density.maps is 0"),
        (["train", "straw", "--agent.planner.filters", "0"], "planner.filters is 0"),
        (["train", "straw", "--agent.planner.length", "5"], "planner.length is 5, shorter"),
        (["train", "strawe", "--agent.nats-cost", "-1"], "agent.nats_cost is -1"),
        (["train", "straw", "--agent.commitment-cost", "-1"], "agent.commitment_cost is -1"),
        (["train", "actor-critic", "agent.planner:strow"], "Did you mean straw"),
        (["train", "straw", "env:maze", "--env.view", "4"], "env.view is 4; it must be odd"),
        (["train", "episodic", "--protocol", "natrue"], "Did you mean nature"),
        (["train", "episodic", "--env.protocol.skip", "0"], "protocol.skip is 0"),
        (["train", "episodic", "--with", "no_such_module"], "No module named 'no_such_module'"),
        (["train", "episodic", "env:gym"], "needs an id"),
        (["train", "episodic", "env:gym", "--env.id", "No-v0"], "cannot make 'No-v0'"),
        (["train", "episodic", "env:gym", "--env.id", "CartPole-v1"], "uint8 images"),
        (["train", "episodic", "--with", ""], "--with '' cannot be imported"),
        (["train", "episodic", "--with", ".foo"], "--with '.foo' cannot be imported"),
        (["train", "episodic", *SMALL, "--device", "cuda"], "sees no CUDA"),
        (["train", "episodic", *SMALL, "--device", "cuda:99"], "sees no CUDA device of that"),
        (["train", "episodic", *SMALL, "--device", "abacus"], "no device 'abacus'"),
        (["train", "episodic", *SMALL, "--device", "meta"], "no device 'meta'"),
        (["train", "episodic", *SMALL, "--threads", "-1"], "threads is -1; it must be 0 or more"),
        (["train", "episodic", *SMALL, "--log-every", "0"], "log_every is 0; it must be 1 or"),
        (["train", "episodic", *SMALL, "--minutes", "nan"], "minutes is nan; it must be 0 or"),
        (["evaluate"], "Name what to evaluate"),
        (["evaluate", "nowhere"], "no run folder"),
        (["evaluate", "random", "--episodes", "0"], "episodes is 0"),
        (["evaluate", "random", "--streams", "-2"], "streams -2; both must be 1 or more"),
        (["evaluate", "random", "--threads", "-1"], "threads is -1"),
        (["evaluate", "random", "--protocols", ","], "names some with commas"),
        (["evaluate", "random", "--protocols", "mfec", "--protocol", "mfec"], "no --protocol"),
        (["evaluate", "random", "--video"], "leave out --explore and --video"),
        (["evaluate", "random", "--explore"], "leave out --explore and --video"),
        (["evaluate", "nowhere", "--game", "pong"], "leave out --game(s) and --protocol"),
        (["evaluate", "random", "--game", "pingpong"], "There is no game 'pingpong'"),
        (["list", "gaems"], "There is no list of 'gaems'"),
        (["reproduce"], "Name what to reproduce"),
        (["train", "actor-critic", *SMALL, "--device", "cpu"], "choose agent.network:mlp"),
        (["train", "actor-critic", "env:gym", "--env.id", "CartPole-v1"], "uint8 images"),
        (["train", "actor-critic", "--agent.horizon", "0"], "agent.horizon is 0"),
        (["train", "actor-critic", *SMALL, "--precision", "fp8"], "fp8"),
        (["train", "actor-critic", *SMALL, "--pipeline", "3"], "pipeline is 3, and 4 streams"),
        (["bench", "--against", "sb4"], "There is no peer 'sb4'"),
        (["bench", "--only", "nothing"], "No group of the benchmark"),
        (["bench", "--rounds", "0"], "rounds is 0; it must be 1 or more"),
        (["collect", "random", "--streams", "0"], "streams is 0; it must be 1 or more"),
        (["collect", "random", "--frames", "0"], "frames is 0; it must be 1 or more"),
        (["collect", "random", "--epsilon", "2"], "epsilon is 2.0; it must be in 0..1"),
        (["collect", "random", "--threads", "-1"], "threads is -1"),
        (["pretrain", "predictor:mlp", "--log-every", "0"], "log_every is 0; it must be 1 or"),
        (["pretrain", "predictor:mlp", "--memory-gb", "-1"], "memory_gb is -1.0; it must be 0"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_a_wrong_word_gets_a_sentence(
    words: list[str], says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if words[-1] == "cuda" and torch.cuda.is_available():
        pytest.skip("there is CUDA here")
    assert run(*words) == 2
    printed = capsys.readouterr()
    assert says in printed.err + printed.out
    assert "Traceback" not in printed.err
    assert not list(Path().rglob("checkpoint*")), "nothing was trained"


def test_help_lists_and_bare_commands_succeed(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (
        [],
        ["--help"],
        ["list"],
        ["list", "games"],
        ["train", "--help"],
        ["train", "episodic", "--help"],
        ["evaluate", "--help"],
        ["list", "--help"],
        ["collect", "--help"],
        ["pretrain", "--help"],
    ):
        assert run(*words) == 0
    printed = capsys.readouterr().out
    for word in ("ms_pacman", "episodic", "--agent.representation.dim", "--env.protocol.sticky"):
        assert word in printed
    for word in ("--game ", "--games ", "--protocol ", "--protocols "):
        assert word in printed
    for word in ("reverie list [games", "reverie collect RUN | random", "representation:vae"):
        assert word in printed


@pytest.mark.parametrize(("code", "says"), [("def", "SyntaxError"), ("1 / 0", "ZeroDivision")])
def test_a_module_that_breaks_as_it_is_imported_is_named(
    code: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text(code)
    assert run("train", "dqn", "--with", "broken") == 2
    assert f"--with 'broken' cannot be imported ({says}" in capsys.readouterr().err


def test_a_folder_is_shown_as_it_is_called(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich would take some of this for markup, and for an emoji."""
    folder = "dqn[lr] :smile: [/b]"
    assert run("train", "episodic", *SMALL, *QUIET[1:], "--folder", folder) == 0
    shown = capsys.readouterr().out
    assert f"{folder} starts" in shown
    assert f"800 steps in {folder}" in shown


def test_words_become_experiments() -> None:
    preset, (experiment,), options = parse_experiment(
        ["episodic", "--seed", "3", "--protocol", "machado", "agent.representation:projection",
         "--agent.representation.dim", "32", "--game", "qbert", "--env.protocol.stack", "2"]
    )  # fmt: skip
    assert experiment.seed == 3
    assert experiment.env.title == "qbert"
    assert experiment.env.protocol_label == "machado with stack 2"
    assert experiment.agent.representation.dim == 32  # type: ignore[attr-defined]
    assert default_folder(preset, experiment).name.startswith("episodic-qbert-s3-")
    assert options.folder is None
    _, (plain,), _ = parse_experiment(["episodic", "--game", "pong", "--seed", "1"])
    assert default_folder("episodic", plain) == Path("runs/episodic-pong-s1")
    _, each, _ = parse_experiment(["episodic", "--games", "hard"])
    assert len(each) == 7
    _, (own,), _ = parse_experiment(["episodic", "env:gym", "--env.id", "my_pkg:MyEnv-v0"])
    assert own.env.title == "MyEnv-v0"


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_is_a_training_of_the_world_and_preset_it_is_named_after(name: str) -> None:
    recipe = RECIPES[name]
    preset, experiments, _ = parse_experiment(shlex.split(recipe.train))
    assert len(experiments) == 1, "a result is of one world"
    assert name.startswith(f"{experiments[0].env.title}-{preset}")
    assert len(set(recipe.seeds)) == len(recipe.seeds) > 0


def test_the_same_command_resumes_and_another_config_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "episodic", *SMALL, *QUIET, "--folder", "here") == 0
    checkpoint = Path(f"here/checkpoints/{800:012d}.pt").read_bytes()
    assert run("train", "episodic", *SMALL, *QUIET, "--folder", "here", "--agent.gamma", "0.5") == 2
    said = capsys.readouterr().err
    assert "agent.gamma: 1.0, not 0.5" in said
    assert Path(f"here/checkpoints/{800:012d}.pt").read_bytes() == checkpoint
    more = [word.replace("800", "1600") for word in SMALL]
    assert run("train", "episodic", *more, *QUIET, "--folder", "here") == 0
    rows = Run("here").read_lines("metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(200, 1601, 200))
    assert run("evaluate", "here", "--episodes", "7") == 0
    assert "over 7 episodes" in capsys.readouterr().out
    assert len(json.loads(Path("here/scores.json").read_text())["scores"]) == 7


def test_each_protocol_has_a_film_and_a_figure_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    Run.open("here", Experiment()).write_json("config.json", encode(Experiment()))
    made: list[tuple[Path, Path]] = []

    def evaluated(folder: str, *, video: Path, figure: Path, **how: object) -> None:
        made.append((video, figure))

    monkeypatch.setattr(commands, "evaluate_run", evaluated)
    assert run("evaluate", "here", "--video", "--protocols", "mfec,machado") == 0
    assert run("evaluate", "here", "--video") == 0
    assert [(video.name, figure.name) for video, figure in made] == [
        ("evaluation-mfec.mp4", "plan-mfec.png"),
        ("evaluation-machado.mp4", "plan-machado.png"),
        ("evaluation.mp4", "plan.png"),
    ]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "pickled"])
def test_a_damaged_checkpoint_is_named_and_left_as_it_is(
    damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "episodic", *SMALL, *QUIET, "--folder", "here") == 0
    path = Path(f"here/checkpoints/{800:012d}.pt")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        body = io.BytesIO()
        torch.save({"weights": torch.zeros(3)} if damage == "foreign" else Malicious(), body)
        path.write_bytes(hashlib.sha256(body.getvalue()).digest() + body.getvalue())
    before = path.read_bytes()
    for words in (["train", "episodic", *SMALL, *QUIET, "--folder", "here"], ["evaluate", "here"]):
        assert run(*words) == 2
        assert f"The checkpoint {path} is damaged" in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not Path("stolen").exists()


class Malicious:
    """What a pickle would run."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("stolen",)


def test_a_peer_that_is_not_installed_is_named_with_the_remedy(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert run("bench", "--against", "envpool") == 2
    assert "pip install -e '.[peers]'" in capsys.readouterr().err


def test_without_a_compiler_training_goes_on_with_a_sentence(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def missing(*arguments: object, **settings: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin a hundred lines")

    monkeypatch.setattr(torch, "compile", missing)
    words = ["train", "actor-critic", "agent.network:mlp", *SMALL, *QUIET, "--compile"]
    assert run(*words, "--precision", "bf16", "--folder", "here") == 0
    assert "--compile is left out" in capsys.readouterr().out
    about = json.loads(Path("here/provenance.json").read_text())
    assert (about["precision"], about["compile"]) == ("bf16", False)


def test_a_config_of_an_unknown_class_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "episodic", *SMALL, *QUIET, "--folder", "here") == 0
    path = Path("here/config.json")
    path.write_text(path.read_text().replace("envs.catch:CatchConfig", "os:PathLike"))
    assert run("evaluate", "here") == 2
    assert "os:PathLike, which is no known EnvConfig" in capsys.readouterr().err
    path.write_text("{")
    assert run("evaluate", "here") == 2
    assert "cannot be read as a config" in capsys.readouterr().err


def test_an_unwritable_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run("train", "episodic", *SMALL, *QUIET, "--folder", "file/run") == 2
    assert "file/run cannot be written" in capsys.readouterr().err


def test_a_report_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run("train", "episodic", *SMALL, *QUIET, "--folder", "here") == 0
    assert run("evaluate", "here", "--episodes", "2") == 0
    for out in ("here", "file/report.html"):
        assert run("report", "here", "--out", out) == 2
        assert "The report cannot be written" in capsys.readouterr().err


def test_an_interrupt_checkpoints_and_the_same_command_goes_on() -> None:
    command = [sys.executable, "-m", "experiments.cli", "train", "episodic", "env:catch",
               "--steps", "1000000", "--streams", "4", "--folder", str(Path("run").resolve()),
               "--bare-seconds", "0", "--device", "cpu", "--threads", "1",
               "--log-every", "40"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if line.startswith("step"):
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=30) == 130
    assert "the same command continues" in rest
    state = Run("run").checkpoints.load()
    assert state is not None
    assert state["tick"] >= 10
    command[command.index("1000000")] = str(4 * state["tick"] + 400)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"continues at step {4 * state['tick']:,}" in done.stdout


def test_a_silent_emulator_ends_the_run_and_keeps_its_checkpoint() -> None:
    """The real hang: ale_py never answers an action it does not have."""
    code = (
        "import sys, numpy as np\n"
        "from envs import atari, stream\n"
        "from experiments import cli\n"
        "stream.Stream.__init__.__kwdefaults__['timeout'] = 5.0\n"
        "step, ticks = atari.Atari.step, []\n"
        "def hang(self, actions):\n"
        "    ticks.append(1)\n"
        "    return step(self, actions if len(ticks) < 300 else actions * 0 + 99)\n"
        "atari.Atari.step = hang\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    words = ["train", "episodic", "--game", "pong", "--steps", "4000", "--streams", "2",
             "--folder", str(Path("run").resolve()),
             "--checkpoint-minutes", "0", *QUIET]  # fmt: skip
    begin = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *words], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "said nothing for 5 s" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - begin < 100
    state = Run("run").checkpoints.load()
    assert state is not None
    assert state["tick"] == 299
