"""Hypothesis tests by Bayes factors: of two models, and of whether two sets of samples differ."""

import math
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits

from ...envs.errors import UsageError
from ...envs.prng import seeded

UPDATES, BATCH = 300, 64
"""Gradient steps of the two-sample test's classifier."""


def log_bayes_factor(log_p: Float[Tensor, " P"], log_q: Float[Tensor, " Q"]) -> tuple[float, float]:
    """Return the log Bayes factor of model p over q on held-out frames, and its standard error.

        log B = sum_i (log p(x_i) - log q(x_i)),  error = sqrt(n) std_i(log p(x_i) - log q(x_i))

    Both in nats. The log-probabilities are of the same n frames in the same order: what makes a
    frame improbable under both models adds no error. Raises UsageError if their numbers differ or
    are below two.
    """
    if log_p.shape != log_q.shape or len(log_p) < 2:
        raise UsageError(
            f"a Bayes factor was asked of {len(log_p)} and {len(log_q)} log-probabilities; give "
            "those of the same two or more frames under both models."
        )
    difference = log_p.double() - log_q.double()
    return float(difference.sum()), math.sqrt(len(difference)) * float(difference.std())


@dataclass(frozen=True, slots=True)
class TwoSampleTest:
    """Whether two sets of samples come from the same distribution."""

    correct: int
    """Held-out samples whose set the classifier recognized."""
    n: int
    """Held-out samples, as many of either set."""

    @property
    def accuracy(self) -> float:
        """The share of recognized samples: about 1/2 if the distributions are the same."""
        return self.correct / self.n

    @property
    def log_bayes_factor(self) -> float:
        """Log Bayes factor of two distributions over one, in nats.

            log B = log Beta(k + 1, n - k + 1) + n log 2

        It compares an accuracy uniform in 0..1 with one of exactly 1/2, given k of n recognized.
        """
        k, n = self.correct, self.n
        log_beta = math.lgamma(k + 1) + math.lgamma(n - k + 1) - math.lgamma(n + 2)
        return log_beta + n * math.log(2)


def two_sample_test(x: Tensor, y: Tensor, *, seed: int = 0, paired: bool = False) -> TwoSampleTest:
    """Compare two sets of samples: vectors [B D], frames [B H W] or stacks of them [B K H W].

    A small network learns to tell them apart from half of each set, and is tested on the other. Of
    the larger set only as many samples are used as the smaller one has. If all are independent and
    from one distribution, the Bayes factor exceeds b with a probability of at most 1 / b, because
    its mean is at most 1 (Markov's inequality). The result is a function of samples and ``seed``.

    ``paired`` samples are in one order, as a predicted frame and the true one: the network learns
    from the first half of the pairs and is tested on the second. If a pair were divided, a network
    that remembers one sample would take the other for one of its set. Samples of pairs whose two
    are hardly different are recognized half of the time, so that the Bayes factor is below 1.

    Raises UsageError for samples of two shapes, or for fewer than four of either.
    """
    if x.shape[1:] != y.shape[1:] or x.ndim not in (2, 3, 4):
        raise UsageError(
            f"a two-sample test was given samples of shapes {tuple(x.shape[1:])} and "
            f"{tuple(y.shape[1:])}; give vectors, or frames with or without channels, of one shape."
        )
    count = min(len(x), len(y))
    if count < 4:
        raise UsageError(
            f"a two-sample test was given {len(x)} and {len(y)} samples; it needs 4 of each."
        )
    with seeded(seed), torch.enable_grad():
        orders = [torch.arange(len(z)) if paired else torch.randperm(len(z)) for z in (x, y)]
        sets = [
            z[order[:count].to(z.device)].cpu().float()
            for z, order in zip((x, y), orders, strict=True)
        ]
        half = count // 2
        train, test = (
            torch.cat([each[part] for each in sets]) for part in (slice(half), slice(half, None))
        )
        mean = train.mean(0)
        scale = (train - mean).std().clamp(min=1e-6)
        std = train.std(0).clamp(min=0.1 * scale)  # not that of an almost constant pixel
        is_y = [torch.arange(2 * n) >= n for n in (half, count - half)]
        classifier = _train((train - mean) / std, is_y[0])
    with torch.no_grad():
        chosen = classifier((test - mean) / std)[:, 0] > 0
    return TwoSampleTest(int((chosen == is_y[1]).sum()), len(chosen))


def _train(x: Tensor, is_y: Bool[Tensor, " B"]) -> nn.Module:
    """Return a classifier of standardized samples, trained with Adam and weight decay."""
    if x.ndim == 2:
        layers: list[nn.Module] = [nn.Linear(x.shape[1], 64), nn.ReLU()]
    else:
        channels = 1 if x.ndim == 3 else x.shape[1]
        layers = [
            *([nn.Unflatten(1, (1, -1))] if x.ndim == 3 else []),
            nn.Conv2d(channels, 16, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(16, 32, 3, stride=2, padding=1),
            nn.ReLU(),
        ]
    classifier = nn.Sequential(*layers, nn.Flatten(), nn.LazyLinear(1))
    classifier(x[:1])  # initializes the last layer
    optimizer = torch.optim.AdamW(classifier.parameters(), lr=1e-3, weight_decay=1e-2)
    for _ in range(UPDATES):
        index = torch.randint(len(x), (BATCH,))
        logits = classifier(x[index])[:, 0]
        optimizer.zero_grad()
        loss = binary_cross_entropy_with_logits(logits, is_y[index].float())
        loss.backward()
        optimizer.step()
    return classifier
