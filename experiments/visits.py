"""Where an agent has been: states told apart by a hash, rooms and keys of Montezuma's Revenge.

Rooms and keys are read from the console's memory, which a stream does not show; so each tracked
stream is replayed in a shadow, tick by tick.
"""

from typing import Any

from agents.simhash import SimHash, SimHashConfig
from envs.atari import Atari
from envs.errors import UsageError
from envs.interface import EnvSpec, Metrics, Transition
from envs.shadow import Shadow
from envs.stream import Stream

GAME = "montezuma_revenge"
ROOM, INVENTORY = 3, 65
"""Addresses in the console's memory: the room's as in Anand et al. 2019 ("Unsupervised State
Representation Learning in Atari"), the inventory's as in OCAtari. A test plays to both."""
KEYS = 0b0001_1110
"""Bits of the inventory: mallet, four keys, two swords, torch, as the game draws each bit."""


class States:
    """How many different frames an agent has come to, told apart by SimHash (Tang et al. 2017).

    The hash is the same in every run, so that runs can be compared.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self.hash = SimHash(SimHashConfig(), spec)

    def update(self, t: Transition) -> None:
        """Add one tick of all streams."""
        self.hash(t)

    def metrics(self) -> Metrics:
        return {"visits/states": float(len(self.hash.counts))}

    def state_dict(self) -> dict[str, Any]:
        return self.hash.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.hash.load_state_dict(state)


def visits_of(stream: Stream, streams: int) -> "Visits":
    """A tracker of the first ``streams`` streams; of none where the game's rooms are unknown.

    Raises UsageError for a negative number of them.
    """
    if streams < 0:
        raise UsageError(f"visit_streams is {streams}; it must be 0 or more.")
    env = stream.env
    known = isinstance(env, Atari) and env.game == GAME
    return Visits(stream, min(streams, stream.spec.num_envs) if known else 0)


class Visits:
    """Rooms entered, and rooms whose key was taken, over all episodes of the tracked streams.

    It must see every tick from the streams' reset, or from the checkpoint it is restored with.
    Raises UsageError for a game whose rooms it does not know.
    """

    def __init__(self, stream: Stream, streams: int = 1) -> None:
        self.stream = stream
        self.rooms: set[int] = set()
        self.keys: set[int] = set()
        self.shadows = [_Explorer(stream, i) for i in range(streams)]

    def update(self, t: Transition) -> None:
        """Follow one tick; raises RuntimeError where a shadow has left its stream."""
        for followed in self.shadows:
            held = followed.keys
            followed.step(t)
            self.rooms.add(followed.room)
            if followed.keys > held:
                self.keys.add(followed.room)

    def metrics(self) -> Metrics:
        if not self.shadows:
            return {}
        return {"visits/rooms": float(len(self.rooms)), "visits/keys": float(len(self.keys))}

    def state_dict(self) -> dict[str, Any]:
        return {"rooms": sorted(self.rooms), "keys": sorted(self.keys)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continue; the stream must have been restored before."""
        self.rooms, self.keys = set(map(int, state["rooms"])), set(map(int, state["keys"]))
        for followed in self.shadows:
            followed.catch_up()


class Followed:
    """One stream's shadow, and how often both were seeded.

    It must see every tick from the stream's reset on. Raises UsageError for a world without one.
    """

    def __init__(self, stream: Stream, index: int) -> None:
        env = stream.env
        if not isinstance(env, Atari):
            raise UsageError("Only Atari games have shadows, in which their memory can be read.")
        self.stream, self.index = stream, index
        self.shadow = Shadow(env.game, env.protocol)
        self._seed()

    def step(self, t: Transition) -> None:
        """Follow one tick; raises RuntimeError where the shadow has left its stream."""
        if int(self.stream.number[self.index]) != self.number:
            self._seed()  # the stream was seeded anew at this tick, its automatic reset
            return
        reward = self.shadow.step(int(t.action[self.index]))
        if reward != float(t.next_step.reward[self.index]):
            raise RuntimeError(f"The shadow of stream {self.index} has left it: rewards differ.")

    def catch_up(self) -> None:
        """Play the stream's log since it was last seeded."""
        self._seed()
        length = int(self.stream.length[self.index])
        log = self.stream.state_dict()["log"][:, self.index].tolist()
        for action in log[len(log) - length :]:
            self.shadow.step(action)

    def _seed(self) -> None:
        self.number = int(self.stream.number[self.index])
        self.shadow.seed(self.stream.emulator_seeds()[self.index])


class _Explorer(Followed):
    """A shadow in Montezuma's rooms."""

    def __init__(self, stream: Stream, index: int) -> None:
        game = getattr(stream.env, "game", "this world")
        if game != GAME:
            raise UsageError(
                f"Visits are known of {GAME} alone, not of {game}; track 0 streams of it."
            )
        super().__init__(stream, index)

    @property
    def room(self) -> int:
        return int(self.shadow.ram[ROOM])

    @property
    def keys(self) -> int:
        return (int(self.shadow.ram[INVENTORY]) & KEYS).bit_count()
