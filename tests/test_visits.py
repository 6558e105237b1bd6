"""Visits to the rooms of Montezuma's Revenge, on the real game."""

from dataclasses import replace
from itertools import islice

import pytest
import torch

from agents.loop import interact
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.interface import Memory, Step, Transition
from envs.protocol import PROTOCOLS
from envs.shadow import Shadow
from envs.stream import Stream
from experiments.visits import GAME, INVENTORY, KEYS, ROOM, States, Visits, visits_of

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


class Script:
    """Plays the letters of a script in every stream."""

    def __init__(self, letters: str) -> None:
        self.actions = [ord(letter) - ord("A") for letter in letters]

    def initial(self, n: int) -> Memory:
        return {"tick": torch.zeros(n, dtype=torch.int64)}

    def act(
        self, step: Step, memory: Memory, *, explore: bool = True
    ) -> tuple[torch.Tensor, Memory]:
        tick = memory["tick"]
        return torch.tensor(self.actions)[tick], {"tick": tick + 1}


def play(stream: Stream, visits: Visits, ticks: int) -> list[Transition]:
    transitions = []
    for t in islice(interact(stream, RandomPolicy(stream.spec.num_actions)), ticks):
        visits.update(t)
        transitions.append(t)
    return transitions


def montezuma(seed: int = 0, reseed_after: int = 10_000, protocol: str = "machado") -> Stream:
    env = AtariConfig(GAME, replace(PROTOCOLS[protocol], frames_cap=800)).build(2, threads=1)
    return Stream(env, seed=seed, reseed_after=reseed_after)


def test_the_first_keys_and_rooms_on_the_real_game() -> None:
    stream = Stream(AtariConfig(GAME, PLAIN).build(1, threads=1))
    visits = visits_of(stream, 1)
    seen = []
    for t in islice(interact(stream, Script(TWO_KEYS)), len(TWO_KEYS)):
        visits.update(t)
        if reward := float(t.next_step.reward[0]):
            seen.append((reward, sorted(visits.rooms), sorted(visits.keys)))
    assert seen == [(100, [1], [1]), (300, [1], [1]), (100, [1, 2, 6, 7], [1, 7])]
    assert visits.metrics() == {"visits/rooms": 4.0, "visits/keys": 2.0}


def test_the_game_draws_a_key_for_each_bit_of_a_key_and_for_no_other() -> None:
    shadow = Shadow(GAME, PLAIN)
    start = shadow.clone_state()
    drawn = []
    for bit in range(8):
        shadow.ale.restoreState(start)
        shadow.ale.setRAM(INVENTORY, 1 << bit)
        for _ in range(6):
            shadow.ale.act(0)
        drawn.append(shadow.screen[20:50].tobytes())
    assert shadow.ram[ROOM] == 1
    assert [look == drawn[1] for look in drawn] == [bool(KEYS >> bit & 1) for bit in range(8)]


@pytest.mark.parametrize("protocol", ["machado", "nature"])
def test_random_play_stays_in_the_first_room_and_the_shadows_stay_with_it(protocol: str) -> None:
    """Through episodes' ends and streams seeded anew; a reward that differs would raise."""
    stream = montezuma(reseed_after=250, protocol=protocol)
    visits = visits_of(stream, 2)
    transitions = play(stream, visits, 700)
    assert sum(int(t.next_step.last.sum()) for t in transitions) >= 4
    assert stream.number.min() >= 1, "both were seeded anew"
    assert visits.rooms == {1}
    for followed in visits.shadows:
        assert followed.number == stream.number[followed.index]
        assert followed.shadow.over == bool(transitions[-1].next_step.last[followed.index])


def test_restored_visits_continue_in_the_same_state() -> None:
    stream = montezuma(seed=1, reseed_after=250)
    visits = visits_of(stream, 2)
    play(stream, visits, 331)
    visits.rooms.add(9)
    visits.keys.add(14)
    twin = montezuma(seed=1, reseed_after=250)
    twin.load_state_dict(stream.state_dict())
    resumed = visits_of(twin, 2)
    resumed.load_state_dict(visits.state_dict())
    assert (resumed.rooms, resumed.keys) == ({1, 9}, {14})
    for a, b in zip(visits.shadows, resumed.shadows, strict=True):
        assert (a.shadow.ram == b.shadow.ram).all()
        assert (a.number, a.shadow.frames) == (b.number, b.shadow.frames)
        assert a.shadow.step(3) == b.shadow.step(3)
        assert a.shadow.clone_state() == b.shadow.clone_state()


def test_a_shadow_that_has_left_its_stream_is_noticed() -> None:
    stream = montezuma()
    visits = visits_of(stream, 1)
    t = play(stream, visits, 5)[-1]
    wrong = replace(t, next_step=replace(t.next_step, reward=t.next_step.reward + 100))
    with pytest.raises(RuntimeError, match="shadow of stream 0 has left it"):
        visits.update(wrong)


def test_rooms_of_other_worlds_are_unknown() -> None:
    pong = Stream(AtariConfig("pong").build(1, threads=1))
    for stream in (pong, Stream(CatchConfig().build(2))):
        visits = visits_of(stream, 1)
        play(stream, visits, 3)
        assert visits.metrics() == {}
        visits.load_state_dict(visits.state_dict())
    with pytest.raises(UsageError, match="not of pong; track 0 streams"):
        Visits(pong)
    with pytest.raises(UsageError, match="visit_streams is -1; it must be 0 or more"):
        visits_of(pong, -1)


def test_states_are_the_different_frames_come_to() -> None:
    stream = Stream(CatchConfig().build(4), seed=2)
    states, resumed, seen = States(stream.spec), States(stream.spec), set()
    loop = interact(stream, RandomPolicy(3))
    for t in islice(loop, 90):
        states.update(t)
        seen |= {f.numpy().tobytes() for f in t.next_step.frame[t.valid]}
    assert states.metrics() == {"visits/states": len(seen)}
    resumed.load_state_dict(states.state_dict())
    for t in islice(loop, 30):
        states.update(t)
        resumed.update(t)
        seen |= {f.numpy().tobytes() for f in t.next_step.frame[t.valid]}
    assert states.metrics() == resumed.metrics() == {"visits/states": len(seen)}
