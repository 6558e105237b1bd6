"""The network of the recurrent state-space model, and its categorical distributions.

Hafner et al. 2023, "Mastering Diverse Domains through World Models"; see ``rssm.py``.
"""

from dataclasses import replace

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn
from torch.nn import functional

from ...envs import prng
from .encoder_decoder import (
    ARCHITECTURES,
    Architecture,
    Decoder,
    Encoder,
    Layer,
    Size,
    architecture_for,
)

PUBLISHED = Architecture(
    tuple(Layer(channels, 4, 2, (1, 1)) for channels in (32, 64, 128, 256)),
    hidden=512,
    min_frame=(16, 16),
)
"""The convolutions of DreamerV3's size S, and a hidden layer."""


class RSSMNetwork(nn.Module):
    """Encoder of an observation, recurrence, prior, posterior, and decoder of a frame.

    Raises UsageError for frames that are too small for the layers of the size.
    """

    def __init__(
        self,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
        *,
        size: Size,
        deter: int,
        units: int,
        groups: int,
        classes: int,
        uniform_mix: float,
    ) -> None:
        super().__init__()
        architecture = architecture_for(size, obs_shape, ARCHITECTURES | {"published": PUBLISHED})
        self.groups, self.uniform_mix, latents = groups, uniform_mix, groups * classes
        self.encoder = Encoder(architecture, obs_shape)
        self.step_input = _layer(latents + num_actions, units)
        self.gates = nn.Sequential(
            nn.Linear(units + deter, 3 * deter, bias=False), nn.LayerNorm(3 * deter)
        )
        self.prior_layers = nn.Sequential(_layer(deter, units), nn.Linear(units, latents))
        self.posterior_layers = nn.Sequential(
            _layer(deter + architecture.hidden, units), nn.Linear(units, latents)
        )
        state = replace(architecture, hidden=deter + latents)
        self.decoder = Decoder(state, self.encoder.shapes, channels)
        self.head_layers = _layer(deter + latents, units)

    def advance(
        self,
        deter: Float[Tensor, "B D"],
        latent: Float[Tensor, "B Z"],
        action: Float[Tensor, "B A"],
    ) -> Float[Tensor, "B D"]:
        """Return the next deterministic state, in -1..1, after a one-hot action.

        The GRU has a LayerNorm, and its update gate begins nearly closed, as published.
        """
        inputs = self.step_input(torch.cat([latent, action], 1))
        reset, candidate, gate = self.gates(torch.cat([inputs, deter], 1)).float().chunk(3, 1)
        candidate = (reset.sigmoid() * candidate).tanh()
        gate = (gate - 1).sigmoid()
        next_deter: Tensor = gate * candidate + (1 - gate) * deter
        return next_deter

    def prior(self, deter: Float[Tensor, "B D"]) -> Float[Tensor, "B G C"]:
        """Return the probabilities of the classes of z_t, given h_t."""
        return self._probs(self.prior_layers(deter))

    def posterior(
        self, deter: Float[Tensor, "B D"], embedding: Float[Tensor, "B E"]
    ) -> Float[Tensor, "B G C"]:
        """Return the probabilities of the classes of z_t, given h_t and the encoded observation."""
        return self._probs(self.posterior_layers(torch.cat([deter, embedding], 1)))

    def _probs(self, logits: Float[Tensor, "B Z"]) -> Float[Tensor, "B G C"]:
        probs = logits.float().unflatten(1, (self.groups, -1)).softmax(2)
        mixed: Tensor = (1 - self.uniform_mix) * probs + self.uniform_mix / probs.shape[2]
        return mixed


def sample_classes(probs: Float[Tensor, "B G C"], rng: Int64[Tensor, " B"]) -> Float[Tensor, "B Z"]:
    """Draw a class of each variable by the inverse of its distribution function, as one-hot."""
    uniforms = prng.uniform(rng, probs.shape[1], prng.Purpose.LATENT)[:, :, None]
    # Without the last cumulative probability, which may be rounded to less than 1.
    index = (uniforms >= probs.detach().cumsum(2)[:, :, :-1]).sum(2)
    return encode_classes(index, probs.shape[2])


def categorical_kl(q: Float[Tensor, "B G C"], p: Float[Tensor, "B G C"]) -> Float[Tensor, " B"]:
    """Compute KL(q || p) in nats, summed over the variables; all probabilities are positive."""
    return (q * (q.log() - p.log())).sum((1, 2))


def encode_classes(index: Int64[Tensor, "B G"], classes: int) -> Float[Tensor, "B Z"]:
    """Return the classes of all variables as one-hot, side by side."""
    return functional.one_hot(index, classes).flatten(1).float()


def _layer(inputs: int, outputs: int) -> nn.Sequential:
    """Return a linear layer with a LayerNorm and a SiLU, as published."""
    return nn.Sequential(nn.Linear(inputs, outputs, bias=False), nn.LayerNorm(outputs), nn.SiLU())
