"""Every part of every role on a GPU, or on a test double of one: see ``accelerator``.

A part takes tensors of any device where its protocol says so, returns them on its own, and has the
results of the CPU. A GPU's differ by rounding; those of the double are equal, so there an agent has
the CPU's actions.
"""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from dataclasses import fields, is_dataclass, replace
from itertools import islice
from pathlib import Path
from pkgutil import resolve_name
from typing import Any

import pytest
import torch
from accelerator import CPU, DEVICE, exchanges, unpinned_memory
from torch import Tensor

from reverie.agents.bonuses.bonus import BonusConfig
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.dqn import DQNConfig
from reverie.agents.dyna import DynaConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.networks import NETWORKS
from reverie.agents.policies import RandomPolicy
from reverie.agents.replay import Replay
from reverie.agents.simulator import ModelBasedConfig
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Segment, Stateful, Transition
from reverie.experiments.config.registry import AGENTS, BONUSES
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.world_models.density.capabilities import PixelwiseDensity
from reverie.world_models.density.complete import (
    can_complete,
    evidence_of,
    log_evidence,
    posterior_samples,
)
from reverie.world_models.interface import (
    Density,
    DensityConfig,
    PlannerConfig,
    PredictorConfig,
    RepresentationConfig,
)
from reverie.world_models.planning import PLANNERS
from reverie.world_models.precision import FLOAT32
from reverie.world_models.prediction import PREDICTORS
from reverie.world_models.prediction.ensemble import EnsembleConfig
from reverie.world_models.prediction.imagination import Imagination
from reverie.world_models.representation import REPRESENTATIONS

from sample_agents import (
    LAW_AGENTS,
    MFEC_VAE,
    PLANNER_EXAMPLES,
    SMALL_CATCH,
    SMALL_PPO,
    TINY,
    equal,
    leaves,
)
from sample_models import (
    DENSITY_EXAMPLES,
    NUM_ACTIONS,
    OBS_SHAPE,
    planner_features,
    random_frames,
    segment,
    start,
    still_segment,
)

DOUBLE = DEVICE.type != "cuda"
FRAMES = (6, 6)


@pytest.fixture(autouse=True)
def _memory() -> Iterator[None]:
    with unpinned_memory() if DOUBLE else nullcontext():
        yield


def small_envs(device: torch.device, num_envs: int = 4) -> BatchedEnv:
    return BatchedEnv(SMALL_CATCH.build(num_envs), seed=0, device=device)


def quick(config: AgentConfig) -> AgentConfig:
    """Return a config of few and small updates, which begin within ten timesteps."""
    if isinstance(config, DynaConfig):
        inner: Any = quick(config.inner)
        inner = replace(inner, learning_starts=0, monte_carlo_weight=0.0)
        config = replace(config, inner=inner, imagination_envs=4, horizon=3)
    if isinstance(config, ModelBasedConfig):
        predictor: Any = config.predictor
        if not predictor.has_latents:
            predictor = replace(TINY, batch_sizes=(4, 4))
        config = replace(
            config, predictor=predictor, model_learning_starts=32, model_replay_ratio=0.05
        )
    changes = {"learning_starts": 16, "fit_after": 32, "fit_updates": 4, "num_neighbors": 2}
    changes |= {"buffer_size": 2_000, "imagination_every": 32, "samples": 4, "iterations": 1}
    changes |= {"num_steps": 8, "bptt_length": 4, "num_minibatches": 2, "update_epochs": 1}
    names = {field.name for field in fields(config)} - {"inner"}
    return replace(config, **{name: x for name, x in changes.items() if name in names})


def train(agent: Any, device: torch.device, timesteps: int = 17) -> Tensor:
    """Return the actions of an agent that learns."""
    envs, actions = small_envs(device), []
    for t in islice(interact(envs, agent), timesteps):
        metrics = agent.learn(t)
        assert all(torch.as_tensor(x).isfinite().all() for x in metrics.values())
        actions.append(t.action.cpu())
    envs.close()
    return torch.stack(actions)


def saved_and_loaded(part: Stateful, folder: Path) -> dict[str, Any]:
    """Return the part's state from a checkpoint, whose tensors are on the CPU."""
    Checkpoints(folder).save(0, part.state_dict())
    state = Checkpoints(folder).load()
    assert state is not None
    assert all(x.device == CPU for x in leaves(state) if isinstance(x, Tensor))
    return state


def on_device(x: Any) -> bool:
    return bool(x.device.type == DEVICE.type)


def check_agent(config: AgentConfig, folder: Path) -> None:
    """It has the CPU's actions, and continues on either device from the other's checkpoint."""
    config = quick(config)
    envs = small_envs(CPU)
    cpu_agent, agent = (config.build(envs.spec, seed=0, device=d) for d in (CPU, DEVICE))
    envs.close()
    assert all(map(on_device, agent.initial(2).values()))
    cpu_actions, actions = train(cpu_agent, CPU), train(agent, DEVICE)
    if DOUBLE and not isinstance(config, ModelBasedConfig):  # a GPU's deconvolutions are others
        assert torch.equal(cpu_actions, actions)
    cpu_agent.load_state_dict(saved_and_loaded(agent, folder / "device"))
    train(cpu_agent, CPU, 2)
    agent.load_state_dict(saved_and_loaded(cpu_agent, folder / "cpu"))
    assert equal(
        saved_and_loaded(agent, folder / "again"), saved_and_loaded(cpu_agent, folder / "same")
    )
    train(agent, DEVICE, 2)


def small_density(name: str) -> DensityConfig:
    config = DENSITY_EXAMPLES[name]
    return replace(config, samples=4) if config.kind == "bound" else config  # type: ignore[call-arg]


def check_density(name: str, folder: Path) -> None:
    frames, config = random_frames(2, FRAMES, 4), small_density(name)
    results = []
    for device in (CPU, DEVICE):
        density: Density = config.build(shape=FRAMES, levels=4, seed=0, device=device)
        found = [density.log_prob(frames), *density.observe(frames.to(device))]
        density.load_state_dict(saved_and_loaded(density, folder / device.type))
        found += [*density.observe(frames), density.sample(2)]
        if isinstance(density, PixelwiseDensity):
            found.append(density.pixel_log_probs(frames.to(device)))
        if can_complete(density):
            known = torch.ones_like(frames, dtype=torch.bool)
            known[:, -1] = False
            evidence = evidence_of(frames, known, 4).to(device)
            found.append(log_evidence(density, evidence, particles=2, steps=2))
            found.append(posterior_samples(density, evidence, 1, particles=2, steps=2))
        assert {x.device.type for x in found} == {device.type}
        results.append([x.cpu() for x in found])
    if DOUBLE or config.kind != "bound":  # its noise is drawn by the device
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def representation(name: str) -> RepresentationConfig:
    entry = REPRESENTATIONS[name]
    return entry() if isinstance(entry, type) else entry


def moved_to(device: torch.device, segment: Segment) -> Segment:
    columns = {field.name: getattr(segment, field.name) for field in fields(segment)}
    moved: Any = {name: x.to(device) for name, x in columns.items() if isinstance(x, Tensor)}
    return replace(segment, **moved)


def check_representation(config: RepresentationConfig, folder: Path) -> None:
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (4, 1, 84, 84), dtype=torch.uint8, generator=generator)
    results = []
    for device in (CPU, DEVICE):
        model = config.build(obs_shape=(1, 84, 84), seed=0, device=device)
        batch = still_segment(obs, model.segment_length)
        model.update(moved_to(device, batch))
        model.load_state_dict(saved_and_loaded(model, folder / device.type))
        model.update(batch)  # of a buffer in host memory
        keys = [model.encode(obs), model.encode(obs.to(device))]
        assert {x.device.type for x in keys} == {device.type}
        results.append([x.cpu() for x in keys])
    if DOUBLE:
        torch.testing.assert_close(*results)


def check_predictor(config: PredictorConfig, folder: Path) -> None:
    """It learns on any device's segments, and predicts and imagines on its own."""
    results = []
    for device in (CPU, DEVICE):
        model = config.build(obs_shape=OBS_SHAPE, num_actions=NUM_ACTIONS, seed=1, device=device)
        batch = segment(2, model.batch_shape[1])
        model.update(batch)
        model.update(moved_to(device, batch))
        model.load_state_dict(saved_and_loaded(model, folder / device.type))
        action = torch.arange(4, device=device) % NUM_ACTIONS
        prediction, carry = model.predict(start(model, segment(4, model.context - 1)), action)
        contexts = segment(5, model.context - 1)
        envs = BatchedEnv(Imagination(model, contexts, 4, horizon=2, tensors=True), device=device)
        step = envs.reset()
        for _ in range(3):
            step = envs.step(action)
        found = [prediction.obs, prediction.reward, prediction.discount, step.obs, step.reward]
        assert {x.device.type for x in [*found, *carry.values()]} == {device.type}
        results.append([x.cpu() for x in found])
    if DOUBLE:
        torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


def check_planner(config: PlannerConfig) -> None:
    results = []
    for device in (CPU, DEVICE):
        features = planner_features(config, 3).to(device)
        width = features.shape[2]
        planner: Any = config.build(features=width, num_actions=4, seed=0, device=device)
        rng = prng.initial_rng(0, prng.Purpose.TRAIN, 8).to(device)
        carry = planner.initial(8) | {"rng": rng, "action": torch.zeros_like(rng), "age": rng * 0}
        for i in range(3):
            logits, carry, _ = planner.advance(features[i], carry, rng == rng[i])
            carry["rng"] = prng.next_rng(rng)
        if not config.needs_privileged:  # else nothing is learned
            logits.square().sum().backward()
        assert {x.device.type for x in [logits, *carry.values()]} == {device.type}
        results.append(logits.detach().cpu())
    torch.testing.assert_close(*results)


def check_bonus(config: BonusConfig, folder: Path) -> None:
    results = []
    for device in (CPU, DEVICE):
        envs = small_envs(device, 2)
        bonus = config.build(envs.spec, seed=0, device=device)
        play = interact(envs, RandomPolicy(envs.spec.num_actions))
        found = [bonus(t) for t in islice(play, 3)]
        bonus.load_state_dict(saved_and_loaded(bonus, folder / device.type))
        found.append(bonus(next(play)))
        envs.close()
        assert {x.device.type for x in found} == {device.type}
        results.append(torch.stack(found).cpu())
    torch.testing.assert_close(*results, rtol=1e-3, atol=1e-3)


AGENT_CASES: dict[str, AgentConfig] = LAW_AGENTS | {
    "lstm": replace(SMALL_PPO, lstm=8),
    "intrinsic-value": replace(SMALL_PPO, intrinsic_value=True),
    "strawe": replace(SMALL_PPO, planner=PLANNER_EXAMPLES["strawe"]),
    "replay-on-device": DQNConfig(network=SMALL_PPO.network, replay_on_device=True),
    "mfec-refit": replace(MFEC_VAE, refit_every=40),
}


@pytest.mark.parametrize("config", AGENT_CASES.values(), ids=list(AGENT_CASES))
def test_an_agent(config: AgentConfig, tmp_path: Path) -> None:
    check_agent(config, tmp_path)


@pytest.mark.parametrize("name", DENSITY_EXAMPLES)
def test_a_density(name: str, tmp_path: Path) -> None:
    check_density(name, tmp_path)


@pytest.mark.parametrize("name", REPRESENTATIONS)
def test_a_representation(name: str, tmp_path: Path) -> None:
    check_representation(representation(name), tmp_path)


@pytest.mark.parametrize("name", NETWORKS)
def test_a_network(name: str) -> None:
    obs = torch.arange(2 * 44 * 44).remainder(256).to(torch.uint8).view(2, 1, 44, 44)
    results = []
    for device in (CPU, DEVICE):
        with prng.seeded(0):
            network = NETWORKS[name]().build((1, 44, 44), FLOAT32).to(device)
        features = network(obs.to(device))
        features.sum().backward()
        assert features.device.type == device.type
        results.append(features.detach().cpu())
    torch.testing.assert_close(*results)


def small_predictor(name: str) -> PredictorConfig:
    entry = PREDICTORS[name]
    config: PredictorConfig = entry() if isinstance(entry, type) else entry
    if isinstance(config, EnsembleConfig):
        return replace(config, member=small_predictor("tiny"))
    changes: dict[str, Any] = {
        "size": "tiny",
        "hidden": (16, 32, 32, 16),
        "horizons": (2,),
        "updates": (1,),
    }
    changes |= {"learning_rates": (1e-3,), "batch_sizes": (2,)}
    changes |= {"deter": 16, "units": 16, "segment_length": 4}
    return replace(config, **{name: x for name, x in changes.items() if hasattr(config, name)})


@pytest.mark.parametrize("name", [name for name, x in PREDICTORS.items() if x.trainable])
def test_a_predictor(name: str, tmp_path: Path) -> None:
    check_predictor(small_predictor(name), tmp_path)


@pytest.mark.parametrize("name", PLANNERS)
def test_a_planner(name: str) -> None:
    check_planner(PLANNER_EXAMPLES.get(name, PLANNERS[name]()))


@pytest.mark.parametrize("name", BONUSES)
def test_a_bonus(name: str, tmp_path: Path) -> None:
    check_bonus(BONUSES[name]().example(), tmp_path)


@pytest.mark.parametrize("name", DENSITY_EXAMPLES)
def test_a_bonus_of_a_density(name: str, tmp_path: Path) -> None:
    check_bonus(PseudoCountConfig(density=small_density(name), resolution=6), tmp_path)


def test_a_replay_samples_the_same_on_either_device() -> None:
    envs = small_envs(DEVICE)
    replays = [
        Replay(envs.spec, capacity=400, gamma=0.9, device=device) for device in (CPU, DEVICE)
    ]
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 30):
        for replay in replays:
            replay.append(t, t.next_step.reward.float())
    envs.close()
    a, b = (replay.sample(32).to(DEVICE) for replay in replays)
    for field in fields(a):
        x, y = getattr(a, field.name), getattr(b, field.name)
        assert on_device(x)
        assert on_device(y)
        assert torch.equal(x, y)


def test_random_numbers_are_those_of_the_cpu() -> None:
    rng = prng.initial_rng(3, prng.Purpose.TRAIN, 16)
    assert torch.equal(prng.next_rng(rng), prng.next_rng(rng.to(DEVICE)).cpu())
    assert torch.equal(prng.randint(rng, 7, 1), prng.randint(rng.to(DEVICE), 7, 1).cpu())
    torch.testing.assert_close(prng.normal(rng, 5), prng.normal(rng.to(DEVICE), 5).cpu())
    with prng.seeded(1, DEVICE):
        first = torch.rand(3, device=DEVICE)
    torch.rand(3, device=DEVICE)
    with prng.seeded(1, DEVICE):
        assert torch.equal(torch.rand(3, device=DEVICE), first)


def test_observations_are_those_of_the_cpu() -> None:
    config, devices = AtariConfig("pong"), (CPU, DEVICE)
    envs = [BatchedEnv(config.build(2, threads=1), seed=4, device=device) for device in devices]
    on_cpu, step = (each.reset() for each in envs)
    for timestep in range(6):
        action = torch.full((2,), timestep % 6)
        assert torch.equal(on_cpu.obs, step.obs.cpu())
        assert on_device(step.obs)
        assert step.frame.device == CPU
        on_cpu, step = envs[0].step(action), envs[1].step(action.to(DEVICE))
    for each in envs:
        each.close()


LEFT_ON_THE_CPU: dict[str, tuple[str, Callable[[Path], None]]] = {
    "density": (
        "reverie.world_models.density.histogram.Histogram.pixel_log_probs",
        lambda folder: check_density("histogram", folder),
    ),
    "representation": (
        "reverie.world_models.likelihoods.GaussianPixels.values",
        lambda folder: check_representation(representation("vae"), folder),
    ),
    "predictor": (
        "reverie.world_models.prediction.recurrent.RecurrentNetwork.initial",
        lambda folder: check_predictor(small_predictor("recurrent"), folder),
    ),
    "planner": (
        "reverie.world_models.planning.straw.shift",
        lambda folder: check_planner(PLANNER_EXAMPLES["straw"]),
    ),
    "agent": (
        "reverie.agents.dqn.DQN.initial",
        lambda folder: check_agent(LAW_AGENTS["dqn"], folder),
    ),
    "bonus": (
        "reverie.agents.bonuses.density_bonus.bonus_of_next",
        lambda folder: check_bonus(BONUSES["pseudo-count"](), folder),
    ),
    "replay": (
        "reverie.agents.replay.Batch.to",
        lambda folder: check_agent(LAW_AGENTS["dqn"], folder),
    ),
}
"""By role: a function whose results are left on the CPU, and the check that must find it."""


@pytest.mark.parametrize("role", LEFT_ON_THE_CPU)
def test_a_result_that_is_left_on_the_cpu_is_found(
    role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, check = LEFT_ON_THE_CPU[role]
    function = resolve_name(path)
    monkeypatch.setattr(path, lambda *x, **settings: moved_to_cpu(function(*x, **settings)))
    with pytest.raises((RuntimeError, AssertionError)):
        check(tmp_path)


def moved_to_cpu(x: Any) -> Any:
    if is_dataclass(x) and not isinstance(x, type):
        columns = {field.name: moved_to_cpu(getattr(x, field.name)) for field in fields(x)}
        return replace(x, **columns)
    if isinstance(x, dict):
        return {name: moved_to_cpu(value) for name, value in x.items()}
    return x.cpu() if isinstance(x, Tensor) else x


EXCHANGES: dict[str, tuple[list[str], list[str]]] = {
    "ppo": ([], []),
    "pqn": ([], []),
    "dqn": ([], ["to host", "to host"]),  # the columns of the replay buffer, and the true state
    # Which actions have enough keys, and which are crowded; which episodes end.
    "mfec": (["to device", "to host"], ["to host"]),
}
"""What acting and learning exchange with the device at a timestep without an update, beside the
actions that go to the emulators and the time step that comes from them."""


@pytest.mark.skipif(not DOUBLE, reason="a GPU does not count")
@pytest.mark.parametrize("name", sorted(EXCHANGES.keys() & AGENTS.keys()))
def test_a_timestep_exchanges_no_more_with_the_device(name: str) -> None:
    acting, learning = EXCHANGES[name]
    envs = small_envs(DEVICE)
    agent = quick(LAW_AGENTS[name]).build(envs.spec, seed=0, device=DEVICE)
    play, num_compared = interact(envs, agent), 0
    for timestep in range(30):
        with exchanges() as found:
            t = next(play)
        stepping = list(found)
        with exchanges() as found:
            metrics = agent.learn(t)
        updated = any(name.startswith("losses/") for name in metrics)
        if timestep >= 16 and not updated and not episodes_end(t):
            assert stepping == [*acting, "to host", "to device"]
            assert found == learning
            num_compared += 1
    envs.close()
    assert num_compared > 5


def episodes_end(t: Transition) -> bool:
    return bool(t.next_step.last.any())


@pytest.mark.skipif(not DOUBLE, reason="a law of the double")
def test_the_double_refuses_what_a_gpu_refuses() -> None:
    x, y = torch.zeros(3, device=DEVICE), torch.ones(3)
    number, index = torch.tensor(1.0), torch.tensor([0, 2])
    for allowed in (x + number, number * x, x[index], torch.where(x == 0, number, x), x.clone()):
        assert on_device(allowed)
    refused: list[Callable[[], Any]] = [
        lambda: x + y,
        lambda: y + x[0],
        lambda: number.add_(x[0]),
        lambda: y[index.to(DEVICE)],
        lambda: x.index_select(0, index),
        lambda: torch.cat([x, y]),
        lambda: x @ y,
        lambda: torch.where(y > 0, x, y),
        lambda: torch.rand(3, device=DEVICE, generator=torch.Generator()),
        lambda: torch.nn.Linear(3, 1)(x),
    ]
    for refuse in refused:
        with pytest.raises(RuntimeError):
            refuse()
    with pytest.raises(TypeError):
        x.numpy()
    x[0] = 5
    x[1:].copy_(y[1:])
    assert x.tolist() == [5, 1, 1]
    with exchanges() as found:
        x.to(CPU), y.to(DEVICE), y.to(DEVICE, non_blocking=True), bool(x.all()), x[x > 1]
    assert found == ["to host", "to device, waiting", "to device", "item", "nonzero"]
