"""Ranks of rare events: by pairs, DeLong's interval and its coverage; imagined returns."""

import math

import pytest
import torch

from reverie.experiments.dreams.reward_ranking import compare_returns, rank_auc, ranked_events


def test_the_auc_is_the_share_of_pairs_in_order_with_ties_half() -> None:
    generator = torch.Generator().manual_seed(0)
    score = torch.randint(6, (60,), generator=generator).float()
    event = torch.rand(60, generator=generator) < 0.2
    pairs = score[event][:, None] - score[~event]
    share = float(((pairs > 0).float() + (pairs == 0).float() / 2).mean())
    found = rank_auc(score, event)
    assert found is not None
    auc, low, high = found
    assert auc == pytest.approx(share, abs=1e-6)
    assert low is not None
    assert high is not None
    # DeLong's variance, by its definition: that of the means over pairs, of either class.
    wins = ((pairs > 0).double() + (pairs == 0).double() / 2).numpy()
    variance = wins.mean(1).var(ddof=1) / len(wins) + wins.mean(0).var(ddof=1) / wins.shape[1]
    assert high - auc == pytest.approx(1.959964 * math.sqrt(variance), rel=1e-5)
    assert rank_auc(-score, event) == pytest.approx((1 - auc, 1 - high, 1 - low))
    assert rank_auc(torch.zeros(60), event) == (0.5, 0.5, 0.5)


def test_an_auc_of_one_class_is_undefined() -> None:
    score = torch.arange(5.0)
    for event in (torch.zeros(5, dtype=torch.bool), torch.ones(5, dtype=torch.bool)):
        assert rank_auc(score, event) is None


def test_a_perfect_ranking_is_as_sure_as_its_events_are_many() -> None:
    def low(events: int) -> float | None:
        score = torch.arange(100.0)
        found = rank_auc(score, score >= 100 - events)
        assert found is not None
        assert found[0] == 1
        return found[1]

    assert low(1) is None
    assert low(3) == pytest.approx(0.025 ** (1 / 3))
    assert low(50) == pytest.approx(0.025**0.02)


def test_the_interval_covers_the_auc_of_two_gaussians() -> None:
    """For a shift of 1 it is Phi(1 / sqrt(2))."""
    truth, covered = 0.5 * (1 + math.erf(0.5)), 0
    for seed in range(200):
        score = torch.randn(200, generator=torch.Generator().manual_seed(seed))
        event = torch.arange(200) < 30
        found = rank_auc(score + event.float(), event)
        assert found is not None
        _, low, high = found
        assert low is not None
        assert high is not None
        covered += low <= truth <= high
    assert 0.9 <= covered / 200 <= 0.99


def test_events_are_ranked_by_what_predicts_them() -> None:
    true_reward = torch.tensor([0.0, 1.0, 0.0, -2.0])
    true_discount = torch.tensor([1.0, 1.0, 0.0, 1.0])
    perfect = ranked_events(true_reward, true_discount, true_reward, true_discount)
    assert {name: x["auc"] for name, x in perfect.items()} == dict.fromkeys(perfect, 1.0)
    assert [x["events"] for x in perfect.values()] == [1, 1, 1]
    wrong = ranked_events(-true_reward, 1 - true_discount, true_reward, true_discount)
    assert {name: x["auc"] for name, x in wrong.items()} == dict.fromkeys(wrong, 0.0)
    for name, mean in (("negative reward", 0.25), ("positive reward", 0.25), ("termination", 0.75)):
        assert wrong[name]["mean_predicted"] == pytest.approx(mean)
        assert wrong[name]["mean_true"] == pytest.approx(-0.25 if "reward" in name else 0.25)
    never = ranked_events(true_reward, true_discount, torch.zeros(4), torch.ones(4))
    assert {x["auc"] for x in never.values()} == {None}


def test_returns_are_compared_by_correlation_and_bias() -> None:
    real = torch.tensor([0.0, 1.0, -3.0, 2.0])
    found = compare_returns(2 * real + 1, real)
    assert found["correlation"] == pytest.approx(1)
    assert found["bias"] == pytest.approx(1)
    assert compare_returns(torch.ones(4), real)["correlation"] is None
    assert compare_returns(real[:1], real[:1])["correlation"] is None
