"""State visitation: counts of distinct frames, and the rooms and keys of Montezuma's Revenge.

Rooms and keys are read from the console's RAM, which the envs do not expose; so each tracked env is
replayed in a replica emulator, timestep by timestep.
"""

from typing import Any

from ...agents.bonuses.simhash import SimHash, SimHashConfig
from ...envs.atari.atari import Atari
from ...envs.batched_env import BatchedEnv
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec, Metrics, Transition
from .synced_replica import SyncedReplica

GAME = "montezuma_revenge"
ROOM, INVENTORY = 3, 65
"""RAM addresses: the room's as in Anand et al. 2019 ("Unsupervised State Representation Learning
in Atari"), the inventory's as in OCAtari. Tests check both against real play."""
KEYS = 0b0001_1110
"""The four bits of the inventory that are keys; the others are mallet, two swords and torch."""


class StateCounts:
    """The number of distinct visited frames, discretized by SimHash (Tang et al. 2017).

    The hash is the same in every run, so that runs can be compared.
    """

    def __init__(self, spec: EnvSpec) -> None:
        self.hash = SimHash(SimHashConfig(), spec)

    def update(self, t: Transition) -> None:
        """Count the frames of a transition."""
        self.hash(t)

    def metrics(self) -> Metrics:
        return {"visits/states": float(len(self.hash.counts))}

    def state_dict(self) -> dict[str, Any]:
        return self.hash.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.hash.load_state_dict(state)


class RoomVisits:
    """The rooms entered, and the rooms whose key was taken, over all episodes of ``num_envs`` envs.

    It must receive every transition since the envs' reset or since the checkpoint from which it is
    restored. Raises UsageError for a game other than Montezuma's Revenge.
    """

    def __init__(self, envs: BatchedEnv, num_envs: int = 1) -> None:
        self.envs = envs
        self.rooms: set[int] = set()
        self.keys: set[int] = set()
        self.replicas = [_MontezumaReplica(envs, i) for i in range(num_envs)]

    def update(self, t: Transition) -> None:
        """Replay a transition; raises RuntimeError if a replica diverged from its env."""
        for replica in self.replicas:
            num_keys = replica.num_keys
            replica.step(t)
            self.rooms.add(replica.room)
            if replica.num_keys > num_keys:
                self.keys.add(replica.room)

    def metrics(self) -> Metrics:
        if not self.replicas:
            return {}
        return {"visits/rooms": float(len(self.rooms)), "visits/keys": float(len(self.keys))}

    def state_dict(self) -> dict[str, Any]:
        return {"rooms": sorted(self.rooms), "keys": sorted(self.keys)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the visits; the envs must have been restored before."""
        self.rooms, self.keys = set(map(int, state["rooms"])), set(map(int, state["keys"]))
        for replica in self.replicas:
            replica.catch_up()


def make_room_visits(envs: BatchedEnv, num_envs: int) -> RoomVisits:
    """Return a tracker of the first ``num_envs`` envs; of none for other games.

    Raises UsageError for a negative number.
    """
    if num_envs < 0:
        raise UsageError(f"visit_envs is {num_envs}; it must be 0 or more.")
    env = envs.env
    has_rooms = isinstance(env, Atari) and env.game == GAME
    return RoomVisits(envs, min(num_envs, envs.spec.num_envs) if has_rooms else 0)


class _MontezumaReplica(SyncedReplica):
    """A replica of Montezuma's Revenge."""

    def __init__(self, envs: BatchedEnv, index: int) -> None:
        game = getattr(envs.env, "game", "this env")
        if game != GAME:
            raise UsageError(
                f"Room visits can be tracked in {GAME} only, not in {game}; set visit_envs to 0."
            )
        super().__init__(envs, index)

    @property
    def room(self) -> int:
        return int(self.replica.ram[ROOM])

    @property
    def num_keys(self) -> int:
        return (int(self.replica.ram[INVENTORY]) & KEYS).bit_count()
