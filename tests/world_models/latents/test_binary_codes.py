"""Autoregressive bits compared with an enumeration."""

import pytest
import torch

from reverie.world_models.latents.binary_vae import AutoregressiveBernoulli


def test_probabilities_of_autoregressive_bits_sum_to_one() -> None:
    torch.manual_seed(0)
    bits = AutoregressiveBernoulli(torch.randn(5), torch.randn(5, 5))
    all_codes = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 5)
    probability = bits.log_prob(all_codes).exp()
    assert float(probability.sum()) == pytest.approx(1, abs=1e-5)
    samples = bits.sample(torch.Size([20_000]))
    index = (samples * 2 ** torch.arange(4, -1, -1)).sum(1).long()
    observed = torch.bincount(index, minlength=32)
    expected = 20_000 * probability
    # Pearson's statistic has mean 31 and standard deviation 8.
    assert float(((observed - expected) ** 2 / expected).sum()) < 70
    # By hand: the more probable value of each bit conditions the next one.
    weight = torch.zeros(2, 2)
    weight[1, 0] = 3.0
    two = AutoregressiveBernoulli(torch.tensor([1.0, -1.0]), weight)
    expected = torch.tensor([1.0, 2.0]).sigmoid()
    torch.testing.assert_close(two.greedy_probs(), expected)
