"""A representation of one's own: a class that encodes, and a config that names it.

In a script it is used as it is; on the command line as
``reverie train episodic --with own_representation agent.representation:rows``.
"""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from agents.episodic import EpisodicConfig
from envs.catch import CatchConfig
from envs.interface import Metrics
from experiments import Experiment, TrainOptions, evaluate, load, train
from world_models.interface import RepresentationConfig
from world_models.representation import REPRESENTATIONS


class RowSums:
    """How bright each row and each column is."""

    def __init__(self, obs_shape: tuple[int, int, int]) -> None:
        self.dim = obs_shape[0] * (obs_shape[1] + obs_shape[2])

    def update(self, frames: Tensor) -> Metrics:
        return {}

    def encode(self, obs: Tensor) -> Tensor:
        x = obs.float() / 255
        return torch.cat([x.sum(3).flatten(1), x.sum(2).flatten(1)], 1)

    def state_dict(self) -> dict[str, Any]:
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        pass


@dataclass(frozen=True)
class RowSumsConfig(RepresentationConfig):
    """Row and column sums as keys."""

    def build(
        self, *, obs_shape: tuple[int, int, int], seed: int = 0, device: torch.device | str = "cpu"
    ) -> RowSums:
        return RowSums(obs_shape)


REPRESENTATIONS["rows"] = RowSumsConfig

if __name__ == "__main__":
    agent = EpisodicConfig(representation=RowSumsConfig())
    experiment = Experiment(agent=agent, env=CatchConfig(), steps=5_000, streams=8)
    run = train(experiment, "runs/own-representation", TrainOptions(device="cpu", threads=1))
    print(evaluate(load(run.folder, device="cpu")[1], experiment.env, episodes=50))
