"""Short, seeded runs of every preset as digests of values: regression tests for refactorings.

Names do not enter a digest. Actions and rewards are compared on every machine; metrics and
parameters only on the kinds of machines that recorded them, because others differ by rounding.
"""

import hashlib
import json
import sys
from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.rnd import RNDConfig
from reverie.agents.dqn import DQNConfig
from reverie.agents.dyna import DynaConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.episodic.nec import NECConfig
from reverie.agents.go_explore import GoExploreConfig
from reverie.agents.informed import InformedConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.mpc import MPCConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.agents.pqn import PQNConfig
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.catch import CatchConfig
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.training.envs import make_batched_env
from reverie.world_models.density.pixelcnn import PixelCNNConfig
from reverie.world_models.prediction.feedforward import FeedforwardConfig
from reverie.world_models.prediction.rssm import TINY_RSSM

GOLDEN = Path(__file__).parent / "golden" / "trajectories.json"
THREADS = 1
PORTABLE = ("resets", "draws", "actions", "rewards")
"""The kinds of digests that are equal on every machine."""
ATARI = {"mfec", "mfec-beta-vae", "dqn", "dqn-cts", "dqn-simhash", "ppo", "pqn", "straw"}
"""Presets recorded on two envs of Breakout; the others are recorded on two envs of Catch."""
TINY = FeedforwardConfig(
    size="tiny", horizons=(1, 4), learning_rates=(3e-3, 1e-3), batch_sizes=(16, 8), updates=(60, 1)
)

SHORT_RSSM = replace(TINY_RSSM, units=16, deter=16, batch_size=8)


def shortened(name: str) -> Experiment:
    """Return the preset with the schedule of a short run in which every loss is computed."""
    experiment = replace(PRESETS[name], seed=11, num_envs=2, total_timesteps=300)
    agent = short_agent(experiment.agent, MLPConfig() if name not in ATARI else None)
    env: Any = CatchConfig()
    if name in ATARI:
        protocol = getattr(experiment.env, "protocol")  # noqa: B009
        env = AtariConfig("breakout", replace(protocol, frames_cap=240))
    bonus = experiment.bonus
    if isinstance(bonus, RNDConfig):
        bonus = replace(bonus, initial_frames=20, update_every=64)
    if isinstance(bonus, PseudoCountConfig) and isinstance(bonus.density, PixelCNNConfig):
        bonus = replace(bonus, density=replace(bonus.density, maps=4, blocks=1))
    return replace(experiment, agent=agent, env=env, bonus=bonus)


def short_agent(agent: AgentConfig, network: Any) -> AgentConfig:
    small = {} if network is None else {"network": network}
    if isinstance(agent, MFECConfig):
        representation: Any = agent.representation
        if hasattr(representation, "latent"):
            representation = replace(representation, latent=representation.latent.example())
        return replace(
            agent, representation=representation, fit_after=60, fit_updates=15, fit_batch_size=8,
            refit_every=200, epsilon=0.05,
        )  # fmt: skip
    if isinstance(agent, NECConfig):
        return replace(
            agent, key_size=8, num_neighbors=5, n_step=4, buffer_size=200, learning_starts=60,
            exploration_steps=200, batch_size=8, learning_rate=1e-3, **small,
        )  # fmt: skip
    if isinstance(agent, DQNConfig):
        return replace(
            agent, buffer_size=1000, learning_starts=60, exploration_steps=200, replay_ratio=0.25,
            target_network_frequency=40, batch_size=8, learning_rate=1e-3,
            random_shift=min(agent.random_shift, 1), **small,
        )  # fmt: skip
    if isinstance(agent, PPOConfig):
        return replace(
            agent, num_steps=16, bptt_length=8, update_epochs=min(2, agent.update_epochs),
            num_minibatches=min(2, agent.num_minibatches), learning_rate=1e-3, anneal_steps=1000,
            **small,
        )  # fmt: skip
    if isinstance(agent, GoExploreConfig):
        return replace(agent, explore_steps=8, capacity=20)
    if isinstance(agent, PQNConfig):
        return replace(
            agent, num_steps=16, num_minibatches=2, exploration_steps=200, learning_rate=1e-3,
            anneal_steps=1000, **small,
        )  # fmt: skip
    if isinstance(agent, DynaConfig):
        predictor = SHORT_RSSM if agent.predictor.has_latents else TINY
        return replace(
            agent, predictor=predictor, model_learning_starts=100, imagination_envs=4, horizon=9,
            imagination_every=20, inner=short_agent(agent.inner, network),
        )  # fmt: skip
    if isinstance(agent, MPCConfig):
        return replace(
            agent, predictor=TINY, model_learning_starts=100, samples=8, horizon=5, iterations=2
        )
    if isinstance(agent, InformedConfig):
        inner = short_agent(agent.inner, network)
        return replace(
            agent,
            predictor=TINY,
            model_learning_starts=100,
            exploration_steps=200,
            trajectory_length=4,
            inner=inner,
        )
    raise TypeError(agent)


def record(name: str) -> dict[str, str]:
    """Run a preset and return digests of its values by kind."""
    torch.set_num_threads(THREADS)
    experiment = shortened(name)
    envs = make_batched_env(experiment, torch.device("cpu"), threads=1)
    agent = experiment.agent.build(envs.spec, seed=experiment.seed, device="cpu")
    bonus = experiment.bonus.build(envs.spec, seed=experiment.seed, device="cpu")
    timesteps = experiment.total_timesteps // experiment.num_envs
    keys = agent.initial(experiment.num_envs)["rng"]
    actions, rewards, resets, metrics = [], [], [], []
    for t in islice(interact(envs, agent), timesteps):
        t = t.with_bonus(bonus(t))
        agent_metrics = agent.learn(t)
        resets += [t.step.obs[i] for i in t.step.first.nonzero()[:, 0].tolist()]
        actions.append(t.action)
        rewards += [t.next_step.reward.float(), t.next_step.discount, t.next_step.last]
        metrics += [t.bonus, *agent_metrics.values()]
    envs.close()
    return {
        "resets": digest(resets),
        "draws": digest([keys]),
        "actions": digest([torch.stack(actions).flatten()[:200]]),
        "rewards": digest(rewards),
        "metrics": digest(metrics),
        "parameters": digest(leaves([agent.state_dict(), bonus.state_dict()])),
    }


def random_draws() -> dict[str, str]:
    """Return the digest of draws of every kind and purpose."""
    roots = [prng.Purpose[x] for x in ("TRAIN", "EVAL", "COLLECT", "BUILD", "REPLAY", "DREAM")]
    draws: list[Any] = []
    for purpose in roots:
        rng = prng.initial_rng(5, purpose, 3)
        draws += [rng, prng.env_seeds(5, purpose, torch.tensor([0, 1, 7]), 2)]
        draws += [prng.bits(rng, 4, 2), prng.uniform(rng, 4, 2), prng.randint(rng, 18, 3)]
        draws += [prng.next_rng(rng), torch.tensor(prng.fold_in(5, 9))]
        draws += [(prng.normal(rng, 50, 1) * 1e4).round()]
    return {"draws": digest(draws)}


def leaves(state: Any) -> Iterator[Any]:
    """Yield every value of a state, in order."""
    if isinstance(state, dict | list | tuple):
        items = state.items() if isinstance(state, dict) else enumerate(state)
        for name, value in items:  # rewards are float64; their digests are those of float32
            yield from leaves(value.float() if name == "reward" else value)
    elif isinstance(state, Tensor | np.ndarray | int | float):
        yield state


def digest(values: Iterable[Any]) -> str:
    """Return sixteen hexadecimal digits of the SHA-256 of dtypes, shapes and bits."""
    sha = hashlib.sha256()
    for value in values:
        x = np.asarray(value.detach().cpu().contiguous() if isinstance(value, Tensor) else value)
        sha.update(f"{x.dtype}{x.shape}".encode())
        sha.update(np.ascontiguousarray(x).tobytes())
    return sha.hexdigest()[:16]


def machine() -> dict[str, Any]:
    """Return the properties of the machine on which rounding depends."""
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


def of_this_machine(records: dict[str, Any]) -> dict[str, dict[str, str]]:
    """Return the digests by preset that this kind of machine recorded."""
    this = next((x for x in records["machines"] if x["machine"] == machine()), None)
    if this is None:
        this = {"machine": machine(), "presets": {}}
        records["machines"].append(this)
    presets: dict[str, dict[str, str]] = this["presets"]
    return presets


def renew(names: list[str]) -> None:
    """Record presets (all without names), on each kind of machine, after an intended change.

    What other kinds of machines recorded of a preset that changed is removed.
    """
    records = json.loads(GOLDEN.read_text())
    records["prng"] = random_draws()
    own = of_this_machine(records)
    for name in names or PRESETS:
        new = record(name)
        portable = {kind: new.pop(kind) for kind in PORTABLE}
        if records["presets"].get(name) != portable or own.get(name, new) != new:
            for each in records["machines"]:
                each["presets"].pop(name, None)
        records["presets"][name], own[name] = portable, new
    for presets in (records["presets"], *(each["presets"] for each in records["machines"])):
        for name in [*presets]:
            if name not in PRESETS:
                del presets[name]
    GOLDEN.write_text(json.dumps(records, indent=1) + "\n")


if __name__ == "__main__":
    renew(sys.argv[1:])
