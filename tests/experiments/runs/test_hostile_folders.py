"""Run folders and recordings in which anything may be: every command that reads them ends well.

A case mutates one or two files of a whole folder and runs a command on it. The command must end
with status 0, 1 or 2, with a sentence if it is not 0, and must leave alone what is outside.
"""

import json
import os
import random
import shutil
import signal
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from reverie.experiments.cli.main import main

SECRET, ENCODED = "SECRET" * 10, "U0VDUkVU"
"""What is outside the folders, and its Base64."""
SECONDS = 60
VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.5, 1e300, "", "x", "=1+1", "\0",
    "\ud800", "\x1b[31m", "../../other", "/etc/passwd", "<script>", "[a](b)", "x" * 10_000, [], {},
    [[]], [None], {"class": "x"}, {"class": []}, [1, 2], [-1, -1, -1], "antigravity:A",
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b"[", b"[]", b"{}", b"null", b"NaN", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 10_000,
    b'{"format":6,"format":6}', b"9" * 10_000, b"1e999", b"\0" * 100, b'"\\ud800"',
)  # fmt: skip
RUN_COMMANDS = (
    "runs {0}", "runs {0} --json", "runs {0} --tidy --yes", "report {0} --out {1}/report.html",
    "compare {0}/run {0}/whole", "evaluate {0}/run --episodes 1 --device cpu --threads 1",
    "evaluate {0} --episodes 1 --device cpu --threads 1", "export {0}/run {1}/x.safetensors",
    "evaluate {0}/run --episodes 1 --video --device cpu --threads 1",
    "play {0}/run --video {1}/a.gif --timesteps 2 --device cpu --threads 1",
    "collect {0}/run --frames 40 --folder {1}/data --device cpu --threads 1",
)  # fmt: skip
DATA_COMMANDS = (
    "data list {0}", "data show {0}/data", "data show {0}/data --html {1}/page.html",
    "data replay {0}/data --threads 1", "data convert {0}/data {1}/data.hdf5",
    "compress {0}/data --out {1}/data.reverie",
    "pretrain predictor:tiny --data {0}/data --num-updates 1 --folder {1}/model --device cpu "
    "--threads 1 --quiet",
)  # fmt: skip


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with two runs and one with a recording; ``outside`` is a folder of somebody."""
    root = tmp_path_factory.mktemp("hostile")
    train = "train ppo env:catch agent.network:mlp --total-timesteps 400 --num-envs 4 --device cpu"
    flags = "--threads 1 --quiet --agent.num-steps 16 --agent.num-minibatches 1"
    run, whole = root / "runs/run", root / "runs/whole"
    assert main(f"{train} {flags} --folder {run}".split()) == 0
    assert main(f"evaluate {run} --episodes 2 --device cpu".split()) == 0
    shutil.copytree(run, whole)
    config = json.loads((run / "config.json").read_text())
    (whole / "config.json").write_text(json.dumps(config | {"seed": 1}))
    for part in ("videos/a.mp4", "figures/b.png"):
        (root / "runs/run" / part).parent.mkdir(exist_ok=True)
        (root / "runs/run" / part).write_bytes(b"\x89PNG")
    data = f"collect random env:catch --frames 400 --num-envs 2 --folder {root}/data/data"
    assert main(data.split()) == 0
    (root / "outside").mkdir()
    (root / "outside" / "secret").write_text(SECRET)
    return root


def mutate(path: Path, rng: random.Random, outside: Path) -> str:
    """Change a file, and return what was done to it."""
    parsers = {".json": json_value, ".jsonl": json_line, ".npz": array}
    kinds: list[Callable[[Path, random.Random], None]] = [truncate, flip, text]
    if path.suffix in parsers:
        kinds += [parsers[path.suffix]] * 6
    places = {"link": lambda: path.symlink_to(outside / "secret"), "pipe": lambda: os.mkfifo(path),
              "folder": lambda: path.mkdir(), "nothing": lambda: None,
              "link to a folder": lambda: path.symlink_to(outside),
              "link to itself": lambda: path.symlink_to(path)}  # fmt: skip
    if rng.random() < 0.25:
        kind = rng.choice([*places])
        path.unlink()
        places[kind]()
        return f"{path.name}: {kind}"
    change = rng.choice(kinds)
    try:
        change(path, rng)
    except (ValueError, EOFError, zipfile.BadZipFile):  # it is damaged already
        text(path, rng)
    return f"{path.name}: {change.__name__}"


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(min(len(data), rng.choice([1, 1, 8]))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def text(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice(TEXTS))


def hostile(value: Any, rng: random.Random) -> Any:
    """Return a JSON value of which something is replaced, removed or repeated."""
    if isinstance(value, dict | list) and value and rng.random() < 0.85:
        keys = [*value] if isinstance(value, dict) else range(len(value))
        key = rng.choice([*keys])
        copied: Any = value.copy()
        if rng.random() < 0.1:
            del copied[key]
        else:
            copied[key] = hostile(value[key], rng)
        return copied
    return rng.choice(VALUES)


def json_value(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps(hostile(json.loads(path.read_text()), rng)))


def json_line(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines() or ["{}"]
    i = rng.randrange(len(lines))
    lines[i] = json.dumps(hostile(json.loads(lines[i]), rng))
    path.write_text("\n".join(lines) + "\n")


def array(path: Path, rng: random.Random) -> None:
    """Change an array of an archive."""
    with np.load(path) as archive:
        arrays = dict(archive)
    name = rng.choice([*arrays])
    x = arrays[name]
    changes: list[Callable[[], Any]] = [
        lambda: x.astype(rng.choice(["f4", "f8", "i1", "i8", "u8", "?", "U3", "c8"])),
        lambda: x[: rng.randrange(len(x))], lambda: x[:, None], lambda: np.zeros(()),
        lambda: np.concatenate([x, x]), lambda: np.full_like(x, 200), lambda: -x.astype("i8") - 1,
        lambda: np.full(x.shape, rng.choice([np.nan, np.inf, 1e300, -1.0])),
        lambda: x[::-1], lambda: rng.choice([np.zeros, np.ones])(x.shape, x.dtype),
        lambda: np.zeros((len(x), 0)),
    ]  # fmt: skip
    arrays[name] = rng.choice(changes)()
    if rng.random() < 0.1:
        del arrays[name]
    if rng.random() < 0.1:  # an array whose header lies
        arrays = {k: v for k, v in arrays.items() if k != name}
        np.savez(path, **arrays)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            file.writestr(f"{name}.npy", b"\0" * 50_000_000)
    else:
        np.savez(path, **arrays)


def too_slow(number: int, frame: Any) -> None:
    raise AssertionError(f"it took more than {SECONDS} s")


def run_case(
    seed: int, part: str, commands: tuple[str, ...], root: Path, to: Path
) -> tuple[str, int, Path]:
    """Mutate a copy of a folder, run a command on it, and return both, its status and its place."""
    rng = random.Random(f"{part} {seed}")
    shutil.copytree(root / part, to / part)
    shutil.copytree(root / "outside", to / "outside")
    (to / "out").mkdir()
    target = to / part / ("run" if part == "runs" else "data")
    done = []
    for _ in range(rng.choice([1, 1, 1, 2])):
        files = sorted(x for x in target.rglob("*") if x.is_file() and not x.is_symlink())
        shallow = [x for x in files if x.suffix != "" and "blocks" not in x.parts]
        done.append(mutate(rng.choice(shallow), rng, to / "outside"))
    if rng.random() < 0.2 and part == "runs":
        name = rng.choice(["figures/<img src=x>.png", "videos/](x) ![.mp4", "figures/" + "x" * 240 +
                           ".png", "scores-=1+1.json", "figures/\x1b[31m.png"])  # fmt: skip
        (target / name).symlink_to(to / "outside/secret")
        done.append(name)
    if rng.random() < 0.1 and part == "runs":
        place = target / rng.choice(["figures", "videos", "checkpoints", "checkpoints/blocks"])
        if place.exists():
            shutil.rmtree(place)
            place.symlink_to(to / "outside")
            done.append(f"{place.name}: a link to a folder")
    command = rng.choice(commands)
    signal.signal(signal.SIGALRM, too_slow)
    signal.alarm(SECONDS)
    try:
        status = main(command.format(to / part, to / "out").split())
    finally:
        signal.alarm(0)
    return f"case {seed}: {command}; {', '.join(done)}", status, to


def check_cases(
    seeds: range, part: str, root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    commands = RUN_COMMANDS if part == "runs" else DATA_COMMANDS
    capsys.readouterr()
    for seed in seeds:
        about, status, to = run_case(seed, part, commands, root, tmp_path / str(seed))
        output = capsys.readouterr()
        assert status in (0, 1, 2), about
        assert status == 0 or output.err.strip() or "data replay" in about, about
        assert "Traceback" not in output.err, about
        assert "\x1b" not in output.out, about
        written = [x.read_bytes() for x in (to / "out").rglob("*") if x.is_file()]
        for content in (output.out.encode(), output.err.encode(), *written):
            assert SECRET.encode() not in content, about
            assert ENCODED.encode() not in content, about
        assert [x.name for x in (to / "outside").iterdir()] == ["secret"], about
        assert (to / "outside/secret").read_text() == SECRET, about
        shutil.rmtree(to)


@pytest.mark.parametrize("part", ["runs", "data"])
def test_hostile_folders(
    part: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    check_cases(range(15), part, folders, tmp_path, capsys)


@pytest.mark.long
@pytest.mark.parametrize("part", ["runs", "data"])
def test_many_hostile_folders(
    part: str, folders: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cases = int(os.environ.get("REVERIE_HOSTILE_CASES", "150"))
    check_cases(range(cases), part, folders, tmp_path, capsys)
