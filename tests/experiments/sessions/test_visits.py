"""Visits to the rooms of Montezuma's Revenge, on the real game."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import Carry, EnvSpec, TimeStep, Transition
from reverie.experiments.sessions.visits import RoomVisits, StateCounts

PLAIN = replace(PROTOCOLS["mfec"], noops=0)
# Actions of one life, A to R, found by a search with saved states: the key of room 1 (100 points),
# its door (300), rooms 2 and 6, and the key of room 7 (100).
TWO_KEYS = (
    "LLLLLLLLMFCCCCLLLLCCCCCCCCCCCCCFFFFFFFFFEEEEEEEMMMMFLFFFMMMMMMMMMMMMMMMMMFDDMMCCCCCCCCCCCC"
    "CCCCCCCCCCCDEEEEEEMMDDDDDDDFFFFFFFFFFFFFDCLDDDDDDDDDEEEEEEAAAAFFLLABFFFFFFFFFFFFFFFLLLLLLL"
    "LLDDDDAAAALLDDDDDLLEEEELLLLLLLLLLLLCCCCCLLLLLLLCCCCMCCCCCCCCFFFFFAABBBBBBBCCCCCCCMFFFFMCCC"
    "CCCCCCCCCDDDFFFFFFFFFFFFFLLLBBBLLDDDDDDLLLLLLLLLLLLLLAALLFFFFLLLLBCCCCCCCCCCFFFAABBFFFFFFF"
    "FFFFFFFFFFFFFFFFEEEEEEEAAAAAAFFFFDDDDDDDDDLLMCEDDDDDFFFFFFFFFFFAAAAAAAALLLLLLLAAAAAAAAAAAA"
    "AAAAAAAAAAAAAAALLMBBDDDDDDDDDDDDDDDBBBBCCCCCCCCCCDDEEEEEEEEEEEEELLLLDDBBBBDDDDDDDDLLLLL"
)


class ActionScript:
    """Policy that plays a sequence of actions, given as letters, in every env."""

    def __init__(self, letters: str) -> None:
        self.actions = [ord(letter) - ord("A") for letter in letters]

    def initial(self, n: int) -> Carry:
        return {"timestep": torch.zeros(n, dtype=torch.int64)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        timestep = carry["timestep"]
        return ActOutput(torch.tensor(self.actions)[timestep], {"timestep": timestep + 1})


@pytest.mark.parametrize("num_envs", [1, 2])
def test_the_first_keys_and_rooms_on_the_real_game(num_envs: int) -> None:
    env = AtariConfig("montezuma_revenge", PLAIN).build(num_envs, threads=1, privileged=True)
    envs = BatchedEnv(env)
    visits, resumed = RoomVisits(envs.spec, "game"), RoomVisits(envs.spec, "game")
    rewarded = []
    for t in islice(interact(envs, ActionScript(TWO_KEYS)), len(TWO_KEYS)):
        visits.on_transition(t, 0)
        if reward := float(t.next_step.reward[-1]):
            rooms, keys = (x.nonzero()[:, 0].tolist() for x in (visits.rooms, visits.keys))
            rewarded.append((reward, rooms, keys))
    envs.close()
    assert rewarded == [(100, [1], [1]), (300, [1], [1]), (100, [1, 2, 6, 7], [1, 7])]
    assert visits.metrics() == {"visits/rooms": 4.0, "visits/keys": 2.0}
    resumed.load_state_dict(visits.state_dict())
    assert resumed.metrics() == visits.metrics()


def transition(before: list[tuple[int, int]], after: list[tuple[int, int]]) -> Transition:
    """Return a transition between true states: bytes other, inventory, room of every env."""
    n = len(before)
    obs, zero, no = torch.zeros(n, 1, 2, 2, dtype=torch.uint8), torch.zeros(n), torch.zeros(n) > 0
    states = torch.tensor([[(9, i, r) for r, i in x] for x in (before, after)]).to(torch.uint8)
    steps = [TimeStep(obs, zero.double(), zero + 1, no, no, obs, state) for state in states]
    return Transition(steps[0], {}, zero.long(), {}, steps[1], {}, zero)


def test_rooms_and_keys_of_all_envs_by_hand() -> None:
    """A torch (bit 7) is no key; a key used at a door, and a reset, take none."""
    spec = EnvSpec(4, 3, (1, 2, 2), privileged=("other", "inventory", "room"))
    visits = RoomVisits(spec, "game")
    assert visits.metrics() == {"visits/rooms": 0.0, "visits/keys": 0.0}
    before = [(1, 0), (5, 0b0000_0010), (7, 0b0000_0110), (8, 0b0001_0000)]
    after = [(2, 0b1000_0000), (5, 0b0000_1010), (7, 0b0000_0010), (0, 0)]
    visits.on_transition(transition(before, after), 0)
    assert visits.rooms.nonzero()[:, 0].tolist() == [0, 2, 5, 7]
    assert visits.keys.nonzero()[:, 0].tolist() == [5]


def test_states_are_the_distinct_frames() -> None:
    envs = BatchedEnv(CatchConfig().build(4), seed=2)
    states, resumed, frames = StateCounts(envs.spec), StateCounts(envs.spec), set()
    loop = interact(envs, RandomPolicy(3))
    for t in islice(loop, 90):
        states.on_transition(t, 0)
        frames |= {frame.numpy().tobytes() for frame in t.next_step.frame[t.valid]}
    assert states.metrics() == {"visits/states": len(frames)}
    resumed.load_state_dict(states.state_dict())
    for t in islice(loop, 30):
        states.on_transition(t, 0)
        resumed.on_transition(t, 0)
        frames |= {frame.numpy().tobytes() for frame in t.next_step.frame[t.valid]}
    assert states.metrics() == resumed.metrics() == {"visits/states": len(frames)}
