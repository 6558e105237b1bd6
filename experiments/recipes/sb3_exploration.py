"""PPO of Stable-Baselines3 in DeepSea, alone and with a bonus of this package around the envs."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from ...agents.bonuses.bonus import BonusConfig, NoBonusConfig
from ...agents.bonuses.bonus_wrapper import BonusWrapper
from ...agents.bonuses.density_bonus import PseudoCountConfig
from ...envs.deep_sea import DeepSeaConfig
from ..runs.provenance import code_version
from .recipe import Recipe

PPO_SETTINGS: dict[str, Any] = {"n_steps": 40, "n_epochs": 4, "learning_rate": 1e-3}
"""What differs from Stable-Baselines3's settings: rollouts of four episodes of each env."""


@dataclass(frozen=True)
class SB3Exploration(Recipe):
    """Whether Stable-Baselines3's PPO finds the treasure, by bonus and seed."""

    bonuses: tuple[tuple[str, BonusConfig], ...] = (
        ("none", NoBonusConfig()),
        ("pseudo-count (CTS)", PseudoCountConfig(scale=0.1)),
    )
    size: int = 10
    num_envs: int = 8
    total_timesteps: int = 8_000
    seeds: tuple[int, ...] = tuple(range(10))

    kind: ClassVar[str] = "sb3-exploration"

    @property
    def cost(self) -> str:
        return f"{len(self.bonuses) * len(self.seeds)} x {self.total_timesteps:,} steps"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        rows = []
        for name, bonus in self.bonuses:
            for seed in self.seeds:
                found = [score > 0.5 for score in self._returns(bonus, seed)]
                row = {"bonus": name, "seed": seed, "episodes": len(found), "found": sum(found)}
                rows.append(row | {"first": found.index(True) + 1 if any(found) else None})
                yield {"size": self.size, "rows": rows, "provenance": code_version()}

    def _returns(self, bonus: BonusConfig, seed: int) -> list[float]:
        """Train, and return the returns of all episodes without bonuses."""
        from stable_baselines3 import PPO

        from ...envs.sb3 import SB3VecEnv

        envs = SB3VecEnv(BonusWrapper(DeepSeaConfig(self.size).build(self.num_envs), bonus))
        agent = PPO("MlpPolicy", envs, seed=seed, device="cpu", **PPO_SETTINGS)
        returns: list[float] = []

        def note(local: dict[str, Any], _: dict[str, Any]) -> bool:
            returns.extend(float(x["episode"]["r"]) for x in local["infos"] if "episode" in x)
            return True  # goes on

        agent.learn(self.total_timesteps, note)
        return returns
