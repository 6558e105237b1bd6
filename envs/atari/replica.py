"""ReplicaEmulator: a copy of one env of ``Atari`` in an ALEInterface, for RAM, screen and state.

The C++ vector environment gives no RAM, raw color frames or snapshots. An env is determined by
its seed and the actions since, so a second emulator with the same seed and actions has the same
no-op frames, sticky actions and FIRE at every timestep.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from ale_py import ALEInterface, ALEState, LoggerMode, roms
from numpy.typing import NDArray

from .games import check_game
from .protocol import AtariProtocol

NOOP, FIRE = 0, 1


@dataclass(frozen=True)
class Snapshot:
    """The whole state of a ``ReplicaEmulator``."""

    ale: ALEState
    """Of the emulator, including its random generator."""
    frames: int
    """Frames of the episode so far."""
    done: bool
    life_lost: bool
    noop_generator: Any


class ReplicaEmulator:
    """One game, seeded and stepped as one env of ``Atari`` is.

    Raises UsageError for a game that does not exist.
    """

    def __init__(self, game: str, protocol: AtariProtocol) -> None:
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.protocol = protocol
        self.rom = roms.get_rom_path(check_game(game))
        self.ale = ALEInterface()
        self.ale.setFloat("repeat_action_probability", protocol.sticky)
        self.ale.loadROM(self.rom)
        legal = (
            self.ale.getLegalActionSet if protocol.full_actions else self.ale.getMinimalActionSet
        )
        self.actions = [action.value for action in legal()]
        self.frames, self.done = 0, True
        self.life_lost = False
        """Whether a life was lost at the last step; FIRE is then pressed at the next one."""
        self.fire_reset = protocol.fire_reset and FIRE in self.actions
        self._noop_generator = np.random.MT19937()
        self.reset(0)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode, after seeding the emulator and the number of no-op frames if asked."""
        if seed is not None:
            self.ale.setInt("random_seed", seed)
            self.ale.loadROM(self.rom)
            self._noop_generator._legacy_seeding(seed)  # as std::mt19937(seed)
        self._start()

    def step(self, action: int) -> float:
        """Step once and return the raw reward; 0 on the reset step after an episode's end."""
        if self.done:
            self._start()
            return 0.0
        code = FIRE if self.fire_reset and self.life_lost else self.actions[action]
        reward, lives = 0, self.ale.lives()
        for _ in range(self.protocol.skip):
            reward += self.ale.act(code)
            self.frames += 1
            self.done = self.ale.game_over() or self.frames >= self.protocol.frames_cap
            if self.done:
                break
        self.life_lost = 0 < self.ale.lives() < lives
        return float(reward)

    @property
    def ram(self) -> NDArray[np.uint8]:
        """The 128 bytes of the console's memory."""
        ram: NDArray[np.uint8] = self.ale.getRAM()
        return ram

    @property
    def screen(self) -> NDArray[np.uint8]:
        """The raw screen, uint8 [210, 160, 3]."""
        screen: NDArray[np.uint8] = self.ale.getScreenRGB()
        return screen

    def save(self) -> "Snapshot":
        """Return a snapshot, with all random generators, that ``restore`` continues from."""
        state = self.ale.cloneState(include_rng=True)
        return Snapshot(state, self.frames, self.done, self.life_lost, self._noop_generator.state)

    def restore(self, snapshot: "Snapshot") -> None:
        """Return to a snapshot of an emulator of the same game and protocol."""
        self.ale.restoreState(snapshot.ale)
        self.frames, self.done = snapshot.frames, snapshot.done
        self.life_lost = snapshot.life_lost
        self._noop_generator.state = snapshot.noop_generator

    def _start(self) -> None:
        self.ale.reset_game()
        if self.fire_reset:
            self.ale.act(FIRE)
        for _ in range(self._draw_noops() - self.fire_reset):
            self.ale.act(NOOP)
            if self.ale.game_over():
                self.ale.reset_game()
        self.frames, self.done, self.life_lost = 0, False, False

    def _draw_noops(self) -> int:
        """Draw as libstdc++'s uniform_int_distribution(0, noops - 1) does (Lemire's method)."""
        choices = max(self.protocol.noops, 1)
        if choices == 1:
            return 0
        product = int(self._noop_generator.random_raw()) * choices
        while product % (1 << 32) < (1 << 32) % choices:
            product = int(self._noop_generator.random_raw()) * choices
        return product >> 32
