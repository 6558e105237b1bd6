"""Constant actions: every action of a game, repeated for whole episodes."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from ...agents.policies import ConstantPolicy
from ...envs.atari.atari import AtariConfig
from ...envs.atari.protocol import PROTOCOLS
from ..evaluation.evaluate import evaluate
from ..runs.files import read_json, write_json
from ..runs.provenance import code_version
from .recipe import Recipe


@dataclass(frozen=True)
class ConstantActions(Recipe):
    """The scores of every constant action in some games, each under some protocols."""

    protocols: dict[str, tuple[str, ...]]
    """Names of the protocols by game."""
    episodes: int = 10
    frames_cap: int = 9_000
    """Frames after which an episode ends: a player that never dies would fill the protocol's."""

    kind: ClassVar[str] = "constant-actions"

    def measure(self, folder: Path) -> Iterator[dict[str, Any]]:
        """Yield the result after each game and protocol; finished ones are kept."""
        rows = []
        for game, protocol in ((x, y) for x, names in self.protocols.items() for y in names):
            path = folder / self.kind / f"{game}-{protocol}.json"
            if not path.exists():
                write_json(path, self._measure_game(game, protocol))
            rows.append(read_json(path))
            yield {"episodes": self.episodes, "frames_cap": self.frames_cap, "rows": rows}

    def _measure_game(self, game: str, protocol: str) -> dict[str, Any]:
        env = AtariConfig(game, replace(PROTOCOLS[protocol], frames_cap=self.frames_cap))
        names = env.action_names(0)
        scores = [
            evaluate(
                ConstantPolicy(action),
                env,
                episodes=self.episodes,
                num_envs=self.episodes,
                device="cpu",
                stochastic=True,  # without the protocol's random actions
            ).scores
            for action in range(len(names))
        ]
        return {
            "env_name": game,
            "protocol": protocol,
            "scores": dict(zip(names, scores, strict=True)),
            "provenance": code_version(),
        }
