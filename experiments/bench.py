"""Speed on this machine: rows of numbers with their ratios, printed and kept as JSON.

What is compared is interleaved: every round times each contender once, and a ratio is the median of
the rounds' own, so a machine that others use too slows both sides alike.
"""

import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from rich.console import Console

from agents.actor_critic import ActorCritic, ActorCriticConfig
from agents.density_bonus import PseudoCountConfig
from agents.dqn import DoubleDQN, DQNConfig
from agents.loop import interact
from agents.neighbours import NeighbourTables
from agents.policies import RandomPolicy
from agents.replay import Replay
from envs.atari import AtariConfig
from envs.interface import Segment
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments.config import Experiment
from experiments.peers import Contender, check_peers, envpool_emulator, sb3_dqn, sb3_ppo
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
from world_models.arithmetic import Arithmetic, using, why_not_compiled
from world_models.density import DENSITIES
from world_models.density.pixelcnn import PixelCNNConfig
from world_models.density.symbols import as_symbols
from world_models.planning import PLANNERS
from world_models.planning.straw import STRAWConfig
from world_models.prediction.feedforward import SMALL
from world_models.prediction.imagination import Imagination
from world_models.representation import REPRESENTATIONS

Row = dict[str, Any]
GAME = "breakout"
BREAKOUT = AtariConfig(GAME, PROTOCOLS["nature"])
BARE = "bare emulator"


@dataclass(frozen=True)
class BenchOptions:
    """What is measured."""

    only: str = ""
    """Groups whose name contains this."""
    device: str = "auto"
    """cpu, cuda, or auto: a GPU where there is one."""
    threads: int = 0
    """CPU threads for torch and for the emulators; 0 takes all cores."""
    against: str = ""
    """Other libraries to run at the same settings, in turns with ours: sb3,envpool."""
    rounds: int = 5
    """Turns of every contender."""
    steps: int = 50_000
    """Agent steps of the row of episodic control, whose tables grow."""
    save: bool = False
    """Append the results to experiments/results/bench/, group by group; a sitting that was cut
    short goes on when the same command is given again."""


@dataclass(frozen=True)
class Sitting:
    """What every measurement needs to know."""

    options: BenchOptions
    device: torch.device
    threads: int
    peers: tuple[str, ...]
    console: Console

    def ways(self) -> list[Arithmetic]:
        """What can be computed in here."""
        failure = why_not_compiled(self.device)
        if failure:
            self.console.print(f"Nothing is compiled, because nothing can be here: {failure}")
        compiled = [] if failure else [Arithmetic("bf16", compile=True)]
        return [Arithmetic(), Arithmetic("bf16"), *compiled]


def bench(options: BenchOptions) -> list[Row]:
    """Measure the chosen groups; raises UsageError for a device or a peer that is not there."""
    peers = check_peers(options.against)
    device, threads = pick_device(options.device), pick_threads(options.threads)
    sitting = Sitting(options, device, threads, peers, Console(highlight=False, soft_wrap=True))
    notes = _Notes(sitting)
    rows: list[Row] = []
    for group, measure in GROUPS.items():
        if options.only not in group:
            continue
        if group in notes.groups:
            sitting.console.print(f"{group}: measured before")
            continue
        begin, made = time.perf_counter(), measure(sitting)
        for row in made:
            sitting.console.print(f"{row['name']:<64} {row['shown']}")
        sitting.console.print(f"{group}: {time.perf_counter() - begin:.0f} s")
        rows += made
        if options.save:
            notes.add(group, made)
    if options.save:
        sitting.console.print(f"appended to {notes.finish()}")
    return rows


class _Notes:
    """One sitting among the results of a device, written after every group."""

    def __init__(self, sitting: Sitting) -> None:
        about, on_cpu = provenance(sitting.device, sitting.threads), sitting.device.type == "cpu"
        name = "cpu" if on_cpu else about["device"].lower().replace(" ", "-")
        self.path = RESULTS / "bench" / f"{name}.json"
        self.history = json.loads(self.path.read_text()) if self.path.exists() else []
        last = self.history[-1] if self.history else {}
        if not ("unfinished" in last and last["provenance"] == about):
            machine = about["cpu"] if on_cpu else f"{about['device']}, {about['cpu']}"
            day = datetime.now(UTC).date().isoformat()
            last = {"date": day, "machine": machine, "provenance": about}
            self.history.append(last | {"unfinished": [], "rows": []})
        self.groups: list[str] = self.history[-1]["unfinished"]

    def add(self, group: str, rows: list[Row]) -> None:
        self.groups.append(group)
        self.history[-1]["rows"] += rows
        self._write()

    def finish(self) -> Path:
        """The file, in which this sitting has now come to its end."""
        del self.history[-1]["unfinished"]
        self._write()
        return self.path

    def _write(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self.path.write_text(json.dumps(self.history, indent=1) + "\n")


def _race(
    sitting: Sitting, contenders: list[Contender], title: str, beside: list[str]
) -> list[Row]:
    """Rates of the contenders in turns, with their ratios to those named in ``beside``."""
    rates: dict[str, list[float]] = {contender.name: [] for contender in contenders}
    for turn in range(sitting.options.rounds + 1):
        for contender in contenders:
            begin = time.perf_counter()
            steps = contender.run()
            if sitting.device.type == "cuda":
                torch.cuda.synchronize()
            rate = steps / (time.perf_counter() - begin)
            if turn:  # the first compiles, fills and warms
                rates[contender.name].append(rate)
            what = f"round {turn} of {sitting.options.rounds}" if turn else "warming up"
            sitting.console.print(f"  {what}, {contender.name}: {rate:,.0f} agent steps/s")
    for contender in contenders:
        contender.close()
    rows = []
    for name, mine in rates.items():
        ratios = {
            other: statistics.median(a / b for a, b in zip(mine, rates[other], strict=True))
            for other in beside
            if other in rates and other != name
        }
        rate = statistics.median(mine)
        said = ", ".join(f"{ratio:.2f} x {other}" for other, ratio in ratios.items())
        shown = f"{rate:,.0f} agent steps/s" + (f" ({said})" if said else "")
        rows.append(
            {"name": f"{name}, {title}", "steps_per_second": rate, "rounds": mine}
            | {"ratios": ratios, "shown": shown}
        )
    return rows


def _emulator(streams: int, threads: int, ticks: int) -> Contender:
    """Emulators alone, under random actions."""
    env: Any = BREAKOUT.build(streams, threads=threads)
    env.reset(seed=list(range(streams)))
    draw = np.random.default_rng(0)

    def run() -> int:
        for _ in range(ticks):
            env.step(draw.integers(env.single_action_space.n, size=streams))
        return ticks * streams

    return Contender(BARE, run, env.close)


def _learner(
    name: str,
    sitting: Sitting,
    experiment: Experiment,
    *,
    way: Arithmetic,
    ticks: int,
    pipeline: int = 1,
    learns: bool = True,
) -> tuple[Contender, Any]:
    """The loop of training without its trackers, or of play alone; and its agent."""
    stream = make_stream(experiment, sitting.device, sitting.threads, pipeline)
    with using(way):
        agent = experiment.agent.build(stream.spec, device=sitting.device)
    bonus = experiment.bonus.build(stream.spec, device=sitting.device)
    loop = interact(stream, agent, ahead=experiment.agent.segment if pipeline > 1 else 1)

    def run() -> int:
        for t in islice(loop, ticks):
            if learns:
                agent.learn(t.with_bonus(bonus(t)))
        return ticks * experiment.streams

    return Contender(name, run, stream.close), agent


def _title(way: Arithmetic, pipeline: int = 1) -> str:
    how = f"{way.precision}, {'compiled' if way.compile else 'eager'}"
    return how if pipeline == 1 else f"{how}, {pipeline} parts"


def _rollouts(sitting: Sitting) -> list[Row]:
    """Emulators alone, as a stream, and played by the Nature network."""
    streams = 256 if sitting.device.type == "cuda" else 64
    ticks = 32
    experiment = replace(PRESETS["actor-critic"], env=BREAKOUT, streams=streams)
    stream = make_stream(experiment, sitting.device, sitting.threads)
    loop = interact(stream, RandomPolicy(stream.spec.num_actions))

    def bare_stream() -> int:
        return sum(len(t.action) for t in islice(loop, ticks))

    contenders = [
        _emulator(streams, sitting.threads, ticks),
        Contender("stream", bare_stream, stream.close),
    ]
    if "envpool" in sitting.peers:
        contenders.append(
            envpool_emulator(GAME, streams=streams, threads=sitting.threads, ticks=ticks)
        )
    for way in (Arithmetic(), Arithmetic("bf16")):
        for pipeline in (1, 2):
            contender, _ = _learner(
                f"rollout with policy, {_title(way, pipeline)}",
                sitting,
                experiment,
                way=way,
                ticks=ticks,
                pipeline=pipeline,
                learns=False,
            )
            contenders.append(contender)
    return _race(sitting, contenders, f"{GAME}, {streams} streams", [BARE, "bare EnvPool"])


def _actor_critic(sitting: Sitting) -> list[Row]:
    """PPO in segments of 128 ticks, 4 epochs of 4 minibatches."""
    streams = 256 if sitting.device.type == "cuda" else 8
    experiment = replace(PRESETS["actor-critic"], env=BREAKOUT, streams=streams)
    contenders, agents = [_emulator(streams, sitting.threads, 128)], {}
    for way in sitting.ways():
        for pipeline in (1, 2) if way.precision == "bf16" else (1,):
            contender, agent = _learner(
                f"training actor-critic, {_title(way, pipeline)}",
                sitting,
                experiment,
                way=way,
                ticks=128,
                pipeline=pipeline,
            )
            contenders.append(contender)
            agents[_title(way, pipeline)] = agent, contender
    if "sb3" in sitting.peers:
        contenders.append(sb3_ppo(GAME, streams=streams, device=str(sitting.device)))
    title = f"{GAME}, {streams} streams x 128 ticks x 4 epochs"
    rows = []
    if sitting.device.type == "cuda":
        for _, contender in agents.values():
            contender.run()
        rows = _update_phases(agents)
    return _race(sitting, contenders, title, [BARE, "Stable-Baselines3 PPO"]) + rows


def _update_phases(agents: dict[str, tuple[ActorCritic, Contender]]) -> list[Row]:
    """On a GPU: seconds of a segment's updates, and the device's idle share while training."""
    rows, reference = [], 0.0
    for name, (agent, contender) in agents.items():
        segment = agent.rollout.take()
        seconds = _median(partial(agent.improve, segment), agent.device, 5)
        reference = reference or seconds
        with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CUDA]) as profile:
            wall = _seconds(contender.run, agent.device)
        busy = sum(event.self_device_time_total for event in profile.key_averages()) / 1e6
        rows.append(
            {
                "name": f"update phase of actor-critic, {name}",
                "seconds": seconds,
                "ratio_to_first": reference / seconds,
                "idle_share": 1 - busy / wall,
                "shown": f"{seconds * 1e3:.0f} ms ({reference / seconds:.2f} x the first), "
                f"device idle {1 - busy / wall:.0%} of training",
            }
        )
    return rows


def _dqn(sitting: Sitting) -> list[Row]:
    """DQN without Monte-Carlo returns, its parts timed apart, and its twin that counts."""
    streams, ticks, warm = 8, 50, 2_000
    config = DQNConfig(monte_carlo_weight=0.0, learning_starts=warm, capacity=20_000)
    plain = Experiment(config, BREAKOUT, streams=streams)
    counting = replace(plain, bonus=PseudoCountConfig())
    ways = sitting.ways()
    named = [(f"training dqn, {_title(way)}", plain, way) for way in ways]
    named += [
        (f"training dqn-cts, {_title(ways[-1])}", counting, ways[-1]),
        (f"parts of dqn one by one, {_title(ways[-1])}", plain, ways[-1]),
    ]
    contenders = []
    for name, experiment, way in named:
        contender, agent = _learner(name, sitting, experiment, way=way, ticks=ticks)
        while agent.steps < warm:
            contender.run()
        if "parts" in name:
            contender = _parts(contender, agent, sitting, ticks)
        contenders.append(contender)
    if "sb3" in sitting.peers:
        contenders.append(sb3_dqn(GAME, streams=streams, warm_up=warm, device=str(sitting.device)))
    beside = [named[-1][0], named[-3][0], "Stable-Baselines3 DQN"]
    title = f"{GAME}, {streams} streams, a batch of 32 every 4 steps"
    return _race(sitting, contenders, title, beside)


def _parts(learner: Contender, agent: DoubleDQN, sitting: Sitting, ticks: int) -> Contender:
    """What a loop cannot be faster than where nothing overlaps: emulators, acting, updates."""
    streams = agent.spec.num_envs
    emulators = _emulator(streams, sitting.threads, ticks)
    stream = Stream(BREAKOUT.build(streams), device=sitting.device)
    step, memory = stream.reset(), agent.initial(streams)
    stream.close()
    updates = int(ticks * streams * agent.config.replay_ratio)

    def run() -> int:
        for _ in range(ticks):
            agent.act(step, memory)
        for _ in range(updates):
            agent.update()
        return emulators.run()

    def close() -> None:
        emulators.close()
        learner.close()

    return Contender(learner.name, run, close)


def _replay(sitting: Sitting) -> list[Row]:
    """A tick of 8 streams in, a batch of 32 out, with stacks put together again."""
    stream = Stream(BREAKOUT.build(8, threads=sitting.threads))
    replay = Replay(stream.spec, capacity=20_000, gamma=0.99, monte_carlo=False)
    ticks = list(islice(interact(stream, RandomPolicy(stream.spec.num_actions)), 300))
    stream.close()
    for t in ticks:
        replay.append(t, t.next_step.reward)
    turn = iter(ticks * 10)
    rows = []
    for name, function in {
        "inserting a tick of 8 streams": lambda: replay.append(t := next(turn), t.next_step.reward),
        "drawing a batch of 32": lambda: replay.sample(32),
    }.items():
        seconds = _median(function, torch.device("cpu"), 200)
        rows.append(
            {"name": f"replay: {name}", "seconds": seconds, "shown": f"{seconds * 1e6:,.0f} us"}
        )
    return rows


def _memory(sitting: Sitting) -> list[Row]:
    """The most that the process has held, by all rows before."""
    peaks = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}
    if sitting.device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_allocated() / 1e6
    return [
        {"name": f"peak {where} memory of these measurements", "megabytes": peak}
        | {"shown": f"{peak:,.0f} MB"}
        for where, peak in peaks.items()
    ]


def _commands(sitting: Sitting) -> list[Row]:
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


def _episodic(sitting: Sitting) -> list[Row]:
    """Training and the bare stream in one run: the bare stream is timed before and after."""
    device, threads, steps = sitting.device, sitting.threads, sitting.options.steps
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


def _tables(sitting: Sitting) -> list[Row]:
    """One action's table of 1,000,000 keys of length 64."""
    size, queries, device = 1_000_000, 32, sitting.device
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


def _densities(sitting: Sitting) -> list[Row]:
    """Frames a second that each density learns, of real play in batches of 32."""
    stream = Stream(AtariConfig("montezuma_revenge", PROTOCOLS["machado"]).build(32))
    loop = islice(interact(stream, RandomPolicy(stream.spec.num_actions)), 300)
    batches = [as_symbols(t.next_step.frame, (42, 42), 8) for t in loop]
    stream.close()
    rows = []
    configs = {name: kind() for name, kind in DENSITIES.items()}
    configs["pixel-cnn, joint steps"] = PixelCNNConfig(one_by_one=False)
    for name, config in configs.items():
        density = config.build(shape=(42, 42), levels=8, device=sitting.device)
        for batch in batches[:3]:  # the first frames, and compilation, are not timed
            density.observe(batch)
        done, begin = 0, time.perf_counter()
        for batch in batches[3:]:
            density.observe(batch)
            done += len(batch)
            if time.perf_counter() - begin > 5:
                break
        rate = done / (time.perf_counter() - begin)
        title = f"density {name}: learning 42 x 42 x 8 frames, {sitting.threads} threads"
        rows.append({"name": title, "frames_per_second": rate, "shown": f"{rate:,.0f} frames/s"})
    return rows


def _representations(sitting: Sitting) -> list[Row]:
    """Keys of real looks in batches of 32, and updates of the models that learn."""
    device, threads = sitting.device, sitting.threads
    stream = Stream(AtariConfig("ms_pacman", PROTOCOLS["mfec"]).build(32), device=device)
    loop = islice(interact(stream, RandomPolicy(stream.spec.num_actions)), 100)
    looks = [t.step.obs for t in loop][-1]
    shape = stream.spec.obs_shape
    stream.close()
    kinds = [(name, kind(), Arithmetic()) for name, kind in REPRESENTATIONS.items()]
    kinds.append(("vae, bf16", REPRESENTATIONS["vae"](), Arithmetic("bf16")))
    rows = []
    for name, config, way in kinds:
        with using(way):
            model = config.build(obs_shape=shape, device=device)
        rate = 32 / _median(partial(model.encode, looks), device, repeats=101)
        title = f"representation {name}: keys of 84 x 84 frames, {threads} threads"
        rows.append({"name": title, "frames_per_second": rate, "shown": f"{rate:,.0f} frames/s"})
        if config.learns:
            rate = 1 / _median(partial(model.update, looks), device, repeats=5)
            title = f"representation {name}: updates of 32 frames, {threads} threads"
            rows.append(
                {"name": title, "updates_per_second": rate, "shown": f"{rate:,.1f} updates/s"}
            )
    return rows


def _predictors(sitting: Sitting) -> list[Row]:
    """Imagined steps, and updates of one step, of 4 x 84 x 84 grey looks."""
    size, device, threads = 256, sitting.device, sitting.threads
    looks = torch.randint(256, (size, 2, 4, 84, 84), dtype=torch.uint8)
    nothing, never = torch.zeros(size, 1), torch.zeros(size, 2, dtype=torch.bool)
    piece = Segment(nothing.long(), looks, nothing, nothing, nothing + 1, never, never, {})
    rows = []
    for name, way in {"small": Arithmetic(), "small, bf16": Arithmetic("bf16")}.items():
        with using(way):
            model = SMALL.build(obs_shape=(4, 84, 84), num_actions=6, device=device)
        batch = model.lesson[0]
        few = piece.obs[:batch], nothing[:batch], never[:batch]
        lesson = Segment(few[1].long(), few[0], few[1], few[1], few[1] + 1, few[2], few[2], {})
        env = Imagination(model, piece, size, tensors=True)
        env.reset(seed=0)
        action = torch.zeros(size, dtype=torch.int64, device=device)
        imagined = size / _median(partial(env.step, action), device)
        learned = batch / _median(partial(model.update, lesson), device)
        rows += [
            {
                "name": f"predictor {name}: imagining in {size} dreams, {threads} threads",
                "steps_per_second": imagined,
                "shown": f"{imagined:,.0f} imagined steps/s",
            },
            {
                "name": f"predictor {name}: learning in batches of {batch}, {threads} threads",
                "frames_per_second": learned,
                "shown": f"{learned:,.0f} frames/s",
            },
        ]
    return rows


def _planners(sitting: Sitting) -> list[Row]:
    """The actor-critic with each planner, in turns; STRAW with a tenth of its plan, too."""
    plans = {name: kind() for name, kind in PLANNERS.items()}
    plans["straw, 50 places"] = STRAWConfig(length=50)
    streams = 256 if sitting.device.type == "cuda" else 8
    contenders = []
    for name, planner in plans.items():
        agent = ActorCriticConfig(planner=planner)
        experiment = replace(PRESETS["actor-critic"], agent=agent, env=BREAKOUT, streams=streams)
        contenders.append(
            _learner(f"planner {name}", sitting, experiment, way=Arithmetic(), ticks=128)[0]
        )
    title = f"training, {GAME}, {streams} streams x 128 ticks x 4 epochs"
    return _race(sitting, contenders, title, ["planner reactive", "planner straw, 50 places"])


GROUPS: dict[str, Callable[[Sitting], list[Row]]] = {
    "commands": _commands,
    "rollouts": _rollouts,
    "actor-critic": _actor_critic,
    "dqn": _dqn,
    "episodic": _episodic,
    "replay": _replay,
    "tables": _tables,
    "densities": _densities,
    "representations": _representations,
    "predictors": _predictors,
    "planners": _planners,
    "memory": _memory,
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
