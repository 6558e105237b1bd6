"""State visitation: counts of distinct frames, and the rooms and keys of Montezuma's Revenge."""

import torch
from jaxtyping import Int64, UInt8
from torch import Tensor

from ...agents.bonuses.simhash import SimHash, SimHashConfig
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec, Metrics, Transition
from .callbacks import Callback

KEYS = (1, 2, 3, 4)
"""Bits of the inventory that are keys; the others are mallet, two swords and torch."""


class StateCounts(Callback):
    """The number of distinct visited frames, discretized by SimHash (Tang et al. 2017).

    The hash is the same in every run, so that runs can be compared.
    """

    STATE = ("hash",)

    def __init__(self, spec: EnvSpec) -> None:
        self.hash = SimHash(SimHashConfig(), spec)

    def on_transition(self, t: Transition, step: int) -> None:
        self.hash(t)

    def metrics(self) -> Metrics:
        return {"visits/states": float(len(self.hash.counts))}


class RoomVisits(Callback):
    """The rooms entered, and the rooms whose key was taken, over all episodes of all envs.

    They are read from the true state; raises UsageError if it holds no room and no inventory.
    """

    STATE = ("rooms", "keys")

    def __init__(self, spec: EnvSpec, env_name: str) -> None:
        if not {"room", "inventory"} <= set(spec.privileged):
            raise UsageError(
                f"count_rooms is set, and the true state of {env_name} has no rooms; leave out "
                "--count-rooms, or choose --game montezuma_revenge."
            )
        self.columns = [spec.privileged.index(name) for name in ("room", "inventory")]
        self.rooms, self.keys = torch.zeros(2, 256, dtype=torch.bool)

    def on_transition(self, t: Transition, step: int) -> None:
        """Add the rooms of a transition, and of the keys that were taken in it."""
        assert t.step.privileged is not None
        assert t.next_step.privileged is not None
        before = t.step.privileged[:, self.columns].cpu()
        after = t.next_step.privileged[:, self.columns].cpu()
        room = after[:, 0].long()
        took_key = (_num_keys(after[:, 1]) > _num_keys(before[:, 1])) & t.valid.cpu()
        self.rooms[room] = True
        self.keys[room[took_key]] = True

    def metrics(self) -> Metrics:
        return {"visits/rooms": float(self.rooms.sum()), "visits/keys": float(self.keys.sum())}


def _num_keys(inventory: UInt8[Tensor, " N"]) -> Int64[Tensor, " N"]:
    return (inventory[:, None] >> torch.tensor(KEYS) & 1).sum(1)
