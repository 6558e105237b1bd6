"""Model-free episodic control (Blundell et al. 2016, Algorithm 1) for one env, in plain numpy.

It shares no code with the agent: distances to every key in float64, dictionaries of whole frames,
returns summed backwards. As in the agent, an action with fewer than k keys is always tried. Tables
have no capacity, which the steps here do not reach. It is written to be read and exact; the numpy
contender of the races (`bench/plain_mfec.py`) is written to be fast.

As a script it follows the agent on Q*bert from one start, with the agent's draws, for many seeds.
"""

import argparse
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Carry, Metrics, TimeStep, Transition
from reverie.envs.prng import Purpose
from reverie.experiments.reporting.committed import RESULTS, process_provenance
from reverie.experiments.runs.files import write_json
from reverie.world_models.representation.projection import Projection

Draws = tuple[NDArray[np.float32], bool, int]
"""A number per action, the greatest of which breaks a tie; whether to explore; how."""
Frame = NDArray[np.uint8]
EPSILON = 0.005


class NumpyMFEC:
    """A table per action of frames, their keys and the greatest return that followed each."""

    def __init__(self, projection: NDArray[np.float64], num_actions: int, rows: int) -> None:
        self.projection, self.k = projection, 11
        self.row: list[dict[bytes, int]] = [{} for _ in range(num_actions)]
        self.keys = np.zeros((num_actions, rows, projection.shape[1]))
        self.returns = np.full((num_actions, rows), -np.inf)
        self.episode: list[tuple[Frame, int, float]] = []

    def act(self, frame: Frame, draws: Draws) -> int:
        """Return an epsilon-greedy action."""
        ties, explores, random_action = draws
        if explores:
            return random_action
        values = np.array([self.value(frame, action) for action in range(len(self.row))])
        return int(np.where(values == values.max(), ties, -1.0).argmax())

    def value(self, frame: Frame, action: int) -> float:
        """Return the frame's own return, or else the mean of the k nearest keys' (eq. 2)."""
        count = len(self.row[action])
        if count < self.k:
            return np.inf
        own = self.row[action].get(frame.tobytes())
        if own is not None:
            return float(self.returns[action, own])
        key = frame.ravel() @ self.projection
        distance = np.square(self.keys[action, :count] - key).sum(1)
        return float(self.returns[action, np.argpartition(distance, self.k - 1)[: self.k]].mean())

    def observe(self, frame: Frame, action: int, reward: float, *, last: bool) -> None:
        """Keep a timestep; after the last one of an episode, update the tables (eq. 1)."""
        self.episode.append((frame, action, reward))
        if not last:
            return
        total = 0.0
        for frame, action, reward in reversed(self.episode):
            total += reward
            row = self.row[action].setdefault(frame.tobytes(), len(self.row[action]))
            self.keys[action, row] = frame.ravel() @ self.projection
            self.returns[action, row] = max(self.returns[action, row], total)
        self.episode = []


class NumpyPolicy:
    """The numpy algorithm in the agent-environment loop, with the draws of an agent of a seed."""

    def __init__(self, projection: NDArray[np.float64], num_actions: int, rows: int, seed: int):
        self.tables, self.seed = NumpyMFEC(projection, num_actions, rows), seed
        self.num_actions = num_actions

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(self.seed, Purpose.TRAIN, n)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        rng = carry["rng"]
        draws = (
            prng.uniform(rng, self.num_actions, Purpose.TIE_BREAK)[0].numpy(),
            bool(prng.uniform(rng, 1, Purpose.EXPLORE) < EPSILON),
            int(prng.randint(rng, self.num_actions, Purpose.ACTION)),
        )
        action = self.tables.act(step.obs[0].numpy(), draws)
        return ActOutput(torch.tensor([action]), {"rng": prng.next_rng(rng)})

    def learn(self, t: Transition) -> Metrics:
        if t.valid:
            reward, last = float(t.next_step.reward), bool(t.next_step.last)
            frame = t.step.obs[0].numpy().copy()
            self.tables.observe(frame, int(t.action), reward, last=last)
        return {}


def qbert(seed: int) -> BatchedEnv:
    """Return one env of Q*bert without chance, whose games begin equal."""
    protocol = replace(PROTOCOLS["mfec"], noops=0)
    return BatchedEnv(AtariConfig("qbert", protocol).build(1), seed=seed)


def in_lockstep(seed: int, steps: int) -> tuple[int, list[float]]:
    """Play with the agent; return at how many timesteps the numpy algorithm would have acted
    differently, given the same projection and draws, and the scores of the games.
    """
    envs = qbert(seed)
    agent = MFECConfig().build(envs.spec, seed=seed)
    assert isinstance(agent.representation, Projection)
    projection = agent.representation.matrix.double().numpy()
    plain = NumpyPolicy(projection, envs.spec.num_actions, steps, seed)
    differing, scores, score = 0, list[float](), 0.0
    for t in islice(interact(envs, agent), steps):
        if t.valid:
            differing += not plain.act(t.step, t.carry).action.equal(t.action)
            score += float(t.next_step.reward)
        agent.learn(t)
        plain.learn(t)
        if t.next_step.last:
            scores.append(score)
            score = 0.0
    envs.close()
    return differing, scores


def main() -> None:
    """Play in lockstep and write what differs."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=10)
    parser.add_argument("--steps", type=int, default=25_000)
    parser.add_argument("--out", type=Path, default=RESULTS / "trials" / "numpy-mfec.json")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    rows: list[dict[str, Any]] = []
    for seed in range(flags.seeds):
        differing, scores = in_lockstep(seed, flags.steps)
        rows.append({"seed": seed, "differing_actions": differing, "scores": scores})
        print(f"seed {seed}: {differing} actions differ, scores {scores[-10:]}", flush=True)
        result = {
            "name": flags.out.stem,
            "command": f"python tests/numpy_mfec.py --seeds {flags.seeds} --steps {flags.steps}",
            "kind": "numpy-mfec",
            "steps": flags.steps,
            "seeds": rows,
            "provenance": process_provenance(),
        }
        write_json(flags.out, result)


if __name__ == "__main__":
    main()
