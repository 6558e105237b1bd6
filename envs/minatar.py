"""MinAtar: five Atari games on a 10 x 10 grid of binary planes (Young & Tian 2019).

The games are those of the authors' package, extra ``minatar``, whose license is the GPL.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Int64, UInt8

from .base import Array, ImageEnv
from .checks import at_least, check, within
from .errors import UsageError
from .interface import EnvConfig
from .layout import Layout
from .minatar_state import GameState

GAMES = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
ACTIONS = ("noop", "left", "up", "right", "down", "fire")


@dataclass(frozen=True)
class MinAtarConfig(EnvConfig):
    """Settings of a MinAtar game; the defaults are the published ones."""

    game: str = "breakout"
    """asterix, breakout, freeway, seaquest or space_invaders."""
    sticky: float = 0.1
    """Probability that the last action is repeated in place of the chosen one."""
    ramping: bool = True
    """Whether the game becomes harder with time; Breakout and Freeway never do."""
    minimal_actions: bool = False
    """Offer only the actions that have an effect in the game, instead of all six."""
    max_episode_steps: int = 0
    """Steps after which an episode is truncated; 0 for no limit but the game's own."""

    def __post_init__(self) -> None:
        check(self, "env", within(0, 1), "sticky")
        check(self, "env", at_least(0), "max_episode_steps")
        if self.game not in GAMES:
            raise UsageError(
                f"env.game is {self.game}, which is no game of MinAtar; choose among "
                f"{', '.join(GAMES)}, or env:atari for the games of the Atari 2600."
            )

    def build(self, num_envs: int, *, threads: int = 0, privileged: bool = False) -> "MinAtar":
        return MinAtar(num_envs, self, privileged=privileged)

    @property
    def env_name(self) -> str:
        return f"minatar-{self.game}"

    @property
    def suite(self) -> str:
        return "minatar"

    def action_names(self, count: int) -> tuple[str, ...]:
        return tuple(ACTIONS[action] for action in action_set(self))

    @property
    def protocol_label(self) -> str:
        rules = [f"sticky {self.sticky:g}"]
        rules += [] if self.ramping else ["no ramping"]
        rules += ["minimal actions"] if self.minimal_actions else []
        rules += [f"{self.max_episode_steps:,} steps"] if self.max_episode_steps else []
        return ", ".join(rules)


def new_game(config: MinAtarConfig) -> Any:
    """Return a game of the package; raises UsageError if it is not installed."""
    try:
        from minatar import Environment
    except ImportError as error:
        raise UsageError(
            f"env:minatar needs the package minatar ({error}); run `pip install minatar`."
        ) from error
    game = Environment(config.game, config.sticky, config.ramping)
    game.env.random = game.random  # as a seed does, so that one generator can be seeded again
    return game


def action_set(config: MinAtarConfig) -> list[int]:
    """Return the indices in ``ACTIONS`` of the actions that the env offers.

    Raises UsageError if the package is needed for them and not installed.
    """
    if not config.minimal_actions:
        return list(range(len(ACTIONS)))
    actions: list[int] = new_game(config).minimal_action_set()
    return actions


class MinAtar(ImageEnv):
    """N games in one process; a plane is one kind of object, 255 where there is one.

    As in the package, the action that a sticky step repeats survives the end of an episode; a
    reset with a seed forgets it, so that the past of a game is its seed and the actions since. With
    ``privileged``, ``info["privileged"]`` is the true state, uint8 [N, P]: every cell of every
    plane, named such as ``ball_3_4``, with the pixel's value, and the game's counters modulo 256.
    The timers of single objects are not part of it. Raises UsageError if the package is not
    installed.
    """

    def __init__(
        self, num_envs: int, config: MinAtarConfig = MinAtarConfig(), *, privileged: bool = False
    ) -> None:
        self.config = config
        self.games = [new_game(config) for _ in range(num_envs)]
        self.actions = action_set(config)
        self.game_state = GameState(self.games[0])
        rows, columns, channels = self.games[0].state_shape()
        game = self.games[0].env
        counters = {name for name, x in vars(game).items() if isinstance(x, int)}
        self._counters = sorted(counters - {"ramping"})
        planes = sorted(game.channels, key=game.channels.get)
        cells = [f"{x}_{row}_{column}" for x in planes for row, column in np.ndindex(rows, columns)]
        super().__init__(
            num_envs,
            (channels, rows, columns),
            len(self.actions),
            (*cells, *self._counters) if privileged else (),
            Layout("CHW", trusted=True, planes=True),
        )
        self.planes = np.zeros((num_envs, rows, columns, channels), np.bool_)
        self.done = np.ones(num_envs, np.bool_)
        self.elapsed_steps = np.zeros(num_envs, np.int64)

    def seed_env(self, i: int, seed: int) -> None:
        self.games[i].seed(seed)
        self.games[i].last_action = 0

    def reset_envs(self, mask: Array) -> None:
        for i in np.flatnonzero(mask).tolist():
            self.games[i].reset()
            self.planes[i] = self.games[i].state()
        self.done[mask] = False
        self.elapsed_steps[mask] = 0

    def step(self, actions: Array) -> tuple[Array, Array, Array, Array, dict[str, Any]]:
        first, offered = self.done, self.actions
        outcomes, states = [], []
        for game, action, start in zip(self.games, actions.tolist(), first.tolist(), strict=True):
            if start:
                game.reset()
                outcomes.append((0, False))
            else:
                outcomes.append(game.act(offered[action]))
            states.append(game.state())
        rewards, ends = zip(*outcomes, strict=True)
        reward, terminated = np.array(rewards, np.float64), np.array(ends, np.bool_)
        # A few times as fast as np.stack, for arrays of a few hundred bytes.
        self.planes = np.frombuffer(bytearray().join(states), np.bool_).reshape(self.planes.shape)
        self.elapsed_steps = np.where(first, 0, self.elapsed_steps + 1)
        limit = self.config.max_episode_steps
        truncated = ~terminated & ~first & (self.elapsed_steps == limit)
        self.done = terminated | truncated
        return self.observe(), reward, terminated, truncated, self.info()

    def observe(self) -> Array:
        pixels: Array = self.planes.transpose(0, 3, 1, 2) * np.uint8(255)
        return pixels

    def info(self) -> dict[str, Any]:
        if not self.privileged_names:
            return {}
        cells = self.observe().reshape(self.num_envs, -1)
        numbers = [[int(getattr(game.env, x)) for x in self._counters] for game in self.games]
        counters = np.array(numbers, np.int64).astype(np.uint8)
        return {"privileged": np.concatenate([cells, counters], 1)}

    def snapshots(self) -> UInt8[Array, "N S"]:
        states = bytearray().join(self.game_state.read(game) for game in self.games)
        numbers = np.frombuffer(states, np.uint8).reshape(self.num_envs, -1)
        elapsed = self.elapsed_steps[:, None].view(np.uint8)
        return np.concatenate([numbers, elapsed, self.done[:, None]], 1)

    def restore_snapshots(self, snapshot: UInt8[Array, "B S"], seed: Int64[Array, " B"]) -> None:
        self.num_envs = n = len(snapshot)
        missing = range(n - len(self.games))
        self.games = self.games[:n] + [new_game(self.config) for _ in missing]
        for game, state, chance in zip(self.games, snapshot[:, :-9], seed.tolist(), strict=True):
            game.random.seed(chance % 2**32)  # a hundredth of the time of game.seed
            self.game_state.write(game, state.tobytes())
        self.planes = np.stack([game.state() for game in self.games])
        self.elapsed_steps = snapshot[:, -9:-1].copy().view(np.int64)[:, 0]
        self.done = snapshot[:, -1] == 1
