"""The command line: invalid input is refused with a message and a status, and nothing is lost."""

import hashlib
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from command_lines import run_here as run

from reverie import Experiment, TrainOptions
from reverie.experiments.config.arguments import split_roles
from reverie.experiments.config.run_names import default_folder
from reverie.experiments.config.serialization import encode
from reverie.experiments.evaluation import run_evaluation
from reverie.experiments.reporting import committed, published
from reverie.experiments.runs.run import Run
from reverie.experiments.runs.scores import Scores
from reverie.experiments.sessions.command_line import parse_experiment
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.world_models.representation import REPRESENTATIONS

ROOT = Path(__file__).parents[3]
MAIN = [sys.executable, "-m", "reverie.experiments.cli.main"]
SMALL = ["env:catch", "--total-timesteps", "800", "--num-envs", "4", "--log-every", "200"]
QUIET = ["--quiet", "--random-play-seconds", "0", "--device", "cpu", "--threads", "1"]


@pytest.fixture(autouse=True)
def in_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["trane"], "Did you mean train"),
        (["train"], "Name a preset first: mfec"),
        (["train", "mfecc"], "Did you mean mfec"),
        (["train", "mfec", "--game", "mspacman"], "Did you mean ms_pacman"),
        (["train", "mfec", "--games", "pong,breakuot"], "Did you mean breakout"),
        (["train", "mfec", "--game"], "--env.game"),
        (["train", "mfec", "--total-timesteps", "0"], "timesteps is 0; it must be in 1.."),
        (["train", "mfec", "--num-envs", "-3"], "num_envs is -3; it must be in 1.."),
        (["train", "mfec", "--total-timesteps", "many"], "many"),
        (["train", "mfec", "--color", "red"], "--color"),
        (["train", "mfec", "env:ataari"], "Did you mean atari"),
        (["train", "mfec", "memory:large"], "There is no role 'memory'"),
        (["train", "mfec", "agent.representation:vea"], "There is no agent.representation"),
        (["train", "mfec", "--agent.num_neighbors", "0"], "agent.num_neighbors is 0"),
        (["train", "mfec", "--agent.representation.size", "3"], "--agent.representation.size"),
        (["train", "dqn", "agent.network:natur"], "Did you mean nature"),
        (["train", "dqn", "bonus:cts"], "It can be bonus.density with bonus pseudo-count."),
        (
            ["train", "dqn", "bonus:pseudo-count", "bonus.density:vae"],
            "'vae'. It can be bonus.density.latent with bonus.density bound.",
        ),
        (["train", "dqn", "--agent.replay-ratio", "0"], "agent.replay_ratio is 0"),
        (["train", "dqn", "--agent.reward-clip", "-1"], "agent.reward_clip is -1"),
        (["train", "ppo", "--agent.total-clip", "nan"], "agent.total_clip is nan"),
        (["train", "mfec", "--agent.representation.dim", "0"], "representation.dim is 0"),
        (["train", "mfec", "--env.protocol.noops", "-3"], "protocol.noops is -3"),
        (["train", "mpc", "--agent.predictor.hidden-channels", "0"], "hidden_channels is 0"),
        (["train", "dqn-pixelcnn", "--bonus.density.maps", "0"], "density.maps is 0"),
        (["train", "straw", "--agent.planner.filters", "0"], "planner.filters is 0"),
        (["train", "straw", "--agent.planner.length", "5"], "planner.length is 5, shorter"),
        (["train", "strawe", "--agent.plan-kl-coef", "-1"], "agent.plan_kl_coef is -1"),
        (["train", "straw", "--agent.replan-coef", "-1"], "agent.replan_coef is -1"),
        (["train", "ppo", "agent.planner:strow"], "Did you mean straw"),
        (["train", "straw", "env:maze", "--env.view", "4"], "env.view is 4; it must be odd"),
        (["train", "mfec", "--protocol", "natrue"], "Did you mean nature"),
        (["train", "mfec", "--env.protocol.skip", "0"], "protocol.skip is 0"),
        (["train", "mfec", "--import", "no_such_module"], "No module named 'no_such_module'"),
        (["train", "mfec", "env:gym"], "needs an id"),
        (["train", "mfec", "env:gym", "--env.id", "my:A-v0"], "imported; add --import my."),
        (["train", "mfec", "env:gym", "--env.id", "No-v0"], "cannot make 'No-v0'"),
        (["train", "mfec", "env:gym", "--env.id", "CartPole-v1"], "uint8 images"),
        (["train", "mfec", "--import", ""], "--import '' cannot be imported"),
        (["train", "mfec", "--import", ".foo"], "--import '.foo' cannot be imported"),
        (["train", "mfec", *SMALL, "--device", "cuda"], "sees no CUDA"),
        (["train", "mfec", *SMALL, "--device", "cuda:99"], "sees no CUDA device of that index"),
        (["train", "mfec", *SMALL, "--device", "abacus"], "no device 'abacus'"),
        (["train", "mfec", *SMALL, "--device", "meta"], "no device 'meta'"),
        (["train", "mfec", *SMALL, "--threads", "-1"], "threads is -1; it must be 0 or more"),
        (["train", "mfec", *SMALL, "--log-every", "0"], "log_every is 0; it must be 1 or"),
        (["train", "mfec", *SMALL, "--max-minutes", "nan"], "max_minutes is nan; it must be 0 or"),
        (["train", "ppo", "--game", "pnog"], "Did you mean pong"),
        (["train", "ppo", *SMALL, *QUIET, "--folder", ""], "--folder is empty"),
        (["train", "ppo", *SMALL, *QUIET, "--folder="], "--folder is empty"),
        (["collect", "random", "env:catch", "--folder", ""], "--folder is empty"),
        (["runs", "", "--delete", "--yes"], "An argument is empty"),
        (["imagine", "ppo", "env:catch", "--folder", "runs/x"], "choose predictor:tiny or"),
        (["imagine", "dqn", "env:catch", "predictor:emulator"], "has nothing to learn"),
        (["imagine", "ppo", "env:catch", "predictor:tiny", "agent.network:nature"], "36 x 36"),
        (["evaluate"], "Name what to evaluate"),
        (["evaluate", "nowhere"], "no run folder"),
        (["evaluate", "random", "--episodes", "0"], "episodes is 0"),
        (["evaluate", "random", "--num-envs", "-2"], "num_envs -2; both must be 1 or more"),
        (["evaluate", "random", "--threads", "-1"], "threads is -1"),
        (["evaluate", "random", "--video"], "leave out --stochastic and --video"),
        (["evaluate", "random", "--stochastic"], "leave out --stochastic and --video"),
        (["evaluate", "nowhere", "--games", "pong"], "leave out --games"),
        (["evaluate", "random", "--games", "pingpong"], "There is no game 'pingpong'"),
        (["list", "gaems"], "There is no list of 'gaems'"),
        (["reproduce", "pong-pppo"], "Did you mean pong-ppo"),
        (["train", "ppo", "agent.network:nature", *SMALL], "choose agent.network:mlp"),
        (["train", "ppo", "env:gym", "--env.id", "CartPole-v1"], "uint8 images"),
        (["train", "ppo", "--agent.num-steps", "0"], "agent.num_steps is 0"),
        (["train", "ppo", *SMALL, "--precision", "fp8"], "fp8"),
        (["train", "ppo", *SMALL, "--pipeline", "3"], "pipeline is 3, and 4 envs"),
        (["bench", "--compare-with", "sb4"], "Unknown library 'sb4'"),
        (["bench", "--only", "nothing"], "There is no benchmark group 'nothing'"),
        (["bench", "--sweep", "--only", "nothing"], "There is no row of the sweep 'nothing'"),
        (["bench", "--minutes", "-1"], "minutes is -1.0; it must be 0 or more"),
        (["bench", "--rounds", "0"], "rounds is 0; it must be 1 or more"),
        (["collect", "random", "--num-envs", "0"], "num_envs is 0; it must be 1 or more"),
        (["collect", "random", "--frames", "0"], "frames is 0; it must be 1 or more"),
        (["collect", "random", "--epsilon", "2"], "epsilon is 2.0; it must be in 0..1"),
        (["collect", "random", "--threads", "-1"], "threads is -1"),
        (["pretrain", "predictor:mlp", "--log-every", "0"], "log_every is 0; it must be 1 or"),
        (["pretrain", "predictor:mlp", "--memory-gb", "-1"], "memory_gb is -1.0; it must be 0"),
    ],
    ids=lambda value: " ".join(value[:4]) if isinstance(value, list) else "",
)
def test_invalid_arguments_are_refused_with_a_message(
    args: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    if args[-1] == "cuda" and torch.cuda.is_available():
        pytest.skip("this machine has CUDA")
    assert run(*args) == 2
    printed = capsys.readouterr()
    assert message in printed.err + printed.out
    assert "Traceback" not in printed.err
    assert not list(Path().iterdir()), "nothing was changed"


def test_help_and_commands_without_arguments_succeed(capsys: pytest.CaptureFixture[str]) -> None:
    for args in (
        [],
        ["--help"],
        ["list"],
        ["list", "games"],
        ["train", "--help"],
        ["train", "mfec", "--help"],
        ["evaluate", "--help"],
        ["list", "--help"],
        ["collect", "--help"],
        ["pretrain", "--help"],
    ):
        assert run(*args) == 0
    printed = capsys.readouterr().out
    for text in ("ms_pacman", "mfec", "--agent.representation.dim", "--env.protocol.sticky"):
        assert text in printed
    for text in ("--game ", "--games ", "--protocol ", "--protocols "):
        assert text in printed
    for text in ("reverie list [games", "reverie collect RUN | random", "representation:vae"):
        assert text in printed


@pytest.mark.parametrize(("code", "cause"), [("def", "SyntaxError"), ("1 / 0", "ZeroDivision")])
def test_error_while_importing_a_module_names_the_module(
    code: str, cause: str, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("broken.py").write_text(code)
    assert run("train", "dqn", "--import", "broken") == 2
    assert f"--import 'broken' cannot be imported ({cause}" in capsys.readouterr().err


def test_folder_name_is_printed_without_markup(capsys: pytest.CaptureFixture[str]) -> None:
    """Rich would interpret parts of this name as markup and as an emoji."""
    folder = "dqn[lr] :smile: [/b]"
    assert run("train", "mfec", *SMALL, *QUIET[1:], "--folder", folder) == 0
    printed = capsys.readouterr().out
    assert f"{folder} starts" in printed
    assert f"800 steps in {folder}" in printed


def test_arguments_are_parsed_into_experiments() -> None:
    start, (experiment,), options = parse_experiment(
        ["mfec", "--seed", "3", "--protocol", "machado", "agent.representation:projection",
         "--agent.representation.dim", "32", "--game", "qbert", "--env.protocol.stack", "2"]
    )  # fmt: skip
    assert experiment.seed == 3
    assert experiment.env.env_name == "qbert"
    assert experiment.env.protocol_label == "machado with stack 2"
    assert experiment.agent.representation.dim == 32  # type: ignore[attr-defined]
    assert start.folder(experiment) == Path("runs/mfec-qbert-s3-dim=32-machado-stack=2")
    assert options.folder is None
    _, (plain,), _ = parse_experiment(["mfec", "--game", "pong", "--seed", "1"])
    assert default_folder("mfec", plain) == Path("runs/mfec-pong-s1")
    _, experiments, _ = parse_experiment(["mfec", "--games", "hard"])
    assert len(experiments) == 7
    _, (custom,), _ = parse_experiment(["mfec", "env:gym", "--env.id", "my_pkg:MyEnv-v0"])
    assert custom.env.env_name == "MyEnv-v0"


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("--env.id env:X env:gym", ["env:gym"]),
        ("--env.id=density:foo env:gym", ["env:gym"]),
        ("--label agent:7 agent:dqn", ["agent:dqn"]),
        ("--out env:x --quiet env:gym", ["env:gym"]),
        ("--no-quiet env:gym --env.protocol.no-maxpool agent:dqn", ["env:gym", "agent:dqn"]),
        ("--agent.dueling agent:dqn --agent.n-step 3 bonus:none", ["agent:dqn", "bonus:none"]),
        ("--env.run env:run --init-from agent:run agent:dqn", ["agent:dqn"]),
        ("--agent.predictor.channels 3 4 env:catch", ["env:catch"]),
        ("--data env:a agent:b --seed 3 predictor:mlp", ["predictor:mlp"]),
        ("--env.wrappers a.b:C d:E agent.network:mlp", ["agent.network:mlp"]),
        ("--help env:catch", ["env:catch"]),
    ],
)
def test_value_of_a_flag_is_never_a_role(text: str, tokens: list[str]) -> None:
    argv = text.split()
    found, flags = split_roles(argv, Experiment, TrainOptions, PredictorPretraining)
    assert found == tokens
    assert flags == [arg for arg in argv if arg not in tokens]


def test_every_command_that_reads_a_run_takes_the_imports_that_it_names(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    Path("corridor.py").write_text((ROOT / "examples" / "own_env.py").read_text())
    flag, seeds = ["--import", "corridor"], ["--seeds", "1", "--workers", "1", "--episodes", "2"]
    env = ["env:gym", "--env.id", "corridor:Corridor-v0", "--total-timesteps", "80"]
    try:
        cell = ["ablate", "mfec", *env, "--folder", "grid", "--device", "cpu", *seeds]
        assert run(*cell, *flag) == 0, "the module reaches the process of every cell"
    finally:
        sys.modules.pop("corridor")
    (folder,) = map(str, Path("grid").glob("mfec-*"))
    assert json.loads(Path(folder, "config.json").read_text())["imports"] == ["corridor"]
    commands = (
        ["train", "mfec", *env, "--folder", folder],
        ["evaluate", folder, "--episodes", "2"],
        ["play", folder, "--video", "film.mp4", "--timesteps", "2"],
        ["collect", folder, "--frames", "80", "--folder", "data"],
    )
    capsys.readouterr()
    for command in commands:
        assert run(*command) == 2
        assert "add --import corridor." in capsys.readouterr().err
    for command in (*commands, ["report", folder], ["list"]):
        with monkeypatch.context() as patch:
            patch.delitem(sys.modules, "corridor", raising=False)
            assert run(*command, *flag) == 0
            sys.modules.pop("corridor", None)
    assert run("evaluate", "data", *flag) == 2


def test_list_shows_parts_of_an_imported_module(capsys: pytest.CaptureFixture[str]) -> None:
    part = (ROOT / "examples" / "own_representation.py").read_text().replace('"rows"', '"lines"')
    Path("lines_part.py").write_text(part)
    try:
        assert run("list", "roles", "--import=lines_part") == 0
    finally:
        REPRESENTATIONS.pop("lines", None)
        sys.modules.pop("lines_part", None)
    assert "  lines       " in capsys.readouterr().out


def test_module_that_an_installed_one_hides_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("colorsys.py").touch()
    assert run("list", "--import", "colorsys") == 2
    assert "not colorsys.py; rename colorsys.py" in capsys.readouterr().err
    assert run("list", "--import", "own/part.py") == 2
    assert "takes the name of a module in the working folder" in capsys.readouterr().err


def test_commands_for_a_checkout_are_refused_without_one(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(committed, "CHECKOUT", Path("site-packages/reverie"))
    for command in (
        ["verify"],
        ["reproduce", "soak"],
        ["bench", "--save"],
        ["ablate", "mfec", "env:catch", "--save", "x"],
    ):
        assert run(*command) == 2
        assert "run it in a clone of the repository" in capsys.readouterr().err


def test_report_names_a_missing_data_file_and_not_its_output(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "here") == 0
    assert run("evaluate", "here", "--episodes", "2") == 0
    monkeypatch.setattr(published, "PUBLISHED", Path("nowhere.csv"))
    assert run("report", "here") == 2
    error = capsys.readouterr().err
    assert "nowhere.csv cannot be read" in error
    assert "--out" not in error


def test_same_command_resumes_and_another_config_is_refused(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "here") == 0
    checkpoint = Path(f"here/checkpoints/{800:012d}.pt").read_bytes()
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "here", "--agent.gamma", "0.5") == 2
    assert "agent.gamma: 1.0, not 0.5" in capsys.readouterr().err
    assert Path(f"here/checkpoints/{800:012d}.pt").read_bytes() == checkpoint
    longer = [arg.replace("800", "1600") for arg in SMALL]
    assert run("train", "mfec", *longer, *QUIET, "--folder", "here") == 0
    rows = Run("here").read_lines("metrics.jsonl")
    assert [row["step"] for row in rows] == list(range(200, 1601, 200))
    assert run("evaluate", "here", "--episodes", "7") == 0
    assert "episodes 7 " in capsys.readouterr().out
    assert len(json.loads(Path("here/scores.json").read_text())["scores"]) == 7


def test_each_protocol_has_its_own_video_and_figure(monkeypatch: pytest.MonkeyPatch) -> None:
    Run.open("here", encode(Experiment())).begin(encode(Experiment()), 0, {"modified": False})
    outputs: list[tuple[Path, Path]] = []

    def record(*arguments: object, video: Path, figure: Path, **options: object) -> Scores:
        outputs.append((video, figure))
        return Scores("ms_pacman", "mfec", 0.0, 0, 1, (1.0,), (1,))

    loaded = Experiment(), None, None, 80
    monkeypatch.setattr(run_evaluation, "load_trained", lambda *_, **options: loaded)
    monkeypatch.setattr(run_evaluation, "evaluate", record)
    assert run("evaluate", "here", "--video", "--protocols", "mfec,machado") == 0
    assert run("evaluate", "here", "--video") == 0
    assert [(video.name, figure.name) for video, figure in outputs] == [
        ("evaluation-mfec.mp4", "plan-mfec.png"),
        ("evaluation-machado.mp4", "plan-machado.png"),
        ("evaluation.mp4", "plan.png"),
    ]


@pytest.mark.parametrize("damage", ["truncated", "foreign", "pickled"])
def test_damaged_checkpoint_is_named_and_not_changed(
    damage: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "here") == 0
    path = Path(f"here/checkpoints/{800:012d}.pt")
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:1000])
    else:
        body = io.BytesIO()
        torch.save({"weights": torch.zeros(3)} if damage == "foreign" else Malicious(), body)
        path.write_bytes(hashlib.sha256(body.getvalue()).digest() + body.getvalue())
    before = path.read_bytes()
    for args in (["train", "mfec", *SMALL, *QUIET, "--folder", "here"], ["evaluate", "here"]):
        assert run(*args) == 2
        foreign = f"{path} has an older format"
        expected = foreign if damage == "foreign" else f"The checkpoint {path} is damaged"
        assert expected in capsys.readouterr().err
    assert path.read_bytes() == before
    assert not Path("stolen").exists()


class Malicious:
    """An object whose unpickling would create a folder."""

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, ("stolen",)


def test_missing_peer_is_named_with_the_command_that_installs_it(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "envpool", None)
    assert run("bench", "--compare-with", "envpool") == 2
    assert "pip install envpool" in capsys.readouterr().err


def test_training_without_a_compiler_ignores_compile_with_a_notice(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(*arguments: object, **settings: object) -> None:
        raise RuntimeError("No working C++ compiler found\nin a hundred lines")

    monkeypatch.setattr(torch, "compile", fail)
    args = ["train", "ppo", "agent.network:mlp", *SMALL, *QUIET, "--compile"]
    assert run(*args, "--precision", "bf16", "--folder", "here") == 0
    assert "--compile is ignored" in capsys.readouterr().out
    provenance = json.loads(Path("here/provenance.json").read_text())
    assert (provenance["precision"], provenance["compile"]) == ("bf16", False)


def test_config_of_an_unknown_class_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "here") == 0
    path = Path("here/config.json")
    path.write_text(path.read_text().replace("CatchConfig", "elsewhere:OwnConfig"))
    assert run("evaluate", "here") == 2
    message = "The env elsewhere:OwnConfig is not registered; add --import elsewhere."
    assert message in capsys.readouterr().err
    path.write_text("{")
    assert run("evaluate", "here") == 2
    assert "config.json cannot be read" in capsys.readouterr().err


def test_unwritable_folder_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "file/run") == 2
    assert "file/run cannot be written" in capsys.readouterr().err


def test_report_that_cannot_be_written_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    Path("file").touch()
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "here") == 0
    assert run("evaluate", "here", "--episodes", "2") == 0
    for out in ("here", "file/report.html"):
        assert run("report", "here", "--out", out) == 2
        assert "cannot be written (" in (error := capsys.readouterr().err)
        assert "--out" in error


def test_interrupted_training_continues_by_the_same_command() -> None:
    command = [*MAIN, "train", "mfec", "env:catch", "--total-timesteps", "1000000",
               "--num-envs", "4", "--folder", str(Path("run").resolve()),
               "--random-play-seconds", "0", "--device", "cpu", "--threads", "1",
               "--log-every", "40"]  # fmt: skip
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    for line in process.stdout:
        if "steps/s" in line:
            break
    process.send_signal(signal.SIGINT)
    rest = process.stdout.read()
    assert process.wait(timeout=30) == 130
    assert "the same command continues" in rest
    state = Run("run").checkpoints.load()
    assert state is not None
    assert state["step"] >= 40
    command[command.index("1000000")] = str(state["step"] + 400)
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert f"continues at step {state['step']:,}" in done.stdout


def test_unresponsive_emulator_ends_the_run_and_keeps_its_checkpoint() -> None:
    """ale_py does not return from an action that is out of range."""
    code = (
        "import sys\n"
        "from reverie.envs import batched_env\n"
        "from reverie.envs.atari import atari\n"
        "from reverie.experiments.cli import main as cli\n"
        "batched_env.BatchedEnv.__init__.__kwdefaults__['timeout'] = 2.0\n"
        "step, calls = atari.Atari.step, []\n"
        "def hang(self, actions):\n"
        "    calls.append(1)\n"
        "    return step(self, actions if len(calls) < 150 else actions * 0 + 99)\n"
        "atari.Atari.step = hang\n"
        "sys.exit(cli.main(sys.argv[1:]))\n"
    )
    args = ["train", "mfec", "--game", "pong", "--total-timesteps", "4000", "--num-envs", "2",
            "--folder", str(Path("run").resolve()),
            "--checkpoint-minutes", "0", *QUIET]  # fmt: skip
    start_time = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", code, *args], cwd=ROOT, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 1, done.stderr
    assert "did not return within 2 s" in done.stderr
    assert "Traceback" not in done.stderr
    assert time.monotonic() - start_time < 100
    state = Run("run").checkpoints.load()
    assert state is not None
    assert state["step"] == 2 * 149


@pytest.mark.parametrize("width", [60, 80])
@pytest.mark.parametrize(
    "args",
    [
        "", "list", "list games", "train --help", "train dyna --help", "help train", "pretrain -h",
        "pretrain predictor:small --help", "ablate --help", "collect --help", "evaluate --help",
        "report --help", "reproduce --help", "list --help",
    ],
)  # fmt: skip
def test_help_fits_the_terminal_without_markup(
    args: str, width: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", str(width))
    assert run(*args.split()) == 0
    printed = capsys.readouterr().out
    assert "`" not in printed
    lines = [line for line in printed.splitlines() if not line.startswith("usage: ")]
    assert max(map(len, lines)) <= (80 if args == "list" else width)  # the table of presets


def test_help_of_a_preset_opens_with_what_it_is(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "figar", "--help") == 0
    head = capsys.readouterr().out.partition("usage:")[0]
    for text in (
        "PPO that chooses an action together with",
        "Paper: Sharma et al. 2017",
        "Example: reverie train figar",
        *("--game GAME", "--protocol NAME", "--import MODULE"),
        "reactive [figar] straw",
        "env.protocol   mfec [nature]",
    ):
        assert text in head


def test_version_and_a_missing_argument_say_what_to_type(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert run("--version") == 0
    assert capsys.readouterr().out.startswith("reverie 0.")
    for command in ("train", "evaluate", "collect", "pretrain", "report", "play"):
        assert run(command) == 2
        assert f"reverie {command} " in capsys.readouterr().err.removeprefix("reverie: ")
    assert run("reproduce") == 0
    table = capsys.readouterr().out
    assert "pong-ppo " in table
    assert "1 x 2,500,000 steps" in table


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        ("train dqn --gaem pong", "--game"),
        ("train dqn --protocl nature", "--protocol"),
        ("train dqn --sed=3", "--seed"),
        ("train dqn --no-quite", "--quiet"),
        ("train dqn agnet:ppo", "agent"),
        ("train dqn bonsu.density:cts", "bonus"),
        ("train dqn --agent.gama 0.9", "--agent.gamma"),
        ("train dqn --gama 0.9", "--agent.gamma"),
        ("train dqn --agent.no-duelling", "--agent.dueling"),
        ("pretrain predictor:mlp --data x --num-update 3", "--num-updates"),
        ("ablate dqn bonus:none --gaem pong", "--game"),
        ("list gams", "games"),
        ("reproduce pong-pppo", "pong-ppo"),
        ("pretrain predictr:mlp", "predictor"),
        ("evaluate here/runn", "here/run"),
        ("help trian", "train"),
    ],
)
def test_a_typo_names_the_nearest(args: str, hint: str, capsys: pytest.CaptureFixture[str]) -> None:
    folder = Path("here/run")
    folder.mkdir(parents=True)
    (folder / "config.json").touch()
    assert run(*args.split()) == 2
    printed = " ".join(capsys.readouterr().err.split())
    assert re.search(rf"(Did you mean|meant:).* {hint}", printed)


@pytest.mark.parametrize(
    ("args", "remedy"),
    [
        ("train dqn --env.id Own-v0", "env:gym has it, and the env here is atari."),
        ("train dqn env:catch --game pong", "env:atari or minatar has it, and the env here is"),
        ("ablate ppo --agent.planner.filters 3", "straw or strawe has it"),
        ("train dqn --xylophone", "--help shows all flags."),
    ],
)
def test_a_flag_of_another_part_names_the_part(
    args: str, remedy: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(*args.split()) == 2
    assert remedy in capsys.readouterr().err


def test_a_config_is_run_again_in_another_folder(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "mfec", *SMALL, *QUIET, "--folder", "x/first") == 0
    config = ["train", "--config", "x/first/config.json", *QUIET]
    assert run(*config) == 0
    assert run(*config, "--seed", "3", "--agent.gamma", "0.5") == 0
    assert {path.name for path in Path("x").iterdir()} == {
        "first", "first-catch-s0", "first-catch-s3-gamma=0.5"
    }  # fmt: skip
    first, again = (Run(f"x/{name}").config() for name in ("first", "first-catch-s0"))
    assert first == again
    assert run("train", "dqn", *config[1:]) == 2
    assert "instead of the preset dqn" in capsys.readouterr().err


def test_a_folder_of_runs_is_evaluated_and_reported_beside_them(
    capsys: pytest.CaptureFixture[str],
) -> None:
    for name in ("a", "b"):
        flags = ["--seed", str(ord(name)), "--folder", f"grid/{name}"]
        assert run("train", "mfec", *SMALL, *QUIET, *flags) == 0
    Path("grid/new").mkdir()
    Path("grid/new/config.json").write_text(Path("grid/a/config.json").read_text())
    assert run("evaluate", "grid", "--episodes", "2", "--video", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert "grid/new has no checkpoint yet; it is left out." in printed
    assert "video: grid/b/videos/evaluation.mp4" in printed
    Path("grid/bad").mkdir()
    shutil.copytree("grid/a/checkpoints", "grid/bad/checkpoints")
    Path("grid/bad/config.json").write_text("{")
    for folders in (["grid"], ["grid/bad", "grid/b"]):
        assert run("evaluate", *folders, "--episodes", "2", "--device", "cpu") == 1
        output = capsys.readouterr()
        assert "grid/bad is left out: grid/bad/config.json cannot be read" in output.err
        assert "catch: mean" in output.out
    assert run("evaluate", "grid/bad") == run("evaluate", "grid/a", "nowhere") == 2
    shutil.rmtree("grid/bad")
    for checkpoint in Path("grid/b/checkpoints").glob("*.pt"):
        checkpoint.write_bytes(b"damaged")
    assert run("evaluate", "grid/a", "grid/b", "--episodes", "2", "--device", "cpu") == 1
    assert "grid/b is left out: " in capsys.readouterr().err
    for folders in (["grid"], ["grid/a", "grid/b"], ["grid/a"]):
        assert run("report", *folders) == 0
        assert "wrote grid/report.html and grid/report.md" in capsys.readouterr().out


def test_a_first_run_from_another_starts(capsys: pytest.CaptureFixture[str]) -> None:
    assert run("train", "dqn", *SMALL, *QUIET, "--folder", "first") == 0
    loud = [*SMALL, *QUIET[1:], "--init-from", "first", "--folder", "second"]
    assert run("train", "dqn", *loud) == 0
    printed = capsys.readouterr().out
    assert "second starts" in printed
    assert "ontinu" not in printed


def test_the_command_of_a_finished_run_prints_its_results(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loud = [x for x in QUIET if x != "--quiet"]
    command = ["train", "mfec", *SMALL, *loud, "--folder", "x"]
    assert run(*command) == 0
    capsys.readouterr()
    assert run(*command) == 0
    assert "Mean score of the last training episodes: " in capsys.readouterr().out
    assert run("evaluate", "x", "--episodes", "2", "--device", "cpu") == 0
    printed = capsys.readouterr().out
    assert run(*command) == 0
    assert printed.strip() in capsys.readouterr().out


def test_a_missing_beginning_is_refused_before_a_start_is_announced(
    capsys: pytest.CaptureFixture[str],
) -> None:
    loud = [x for x in QUIET if x != "--quiet"]
    assert run("train", "ppo", *SMALL, *loud, "--init-from", "none", "--folder", "runs/x") == 2
    printed = capsys.readouterr()
    assert "none" in printed.err
    assert "starts" not in printed.out + printed.err
    assert not Path("runs").exists()
    assert run("train", "ppo", *SMALL, *QUIET, "--folder", "runs/ppo") == 0
    dream = ["train", "ppo", "env:imagination", "--env.run", "runs/ppo", *QUIET]
    assert run(*dream, "--folder", "runs/x") == 2
    assert [x.name for x in Path("runs").iterdir()] == ["ppo"]
