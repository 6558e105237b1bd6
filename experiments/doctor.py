"""Self-tests of ``reverie doctor``: whether this machine can run reverie, on one screen."""

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
from rich.markup import escape
from rich.table import Table

from ..agents.loop import interact
from ..agents.policies import RandomPolicy
from ..envs.atari.atari import AtariConfig
from ..envs.atari.games import ATARI57, all_games
from ..envs.atari.protocol import PROTOCOLS
from ..envs.batched_env import BatchedEnv
from ..world_models.precision import native_bfloat16
from .config.experiment import Experiment
from .runs.checkpoints import Checkpoints
from .runs.console import CommandConsole
from .runs.provenance import cpu_name
from .runs.runtime import pick_device, pick_threads
from .training.envs import random_play_throughput

PACKAGES = ("torch", "gymnasium", "ale-py", "numpy", "numba", "tensorboard")
NO_COMPILER = "no C++ compiler, which only --compile needs"
TIMESTEPS = 200
"""Timesteps of the self-tests: enough for some lost lives in Breakout."""


class Problem(Exception):
    """A failed check; the message names the problem and its remedy."""


def doctor(folder: Path = Path("runs"), device: str = "auto", seconds: float = 2.0) -> int:
    """Run and print every check; return 1 if one failed, else 0.

    Writes and removes 64 MB in ``folder``, to test the disk of runs. ``device`` is cpu, cuda or
    auto (a GPU if there is one), and ``seconds`` the time for measuring random play.
    """
    checks: dict[str, Callable[[], str]] = {
        "versions": _versions,
        "processor": _processor,
        "device": lambda: _device(device),
        "compiler": lambda: shutil.which("g++") or shutil.which("clang++") or NO_COMPILER,
        "games": _games,
        "disk": lambda: _disk(folder),
        "emulators": lambda: _emulators(seconds),
        "determinism": _determinism,
        "protocols": _protocols,
    }
    table = Table(box=None, show_header=False, pad_edge=False)
    problems = 0
    for name, check in checks.items():
        try:
            table.add_row("[green]ok[/]", name, escape(check()))
        except Exception as error:  # any error is a failed check
            problems += 1
            table.add_row("[red]problem[/]", name, escape(f"{error}" or type(error).__name__))
    console = CommandConsole(highlight=False)
    console.print(table)
    console.print(f"{problems or 'No'} problem{'' if problems == 1 else 's'} found.")
    return int(problems > 0)


def _versions() -> str:
    try:
        versions = [f"{name} {version(name)}" for name in PACKAGES]
    except PackageNotFoundError as error:
        raise Problem(f"{error.name} is not installed; run `pip install {error.name}`.") from None
    return ", ".join([f"python {platform.python_version()}", *versions])


def _processor() -> str:
    native = native_bfloat16()
    usable = len(os.sched_getaffinity(0))
    return f"{cpu_name()}, {usable} usable; bfloat16 {'is' if native else 'is not'} native"


def _device(name: str) -> str:
    device = pick_device(name)
    if device.type != "cuda":
        return "cpu; torch sees no GPU" if not torch.cuda.is_available() else "cpu"
    gpu, a = torch.cuda.get_device_properties(device), torch.randn(256, 256, device=device)
    if not torch.allclose((a @ a).cpu(), a.cpu() @ a.cpu(), atol=0.1, rtol=0.01):
        raise Problem(f"{gpu.name} returns wrong matrix products; use --device cpu.")
    return f"{gpu.name}, {gpu.total_memory / 1e9:.0f} GB"


def _games() -> str:
    missing = sorted(set(ATARI57) - set(all_games()))
    if missing:
        raise Problem(
            f"no ROM for {', '.join(missing)}; run `pip install --force-reinstall ale-py`."
        )
    return f"{len(all_games())} games, all of atari57 among them"


def _disk(folder: Path) -> str:
    """Time a checkpoint that is written, synced, read and verified."""
    existing = next(p for p in [folder.resolve(), *folder.resolve().parents] if p.exists())
    free = shutil.disk_usage(existing).free
    data = torch.randint(0, 256, (1 << 26,), dtype=torch.uint8)
    with tempfile.TemporaryDirectory(dir=existing, prefix=".reverie-doctor-") as scratch:
        checkpoints = Checkpoints(Path(scratch))
        begin = time.perf_counter()
        checkpoints.save(0, {"data": data})
        written = time.perf_counter()
        state = checkpoints.load()
        read = time.perf_counter()
    if state is None or not torch.equal(state["data"], data):
        raise Problem(f"{existing} returns other bytes than were written; use another disk.")
    rates = [data.nbytes / 1e6 / seconds for seconds in (written - begin, read - written)]
    report = (
        f"{existing}: {free / 1e9:.0f} GB free; checkpoints written at {rates[0]:,.0f} MB/s, "
        f"read at {rates[1]:,.0f} MB/s"
    )
    if free < 10e9:
        raise Problem(f"{report}; a full replay needs 8 GB: free space or choose another disk.")
    return report


def _emulators(seconds: float) -> str:
    experiment, threads = Experiment(env=AtariConfig("ms_pacman")), pick_threads(0)
    rate = random_play_throughput(experiment, threads, seconds)
    label = f"{experiment.num_envs} envs on {threads} threads"
    return f"{rate:,.0f} agent steps/s of Ms. Pac-Man, {label}"


def _determinism() -> str:
    """Check that equal seeds give equal episodes, other seeds others, and that logs replay."""
    config = AtariConfig("breakout", PROTOCOLS["machado"])
    other, first, second = (BatchedEnv(config.build(2), seed=seed) for seed in (1, 0, 0))
    outcomes = [torch.stack([*_random_play(x, TIMESTEPS)]) for x in (other, first, second)]
    state = first.state_dict()
    replays = torch.equal(second.load_state_dict(state), first.load_state_dict(state))
    for envs in (other, first, second):
        envs.close()
    problem = ""
    if not replays:
        problem = "an env does not replay from its seed and actions, so runs cannot resume exactly"
    elif not torch.equal(outcomes[1], outcomes[2]):
        problem = "equal seeds gave different episodes, so runs are not reproducible"
    elif torch.equal(outcomes[0], outcomes[1]):
        problem = "different seeds gave equal episodes"
    if problem:
        raise Problem(f"{problem}; install ale-py as in constraints.txt.")
    return f"equal seeds agree and logs replay over {TIMESTEPS} timesteps of 2 envs"


def _protocols() -> str:
    """Check every protocol against a single emulator that is configured and stepped separately."""
    for name, protocol in PROTOCOLS.items():
        env = AtariConfig("breakout", protocol).build(1)
        env.follow(0)
        envs = BatchedEnv(env, seed=3)
        try:
            list(_random_play(envs, TIMESTEPS))
        except RuntimeError as error:
            raise Problem(
                f"ale_py's vector environment deviates from protocol {name}: {error} Install "
                "ale-py as in constraints.txt."
            ) from error
        finally:
            envs.close()
    return f"{', '.join(PROTOCOLS)} agree with a single emulator, {TIMESTEPS} timesteps each"


def _random_play(envs: BatchedEnv, num_timesteps: int) -> Iterator[torch.Tensor]:
    """Yield rewards and sums of pixels, [2 N]."""
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), num_timesteps):
        yield torch.cat([t.next_step.reward, t.next_step.obs.flatten(1).double().sum(1)])
