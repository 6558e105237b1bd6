"""Single parts, each timed by itself."""

import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from agents.loop import interact
from agents.neighbours import NeighbourTables
from agents.policies import RandomPolicy
from agents.replay import Replay
from envs.atari import AtariConfig
from envs.interface import Segment
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments.bench.sitting import Row, Sitting, median, row, seconds
from experiments.checkpoints import Checkpoints
from experiments.presets import PRESETS
from experiments.run import Run
from experiments.streams import bare_rate
from experiments.training import TrainOptions, train
from world_models.arithmetic import Arithmetic, using
from world_models.density import DENSITIES
from world_models.density.pixelcnn import PixelCNNConfig
from world_models.density.symbols import as_symbols
from world_models.prediction.feedforward import SMALL
from world_models.prediction.imagination import Imagination
from world_models.representation import REPRESENTATIONS


def replay(sitting: Sitting) -> list[Row]:
    """A tick of 8 streams in, a batch of 32 out, with stacks put together again."""
    stream = Stream(AtariConfig("breakout", PROTOCOLS["nature"]).build(8, threads=sitting.threads))
    ring = Replay(stream.spec, capacity=20_000, gamma=0.99, monte_carlo=False)
    ticks = list(islice(interact(stream, RandomPolicy(stream.spec.num_actions)), 300))
    stream.close()
    for t in ticks:
        ring.append(t, t.next_step.reward)
    turn = iter(ticks * 10)
    work: dict[str, Callable[[], object]] = {
        "inserting a tick of 8 streams": lambda: ring.append(t := next(turn), t.next_step.reward),
        "drawing a batch of 32": lambda: ring.sample(32),
    }
    cpu = torch.device("cpu")
    return [row(f"replay: {name}", "seconds", median(f, cpu, 200)) for name, f in work.items()]


def checkpoints(sitting: Sitting) -> list[Row]:
    """A replay of 1,000,000 frames written whole, and again after 10,000 more of them.

    The first writes 7 GB below the folder of runs.
    """
    frames = torch.empty(1_000_000, 84, 84, dtype=torch.uint8)
    for begin in range(0, len(frames), 50_000):
        frames[begin : begin + 50_000].random_()
    fresh, cpu = iter(range(0, 1_000_000, 10_000)), torch.device("cpu")

    def save() -> None:
        kept.save(begin := next(fresh), {"frames": frames})
        frames[begin : begin + 10_000].random_()

    Path("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="runs") as folder:
        kept = Checkpoints(Path(folder))
        first = seconds(save)
        following = median(save, cpu, 3)
    name = "checkpoint of a replay of 1,000,000 frames: "
    return [
        row(f"{name}the first", "seconds", first),
        row(f"{name}the next, 10,000 frames later", "seconds", following),
    ]


def peak_memory(sitting: Sitting) -> list[Row]:
    """The most that the process has held, by all rows before."""
    peaks = {"resident": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6}
    if sitting.device.type == "cuda":
        peaks["device"] = torch.cuda.max_memory_allocated() / 1e6
    name = "peak {} memory of these measurements"
    return [row(name.format(where), "megabytes", peak) for where, peak in peaks.items()]


def commands(sitting: Sitting) -> list[Row]:
    """Whole processes, the median of five."""
    run = [sys.executable, "-m", "experiments.cli"]
    together = "import agents, envs, world_models, experiments"
    processes = {
        together: [sys.executable, "-c", together],
        "import of every part (experiments.commands)": [
            sys.executable, "-c", "import experiments.commands",
        ],
        "reverie --help": [*run, "--help"],
        "reverie list games": [*run, "list", "games"],
    }  # fmt: skip
    cpu = torch.device("cpu")
    return [
        row(name, "seconds", median(partial(_quiet, command), cpu, 5))
        for name, command in processes.items()
    ]


def episodic(sitting: Sitting) -> list[Row]:
    """Training and the bare stream in one run: the bare stream is timed before and after."""
    threads, steps = sitting.threads, sitting.options.steps
    experiment = replace(PRESETS["episodic"], steps=steps)
    before = bare_rate(experiment, threads, 5.0)
    options = TrainOptions(
        device=str(sitting.device),
        threads=threads,
        bare_seconds=0,
        checkpoint_minutes=60,
        quiet=True,
    )
    with tempfile.TemporaryDirectory() as folder:
        train(experiment, folder, options)
        rate = Run(folder).read_lines("metrics.jsonl")[-1]["time/mean_steps_per_second"]
    bare = (before + bare_rate(experiment, threads, 5.0)) / 2
    title = f"{experiment.env.title}, {experiment.streams} streams"
    name = f"training episodic, first {steps:,} steps, {title}"
    said, ratio = f"{rate / bare:.0%} of the bare stream", rate / bare
    return [
        row(f"bare stream, {title}", "steps_per_second", bare),
        row(name, "steps_per_second", rate, said, ratio_to_bare=ratio),
    ]


def tables(sitting: Sitting) -> list[Row]:
    """One action's table of 1,000,000 keys of length 64."""
    size, queries, device = 1_000_000, 32, sitting.device
    generator = torch.Generator().manual_seed(0)
    tables = NeighbourTables(1, 64, capacity=size, neighbours=11, device=device)
    for start in range(0, size, 100_000):
        keys = torch.randn(100_000, 64, generator=generator).to(device)
        tables.store(0, keys, torch.arange(start, start + 100_000, device=device), keys[:, 0])
    query = torch.randn(queries, 64, generator=generator).to(device)
    digest = torch.arange(size, size + queries, device=device)
    lookup = median(lambda: tables.estimate(query, digest), device)
    fresh = iter(range(2 * size, 3 * size, 100))
    evict = median(lambda: _store_new(tables, next(fresh), device), device)
    one = median(lambda: tables._make_room(0, 1), device)
    rest = [getattr(tables, name) for name in tables.columns]
    megabytes = (tables.keys.nbytes + sum(x.nbytes for x in rest)) / 1e6
    name = "a table of 1,000,000 keys: "
    return [
        row(f"{name}lookup of {queries} queries", "seconds", lookup),
        row(f"{name}one eviction", "seconds", one),
        row(f"{name}storing 100 new keys, 100 evicted", "seconds", evict),
        row(f"{name}memory", "megabytes", megabytes),
    ]


def densities(sitting: Sitting) -> list[Row]:
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
        rows.append(row(title, "frames_per_second", rate))
    return rows


def representations(sitting: Sitting) -> list[Row]:
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
        rate = 32 / median(partial(model.encode, looks), device, repeats=101)
        title = f"representation {name}: keys of 84 x 84 frames, {threads} threads"
        rows.append(row(title, "frames_per_second", rate))
        if config.learns:
            rate = 1 / median(partial(model.update, looks), device, repeats=5)
            title = f"representation {name}: updates of 32 frames, {threads} threads"
            rows.append(row(title, "updates_per_second", rate))
    return rows


def predictors(sitting: Sitting) -> list[Row]:
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
        imagined = size / median(partial(env.step, action), device)
        learned = batch / median(partial(model.update, lesson), device)
        title = f"predictor {name}: imagining in {size} dreams, {threads} threads"
        rows.append(row(title, "imagined_steps_per_second", imagined))
        title = f"predictor {name}: learning in batches of {batch}, {threads} threads"
        rows.append(row(title, "frames_per_second", learned))
    return rows


def _store_new(tables: NeighbourTables, first: int, device: torch.device) -> None:
    digests = torch.arange(first, first + 100, device=device)
    tables.store(0, torch.randn(100, 64, device=device), digests, torch.zeros(100, device=device))


def _quiet(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, cwd=Path(__file__).parent.parent)
