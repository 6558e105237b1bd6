"""Linear probes: the recorded positions, and the split by envs."""

from dataclasses import replace

import pytest
import torch

from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.atari.ram import RAM
from reverie.envs.errors import UsageError
from reverie.experiments.evaluation.linear_probe import (
    PENALTIES,
    chosen_ridge,
    linear_probe,
    r_squared,
    record_positions,
    ridge_predict,
)

PLAIN = replace(PROTOCOLS["mfec"], noops=0)


def test_a_linear_probe_is_tested_on_other_envs() -> None:
    data = record_positions(AtariConfig("frostbite", PLAIN), 60, num_envs=4)
    assert data.obs.shape == (240, 1, 84, 84)
    assert data.position.shape == (240, 2)
    # All observations fit in one batch of 256, so the features are the positions themselves.
    score = linear_probe(lambda obs: data.position[: len(obs)], data)
    assert score["mean"] > 0.999


@pytest.mark.parametrize("game", ["freeway", "breakout"])
def test_a_game_without_a_known_position_is_refused(game: str) -> None:
    message = f"no part of the true state of {game}; choose .*: ms_pacman, qbert, pong"
    with pytest.raises(UsageError, match=message):
        record_positions(AtariConfig(game, PLAIN), 1)


def test_positions_are_bytes_of_the_memory_at_the_observation() -> None:
    """Each env's, at every timestep."""
    from reverie.agents.policies import RandomPolicy
    from reverie.envs import prng
    from reverie.envs.batched_env import BatchedEnv

    config = AtariConfig("frostbite", PLAIN)
    data = record_positions(config, 30, num_envs=2, seed=4)
    env = config.build(2, threads=1)
    replicas = [env.follow(i) for i in range(2)]
    envs = BatchedEnv(env, seed=4, purpose=prng.Purpose.COLLECT)
    policy = RandomPolicy(envs.spec.num_actions, 4)
    step, carry = envs.reset(), policy.initial(2)
    addresses = [RAM["frostbite"][name] for name in ("player_x", "player_y")]
    for timestep in range(30):
        output = policy.act(step, carry)
        step, carry = envs.step(output.action), output.carry
        rows = slice(2 * timestep, 2 * timestep + 2)
        assert torch.equal(data.obs[rows], step.obs)
        expected = [[int(replica.ram[i]) for i in addresses] for replica in replicas]
        assert data.position[rows].tolist() == expected
    envs.close()


def test_the_penalty_of_each_column_is_the_best_of_validation() -> None:
    """Little for a linear function, much for noise that many features could fit."""
    torch.manual_seed(0)
    x, x_validation, x_test = torch.randn(120, 80), torch.randn(80, 80), torch.randn(200, 80)
    weights, noise = torch.randn(80), torch.randn
    y, y_validation = (torch.stack([z @ weights, noise(len(z))], 1) for z in (x, x_validation))
    predicted, penalties = chosen_ridge(x, y, x_validation, y_validation, x_test)
    assert penalties.tolist() == [PENALTIES[0], PENALTIES[-1]]
    for column, penalty in enumerate(penalties.tolist()):
        expected = ridge_predict(x, y, x_test, penalty)[:, column]
        torch.testing.assert_close(predicted[:, column], expected)
    truth = torch.stack([x_test @ weights, noise(200)], 1)
    r2 = r_squared(predicted, truth)
    assert float(r2[0]) > 0.99
    assert float(r2[1]) < 0.1
    assert r_squared(truth.mean(0).expand(200, 2), truth).abs().max() < 1e-6
