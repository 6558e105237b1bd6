"""A diffusion model of the next frame: DIAMOND's denoiser.

Alonso et al. 2024, "Diffusion for World Modeling: Visual Details Matter in Atari". A U-Net learns
to remove Gaussian noise from the next frame, given the frames before it and the action, with the
loss and the sampler of EDM. Three steps per frame suffice, because what comes before determines
most of it. Reward and discount are read by a network of their own from the observation, the action
and the next frame; in the paper it has an LSTM over time.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

from ...envs import prng
from ...envs.checks import above, at_least, check, refuse
from ...envs.interface import Carry
from .edm import effective_target, euler_sample, karras_sigmas, preconditioning
from .encoder_decoder import Size
from .feedforward import SMALL, TINY
from .frame_network import FrameNetwork, FrameOutput
from .frame_predictor import FramePredictorConfig
from .unet import DownPath, Stages, UNet

LOG_SIGMA_MEAN, LOG_SIGMA_STD = -0.4, 1.2
"""Of the noise levels in training."""
TRAINING_RANGE = 2e-3, 20.0
"""Bounds of the noise levels in training."""
SCALE = 2
"""A frame in 0..1 spans as many units as one in -1..1 does in the paper."""


class Architecture(NamedTuple):
    """Layers of one size."""

    denoiser: Stages
    outcome: Stages
    """Of the network for reward and discount."""
    condition: int
    """Width of the condition of the denoiser; half of it is that of the other network."""
    features: int


ARCHITECTURES: dict[Size, Architecture] = {
    "published": Architecture(
        Stages((64, 64, 64, 64), (2, 2, 2, 2), (2, 2, 2)),
        Stages((32, 32, 32, 32), (2, 2, 2, 2), (2, 2, 2)),
        condition=256,
        features=512,
    ),
    # For 84 x 84 gray frames on a CPU: blocks at a quarter of the resolution and at an eighth.
    "small": Architecture(
        Stages((32, 32), (0, 1), (2,), patch=4),
        Stages((16, 32), (0, 1), (2,), patch=4),
        condition=64,
        features=128,
    ),
    # For frames of a few pixels.
    "tiny": Architecture(
        Stages((16,), (0,), ()), Stages((16,), (0,), ()), condition=64, features=64
    ),
}


@dataclass(frozen=True)
class DiffusionConfig(FramePredictorConfig):
    """The published denoiser and schedule, for observations of four frames of 3 x 64 x 64."""

    size: Size = "published"
    """small is for 84 x 84 gray frames on a CPU, tiny for frames of a few pixels."""
    denoising_steps: int = 3
    """Euler steps per frame."""
    sigma_data: float = 0.5
    """Assumed standard deviation of pixels that span 2, d; less suits frames where little moves."""
    conditioning_noise: float = 0.0
    """Standard deviation of noise on the observations in training, in units of 0..1; none in the
    paper. With it, a prediction depends less on the errors of those before it."""
    horizons: tuple[int, ...] = (2,)
    """Steps predicted: the second from the denoised frame of the first."""
    learning_rates: tuple[float, ...] = (1e-4,)
    """Adam's; doubled for biases."""
    batch_sizes: tuple[int, ...] = (32,)
    """Segments per update."""
    updates: tuple[int, ...] = (400_000,)
    """Updates of each phase."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(1), "denoising_steps")
        check(self, "predictor", above(0), "sigma_data")
        check(self, "predictor", at_least(0), "conditioning_noise")
        if self.motion_weight:
            refuse(self, "predictor", "motion_weight", "0, as the denoiser has a loss of its own")

    def build_network(
        self, obs_shape: tuple[int, int, int], num_actions: int, channels: int
    ) -> FrameNetwork:
        return DiffusionNetwork(self, obs_shape, num_actions, channels)


SMALL_DIFFUSION = DiffusionConfig(
    size="small",
    sigma_data=0.1,
    horizons=SMALL.horizons,
    **SMALL.training_settings(head_hidden=0),  # the features are those of a network of their own
)
"""For 84 x 84 gray frames on a CPU, with the schedule of the small feed-forward network."""

TINY_DIFFUSION = DiffusionConfig(
    size="tiny",
    horizons=TINY.horizons,
    **TINY.training_settings(head_hidden=0),  # the features are those of a network of their own
)
"""For frames of a few pixels, with the schedule of the tiny feed-forward network."""


class DiffusionNetwork(FrameNetwork):
    """The denoiser, and a network for reward and discount that reads the frames around a step."""

    def __init__(
        self,
        config: DiffusionConfig,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
    ) -> None:
        super().__init__()
        architecture = ARCHITECTURES[config.size]
        stacked_channels, *frame = obs_shape
        self.frame_shape = channels, frame[0], frame[1]
        self.conditioning_noise = SCALE * config.conditioning_noise
        self.sigmas, self.sigma_data = karras_sigmas(config.denoising_steps), config.sigma_data
        self.num_features = architecture.features
        inputs = stacked_channels + channels
        self.denoiser = UNet(architecture.denoiser, inputs, channels, architecture.condition)
        self.condition = Condition(num_actions, architecture.condition)
        self.outcome = Outcome(architecture, inputs, num_actions, self.frame_shape)

    def initialize(self) -> None:
        """Keep the weights of the layers' construction, some of which are 0."""

    def initial(self, n: int, device: torch.device) -> Carry:
        return {"rng": torch.zeros(n, dtype=torch.int64, device=device)}

    def forward(
        self,
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
        carry: Carry,
        target: Float[Tensor, "B C H W"] | None = None,
    ) -> FrameOutput:
        """Draw the next frame or, given it, denoise it at a random level.

        Own frames among the observations have no gradient, as published.
        """
        obs, rng = SCALE * obs.detach(), carry["rng"]
        next_carry: Carry = {"rng": prng.next_rng(rng)}
        noise = _noise(rng, self.frame_shape, prng.Purpose.LATENT)
        if target is None:
            frame = euler_sample(
                lambda noisy, sigma: self.denoise(noisy, sigma, obs, action)[0], noise, self.sigmas
            )
            features = self.outcome(torch.cat([obs, frame], 1) / self.sigma_data, action)
            return FrameOutput(frame / SCALE, features, next_carry)
        true = SCALE * target
        features = self.outcome(torch.cat([obs, true], 1) / self.sigma_data, action)
        level = prng.normal(rng, 1, prng.Purpose.NOISE_LEVEL)[:, 0]
        sigma = (LOG_SIGMA_MEAN + LOG_SIGMA_STD * level).exp().clamp(*TRAINING_RANGE)
        if self.conditioning_noise:
            shape = obs.shape[1], *self.frame_shape[1:]
            obs = obs + self.conditioning_noise * _noise(rng, shape, prng.Purpose.OBS_NOISE)
        noisy = true + sigma[:, None, None, None] * noise
        frame, output = self.denoise(noisy, sigma, obs, action)
        best = effective_target(true, noisy, sigma, self.sigma_data)
        loss = (output - best).square().mean((1, 2, 3))
        return FrameOutput(frame / SCALE, features, next_carry, loss=loss)

    def denoise(
        self,
        noisy: Float[Tensor, "B C H W"],
        sigma: Float[Tensor, " B"],
        obs: Float[Tensor, "B K H W"],
        action: Float[Tensor, "B A"],
    ) -> tuple[Float[Tensor, "B C H W"], Float[Tensor, "B C H W"]]:
        """Return D(y; s) and the output of F, for frames and observations in units of the model."""
        c_skip, c_out, c_in = preconditioning(sigma, self.sigma_data)
        condition = self.condition(action, sigma.log() / 4)
        frames = torch.cat([obs / self.sigma_data, c_in * noisy], 1)
        output = self.denoiser(frames, condition).float()
        return c_skip * noisy + c_out * output, output


class Condition(nn.Module):
    """Vector of an action and a noise level: random Fourier features of the latter, and layers."""

    frequencies: Tensor

    def __init__(self, num_actions: int, width: int) -> None:
        super().__init__()
        self.register_buffer("frequencies", 2 * math.pi * torch.randn(width // 2))
        self.act = nn.Linear(num_actions, width, bias=False)
        self.layers = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))

    def forward(
        self, action: Float[Tensor, "B A"], c_noise: Float[Tensor, " B"]
    ) -> Float[Tensor, "B D"]:
        """Return the condition of the denoiser."""
        phase = c_noise[:, None] * self.frequencies
        features = torch.cat([phase.cos(), phase.sin()], 1)
        condition: Tensor = self.layers(features + self.act(action))
        return condition


class Outcome(nn.Module):
    """Features of reward and discount, from the observation, the action and the next frame."""

    def __init__(
        self,
        architecture: Architecture,
        in_channels: int,
        num_actions: int,
        frame_shape: tuple[int, int, int],
    ) -> None:
        super().__init__()
        condition, stages = architecture.condition // 2, architecture.outcome
        self.act = nn.Linear(num_actions, condition)
        self.down = DownPath(stages, in_channels, condition)
        positions = math.prod(-(-side // stages.stride) for side in frame_shape[1:])
        self.hidden = nn.Linear(stages.channels[-1] * positions, architecture.features)

    def forward(
        self, frames: Float[Tensor, "B K1 H W"], action: Float[Tensor, "B A"]
    ) -> Float[Tensor, "B D"]:
        """Return the features; frames are the observation's and the next, of unit variance."""
        grid = self.down(frames, self.act(action))[-1]
        return functional.silu(self.hidden(functional.silu(grid).flatten(1)))


def _noise(
    rng: Tensor, shape: tuple[int, int, int], purpose: prng.Purpose
) -> Float[Tensor, "B K H W"]:
    return prng.normal(rng, math.prod(shape), purpose).view(-1, *shape)
