"""An agent that learns in imagination alone, in rounds, with several seeds."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ...agents.ppo import PPOConfig
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ...envs.catch import CatchConfig
from ...world_models.prediction.feedforward import SMALL, TINY
from ..config.experiment import Experiment
from ..config.roles import part_name
from ..evaluation.evaluate import random_play
from ..reporting.committed import process_provenance
from ..training.imagine import ImagineOptions, imagine
from .recipe import SMALL_DQN, Recipe


@dataclass(frozen=True)
class RoundsBenchmark(Recipe):
    """Rounds of recording, fitting and training, as `reverie imagine` makes them."""

    experiment: Experiment
    """The agent and the real env."""
    options: ImagineOptions
    seeds: tuple[int, ...] = (0, 1, 2)

    kind: ClassVar[str] = "imagined-rounds"

    @property
    def cost(self) -> str:
        options = self.options
        return (
            f"{len(self.seeds)} x {options.rounds} rounds of {options.real_steps:,} real and "
            f"{options.imagined_steps:,} imagined steps"
        )

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        env, options, runs = self.experiment.env, self.options, list[dict[str, Any]]()
        random = random_play(env, episodes=100)
        agent, predictor = part_name(self.experiment.agent), part_name(options.predictor)
        for seed in self.seeds:
            experiment = replace(self.experiment, seed=seed)
            rounds = imagine(
                experiment, folder / f"{env.env_name}-{agent}-{predictor}-s{seed}", options
            )
            if len(rounds) < options.rounds:
                raise KeyboardInterrupt
            runs.append({"seed": seed, "rounds": rounds})
            yield {
                "agent": agent,
                "predictor": predictor,
                "env_name": env.env_name,
                "protocol": env.protocol_label,
                "imagined_steps": options.imagined_steps,
                "random": random.to_json(),
                "runs": runs,
                "provenance": process_provenance(),
            }


IMAGINED_ROUNDS = {
    "catch-imagined": RoundsBenchmark(
        Experiment(
            replace(SMALL_DQN, monte_carlo_weight=0.0, end_epsilon=0.02),
            CatchConfig(),
            num_envs=32,
        ),
        ImagineOptions(
            predictor=TINY,
            rounds=4,
            real_steps=2_000,
            num_updates=2_000,
            imagined_steps=30_000,
            horizon=16,
            eval_episodes=100,
            device="cpu",
            threads=1,
        ),
    ),
    **{
        f"{game}-imagined": RoundsBenchmark(
            Experiment(
                PPOConfig(num_steps=32, anneal_steps=0),
                AtariConfig(game, PROTOCOLS["atari100k"]),
                num_envs=64,
            ),
            # In all rounds as many steps as `pong-ppo` takes in the game itself.
            ImagineOptions(
                predictor=SMALL, imagined_steps=500_000, precision="bf16", device="cpu", threads=1
            ),
            seeds=(0,),
        )
        for game in ("pong", "freeway")
    },
}
"""By name; at most 100,000 real steps, as on Atari 100k."""
