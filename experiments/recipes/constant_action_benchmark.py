"""Constant actions: players that repeat one action of a game for whole episodes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from ...agents.policies import ConstantPolicy
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ..evaluation.evaluate import evaluate
from ..runs.provenance import code_version
from ..runs.scores import Scores
from .recipe import Recipe, kept


@dataclass(frozen=True)
class ConstantActions(Recipe):
    """The scores of constant actions in some games, each under some protocols.

    Every action is played for a few episodes, and the one with the best mean for more, with other
    seeds, so that its score is not that of a lucky choice.
    """

    protocols: dict[str, tuple[str, ...]]
    """Names of the protocols by game."""
    trial_episodes: int = 2
    """Episodes of every action."""
    episodes: int = 10
    """Episodes of the best one."""
    frames_cap: int = 9_000
    """Frames after which an episode ends: a player that never dies would fill the protocol's."""

    kind: ClassVar[str] = "constant-actions"

    @property
    def cost(self) -> str:
        return f"every action of {len(self.protocols)} games"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each game and protocol; finished ones are kept."""
        rows = []
        for game, protocol in ((x, y) for x, names in self.protocols.items() for y in names):
            path = folder / self.kind / f"{game}-{protocol}.json"
            settings = replace(self, protocols={game: (protocol,)})
            rows.append(kept(path, settings, partial(self._measure_game, game, protocol)))
            yield {"frames_cap": self.frames_cap, "rows": rows}

    def _measure_game(self, game: str, protocol: str) -> dict[str, Any]:
        env = AtariConfig(game, replace(PROTOCOLS[protocol], frames_cap=self.frames_cap))
        names = env.action_names(0)
        trials = [self._play(env, action, self.trial_episodes) for action in range(len(names))]
        best = max(range(len(names)), key=lambda action: trials[action].mean)
        return {
            "env_name": game,
            "protocol": protocol,
            "trials": {name: x.scores for name, x in zip(names, trials, strict=True)},
            "action": names[best],
            "scores": self._play(env, best, self.episodes, seed=1).scores,
            "provenance": code_version(),
        }

    def _play(self, env: AtariConfig, action: int, episodes: int, seed: int = 0) -> Scores:
        """Play whole episodes without the protocol's random actions."""
        policy = ConstantPolicy(action)
        return evaluate(
            policy,
            env,
            episodes=episodes,
            seed=seed,
            num_envs=episodes,
            device="cpu",
            stochastic=True,
        )
