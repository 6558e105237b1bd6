"""Short, seeded runs of every preset, as digests of values: the net under a refactoring.

Names never enter a digest. Actions and rewards are compared everywhere; metrics and parameters only
where they were recorded, because processors of another kind differ in the last bits.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from agents.actor_critic import ActorCriticConfig
from agents.density_bonus import PseudoCountConfig
from agents.dqn import DQNConfig
from agents.dreamer import DreamerConfig
from agents.episodic import EpisodicConfig
from agents.informed import InformedConfig
from agents.interface import AgentConfig
from agents.loop import interact
from agents.networks import MLPConfig
from agents.shooting import ShootingConfig
from envs import dice
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.stream import Stream
from experiments.config import Experiment
from experiments.presets import PRESETS
from world_models.density.pixelcnn import PixelCNNConfig
from world_models.prediction.feedforward import FeedforwardConfig

GOLDEN = Path(__file__).parent / "golden" / "trajectories.json"
THREADS = 1
ATARI = {"episodic", "episodic-beta-vae", "dqn", "dqn-cts", "dqn-simhash", "actor-critic", "straw"}
"""Presets that are recorded on two copies of Breakout; the others on two boards of Catch."""
TINY = FeedforwardConfig(
    size="tiny", horizons=(1, 4), learning_rates=(3e-3, 1e-3), batches=(16, 8), updates=(60, 1)
)


def shortened(name: str) -> Experiment:
    """The preset with the schedule of a short run, in which each of its losses is computed."""
    experiment = replace(PRESETS[name], seed=11, streams=2, steps=300)
    agent = short_agent(experiment.agent, MLPConfig() if name not in ATARI else None)
    env: Any = CatchConfig()
    if name in ATARI:
        protocol = getattr(experiment.env, "protocol")  # noqa: B009
        env = AtariConfig("breakout", replace(protocol, frames_cap=240))
    bonus = experiment.bonus
    if isinstance(bonus, PseudoCountConfig) and isinstance(bonus.density, PixelCNNConfig):
        bonus = replace(bonus, density=replace(bonus.density, maps=4, blocks=1))
    return replace(experiment, agent=agent, env=env, bonus=bonus)


def short_agent(agent: AgentConfig, network: Any) -> AgentConfig:
    small = {} if network is None else {"network": network}
    if isinstance(agent, EpisodicConfig):
        representation = agent.representation
        if hasattr(representation, "latent"):
            representation = replace(representation, latent=4)
        return replace(
            agent, representation=representation, fit_after=60, fit_steps=15, fit_batch=8,
            refit_every=200, epsilon=0.05,
        )  # fmt: skip
    if isinstance(agent, DQNConfig):
        return replace(
            agent, capacity=1000, learning_starts=60, epsilon_steps=200, replay_ratio=0.25,
            target_every=10, batch=8, learning_rate=1e-3, **small,
        )  # fmt: skip
    if isinstance(agent, ActorCriticConfig):
        return replace(
            agent, horizon=16, backprop=8, epochs=2, minibatches=2, learning_rate=1e-3,
            anneal_steps=1000, **small,
        )  # fmt: skip
    if isinstance(agent, DreamerConfig):
        return replace(
            agent, predictor=TINY, model_starts=100, dreams=4, horizon=9, dream_every=20,
            inner=short_agent(agent.inner, network),
        )  # fmt: skip
    if isinstance(agent, ShootingConfig):
        return replace(agent, predictor=TINY, model_starts=100, samples=8, horizon=5, iterations=2)
    if isinstance(agent, InformedConfig):
        inner = short_agent(agent.inner, network)
        return replace(
            agent, predictor=TINY, model_starts=100, epsilon_steps=200, recent=4, inner=inner
        )
    raise TypeError(agent)


def record(name: str) -> dict[str, str]:
    """Run a preset, and say digests of what can be compared anywhere, and of what cannot."""
    torch.set_num_threads(THREADS)
    experiment = shortened(name)
    stream = Stream(experiment.env.build(experiment.streams, threads=1), seed=experiment.seed)
    agent = experiment.agent.build(stream.spec, seed=experiment.seed, device="cpu")
    bonus = experiment.bonus.build(stream.spec, seed=experiment.seed, device="cpu")
    ticks = experiment.steps // experiment.streams
    draws = list(agent.initial(experiment.streams).values())
    actions, rewards, resets, metrics = [], [], [], []
    for t in islice(interact(stream, agent), ticks):
        t = t.with_bonus(bonus(t))
        learned = agent.learn(t)
        resets += [t.step.obs[i] for i in t.step.first.nonzero()[:, 0].tolist()]
        actions.append(t.action)
        rewards += [t.next_step.reward, t.next_step.discount, t.next_step.last]
        metrics += [t.bonus, *learned.values()]
    stream.close()
    return {
        "resets": digest(resets),
        "draws": digest(draws),
        "actions": digest([torch.stack(actions).flatten()[:200]]),
        "rewards": digest(rewards),
        "metrics": digest(metrics),
        "parameters": digest(leaves([agent.state_dict(), bonus.state_dict()])),
    }


def prng() -> dict[str, str]:
    """Draws of every kind and purpose."""
    purposes: Any = ("train", "eval", "collect", "build", "replay", "dream")
    found: list[Any] = []
    for purpose in purposes:
        key = dice.keys(5, purpose, 3)
        found += [key, dice.env_seeds(5, purpose, torch.tensor([0, 1, 7]), 2)]
        found += [dice.bits(key, 4, 2), dice.uniform(key, 4, 2), dice.integers(key, 18, 3)]
        found += [dice.roll(key), torch.tensor(dice.fold(5, 9))]
        found += [(dice.normal(key, 50, 1) * 1e4).round()]
    return {"draws": digest(found)}


def leaves(state: Any) -> Iterator[Any]:
    """Every value of a state, in the order in which it is held."""
    if isinstance(state, dict | list | tuple):
        for value in state.values() if isinstance(state, dict) else state:
            yield from leaves(value)
    elif isinstance(state, Tensor | np.ndarray | int | float):
        yield state


def digest(values: Iterable[Any]) -> str:
    """Sixteen hexadecimal digits of types, shapes and bits."""
    total = hashlib.sha256()
    for value in values:
        x = np.asarray(value.detach().cpu().contiguous() if isinstance(value, Tensor) else value)
        total.update(f"{x.dtype}{x.shape}".encode())
        total.update(np.ascontiguousarray(x).tobytes())
    return total.hexdigest()[:16]


def machine() -> dict[str, Any]:
    """What the last bits of a product of floats depend on."""
    names = [
        line.partition(":")[2].strip()
        for line in Path("/proc/cpuinfo").read_text().splitlines()
        if line.startswith(("model name", "cpu family", "model\t"))
    ]
    return {
        "cpu": " ".join(dict.fromkeys(names)),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "torch": torch.__version__,
        "threads": THREADS,
    }


def renew() -> None:
    """Record all of them anew: on purpose, where a change means to change what agents do."""
    found = {"machine": machine(), "prng": prng()} | {name: record(name) for name in PRESETS}
    GOLDEN.parent.mkdir(exist_ok=True)
    GOLDEN.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    renew()
