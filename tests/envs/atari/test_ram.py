"""The true state of Atari games: listed bytes of the console's memory, against real play."""

from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from ale_py import Action

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.atari.ram import RAM
from reverie.envs.atari.replica import ReplicaEmulator
from reverie.envs.batched_env import BatchedEnv

PLAIN = replace(PROTOCOLS["machado"], sticky=0.0)
WITHOUT_NOOPS = replace(PROTOCOLS["mfec"], noops=0)
CONSTANT = {"inventory", "room", "lives", "monster_x", "monster_y", "igloo_blocks", "bear_x"}
"""Bytes that random play seldom changes within a test."""
CONSTANT |= {"green_enemy_column", "enemy_x", "player_x", "skull_y"}


@pytest.mark.parametrize("game", RAM)
def test_listed_bytes_change_in_random_play(game: str) -> None:
    emulator, generator = ReplicaEmulator(game, PLAIN), np.random.default_rng(0)
    rows = []
    for _ in range(1500):
        emulator.step(int(generator.integers(len(emulator.actions))))
        rows.append(emulator.ram[list(RAM[game].values())])
    changes = (np.diff(np.array(rows).astype(int), axis=0) != 0).mean(0)
    still = [name for name, share in zip(RAM[game], changes, strict=True) if share == 0]
    assert set(still) <= CONSTANT


@pytest.mark.parametrize("game", [game for game in RAM if "lives" in RAM[game]])
def test_lives_are_those_of_the_emulator(game: str) -> None:
    """The byte changes in the timesteps in which a life is lost."""
    emulator, generator = ReplicaEmulator(game, PLAIN), np.random.default_rng(1)
    changes = []
    lives, byte = emulator.ale.lives(), int(emulator.ram[RAM[game]["lives"]])
    for _ in range(4000):
        emulator.step(int(generator.integers(len(emulator.actions))))
        new = emulator.ale.lives(), int(emulator.ram[RAM[game]["lives"]])
        if not emulator.done and new[0] < lives:
            changes.append(new[1] != byte)
        lives, byte = new
    assert len(changes) >= 2
    assert np.mean(changes) > 0.6


def test_the_true_state_is_read_where_it_is_asked_for() -> None:
    """It is that of the emulator at the same timestep, through resets and re-seeding."""
    config = AtariConfig("pong", replace(PROTOCOLS["machado"], frames_cap=160))
    assert BatchedEnv(config.build(1)).spec.privileged == ()
    assert BatchedEnv(AtariConfig("breakout").build(1, privileged=True)).spec.privileged == ()
    env = config.build(2, threads=1, privileged=True)
    envs = BatchedEnv(env, seed=3, reseed_after=60)
    assert envs.spec.privileged == tuple(RAM["pong"])
    seeds = set()
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 150):
        assert t.next_step.privileged is not None
        rams = [env.replicas[i].ram[list(RAM["pong"].values())] for i in range(2)]
        assert t.next_step.privileged.tolist() == np.stack(rams).tolist()
        seeds |= set(envs.emulator_seeds())
    assert len(seeds) > 2
    resumed = BatchedEnv(config.build(2, threads=1, privileged=True), seed=3, reseed_after=60)
    resumed.load_state_dict(envs.state_dict())
    action = torch.zeros(2, dtype=torch.int64)
    a, b = envs.step(action), resumed.step(action)
    assert a.privileged is not None
    assert torch.equal(a.privileged, b.privileged)  # type: ignore[arg-type]


def position(replica: ReplicaEmulator, game: str) -> list[int]:
    return [int(replica.ram[RAM[game][name]]) for name in ("player_x", "player_y")]


@pytest.mark.parametrize(
    ("game", "moves"),
    [
        ("ms_pacman", [("RIGHT", 0, 1), ("LEFT", 0, -1)]),
        ("frostbite", [("RIGHT", 0, 1), ("LEFT", 0, -1), ("DOWN", 1, 1)]),
    ],
)
def test_the_players_position_follows_the_actions(
    game: str, moves: list[tuple[str, int, int]]
) -> None:
    replica = ReplicaEmulator(game, WITHOUT_NOOPS)
    for _ in range(90 if game == "ms_pacman" else 20):  # until the player can move
        replica.step(0)
    for name, axis, sign in moves:
        action = replica.actions.index(int(getattr(Action, name).value))
        positions = []
        for _ in range(12):
            replica.step(action)
            positions.append(position(replica, game))
        moved = sign * np.diff(np.array(positions), axis=0)[:, axis]
        assert moved.sum() >= 8, (name, positions)
        assert axis == 1 or (moved >= 0).all(), (name, positions)  # a jump down starts upward


@pytest.mark.parametrize(
    ("game", "color"), [("ms_pacman", (210, 164, 74)), ("qbert", (181, 83, 40))]
)
def test_the_players_position_is_where_it_is_drawn(game: str, color: tuple[int, int, int]) -> None:
    replica, generator = ReplicaEmulator(game, WITHOUT_NOOPS), torch.Generator().manual_seed(0)
    drawn_positions, ram_positions = [], []
    action = 0
    for timestep in range(400):
        if timestep % 8 == 0:
            action = int(torch.randint(len(replica.actions), (), generator=generator))
        replica.step(action)
        rows, columns = (replica.screen[:172] == color).all(-1).nonzero()
        if len(rows) > 20:
            drawn_positions.append((columns.mean(), rows.mean()))
            ram_positions.append(position(replica, game))
    for axis in range(2):
        drawn, in_ram = np.array(drawn_positions)[:, axis], np.array(ram_positions)[:, axis]
        assert np.corrcoef(drawn, in_ram)[0, 1] > 0.97


def test_four_bits_of_the_inventory_are_keys() -> None:
    """The screen shows the same item for them, and others for the mallet, swords and torch."""
    replica, addresses = (
        ReplicaEmulator("montezuma_revenge", WITHOUT_NOOPS),
        RAM["montezuma_revenge"],
    )
    start = replica.save()
    screens = []
    for bit in range(8):
        replica.restore(start)
        replica.ale.setRAM(addresses["inventory"], 1 << bit)
        for _ in range(6):
            replica.ale.act(0)
        screens.append(replica.screen[20:50].tobytes())
    assert replica.ram[addresses["room"]] == 1
    assert [bit for bit in range(8) if screens[bit] == screens[1]] == [1, 2, 3, 4]
