r"""A custom representation: a class that encodes observations, and its registered config.

On the command line, in the folder of this file or with that folder in PYTHONPATH::

    reverie train mfec --import own_representation agent.representation:rows env:catch \
        --total-timesteps 5000 --num-envs 8 --folder runs/rows
    reverie evaluate runs/rows --import own_representation
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from reverie import Experiment, TrainOptions, evaluate, load, register, train
from reverie.agents.episodic.mfec import MFECConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import Metrics, Segment
from reverie.world_models.interface import RepresentationConfig
from reverie.world_models.precision import FLOAT32, Precision
from reverie.world_models.state import HasState


class RowSums(HasState):
    """Encodes an observation as the brightness of each row and each column."""

    segment_length = 0  # it learns nothing

    def __init__(self, obs_shape: tuple[int, int, int]) -> None:
        self.dim = obs_shape[0] * (obs_shape[1] + obs_shape[2])

    def update(self, segment: Segment) -> Metrics:
        return {}

    def encode(self, obs: Tensor) -> Tensor:
        x = obs.float() / 255
        return torch.cat([x.sum(3).flatten(1), x.sum(2).flatten(1)], 1)


@register("rows")
@dataclass(frozen=True)
class RowSumsConfig(RepresentationConfig):
    """Settings of RowSums (there are none)."""

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> RowSums:
        return RowSums(obs_shape)


if __name__ == "__main__":
    agent = MFECConfig(representation=RowSumsConfig())
    experiment = Experiment(agent=agent, env=CatchConfig(), total_timesteps=5_000, num_envs=8)
    run = train(experiment, "runs/own-representation", TrainOptions(device="cpu", threads=1))
    print(evaluate(load(run.folder, device="cpu")[1], experiment.env, episodes=50))
