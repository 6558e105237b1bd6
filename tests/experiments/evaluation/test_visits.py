"""Visits to the rooms of Montezuma's Revenge, on the real game."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.atari.replica import ReplicaEmulator
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Carry, TimeStep, Transition
from reverie.experiments.evaluation.visits import (
    GAME,
    INVENTORY,
    KEYS,
    ROOM,
    RoomVisits,
    StateCounts,
    make_room_visits,
)

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

    def act(
        self, step: TimeStep, carry: Carry, *, explore: bool = True
    ) -> tuple[torch.Tensor, Carry]:
        timestep = carry["timestep"]
        return torch.tensor(self.actions)[timestep], {"timestep": timestep + 1}


def play(envs: BatchedEnv, visits: RoomVisits, timesteps: int) -> list[Transition]:
    transitions = []
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), timesteps):
        visits.update(t)
        transitions.append(t)
    return transitions


def montezuma(seed: int = 0, reseed_after: int = 10_000, protocol: str = "machado") -> BatchedEnv:
    env = AtariConfig(GAME, replace(PROTOCOLS[protocol], frames_cap=800)).build(2, threads=1)
    return BatchedEnv(env, seed=seed, reseed_after=reseed_after)


def test_the_first_keys_and_rooms_on_the_real_game() -> None:
    envs = BatchedEnv(AtariConfig(GAME, PLAIN).build(1, threads=1))
    visits = make_room_visits(envs, 1)
    rewarded = []
    for t in islice(interact(envs, ActionScript(TWO_KEYS)), len(TWO_KEYS)):
        visits.update(t)
        if reward := float(t.next_step.reward[0]):
            rewarded.append((reward, sorted(visits.rooms), sorted(visits.keys)))
    assert rewarded == [(100, [1], [1]), (300, [1], [1]), (100, [1, 2, 6, 7], [1, 7])]
    assert visits.metrics() == {"visits/rooms": 4.0, "visits/keys": 2.0}


def test_the_screen_shows_a_key_for_exactly_the_bits_of_keys() -> None:
    replica = ReplicaEmulator(GAME, PLAIN)
    start = replica.clone_state()
    screens = []
    for bit in range(8):
        replica.ale.restoreState(start)
        replica.ale.setRAM(INVENTORY, 1 << bit)
        for _ in range(6):
            replica.ale.act(0)
        screens.append(replica.screen[20:50].tobytes())
    assert replica.ram[ROOM] == 1
    assert [screen == screens[1] for screen in screens] == [
        bool(KEYS >> bit & 1) for bit in range(8)
    ]


@pytest.mark.parametrize("protocol", ["machado", "nature"])
def test_replicas_follow_random_play_in_the_first_room(protocol: str) -> None:
    """Through ends of episodes and envs seeded anew; a reward that differs would raise."""
    envs = montezuma(reseed_after=250, protocol=protocol)
    visits = make_room_visits(envs, 2)
    transitions = play(envs, visits, 700)
    assert sum(int(t.next_step.last.sum()) for t in transitions) >= 4
    assert envs.seed_index.min() >= 1, "both were seeded anew"
    assert visits.rooms == {1}
    for replica in visits.replicas:
        assert replica.seed_index == envs.seed_index[replica.index]
        assert replica.replica.done == bool(transitions[-1].next_step.last[replica.index])


def test_restored_visits_continue_in_the_same_state() -> None:
    envs = montezuma(seed=1, reseed_after=250)
    visits = make_room_visits(envs, 2)
    play(envs, visits, 331)
    visits.rooms.add(9)
    visits.keys.add(14)
    restored = montezuma(seed=1, reseed_after=250)
    restored.load_state_dict(envs.state_dict())
    resumed = make_room_visits(restored, 2)
    resumed.load_state_dict(visits.state_dict())
    assert (resumed.rooms, resumed.keys) == ({1, 9}, {14})
    for a, b in zip(visits.replicas, resumed.replicas, strict=True):
        assert (a.replica.ram == b.replica.ram).all()
        assert (a.seed_index, a.replica.frames) == (b.seed_index, b.replica.frames)
        assert a.replica.step(3) == b.replica.step(3)
        assert a.replica.clone_state() == b.replica.clone_state()


def test_a_replica_that_differs_from_its_env_raises() -> None:
    envs = montezuma()
    visits = make_room_visits(envs, 1)
    t = play(envs, visits, 5)[-1]
    wrong = replace(t, next_step=replace(t.next_step, reward=t.next_step.reward + 100))
    with pytest.raises(RuntimeError, match="replica of env 0 diverged"):
        visits.update(wrong)


def test_rooms_of_other_environments_are_unknown() -> None:
    pong = BatchedEnv(AtariConfig("pong").build(1, threads=1))
    for envs in (pong, BatchedEnv(CatchConfig().build(2))):
        visits = make_room_visits(envs, 1)
        play(envs, visits, 3)
        assert visits.metrics() == {}
        visits.load_state_dict(visits.state_dict())
    with pytest.raises(UsageError, match="not in pong; set visit_envs to 0"):
        RoomVisits(pong)
    with pytest.raises(UsageError, match="visit_envs is -1; it must be 0 or more"):
        make_room_visits(pong, -1)


def test_states_are_the_distinct_frames() -> None:
    envs = BatchedEnv(CatchConfig().build(4), seed=2)
    states, resumed, frames = StateCounts(envs.spec), StateCounts(envs.spec), set()
    loop = interact(envs, RandomPolicy(3))
    for t in islice(loop, 90):
        states.update(t)
        frames |= {frame.numpy().tobytes() for frame in t.next_step.frame[t.valid]}
    assert states.metrics() == {"visits/states": len(frames)}
    resumed.load_state_dict(states.state_dict())
    for t in islice(loop, 30):
        states.update(t)
        resumed.update(t)
        frames |= {frame.numpy().tobytes() for frame in t.next_step.frame[t.valid]}
    assert states.metrics() == resumed.metrics() == {"visits/states": len(frames)}
