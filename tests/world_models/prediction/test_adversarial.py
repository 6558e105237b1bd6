"""The adversarial loss: its optimum, whose gradients it has, and what it does to predictions."""

from dataclasses import replace

import pytest
import torch

from reverie.world_models.prediction.adversarial import Adversary, hinge_loss
from reverie.world_models.prediction.feedforward import TINY
from reverie.world_models.prediction.frame_predictor import FramePredictor

from sample_models import coin_flips, first_context, start


def build(adversarial: float) -> FramePredictor:
    config = replace(
        TINY, adversarial=adversarial, horizons=(1,), learning_rates=(1e-3,), batch_sizes=(64,),
        updates=(1,),
    )  # fmt: skip
    return config.build(obs_shape=(1, 4, 4), num_actions=1, seed=1)


def test_the_best_scores_of_a_discrete_distribution() -> None:
    """They are the sign of p - q, and their expected loss is 2 - 2 TV(p, q)."""
    generator = torch.Generator().manual_seed(0)
    p, q = torch.rand(2, 7, generator=generator).double().softmax(1)
    scores = torch.linspace(-3, 3, 601).double()[:, None].expand(-1, 7)
    losses = p * hinge_loss(scores, torch.full_like(scores, -1))
    losses = losses + q * hinge_loss(torch.ones_like(scores), scores)  # [score, frame]
    best, index = losses.min(0)
    torch.testing.assert_close(scores[index, torch.arange(7)], (p - q).sign())
    distance = (p - q).abs().sum() / 2
    torch.testing.assert_close(best.sum(), 2 - 2 * distance)


@pytest.mark.parametrize("shape", [(2, 4, 5), (2, 24, 28)])
def test_each_loss_has_the_gradient_of_its_own_part(shape: tuple[int, int, int]) -> None:
    adversary = Adversary(shape, num_actions=3, channels=1, learning_rate=1e-3, device="cpu")
    obs, predicted, true = (torch.rand(6, n, *shape[1:]) for n in (2, 1, 1))
    action = torch.eye(3)[[0, 1, 2, 0, 1, 2]]
    obs.requires_grad_()
    predicted.requires_grad_()
    weights = list(adversary.discriminator.parameters())

    score_loss, hinge = adversary.losses(obs, action, predicted, true)
    of_hinge, of_score = (
        torch.autograd.grad(loss.sum(), [predicted, obs, *weights], allow_unused=True)
        for loss in (hinge, score_loss)
    )
    assert [x is None for x in of_hinge] == [True, True, *[False] * len(weights)]
    assert [x is None for x in of_score] == [False, True, *[True] * len(weights)]
    slope = of_score[0]
    assert bool((slope.flatten(1).abs().sum(1) > 0).all())
    expected = -adversary.discriminator(obs, action, predicted)
    torch.testing.assert_close(score_loss, expected)
    better, _ = adversary.losses(obs, action, predicted - 1e-3 * slope, true)
    assert bool((better < score_loss).all())


def test_a_weight_of_zero_has_no_discriminator() -> None:
    """The predictor begins with the same weights, and its state is that of a run without."""
    without, with_adversary = build(0.0), build(1.0)
    assert without.adversary is None
    assert set(with_adversary.state_dict()) - set(without.state_dict()) == {"adversary"}
    for a, b in zip(without.network.parameters(), with_adversary.network.parameters(), strict=True):
        assert torch.equal(a, b)
    assert "discriminator" not in without.update(coin_flips(64, 0))
    assert float(with_adversary.update(coin_flips(64, 0))["discriminator"]) > 0
    for a, b in zip(without.heads.parameters(), with_adversary.heads.parameters(), strict=True):
        assert torch.equal(a, b), "rewards and discounts have no part in it"


@pytest.mark.parametrize("adversarial", [0.0, 3.0])
def test_a_predictor_leaves_the_mean_of_two_futures(adversarial: float) -> None:
    """Frames are dark (0) or bright (200): the squared error alone predicts their mean."""
    model = build(adversarial)
    for i in range(150):
        model.update(coin_flips(64, i))
    carry = start(model, first_context(coin_flips(1, 1000)))
    prediction, _ = model.predict(carry, torch.zeros(1, dtype=torch.int64))
    pixels = prediction.obs.float()
    distance = torch.minimum(pixels, (pixels - 200).abs()).mean()
    assert (float(distance) < 40) == (adversarial > 0)
    assert (float((pixels - 100).abs().mean()) < 20) == (adversarial == 0)
