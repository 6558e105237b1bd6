"""Shadow: one stream replayed in a single ALEInterface, which shows what a stream does not.

The C++ vector environment has neither RAM nor raw colour frames nor clone_state; but a stream is
its seed and the actions since, and the same seed here gives the same idle frames, sticky actions
and FIRE, tick for tick.
"""

import numpy as np
from ale_py import ALEInterface, ALEState, LoggerMode, roms
from numpy.typing import NDArray

from envs.games import check_game
from envs.protocol import AtariProtocol

NOOP, FIRE = 0, 1


class Shadow:
    """One game, seeded and stepped as a stream of ``Atari`` is."""

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
        self.frames, self.over = 0, True
        self.fires = protocol.fire_reset and FIRE in self.actions
        self.seed(0)

    def seed(self, seed: int) -> None:
        """The stream is seeded: its emulator starts anew, and so do its idle frames."""
        self.ale.setInt("random_seed", seed)
        self.ale.loadROM(self.rom)
        self._idle = np.random.MT19937()
        self._idle._legacy_seeding(seed)  # as std::mt19937(seed)
        self._start()

    def step(self, action: int) -> float:
        """One tick; the reward in game points, 0 on the reset tick after an episode's end."""
        if self.over:
            self._start()
            return 0.0
        reward = 0
        for _ in range(self.protocol.skip):
            reward += self.ale.act(self.actions[action])
            self.frames += 1
            self.over = self.ale.game_over() or self.frames >= self.protocol.frames_cap
            if self.over:
                break
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

    def clone_state(self) -> ALEState:
        """The emulator's whole state, its random generator included."""
        return self.ale.cloneState(include_rng=True)

    def _start(self) -> None:
        self.ale.reset_game()
        if self.fires:
            self.ale.act(FIRE)
        for _ in range(self._idle_frames() - self.fires):
            self.ale.act(NOOP)
            if self.ale.game_over():
                self.ale.reset_game()
        self.frames, self.over = 0, False

    def _idle_frames(self) -> int:
        """As libstdc++'s uniform_int_distribution(0, noops - 1) draws (Lemire's method)."""
        choices = max(self.protocol.noops, 1)
        if choices == 1:
            return 0
        product = int(self._idle.random_raw()) * choices
        while product % (1 << 32) < (1 << 32) % choices:
            product = int(self._idle.random_raw()) * choices
        return product >> 32
