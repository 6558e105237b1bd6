"""ReplicaEmulator: a copy of one env of ``Atari`` in an ALEInterface, for RAM, screen and state.

The C++ vector environment gives no RAM, raw color frames or snapshots. An env is determined by
its seed and the actions since, so a second emulator with the same seed and actions has the same
no-op frames, sticky actions and FIRE at every timestep.
"""

import struct
from collections.abc import Callable

import numpy as np
from ale_py import ALEInterface, ALEState, LoggerMode, roms
from numpy.typing import NDArray

from .games import check_game
from .protocol import AtariProtocol

NOOP, FIRE = 0, 1
HEADER = struct.Struct("<qi??")
"""Of a state: frames of the episode, the action pressed, ``done`` and ``life_lost``."""


class ReplicaEmulator:
    """One game, seeded and stepped as one env of ``Atari`` is.

    ALE does not save the action that a sticky frame repeats, so actions are repeated here, with the
    draws of ALE. Raises UsageError for a game that does not exist.
    """

    def __init__(self, game: str, protocol: AtariProtocol) -> None:
        ALEInterface.setLoggerMode(LoggerMode.Error)
        self.protocol = protocol
        self.rom = roms.get_rom_path(check_game(game))
        self.ale = ALEInterface()
        self.ale.setFloat("repeat_action_probability", 0.0)
        self.ale.loadROM(self.rom)
        legal = (
            self.ale.getLegalActionSet if protocol.full_actions else self.ale.getMinimalActionSet
        )
        self.actions = [action.value for action in legal()]
        self.frames, self.done = 0, True
        self.life_lost = False
        """Whether a life was lost at the last step; FIRE is then pressed at the next one."""
        self.fire_reset = protocol.fire_reset and FIRE in self.actions
        self._pressed = NOOP
        """The action of the last frame, which a sticky one repeats."""
        self._sticky = float(np.float32(protocol.sticky))
        self._noop_generator = np.random.MT19937()
        self._sticky_generator = np.random.MT19937()
        self.reset(0)

    def reset(self, seed: int | None = None) -> None:
        """Start an episode, after seeding the emulator and its chance if asked."""
        if seed is not None:
            self.ale.setInt("random_seed", seed)
            self.ale.loadROM(self.rom)
            self.seed_chance(seed)
        self._start()

    def seed_chance(self, seed: int) -> None:
        """Seed the number of no-op frames and the sticky actions."""
        for generator in (self._noop_generator, self._sticky_generator):
            generator._legacy_seeding(seed)  # as std::mt19937(seed)

    def step(self, action: int, after_frame: Callable[[int], object] | None = None) -> float:
        """Step once and return the raw reward; 0 on the reset step after an episode's end.

        ``after_frame`` is called after each frame with the number of those to follow.
        """
        if self.done:
            self._start()
            return 0.0
        code = FIRE if self.fire_reset and self.life_lost else self.actions[action]
        reward, lives = 0, self.ale.lives()
        for left in reversed(range(self.protocol.skip)):
            reward += self._press(code)
            self.frames += 1
            self.done = self.ale.game_over() or self.frames >= self.protocol.frames_cap
            if after_frame:
                after_frame(left)
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

    def save(self) -> bytes:
        """Return the state without the random generators, as many bytes at every timestep."""
        header = HEADER.pack(self.frames, self._pressed, self.done, self.life_lost)
        return header + bytes(self.ale.cloneState().serialize())

    def restore(self, state: bytes) -> None:
        """Continue from a state of an emulator of the same game and protocol."""
        self.frames, self._pressed, self.done, self.life_lost = HEADER.unpack_from(state)
        self.ale.restoreState(ALEState(state[HEADER.size :]))

    def _press(self, code: int) -> int:
        """Press an action for a frame, unless the previous one is repeated; return the reward."""
        if self._sticky and self._uniform() < self._sticky:
            code = self._pressed
        if self._sticky:
            self._uniform()  # of the second player
        self._pressed = code
        reward: int = self.ale.act(code)
        return reward

    def _uniform(self) -> float:
        return int(self._sticky_generator.random_raw()) / (1 << 32)

    def _start(self) -> None:
        self._reset_game()
        if self.fire_reset:
            self._press(FIRE)
        for _ in range(self._draw_noops() - self.fire_reset):
            self._press(NOOP)
            if self.ale.game_over():
                self._reset_game()
        self.frames, self.done, self.life_lost = 0, False, False

    def _reset_game(self) -> None:
        self.ale.reset_game()
        self._pressed = NOOP

    def _draw_noops(self) -> int:
        """Draw as libstdc++'s uniform_int_distribution(0, noops - 1) does (Lemire's method)."""
        choices = max(self.protocol.noops, 1)
        if choices == 1:
            return 0
        product = int(self._noop_generator.random_raw()) * choices
        while product % (1 << 32) < (1 << 32) % choices:
            product = int(self._noop_generator.random_raw()) * choices
        return product >> 32
