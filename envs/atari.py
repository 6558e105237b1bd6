"""Atari: ale_py's C++ vector environment under a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ale_py import Action
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from envs.games import check_game
from envs.interface import EnvConfig
from envs.protocol import PROTOCOLS, AtariProtocol
from envs.shadow import Shadow


@dataclass(frozen=True)
class AtariConfig(EnvConfig):
    """An Atari 2600 game under a protocol."""

    game: str = "ms_pacman"
    protocol: AtariProtocol = PROTOCOLS["mfec"]

    def build(self, num_envs: int, *, threads: int = 0) -> "Atari":
        return Atari(self.game, num_envs, self.protocol, threads=threads)

    @property
    def title(self) -> str:
        return self.game

    def action_names(self, count: int) -> tuple[str, ...]:
        return tuple(Action(x).name.lower() for x in Shadow(self.game, self.protocol).actions)

    @property
    def frame_skip(self) -> int:
        return self.protocol.skip

    @property
    def protocol_label(self) -> str:
        return self.protocol.label

    @property
    def eval_epsilon(self) -> float:
        return self.protocol.eval_epsilon


class Atari(AtariVectorEnv):  # type: ignore[misc]  # ale_py's base is untyped
    """N games in flight on C++ threads; ``info["discount"]`` says deaths and lost lives.

    ale_py's own ``episodic_life`` and ``life_loss_info`` break NEXT_STEP autoreset, so both stay
    off and a life is lost here when 0 < new < old lives.
    """

    def __init__(
        self, game: str, num_envs: int, protocol: AtariProtocol, *, threads: int = 0
    ) -> None:
        self.game, self.protocol = game, protocol
        super().__init__(
            check_game(game),
            num_envs,
            num_threads=threads,
            max_num_frames_per_episode=protocol.frames_cap,
            repeat_action_probability=protocol.sticky,
            full_action_space=protocol.full_actions,
            autoreset_mode=AutoresetMode.NEXT_STEP,
            img_height=protocol.height,
            img_width=protocol.width,
            grayscale=protocol.grey,
            stack_num=protocol.stack,
            frameskip=protocol.skip,
            maxpool=protocol.maxpool,
            # ale_py draws 0..noop_max-1 idle frames, and 0 for noop_max 0 or 1.
            noop_max=protocol.noops,
            use_fire_reset=protocol.fire_reset,
            reward_clipping=False,
        )
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self._lives = np.zeros(num_envs, np.int32)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | NDArray[Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Gymnasium's convention, unlike ale_py's: one seed per stream, masked or not."""
        if seed is not None and not isinstance(seed, int):
            seed = np.asarray(seed, np.int64)
            if options and "reset_mask" in options:
                seed = seed[options["reset_mask"]]
        obs, info = super().reset(seed=seed, options=options)
        self._lives = info["lives"]
        return obs, info

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        dict[str, Any],
    ]:
        self.send(actions)
        obs, reward, terminated, truncated, info = self.recv()
        lives = info["lives"]
        died = terminated
        if self.protocol.life_loss:
            died = died | ((lives > 0) & (lives < self._lives))
        self._lives = lives
        info["discount"] = 1.0 - died
        return obs, reward, terminated, truncated, info
