"""Speed on this machine: rows of numbers with their ratios, printed and kept as JSON."""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from rich.console import Console

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.arithmetic import Arithmetic, Precision, using
from agents.dqn import DQNConfig
from agents.loop import interact
from agents.neighbours import NeighbourTables
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.interface import Transition
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments.presets import PRESETS
from experiments.reproduce import RESULTS
from experiments.run import Run, provenance
from experiments.training import (
    TrainOptions,
    bare_rate,
    make_stream,
    pick_device,
    pick_threads,
    train,
)
from world_models.density import DENSITIES
from world_models.density.pixelcnn import PixelCNNConfig
from world_models.density.symbols import as_symbols
from world_models.planning import PLANNERS
from world_models.planning.straw import STRAWConfig

Row = dict[str, Any]


def bench(
    *, only: str = "", device: str = "auto", steps: int = 300_000, save: bool = False
) -> list[Row]:
    """Measure the rows whose group contains ``only``; with ``save``, append them to the results."""
    where, threads = pick_device(device), pick_threads(0)
    console = Console(highlight=False, soft_wrap=True)
    rows: list[Row] = []
    for group, measure in GROUPS.items():
        if only in group:
            for row in measure(where, threads, steps):
                rows.append(row)
                console.print(f"{row['name']:<64} {row['shown']}")
    if save and rows:
        about = provenance(where, threads)
        name = "cpu" if where.type == "cpu" else about["device"].lower().replace(" ", "-")
        path = RESULTS / "bench" / f"{name}.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        history = json.loads(path.read_text()) if path.exists() else []
        machine = about["cpu"] if where.type == "cpu" else f"{about['device']}, {about['cpu']}"
        day = datetime.now(UTC).date().isoformat()
        history.append({"date": day, "machine": machine, "provenance": about, "rows": rows})
        path.write_text(json.dumps(history, indent=1) + "\n")
        console.print(f"appended to {path}")
    return rows


def _commands(device: torch.device, threads: int, steps: int) -> list[Row]:
    """Whole processes, the median of five."""
    commands = {
        "import agents, envs, world_models, experiments": [
            sys.executable, "-c", "import agents, envs, world_models, experiments",
        ],
        "import of every part (experiments.commands)": [
            sys.executable, "-c", "import experiments.commands",
        ],
        "reverie --help": [sys.executable, "-m", "experiments.cli", "--help"],
        "reverie list games": [sys.executable, "-m", "experiments.cli", "list", "games"],
    }  # fmt: skip
    rows = []
    for name, command in commands.items():
        seconds = sorted(_seconds(partial(_quiet, command)) for _ in range(5))[2]
        rows.append({"name": name, "seconds": seconds, "shown": f"{seconds:.2f} s"})
    return rows


def _training(device: torch.device, threads: int, steps: int) -> list[Row]:
    """Training and the bare stream in one run: the bare stream is timed before and after."""
    rows = []
    for name in ("episodic",):
        experiment = PRESETS[name]
        experiment = replace(experiment, steps=steps)
        before = bare_rate(experiment, threads, 5.0)
        with tempfile.TemporaryDirectory() as folder:
            options = TrainOptions(
                device=str(device),
                threads=threads,
                bare_seconds=0,
                checkpoint_minutes=60,
                quiet=True,
            )
            train(experiment, folder, options)
            rate = Run(folder).read_lines("metrics.jsonl")[-1]["time/mean_steps_per_second"]
        after = bare_rate(experiment, threads, 5.0)
        bare = (before + after) / 2
        title = f"{experiment.env.title}, {experiment.streams} streams"
        rows += [
            {
                "name": f"bare stream, {title}",
                "steps_per_second": bare,
                "shown": f"{bare:,.0f} agent steps/s",
            },
            {
                "name": f"training {name}, first {steps:,} steps, {title}",
                "steps_per_second": rate,
                "ratio_to_bare": rate / bare,
                "shown": f"{rate:,.0f} agent steps/s ({rate / bare:.0%} of the bare stream)",
            },
        ]
    return rows


def _tables(device: torch.device, threads: int, steps: int) -> list[Row]:
    """One action's table of 1,000,000 keys of length 64."""
    size, queries = 1_000_000, 32
    generator = torch.Generator().manual_seed(0)
    tables = NeighbourTables(1, 64, capacity=size, neighbours=11, device=device)
    for start in range(0, size, 100_000):
        keys = torch.randn(100_000, 64, generator=generator).to(device)
        tables.store(0, keys, torch.arange(start, start + 100_000, device=device), keys[:, 0])
    query = torch.randn(queries, 64, generator=generator).to(device)
    digest = torch.arange(size, size + queries, device=device)
    lookup = _median(lambda: tables.estimate(query, digest), device)
    fresh = iter(range(2 * size, 3 * size, 100))
    evict = _median(lambda: _store_new(tables, next(fresh), device), device)
    one = _median(lambda: tables._make_room(0, 1), device)
    held = [tables.keys, tables.returns, tables.digests, tables.visited]
    megabytes = sum(x.numel() * x.element_size() for x in held) / 1e6
    name = "a table of 1,000,000 keys: "
    found = {
        f"lookup of {queries} queries": ("seconds", lookup, f"{lookup * 1e3:.0f} ms"),
        "one eviction": ("seconds", one, f"{one * 1e3:.1f} ms"),
        "storing 100 new keys, 100 evicted": ("seconds", evict, f"{evict * 1e3:.0f} ms"),
        "memory": ("megabytes", megabytes, f"{megabytes:.0f} MB"),
    }
    return [
        {"name": name + what, unit: value, "shown": shown}
        for what, (unit, value, shown) in found.items()
    ]


def _densities(device: torch.device, threads: int, steps: int) -> list[Row]:
    """Frames a second that each density learns, of real play in batches of 32."""
    stream = Stream(AtariConfig("montezuma_revenge", PROTOCOLS["machado"]).build(32))
    loop = islice(interact(stream, RandomPolicy(stream.spec.num_actions)), 300)
    batches = [as_symbols(t.next_step.frame, (42, 42), 8) for t in loop]
    stream.close()
    rows = []
    configs = {name: kind() for name, kind in DENSITIES.items()}
    configs["pixel-cnn, joint steps"] = PixelCNNConfig(one_by_one=False)
    for name, config in configs.items():
        density = config.build(shape=(42, 42), levels=8, device=device)
        for batch in batches[:3]:  # the first frames, and compilation, are not timed
            density.observe(batch)
        done, begin = 0, time.perf_counter()
        for batch in batches[3:]:
            density.observe(batch)
            done += len(batch)
            if time.perf_counter() - begin > 5:
                break
        rate = done / (time.perf_counter() - begin)
        title = f"density {name}: learning 42 x 42 x 8 frames, {threads} threads"
        rows.append({"name": title, "frames_per_second": rate, "shown": f"{rate:,.0f} frames/s"})
    return rows


def _dqn(device: torch.device, threads: int, steps: int) -> list[Row]:
    """Acting and updates of the Nature network on Ms. Pac-Man's looks."""
    experiment = replace(PRESETS["dqn"], streams=32)
    stream = make_stream(experiment, device, threads)
    rows = []
    precisions: tuple[Precision, ...] = ("fp32", "bf16")
    for precision in precisions:
        # At once drawn from, and no update but those that are timed.
        config = DQNConfig(monte_carlo_weight=0.0, learning_starts=10**9)
        with using(Arithmetic(precision)):
            agent = config.build(stream.spec, device=device)
        for t in islice(interact(stream, agent), 100):
            agent.learn(t)
        update = _median(agent.update, device)
        act = _median(partial(agent.act, t.next_step, t.next_memory), device)
        rows += [
            {
                "name": f"dqn, {precision}: updates of {config.batch} transitions",
                "updates_per_second": 1 / update,
                "shown": f"{1 / update:,.0f} updates/s ({update * 1e3:.1f} ms)",
            },
            {
                "name": f"dqn, {precision}: acting in 32 streams",
                "seconds": act,
                "shown": f"{act * 1e3:.1f} ms",
            },
        ]
    stream.close()
    return rows


def _planners(device: torch.device, threads: int, steps: int) -> list[Row]:
    """Training with each planner on Ms. Pac-Man, segments of all of them in turn."""
    plans = {name: kind() for name, kind in PLANNERS.items()}
    plans["straw, plan of 50"] = STRAWConfig(length=50)
    agents, loops = {}, {}
    for name, planner in plans.items():
        stream = make_stream(PRESETS["actor-critic"], device, threads)
        agents[name] = ActorCriticConfig(planner=planner).build(stream.spec, device=device)
        loops[name] = interact(stream, agents[name])
    seconds: dict[str, list[float]] = {name: [] for name in plans}
    for _ in range(4):
        for name, agent in agents.items():
            seconds[name].append(_seconds(partial(_segment, agent, loops[name]), device))
    rows = []
    for name, agent in agents.items():
        played = agent.spec.num_envs * agent.config.horizon
        rate, plain = (played / sorted(seconds[x][1:])[1] for x in (name, "reactive"))  # 1: warm-up
        rows.append(
            {
                "name": f"actor-critic with planner {name}: training",
                "steps_per_second": rate,
                "ratio_to_reactive": rate / plain,
                "shown": f"{rate:,.0f} agent steps/s ({rate / plain:.0%} of the reactive one)",
            }
        )
    return rows


def _segment(agent: ActorCritic, loop: Iterator[Transition]) -> None:
    for t in islice(loop, agent.config.horizon):
        agent.learn(t)


GROUPS: dict[str, Callable[[torch.device, int, int], list[Row]]] = {
    "commands": _commands,
    "training": _training,
    "tables": _tables,
    "densities": _densities,
    "dqn": _dqn,
    "planners": _planners,
}


def _store_new(tables: NeighbourTables, first: int, device: torch.device) -> None:
    digests = torch.arange(first, first + 100, device=device)
    tables.store(0, torch.randn(100, 64, device=device), digests, torch.zeros(100, device=device))


def _median(function: Callable[[], object], device: torch.device, repeats: int = 15) -> float:
    function()
    return sorted(_seconds(function, device) for _ in range(repeats))[repeats // 2]


def _seconds(function: Callable[[], object], device: torch.device | None = None) -> float:
    begin = time.perf_counter()
    function()
    if device is not None and device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - begin


def _quiet(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent.parent)
