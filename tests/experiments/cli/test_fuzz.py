"""Fuzz tests: any file or command line gives a message and a status, and no good file is lost."""

import contextlib
import copy
import hashlib
import io
import json
import resource
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.datasets.dataset import Recording

SMALL = ["--total-timesteps", "200", "--num-envs", "4", "--agent.capacity", "300"]
QUIET = ["--quiet", "--random-play-seconds", "0", "--device", "cpu", "--threads", "1"]
EXAMPLES = settings(
    max_examples=250,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
    database=None,
)
pytestmark = pytest.mark.results

odd_values = st.sampled_from(
    [None, True, -1, 0, 1, 3, 10**18, -(10**30), 0.5, 1e308, float("nan"), float("inf"), "",
     "os:system", "DQNConfig", [], [1, "a"], {}, {"class": "builtins:object"}]
)  # fmt: skip


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("finished") / "run"
    assert (
        run_command(["train", "mfec", "env:catch", *SMALL, *QUIET, "--folder", str(folder)])[0] == 0
    )
    return folder


@pytest.fixture(autouse=True)
def limited_memory() -> Iterator[None]:
    """Limit the address space to 3 GB more than now: no input may allocate much memory."""
    before = resource.getrlimit(resource.RLIMIT_AS)
    used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + (3 << 30), before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_AS, before)


def run_command(args: list[str]) -> tuple[int, str]:
    """Return the status and the output of a command; any exception except an exit is raised."""
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        try:
            status = cli.main(args)
        except SystemExit as exit:  # a wrong flag
            status = int(exit.code or 0)
    return status, out.getvalue() + err.getvalue()


def check_command(args: list[str]) -> None:
    """Check that a command ends without a traceback, with a message if it fails."""
    status, text = run_command(args)
    assert status in (0, 1, 2)
    assert "Traceback" not in text
    assert status == 0 or len(text) > 20


def read_files(folder: Path) -> dict[str, bytes]:
    return {str(p): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def evaluate_and_train(run: Path) -> None:
    check_command(["evaluate", str(run), "--episodes", "2", "--device", "cpu", "--threads", "1"])
    longer = ["--total-timesteps", "240", *SMALL[2:], *QUIET]
    check_command(["train", "mfec", "env:catch", *longer, "--folder", str(run)])


@EXAMPLES
@given(st.data())
def test_mutated_configs(finished: Path, tmp_path_factory: Any, data: st.DataObject) -> None:
    run = tmp_path_factory.mktemp("config") / "run"
    shutil.copytree(finished, run)
    config = json.loads((run / "config.json").read_text())
    for _ in range(data.draw(st.integers(1, 3))):
        part = config
        while True:
            name = data.draw(st.sampled_from(sorted(part)))
            if not isinstance(part[name], dict) or data.draw(st.booleans()):
                break
            part = part[name] or {"empty": 0}
        change = data.draw(st.sampled_from(["replace", "remove", "add"]))
        if change == "remove":
            part.pop(name, None)
            if not part:
                break
        else:
            part[name if change == "replace" else "unknown_field"] = copy.deepcopy(
                data.draw(odd_values)
            )
    (run / "config.json").write_text(json.dumps(config))
    before = read_files(run / "checkpoints")
    check_command(["evaluate", str(run), "--episodes", "2", "--device", "cpu", "--threads", "1"])
    assert read_files(run / "checkpoints") == before
    shutil.rmtree(run)


@EXAMPLES
@given(st.data())
def test_mutated_bytes(finished: Path, tmp_path_factory: Any, data: st.DataObject) -> None:
    run = tmp_path_factory.mktemp("bytes") / "run"
    shutil.copytree(finished, run)
    files = [p for p in sorted(run.rglob("*")) if p.suffix in (".json", ".pt", ".jsonl")]
    path = data.draw(st.sampled_from(files))
    mutate(path, data)
    evaluate_and_train(run)
    shutil.rmtree(run)


@EXAMPLES
@given(st.data())
def test_checkpoints_with_mutated_states(
    finished: Path, tmp_path_factory: Any, data: st.DataObject
) -> None:
    run = tmp_path_factory.mktemp("state") / "run"
    shutil.copytree(finished, run)
    (path,) = (run / "checkpoints").glob("*.pt")
    loaded = torch.load(io.BytesIO(path.read_bytes()[32:]), weights_only=True)
    holder: Any = loaded
    name: Any = "state"
    while isinstance(holder[name], dict | list) and holder[name] and data.draw(st.integers(0, 5)):
        holder = holder[name]
        names = sorted(holder) if isinstance(holder, dict) else range(len(holder))
        name = data.draw(st.sampled_from(list(names)))
    wrong = [torch.zeros(0), torch.zeros(3, 2), torch.full((4,), torch.nan), torch.arange(4)]
    holder[name] = copy.deepcopy(data.draw(odd_values | st.sampled_from(wrong)))
    body = io.BytesIO()
    torch.save(loaded, body)
    path.write_bytes(hashlib.sha256(body.getvalue()).digest() + body.getvalue())
    before = path.read_bytes()
    evaluate_and_train(run)
    assert not path.exists() or path.read_bytes() == before
    shutil.rmtree(run)


ARGS = (
    "train evaluate list verify doctor reproduce mfec dqn dqn-cts env:catch env:deep-sea "
    "env:gym env:nothing bonus:none bonus:simhash agent:dqn agent.network:mlp agent.network:lstm "
    "agent.representation:projection bonus.density:cts games presets random --total-timesteps "
    "--num-envs --seed --game --games pong atari26 pomg --folder --device cuda --agent.gamma "
    "--agent.capacity --env.size --import os my_module --help --protocol machado "
    "--episodes -1 0 1 8 1e9 nan 10000000000000000000 = -- -h ../.. \\x00 \U0001f600"
).split(" ")


@EXAMPLES
@given(st.lists(st.sampled_from(ARGS), max_size=7))
def test_command_lines(tmp_path_factory: Any, args: list[str]) -> None:
    """Arguments in any order; training ends at once, and slow commands are skipped."""
    if args[:1] in (["doctor"], ["reproduce"]) or ("random" in args and "evaluate" in args):
        return
    with contextlib.chdir(tmp_path_factory.mktemp("args")):
        tail = ["--max-minutes", "0.0001", *QUIET] if args[:1] == ["train"] else []
        check_command([*args, *tail])


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("recorded") / "data"
    args = ["random", "env:catch", "--frames", "400", "--folder", str(folder)]
    assert run_command(["collect", *args, "--device", "cpu", "--threads", "1"])[0] == 0
    return folder


@EXAMPLES
@given(st.data())
def test_mutated_recordings(recorded: Path, tmp_path_factory: Any, data: st.DataObject) -> None:
    """A recording is read to its last frame, or refused with a message."""
    folder = tmp_path_factory.mktemp("data") / "data"
    shutil.copytree(recorded, folder)
    path = data.draw(st.sampled_from(sorted(folder.iterdir())))
    if path.suffix == ".json" and data.draw(st.booleans()):
        manifest = json.loads(path.read_text())
        manifest[data.draw(st.sampled_from(sorted(manifest)))] = copy.deepcopy(
            data.draw(odd_values)
        )
        path.write_text(json.dumps(manifest))
    else:
        mutate(path, data)
    before = read_files(folder)
    with contextlib.suppress(UsageError):
        recording = Recording(folder)
        for part in ("train", "held-out"):
            recording.segments(recording.start_indices(part, length=1), 1, stack=2)
    assert read_files(folder) == before
    shutil.rmtree(folder)


def mutate(path: Path, data: st.DataObject) -> None:
    """Flip, cut and insert bytes of a file."""
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
        if kind == "cut":
            del content[at:]
        elif kind == "insert":
            content[at:at] = data.draw(st.binary(max_size=9))
        elif at < len(content):
            content[at] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
