"""``reverie doctor``: whether this machine can run what is to be run, on one screen."""

import os
import platform
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from importlib.metadata import PackageNotFoundError, version
from itertools import islice
from pathlib import Path

import torch
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from agents.loop import interact
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.games import ATARI57, all_games
from envs.protocol import PROTOCOLS
from envs.shadow import Shadow
from envs.stream import Stream
from experiments.checkpoints import Checkpoints
from experiments.config import Experiment
from experiments.machine import pick_device, pick_threads
from experiments.run import cpu_name
from experiments.streams import bare_rate
from world_models.arithmetic import native_bfloat16

PACKAGES = ("torch", "gymnasium", "ale-py", "numpy", "numba", "tensorboard")
TICKS = 200
"""Ticks of the self-tests: enough for some lost lives in Breakout."""

Finding = tuple[bool, str]
"""Whether all is well, and what was found."""


class Problem(Exception):
    """What is wrong, and what to do about it."""


def doctor(folder: Path, device: str = "auto", seconds: float = 2.0) -> int:
    """Make every check and show its finding; 1 where one found a problem.

    Writes and removes 64 MB in ``folder``; times the bare emulators for so many seconds.
    """
    checks: dict[str, Callable[[], str]] = {
        "versions": _versions,
        "processor": _processor,
        "device": lambda: _device(device),
        "compiler": _compiler,
        "games": _games,
        "disk": lambda: _disk(folder),
        "emulators": lambda: _emulators(seconds),
        "determinism": _determinism,
        "protocols": _protocols,
    }
    shown = Table(box=None, show_header=False, pad_edge=False)
    problems = 0
    for name, check in checks.items():
        try:
            shown.add_row("[green]ok[/]", name, escape(check()))
        except Exception as error:  # whatever breaks here is what the user wants to hear of
            problems += 1
            shown.add_row("[red]problem[/]", name, escape(f"{error}" or type(error).__name__))
    console = Console(highlight=False)
    console.print(shown)
    console.print(f"{problems or 'No'} problem{'' if problems == 1 else 's'} found.")
    return int(problems > 0)


def _versions() -> str:
    found = [f"python {platform.python_version()}"]
    for name in PACKAGES:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            raise Problem(f"{name} is not installed; run `pip install -e .`.") from None
    return ", ".join(found)


def _processor() -> str:
    native = native_bfloat16()
    usable = len(os.sched_getaffinity(0))
    return f"{cpu_name()}, {usable} usable; bfloat16 {'is' if native else 'is not'} native"


def _device(name: str) -> str:
    device = pick_device(name)
    if device.type != "cuda":
        return "cpu; torch sees no GPU" if not torch.cuda.is_available() else "cpu"
    total = torch.cuda.get_device_properties(device).total_memory
    a = torch.randn(256, 256, device=device)
    if not torch.allclose((a @ a).cpu(), a.cpu() @ a.cpu(), atol=0.1, rtol=0.01):
        raise Problem(f"{torch.cuda.get_device_name(device)} multiplies wrongly; use --device cpu.")
    return f"{torch.cuda.get_device_name(device)}, {total / 1e9:.0f} GB"


def _compiler() -> str:
    found = next((path for name in ("g++", "clang++") if (path := shutil.which(name))), None)
    return f"{found}" if found else "no C++ compiler, which only --compile would use"


def _games() -> str:
    missing = sorted(set(ATARI57) - set(all_games()))
    if missing:
        raise Problem(
            f"no ROM for {', '.join(missing)}; run `pip install --force-reinstall ale-py`."
        )
    return f"{len(all_games())} games, all of atari57 among them"


def _disk(folder: Path) -> str:
    """Speed of a checkpoint that is written, synced, read and verified."""
    existing = next(p for p in [folder.resolve(), *folder.resolve().parents] if p.exists())
    free = shutil.disk_usage(existing).free
    data = torch.randint(0, 256, (1 << 26,), dtype=torch.uint8)
    with tempfile.TemporaryDirectory(dir=existing, prefix=".reverie-doctor-") as scratch:
        kept = Checkpoints(Path(scratch))
        begin = time.perf_counter()
        kept.save(0, {"data": data})
        written = time.perf_counter()
        loaded = kept.load()
        read = time.perf_counter()
    if loaded is None or not torch.equal(loaded["data"], data):
        raise Problem(f"{existing} gives back other bytes than were written; use another disk.")
    rates = [data.nbytes / 1e6 / s for s in (written - begin, read - written)]
    said = f"{existing}: {free / 1e9:.0f} GB free; checkpoints written with {rates[0]:,.0f} MB/s"
    said += f", read with {rates[1]:,.0f}"
    if free < 10e9:
        raise Problem(f"{said}; a full replay needs 8 GB: make room or choose another disk.")
    return said


def _emulators(seconds: float) -> str:
    experiment = Experiment(env=AtariConfig("ms_pacman"))
    threads = pick_threads(0)
    rate = bare_rate(experiment, threads, seconds)
    streams = f"{experiment.streams} streams on {threads} threads"
    return f"{rate:,.0f} agent steps/s of Ms. Pac-Man, {streams}"


def _play(stream: Stream, ticks: int) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    for t in islice(interact(stream, RandomPolicy(stream.spec.num_actions)), ticks):
        yield t.action, torch.cat([t.next_step.reward, t.next_step.obs.flatten(1).double().sum(1)])


def _determinism() -> str:
    """The same seed gives the same streams, and another seed others."""
    config = AtariConfig("breakout", PROTOCOLS["machado"])
    played = []
    for seed in (0, 0, 1):
        stream = Stream(config.build(4), seed=seed)
        played.append(torch.stack([seen for _, seen in _play(stream, TICKS)]))
        state = stream.state_dict()
        if seed == 0:
            again = Stream(config.build(4), seed=seed)
            if not torch.equal(again.load_state_dict(state), stream.load_state_dict(state)):
                raise Problem("a stream does not replay: runs will not resume exactly.")
            again.close()
        stream.close()
    if not torch.equal(played[0], played[1]):
        raise Problem("equal seeds gave different streams: runs will not be reproducible.")
    if torch.equal(played[0], played[2]):
        raise Problem("different seeds gave equal streams.")
    return f"equal seeds agree and logs replay over {TICKS} ticks of 4 streams"


def _protocols() -> str:
    """Every protocol, against a single emulator that is set up and stepped by hand."""
    for name, protocol in PROTOCOLS.items():
        stream = Stream(AtariConfig("breakout", protocol).build(1), seed=3)
        shadow = Shadow("breakout", protocol)
        for tick, (action, seen) in enumerate(_play(stream, TICKS)):
            if tick == 0:
                shadow.seed(stream.emulator_seeds()[0])
            if shadow.step(int(action[0])) != float(seen[0]):
                raise Problem(
                    f"ale_py's vector environment leaves protocol {name} at tick {tick}; "
                    "install ale-py as in constraints.txt."
                )
        stream.close()
    return f"{', '.join(PROTOCOLS)} as a single emulator plays them, {TICKS} ticks each"
