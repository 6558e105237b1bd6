"""Atari: the C++ vector environment of ale_py under a protocol."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from ale_py import Action
from ale_py.vector_env import AtariVectorEnv
from gymnasium.vector import AutoresetMode
from numpy.typing import NDArray

from ..dynamics import Dynamics
from ..interface import DISCOUNT, EnvConfig
from ..layout import Layout
from .emulation import AtariDynamics
from .games import check_game
from .protocol import PROTOCOLS, AtariProtocol
from .ram import RAM
from .replica import ReplicaEmulator


@dataclass(frozen=True)
class AtariConfig(EnvConfig):
    """Settings of an Atari 2600 game: its name and the protocol."""

    game: str = "ms_pacman"
    """Name of the ROM, one of those that reverie list games prints."""
    protocol: AtariProtocol = PROTOCOLS["mfec"]
    """What fixes the meaning of a score; its settings may be changed one by one."""

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> "Atari":
        return Atari(self.game, num_envs, self.protocol, threads=threads, privileged=privileged)

    @property
    def env_name(self) -> str:
        return self.game

    @property
    def suite(self) -> str:
        return "atari"

    def action_names(self, count: int) -> tuple[str, ...]:
        return tuple(
            Action(x).name.lower() for x in ReplicaEmulator(self.game, self.protocol).actions
        )

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
    """N games on C++ threads; ``info[DISCOUNT]`` is 0 at a game over and at a counted lost life.

    ale_py's ``episodic_life`` and ``life_loss_info`` break NEXT_STEP autoreset, so both stay off;
    here a life is lost if 0 < new < old lives. Under ``fire_reset`` the next action is then FIRE, a
    function of the seeds and actions before it like all else. With ``privileged``,
    ``info["privileged"]`` is the true state of a game listed in ``ram.RAM``, read from a replica
    emulator of every env. Raises UsageError for a game that does not exist, and RuntimeError if a
    replica diverges from its env.
    """

    def __init__(
        self,
        game: str,
        num_envs: int,
        protocol: AtariProtocol,
        *,
        threads: int = 0,
        privileged: bool = False,
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
            grayscale=protocol.grayscale,
            stack_num=protocol.stack,
            frameskip=protocol.skip,
            maxpool=protocol.maxpool,
            # ale_py draws 0..noop_max-1 no-op frames, and 0 for noop_max 0 or 1.
            noop_max=protocol.noops,
            use_fire_reset=protocol.fire_reset,
            reward_clipping=False,
        )
        self.metadata = {"autoreset_mode": AutoresetMode.NEXT_STEP, "reset_mask": True}
        self.layout = Layout("KHW" if protocol.grayscale else "KHWC", trusted=True)
        self._lives = np.zeros(num_envs, np.int32)
        actions = list(self.ale.get_action_set())
        fires = protocol.fire_reset and Action.FIRE in actions
        self._fire = actions.index(Action.FIRE) if fires else None
        self._life_lost = np.zeros(num_envs, np.bool_)
        """Whether an env lost a life at its last step, after which its episode goes on."""
        self.replicas: dict[int, ReplicaEmulator] = {}
        """Emulators in sync with the env of this index."""
        self.privileged_names = tuple(RAM.get(game, ())) if privileged else ()
        self._ram_addresses = list(RAM.get(game, {}).values()) if privileged else []
        for i in range(num_envs if self.privileged_names else 0):
            self.follow(i)

    def follow(self, index: int) -> ReplicaEmulator:
        """Return an emulator that is kept in sync with an env, from the next reset with seeds on.

        After a step that the two disagree on, ``step`` raises RuntimeError.
        """
        if index not in self.replicas:
            self.replicas[index] = ReplicaEmulator(self.game, self.protocol)
        return self.replicas[index]

    def dynamics(self) -> Dynamics:
        """Return the game's dynamics, and follow every env for its snapshots.

        Raises UsageError for frames that are larger than the screen.
        """
        for i in range(self.num_envs):
            self.follow(i)
        return AtariDynamics(self.game, self.protocol, self._ram_addresses)

    def snapshots(self) -> NDArray[np.uint8]:
        """Return the states of all envs; ``dynamics`` was called before the last seeded reset."""
        states = bytearray().join(self.replicas[i].save() for i in range(self.num_envs))
        return np.frombuffer(states, np.uint8).reshape(self.num_envs, -1)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | NDArray[Any] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Reset the envs; unlike in ale_py, ``seed`` has one entry per env, masked or not."""
        mask = (options or {}).get("reset_mask", np.ones(self.num_envs, np.bool_))
        seeds: Any = seed
        if isinstance(seed, int):
            seeds = np.arange(seed, seed + self.num_envs)  # as ale_py does
        for i, replica in self.replicas.items():
            if mask[i]:
                replica.reset(None if seeds is None else int(seeds[i]))
        if seed is not None and not isinstance(seed, int):
            seed = np.asarray(seed, np.int64)[mask]
        obs, info = super().reset(seed=seed, options=options)
        self._lives = info["lives"]
        self._life_lost &= ~mask
        return obs, info | self._true_state()

    def step(
        self, actions: NDArray[Any]
    ) -> tuple[
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        NDArray[Any],
        dict[str, Any],
    ]:
        if self._fire is not None:
            actions = np.where(self._life_lost, self._fire, actions)
        self.send(actions)
        expected = {i: x.step(int(actions[i])) for i, x in self.replicas.items()}
        obs, reward, terminated, truncated, info = self.recv()
        for i, of_replica in expected.items():
            if of_replica != reward[i]:
                raise RuntimeError(
                    f"The replica of env {i} of {self.game} diverged from it: its reward is "
                    f"{of_replica:g}, not {reward[i]:g}."
                )
        lives = info["lives"]
        life_lost = (lives > 0) & (lives < self._lives)
        dead = terminated | life_lost if self.protocol.life_loss else terminated
        goes_on = ~terminated & ~truncated
        # The next episode begins with fewer lives than one that is truncated after an extra life.
        self._lives, self._life_lost = np.where(goes_on, lives, 0), life_lost & goes_on
        info[DISCOUNT] = 1.0 - dead
        return obs, reward, terminated, truncated, info | self._true_state()

    def _true_state(self) -> dict[str, Any]:
        if not self.privileged_names:
            return {}
        rams = [self.replicas[i].ram[self._ram_addresses] for i in range(self.num_envs)]
        return {"privileged": np.stack(rams)}
