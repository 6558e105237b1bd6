"""Benchmarks of single parts, each timed separately."""

import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from itertools import islice
from pathlib import Path

import torch

from ...agents.episodic.neighbor_tables import NeighborTables
from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...agents.replay import Replay
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.batched_env import BatchedEnv
from ...envs.catch import CatchConfig
from ...envs.interface import EnvConfig, EnvSpec, Segment, Transition
from ...world_models.density import DENSITIES
from ...world_models.density.pixelcnn import PixelCNNConfig
from ...world_models.density.quantization import quantize_frames
from ...world_models.interface import PredictorConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.prediction.emulator import EmulatorConfig
from ...world_models.prediction.feedforward import SMALL
from ...world_models.prediction.imagination import Imagination
from ...world_models.prediction.latent_dreams import LatentDreams, LatentPredictor
from ...world_models.prediction.rssm import SMALL_RSSM
from ...world_models.representation import REPRESENTATIONS
from ..runs.checkpoints import Checkpoints
from .session import BenchSession, Row, median, row


def commands(session: BenchSession) -> Iterator[Row]:
    """Measure whole processes, by the median of five."""
    main = [sys.executable, "-m", "reverie.experiments.cli.main"]
    every_part = "reverie.experiments.ablation.ablate"
    processes = {
        "import reverie": [sys.executable, "-c", "import reverie"],
        f"import of every part ({every_part})": [sys.executable, "-c", f"import {every_part}"],
        "reverie --help": [*main, "--help"],
        "reverie list games": [*main, "list", "games"],
    }
    quietly = partial(subprocess.run, check=True, capture_output=True)
    for name, command in processes.items():
        yield row(name, "seconds", median(partial(quietly, command), repeats=5))


def replay(session: BenchSession) -> Iterator[Row]:
    """Measure appending a timestep of 8 envs, and sampling a batch of 32 with frame stacks."""
    spec, transitions = _random_play("breakout", "nature", 8, 300)
    buffer = Replay(spec, capacity=20_000, gamma=0.99, monte_carlo=False)
    for t in transitions:
        buffer.append(t, t.next_step.reward)
    fresh = iter(transitions * 10)
    append = median(lambda: buffer.append(t := next(fresh), t.next_step.reward), repeats=200)
    yield row("replay: appending a timestep of 8 envs", "seconds", append)
    sample = median(lambda: buffer.sample(32), repeats=200)
    yield row("replay: sampling a batch of 32", "seconds", sample)


def checkpoints(session: BenchSession) -> Iterator[Row]:
    """Measure a checkpoint of a replay of 1,000,000 frames, and others 10,000 frames later.

    The first checkpoint writes 7 GB below ``runs/``.
    """
    frames = torch.empty(1_000_000, 84, 84, dtype=torch.uint8)
    for part in torch.split(frames, 50_000):
        part.random_()
    Path("runs").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir="runs") as folder:
        store, times = Checkpoints(Path(folder)), []
        for begin in range(0, 40_000, 10_000):
            start = time.perf_counter()
            store.save(begin, {"frames": frames})
            times.append(time.perf_counter() - start)
            frames[begin : begin + 10_000].random_()
    name = "checkpoint of a replay of 1,000,000 frames: "
    yield row(f"{name}the first", "seconds", times[0])
    yield row(f"{name}the next, 10,000 frames later", "seconds", statistics.median(times[1:]))


def tables(session: BenchSession) -> Iterator[Row]:
    """Measure one action's table of 1,000,000 keys of length 64."""
    size, num_queries, device = 1_000_000, 32, session.device
    name = "a table of 1,000,000 keys: "
    generator = torch.Generator().manual_seed(0)
    tables = NeighborTables(1, 64, capacity=size, num_neighbors=11, device=device)
    for start in range(0, size, 100_000):
        keys = torch.randn(100_000, 64, generator=generator).to(device)
        tables.update(0, keys, torch.arange(start, start + 100_000, device=device), keys[:, 0])
    queries = torch.randn(num_queries, 64, generator=generator).to(device)
    digests = torch.arange(size, size + num_queries, device=device)
    lookup = median(lambda: tables.estimate(queries, digests), device)
    yield row(f"{name}lookup of {num_queries} queries", "seconds", lookup)
    new_keys = torch.randn(100, 64, device=device)
    fresh = iter(torch.arange(2 * size, 3 * size, device=device).reshape(-1, 100))
    replacing = median(lambda: tables.update(0, new_keys, next(fresh), new_keys[:, 0]), device)
    yield row(f"{name}storing 100 new keys, 100 evicted", "seconds", replacing)
    eviction = median(lambda: tables._allocate(0, 1), device)
    yield row(f"{name}one eviction", "seconds", eviction)
    columns = [getattr(tables, column) for column in tables.columns]
    megabytes = (tables.keys.nbytes + sum(x.nbytes for x in columns)) / 1e6
    yield row(f"{name}memory", "megabytes", megabytes)


def densities(session: BenchSession) -> Iterator[Row]:
    """Measure the frames per second that each density learns, in batches of 32 of random play."""
    _, transitions = _random_play("montezuma_revenge", "machado", 32, 300)
    batches = [quantize_frames(t.next_step.frame, (42, 42), 8) for t in transitions]
    configs = {name: x() if isinstance(x, type) else x for name, x in DENSITIES.items()}
    configs["pixel-cnn, joint updates"] = PixelCNNConfig(update_per_frame=False)
    for name, config in configs.items():
        density = config.build(shape=(42, 42), levels=8, device=session.device)
        for batch in batches[:3]:  # warm-up, including compilation
            density.observe(batch)
        num_frames, begin = 0, time.perf_counter()
        for batch in batches[3:]:
            density.observe(batch)
            num_frames += len(batch)
            if time.perf_counter() - begin > 5:
                break
        rate = num_frames / (time.perf_counter() - begin)
        title = f"density {name}: learning 42 x 42 x 8 frames, {session.threads} threads"
        yield row(title, "frames_per_second", rate)


def representations(session: BenchSession) -> Iterator[Row]:
    """Measure encoding in batches of 32, and updates of models that learn."""
    device, threads = session.device, session.threads
    obs = torch.randint(256, (32, 1, 84, 84), dtype=torch.uint8, device=device)
    configs = {
        name: x() if isinstance(x, type) else x
        for name, x in REPRESENTATIONS.items()
        if not x.needs_privileged
    }
    variants = [(name, config, FLOAT32) for name, config in configs.items()]
    variants.append(("vae, bf16", configs["vae"], Precision("bf16")))
    for name, config, precision in variants:
        model = config.build(obs_shape=(1, 84, 84), device=device, precision=precision)
        rate = 32 / median(partial(model.encode, obs), device, repeats=101)
        title = f"representation {name}: encoding 84 x 84 frames, {threads} threads"
        yield row(title, "frames_per_second", rate)
        if config.trainable:
            segment = _random_segment(32, model.segment_length, (1, 84, 84))
            rate = 1 / median(partial(model.update, segment), device, repeats=5)
            title = f"representation {name}: updates of 32 frames, {threads} threads"
            yield row(title, "updates_per_second", rate)


def predictors(session: BenchSession) -> Iterator[Row]:
    """Measure imagined steps and one-step updates with observations of 4 x 84 x 84."""
    for precision in (FLOAT32, Precision("bf16")):
        yield from predictor(session, "small", SMALL, (4, 84, 84), precision=precision)
    yield from predictor(session, "small-rssm", SMALL_RSSM, (4, 84, 84))
    for env in (CatchConfig(), AtariConfig("breakout", PROTOCOLS["machado"])):
        yield from emulator(session, env)


def predictor(
    session: BenchSession,
    name: str,
    config: PredictorConfig,
    obs_shape: tuple[int, int, int],
    *,
    channels: int = 1,
    num_envs: int = 256,
    precision: Precision = FLOAT32,
) -> Iterator[Row]:
    """Measure imagined steps of a predictor, and the predicted frames that it learns from."""
    device, threads = session.device, session.threads
    model = config.build(
        obs_shape=obs_shape, num_actions=6, channels=channels, device=device, precision=precision
    )
    name += "" if precision == FLOAT32 else f", {precision.name}"
    batch_size, timesteps = model.batch_shape
    segment = _random_segment(batch_size, timesteps, obs_shape)
    starts = _random_segment(num_envs, model.context, obs_shape)
    env = Imagination(model, starts, num_envs, tensors=True)
    env.reset(seed=0)
    action = torch.zeros(num_envs, dtype=torch.int64, device=device)
    imagined = num_envs / median(partial(env.step, action), device)
    num_frames = batch_size * (timesteps - model.context + 1)
    if isinstance(model, LatentPredictor):  # which learns from every observation
        num_frames = batch_size * (timesteps + 1)
    learned = num_frames / median(partial(model.update, segment), device)
    title = f"predictor {name}: imagination in {num_envs} envs, {threads} threads"
    yield row(title, "imagined_steps_per_second", imagined)
    if isinstance(model, LatentPredictor):
        env = Imagination(LatentDreams(model), starts, num_envs, tensors=True)
        env.reset(seed=0)
        title = f"predictor {name}: latent dreams in {num_envs} envs, {threads} threads"
        rate = num_envs / median(partial(env.step, action), device)
        yield row(title, "imagined_steps_per_second", rate)
    title = f"predictor {name}: learning in batches of {batch_size}, {threads} threads"
    yield row(title, "frames_per_second", learned)


def emulator(session: BenchSession, env: EnvConfig, *, num_envs: int = 8) -> Iterator[Row]:
    """Measure steps of the env itself as a predictor."""
    envs = BatchedEnv(env.build(num_envs, threads=1), device=session.device, snapshots=True)
    model, step = EmulatorConfig().build_for(envs.spec, device=session.device), envs.reset()
    carry = model.start_from(step.obs, step.snapshot)
    action = torch.zeros(num_envs, dtype=torch.int64, device=session.device)
    rate = num_envs / median(partial(model.predict, carry, action), session.device)
    envs.close()
    title = f"predictor emulator: imagination of {env.env_name} in {num_envs} envs"
    yield row(f"{title}, {session.threads} threads", "imagined_steps_per_second", rate)


def _random_play(
    game: str, protocol: str, num_envs: int, num_timesteps: int
) -> tuple[EnvSpec, list[Transition]]:
    """Return the spec of some envs of a game, and their transitions under random play."""
    envs = BatchedEnv(AtariConfig(game, PROTOCOLS[protocol]).build(num_envs))
    loop = interact(envs, RandomPolicy(envs.spec.num_actions))
    transitions = list(islice(loop, num_timesteps))
    envs.close()
    return envs.spec, transitions


def _random_segment(batch_size: int, timesteps: int, obs_shape: tuple[int, int, int]) -> Segment:
    """Return segments of random observations."""
    size = batch_size, timesteps
    obs = torch.randint(256, (batch_size, timesteps + 1, *obs_shape), dtype=torch.uint8)
    zeros, false = torch.zeros(size), torch.zeros(batch_size, timesteps + 1, dtype=torch.bool)
    return Segment(zeros.long(), obs, zeros, zeros, zeros + 1, false, false)
