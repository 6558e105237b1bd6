"""Dice: reference values, pure draws, and seeds that no two streams share."""

import pytest
import torch

from envs import dice


def test_splitmix64_agrees_with_the_published_sequence() -> None:
    # The first outputs of the generator seeded with 1234567: its state grows by GOLDEN a draw.
    states = 1234567 + torch.arange(5) * dice.GOLDEN
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [x % (1 << 64) for x in dice.splitmix64(states).tolist()] == expected


def test_a_draw_does_not_depend_on_the_batch_around_it() -> None:
    keys = dice.keys(3, "train", 64)
    whole = dice.uniform(keys, 128, lane=2)
    for rows in (slice(0, 1), slice(5, 9), slice(63, 64)):
        assert torch.equal(dice.uniform(keys[rows], 128, lane=2), whole[rows])


def test_draws_are_uniform_and_lanes_and_ticks_independent() -> None:
    keys = dice.keys(0, "train", 1000)
    a, b = dice.uniform(keys, 100), dice.uniform(keys, 100, lane=1)
    c = dice.uniform(dice.roll(keys), 100)
    for x in (a, b, c):
        assert float(x.min()) >= 0
        assert float(x.max()) < 1
        assert abs(float(x.mean()) - 0.5) < 5 * (1 / 12 / x.numel()) ** 0.5
    for x, y in ((a, b), (a, c), (b, c)):
        correlation = float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1])
        assert abs(correlation) < 5 / x.numel() ** 0.5
    assert torch.bincount(dice.integers(keys, 7), minlength=7).min() > 100


def test_neighbouring_runs_share_no_stream_and_seeds_suit_the_emulator() -> None:
    numbers = torch.zeros(256, dtype=torch.int64)
    seeds = torch.cat(
        [
            dice.env_seeds(seed, purpose, numbers + number)
            for seed in range(4)
            for purpose in ("train", "eval", "collect")
            for number in range(2)
        ]
    )
    assert seeds.unique().numel() == seeds.numel()
    assert int(seeds.min()) >= 0
    assert int(seeds.max()) < 2**31


def test_the_most_extreme_normal_draws_are_finite_and_opposite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = torch.tensor([[0, -1]])  # all bits 0, all bits 1: each once in 2^24 draws
    monkeypatch.setattr(dice, "bits", lambda key, count, lane=0: ends)
    least, most = dice.normal(torch.zeros(1, dtype=torch.int64), 2)[0].tolist()
    assert -5.5 < least == -most < -5.4


def test_normal_draws_are_normal_and_independent() -> None:
    draws = dice.normal(dice.keys(0, "train", 4000), 2)
    assert draws.mean(0).abs().max() < 0.06
    assert (draws.std(0) - 1).abs().max() < 0.05
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 0.06
