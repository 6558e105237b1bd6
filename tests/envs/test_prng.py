"""Random numbers: reference values, pure draws, and seeds that no two envs share."""

import pytest
import torch

from reverie.envs import prng


def test_splitmix64_agrees_with_the_published_sequence() -> None:
    # Outputs of the generator seeded with 1234567; its state grows by GOLDEN_GAMMA.
    states = 1234567 + torch.arange(5) * prng.GOLDEN_GAMMA
    expected = [
        6457827717110365317,
        3203168211198807973,
        9817491932198370423,
        4593380528125082431,
        16408922859458223821,
    ]
    assert [x % (1 << 64) for x in prng.splitmix64(states).tolist()] == expected


def test_a_draw_does_not_depend_on_the_batch_around_it() -> None:
    rng = prng.initial_rng(3, prng.Purpose.TRAIN, 64)
    whole = prng.uniform(rng, 128, purpose=2)
    for rows in (slice(0, 1), slice(5, 9), slice(63, 64)):
        assert torch.equal(prng.uniform(rng[rows], 128, purpose=2), whole[rows])


def test_draws_are_uniform_and_purposes_and_timesteps_independent() -> None:
    rng = prng.initial_rng(0, prng.Purpose.TRAIN, 1000)
    a, b = prng.uniform(rng, 100), prng.uniform(rng, 100, purpose=1)
    c = prng.uniform(prng.next_rng(rng), 100)
    for x in (a, b, c):
        assert float(x.min()) >= 0
        assert float(x.max()) < 1
        assert abs(float(x.mean()) - 0.5) < 5 * (1 / 12 / x.numel()) ** 0.5
    for x, y in ((a, b), (a, c), (b, c)):
        correlation = float(torch.corrcoef(torch.stack([x.flatten(), y.flatten()]))[0, 1])
        assert abs(correlation) < 5 / x.numel() ** 0.5
    assert torch.bincount(prng.randint(rng, 7), minlength=7).min() > 100


def test_no_two_runs_share_an_env_seed_and_seeds_are_valid_for_the_emulator() -> None:
    seed_index = torch.zeros(256, dtype=torch.int64)
    seeds = torch.cat(
        [
            prng.env_seeds(seed, purpose, seed_index + reseeds)
            for seed in range(4)
            for purpose in (prng.Purpose.TRAIN, prng.Purpose.EVAL, prng.Purpose.COLLECT)
            for reseeds in range(2)
        ]
    )
    assert len(set(seeds.tolist())) == seeds.numel()
    assert int(seeds.min()) >= 0
    assert int(seeds.max()) < 2**31


def test_the_most_extreme_normal_draws_are_finite_and_opposite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    ends = torch.tensor([[0, -1]])  # all bits 0, all bits 1: each once in 2^24 draws
    monkeypatch.setattr(prng, "bits", lambda rng, count, purpose=0: ends)
    least, most = prng.normal(torch.zeros(1, dtype=torch.int64), 2)[0].tolist()
    assert -5.5 < least == -most < -5.4


def test_normal_draws_are_normal_and_independent() -> None:
    draws = prng.normal(prng.initial_rng(0, prng.Purpose.TRAIN, 4000), 2)
    assert draws.mean(0).abs().max() < 0.06
    assert (draws.std(0) - 1).abs().max() < 0.05
    assert abs(float(torch.corrcoef(draws.T)[0, 1])) < 0.06
