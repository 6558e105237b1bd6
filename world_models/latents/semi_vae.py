"""Semi-supervised VAE: classes of frames, known for some of them (Kingma et al. 2014, model M2).

A frame has a class y ~ p(y) and a code z ~ N(0, I), and is x ~ p(x | y, z). With L(x, y) the ELBO
of a frame of known class, the bound of a frame of unknown class sums over all classes:

    U(x) = sum_y q(y | x) L(x, y) + H(q(y | x))

Frames of known class also train the classifier q(y | x) directly (section 3.1.2).
"""

import math
from dataclasses import dataclass, replace
from typing import ClassVar, Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.distributions import Distribution, Normal, OneHotCategorical, constraints, kl_divergence
from torch.nn.functional import one_hot

from ...envs.checks import above, at_least, check
from ...envs.errors import UsageError
from ...envs.interface import Segment
from ..inference.bounds import Weights
from .interface import LatentConfig
from .networks import Autoencoder


@dataclass(frozen=True)
class SemiVAEConfig(LatentConfig):
    """A variational autoencoder with a class and a Gaussian code."""

    size: int = 32
    """Length of the Gaussian code; a key is its mean, after the probability of each class."""
    labels: Literal["reward", "death", "given"] = "reward"
    """What the classes of frames are: the sign of the rewards within ``horizon`` timesteps, or
    whether a life ends within them. Given ones are a segment's extras of the name label."""
    horizon: int = 10
    """Timesteps after a frame whose rewards or deaths are its class."""
    classes: int = 10
    """Number of classes of given labels; a label is 0 or more, or -1 where it is unknown."""
    label_weight: float = 1.0
    """Weight of the log-probability of known classes, a mean over them, beside the mean bound."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "latent", at_least(1), "size", "horizon")
        check(self, "latent", at_least(2), "classes")
        check(self, "latent", above(0), "label_weight")

    @property
    def num_classes(self) -> int:
        """Number of classes: of rewards negative, none and positive; of deaths no and yes."""
        return {"reward": 3, "death": 2, "given": self.classes}[self.labels]

    def example(self) -> "SemiVAEConfig":
        return replace(self, size=1, horizon=3)

    def build(self, shape: tuple[int, ...], levels: int = 256) -> "SemiVAE":
        return SemiVAE(self, shape, levels)


class SemiVAE(Autoencoder):
    """VAE with y ~ Categorical and z ~ N(0, I); a code is y as one-hot, followed by z.

    The class moves the mean of the posterior of z, and its spread is that of all classes.
    """

    def __init__(self, config: SemiVAEConfig, shape: tuple[int, ...], levels: int) -> None:
        size = config.num_classes + config.size
        super().__init__(config.pixels(shape, levels), size, outputs=size + config.size)
        self.config, self.classes, self.dim = config, config.num_classes, size
        self.segment_length = 1 if config.labels == "given" else config.horizon
        self.prior_logits = nn.Parameter(torch.zeros(self.classes))
        self.shift = nn.Parameter(torch.zeros(self.classes, config.size))

    @torch.no_grad()
    def start_at_prior(self) -> None:
        super().start_at_prior()
        self.encoder.outputs.bias[self.size :] = 8 * math.atanh(1 / 8)  # log std 0

    def prior(self) -> "ClassAndCode":
        zeros = torch.zeros_like(self.shift)
        return ClassAndCode(self.prior_logits, zeros, torch.ones_like(zeros))

    def posterior(self, x: Tensor) -> "ClassAndCode":
        size = self.config.size
        logits, mean, log_std = self.encode(x).split([self.classes, size, size], 1)
        std = (8 * (log_std / 8).tanh() - 1).exp()  # in the range of the VAE's
        return ClassAndCode(logits, mean[:, None] + self.shift, std[:, None])

    def key(self, x: Tensor) -> Float[Tensor, "B D"]:
        """Return the probability of each class, and the mean code."""
        return self.posterior(x).mean

    def divergence(self, posterior: Distribution) -> Float[Tensor, "1 B D"]:
        assert isinstance(posterior, ClassAndCode)
        prior, probs = self.prior(), posterior.log_probs.exp()
        of_class = (probs * (posterior.log_probs - prior.log_probs)).sum(1, keepdim=True)
        of_code = (probs[:, :, None] * kl_divergence(posterior.codes, prior.codes)).sum(1)
        return torch.cat([of_class, of_code], 1)[None]

    def labels(self, segment: Segment) -> Int64[Tensor, " B"]:
        """Return the class of each segment's first observation, by the ``horizon`` after it.

        Raises UsageError for given labels that are missing or out of range.
        """
        if self.config.labels == "given":
            return self._given_labels(segment)
        discount, reward, valid = (
            x[:, : self.segment_length] for x in (segment.discount, segment.reward, segment.valid)
        )
        if self.config.labels == "death":
            return ((discount == 0) & valid).any(1).long()
        return 1 + (reward * valid).sum(1).sign().long()

    def weigh(self, x: Tensor, samples: int, *, pathwise: bool = False) -> Weights:
        """Sample codes of frames and return their log-probabilities.

        With ``pathwise``, a sample is of the code alone, and its log-probabilities are means over
        the classes under q(y | x): their bound is U(x), whose gradient needs no score function.
        Otherwise the class is sampled, too.
        """
        return self._weigh(x, self.posterior(x), samples, pathwise)

    def weigh_labeled(
        self, x: Tensor, labels: Int64[Tensor, " B"], samples: int, *, pathwise: bool = False
    ) -> Weights:
        posterior, known = self.posterior(x), labels >= 0
        chosen = one_hot(labels.clamp(min=0), self.classes)
        logits = torch.where(known[:, None], (chosen - 1) * CERTAIN, posterior.log_probs)
        given = ClassAndCode(logits, posterior.codes.mean, posterior.codes.stddev)
        weights = self._weigh(x, given, samples, pathwise)
        weight = self.config.label_weight * len(x) / known.sum().clamp(min=1)
        log_prob = weight * known * (chosen * posterior.log_probs).sum(1)
        return replace(weights, log_likelihood=weights.log_likelihood + log_prob)

    def _weigh(self, x: Tensor, posterior: "ClassAndCode", samples: int, pathwise: bool) -> Weights:
        if pathwise:
            codes = posterior.rsample_of_each_class(samples)  # [S, B, classes, D]
            log_probs = posterior.log_probs + posterior.log_prob_of_codes(codes)
            probs = posterior.log_probs.exp()
            log_likelihood = self.likelihood(codes).log_prob(x[:, None])
            terms = [log_likelihood, self.prior().log_prob(codes), log_probs]
            log_likelihood, log_prior, log_posterior = ((probs * term).sum(2) for term in terms)
            codes, log_score = (probs[..., None] * codes).sum(2), torch.zeros_like(log_posterior)
        else:
            codes = posterior.sample(torch.Size([samples]))
            log_likelihood = self.likelihood(codes).log_prob(x)
            log_prior = self.prior().log_prob(codes)
            log_posterior = log_score = posterior.log_prob(codes)
        return Weights(
            log_likelihood, log_prior, log_posterior, codes, log_score, self.divergence(posterior)
        )

    def _given_labels(self, segment: Segment) -> Int64[Tensor, " B"]:
        if "label" not in segment.extras:
            raise UsageError(
                "latent.labels is given, but the segments have no extras of the name label; choose "
                "reward or death, or train the representation on segments that have them."
            )
        labels = segment.extras["label"][:, 0].long()
        wrong = labels[(labels < -1) | (labels >= self.classes)]
        if len(wrong):
            raise UsageError(
                f"A label is {int(wrong[0])}, and latent.classes is {self.classes}; a label must "
                f"be in 0..{self.classes - 1}, or -1 where it is unknown."
            )
        return labels


CERTAIN = 1e9
"""Minus the logit of a class that is known to be wrong: finite, so that 0 times it is 0."""


class ClassAndCode(Distribution):
    """y ~ Categorical(logits), z ~ N(mean_y, std_y); an event is y as one-hot, followed by z."""

    has_rsample = False
    arg_constraints: ClassVar[dict[str, constraints.Constraint]] = {}

    def __init__(
        self,
        logits: Float[Tensor, "*B C"],
        mean: Float[Tensor, "*B C D"],
        std: Float[Tensor, "*B C D"] | Float[Tensor, "*B 1 D"],
    ) -> None:
        self.log_probs = logits.log_softmax(-1)
        self.codes = Normal(mean, std.expand_as(mean), validate_args=False)
        event = torch.Size([logits.shape[-1] + mean.shape[-1]])
        super().__init__(logits.shape[:-1], event, validate_args=False)

    @property
    def mean(self) -> Float[Tensor, "*B D"]:
        """The probability of each class, and the mean code."""
        probs = self.log_probs.exp()
        return torch.cat([probs, (probs[..., None] * self.codes.mean).sum(-2)], -1)

    def log_prob(self, value: Float[Tensor, "*S D"]) -> Float[Tensor, "*S"]:
        y = value[..., : self.log_probs.shape[-1]]
        each = self.log_probs + self.log_prob_of_codes(value[..., None, :])
        return (y * each).sum(-1)

    def log_prob_of_codes(self, codes: Float[Tensor, "*S one D"]) -> Float[Tensor, "*S C"]:
        """Return log p(z | y) for each class, of a code of each or of one code for all."""
        z = codes[..., self.log_probs.shape[-1] :]
        log_prob: Tensor = self.codes.log_prob(z)
        return log_prob.sum(-1)

    @torch.no_grad()
    def sample(
        self, sample_shape: torch.Size | list[int] | tuple[int, ...] = ()
    ) -> Float[Tensor, "*S D"]:
        classes: Distribution = OneHotCategorical(logits=self.log_probs, validate_args=False)
        y = classes.sample(torch.Size(sample_shape))
        mean, std = ((y[..., None] * x).sum(-2) for x in (self.codes.mean, self.codes.stddev))
        return torch.cat([y, mean + std * torch.randn_like(mean)], -1)

    def rsample_of_each_class(self, samples: int) -> Float[Tensor, "S *B C D"]:
        """Sample codes of every class, with a pathwise gradient."""
        z = self.codes.rsample(torch.Size([samples]))
        classes = torch.eye(self.log_probs.shape[-1], device=z.device, dtype=z.dtype)
        return torch.cat([classes.expand(*z.shape[:-1], -1), z], -1)
