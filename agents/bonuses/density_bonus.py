"""Bonuses from a density: by the pseudo-count or the surprise of a frame.

Bellemare et al. 2016, "Unifying Count-Based Exploration and Intrinsic Motivation", and Ostrovski
et al. 2017, "Count-Based Exploration with Neural Density Models".
"""

from dataclasses import dataclass
from typing import Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from ...envs.checks import above, at_least, check, refuse, within
from ...envs.interface import EnvSpec, Transition
from ...world_models.density.cts import CTSConfig
from ...world_models.density.quantization import FrameQuantizer
from ...world_models.interface import DensityConfig
from ...world_models.precision import FLOAT32, Precision
from ...world_models.state import HasState
from .bonus import (
    BonusConfig,
    VarietyCheck,
    bonus_of_next,
    check_finite,
)
from .pseudo_counts import count_bonus, gain_count_bonus, gain_pseudo_count, pseudo_count


@dataclass(frozen=True)
class DensityBonusConfig(BonusConfig):
    """A density and the preprocessing of its frames."""

    density: DensityConfig = CTSConfig()
    """The model of the probability of frames."""
    resolution: int = 42
    """Rows and columns that frames are downsampled to; smaller frames keep their size."""
    levels: int = 8
    """Gray levels that frames are quantized to; frames of planes have one more than planes."""

    def __post_init__(self) -> None:
        check(self, "bonus", at_least(1), "resolution")
        check(self, "bonus", within(2, 256), "levels")

    def frame_density(
        self, spec: EnvSpec, seed: int, device: torch.device | str, precision: Precision
    ) -> "FrameDensity":
        """Return the untrained density of an environment's frames."""
        return FrameDensity(self, spec, seed=seed, device=device, precision=precision)


@dataclass(frozen=True)
class PseudoCountConfig(DensityBonusConfig):
    """Count-based bonus from the pseudo-counts of a density."""

    form: Literal["bellemare", "gain"] = "bellemare"
    """``bellemare``: the count from the probabilities before and after the update (Bellemare et al.
    2016); ``gain``: from the decayed prediction gain, for densities trained by gradient descent
    (Ostrovski et al. 2017)."""
    scale: float | None = None
    """Scale of the bonus; None is the published one: 0.05 for bellemare (DQN), 1 for gain."""
    gain_factor: float = 0.1
    """c of Ostrovski et al. 2017, for the form gain."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in PUBLISHED_SCALES:
            refuse(self, "bonus", "form", "bellemare or gain")
        check(self, "bonus", at_least(0), "scale")
        check(self, "bonus", above(0), "gain_factor")

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "PseudoCount":
        return PseudoCount(self, self.frame_density(spec, seed, device, precision))


PUBLISHED_SCALES = {"bellemare": 0.05, "gain": 1.0}


class DensityBonus(HasState):
    """Base of bonuses that are functions of a frame's probability before and after its update.

    Raises NumericalError if a log-probability is not finite.
    """

    STATE = ("density",)
    density: "FrameDensity"

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return bonus_of_next(t, t.next_step.frame, self.observe)

    def observe(self, frames: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        """Learn each frame and return its bonus."""
        return self.bonus_from_log_probs(*self.density.observe(frames))

    def bonus_from_log_probs(
        self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        """Return the bonus of the last observed frames, from their log-probabilities."""
        raise NotImplementedError


class PseudoCount(DensityBonus):
    """A bonus of scale (N + 0.01)^(-1/2), or scale N^(-1/2), for the pseudo-count N of a frame.

    Raises NumericalError if a log-probability or the bonus is not finite.
    """

    def __init__(self, config: PseudoCountConfig, density: "FrameDensity") -> None:
        self.config, self.density = config, density
        self.scale = PUBLISHED_SCALES[config.form] if config.scale is None else config.scale

    def count(self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """Return the pseudo-counts of the last observed frames, from their log-probabilities."""
        if self.config.form == "bellemare":
            return pseudo_count(before, after)
        num_frames = torch.arange(1 - len(before), 1).to(before) + self.density.num_frames
        return gain_pseudo_count(after - before, num_frames, self.config.gain_factor)

    def bonus_from_log_probs(
        self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        of_count = count_bonus if self.config.form == "bellemare" else gain_count_bonus
        bonus = self.scale * of_count(self.count(before, after))
        return check_finite(bonus, "bonus from pseudo-counts")


@dataclass(frozen=True)
class SurpriseConfig(DensityBonusConfig):
    """Bonus by surprise; unlike a count-based bonus, it does not decay in noisy environments."""

    scale: float = 1.0
    """Bonus per nat per pixel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "bonus", at_least(0), "scale")

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Surprise":
        return Surprise(self.scale, self.frame_density(spec, seed, device, precision))


class Surprise(DensityBonus):
    """A bonus by the surprise of a frame before the density's update on it.

        scale (-log p(x)) / (rows columns)

    x is the downsampled frame, so the surprise is in nats per pixel.
    """

    def __init__(self, scale: float, density: "FrameDensity") -> None:
        self.scale, self.density = scale, density

    def bonus_from_log_probs(
        self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]
    ) -> Float[Tensor, " n"]:
        height, width = self.density.quantizer.shape
        return self.scale * (-before / (height * width)).clamp(min=0)


class FrameDensity(HasState):
    """A density with the preprocessing of an environment's frames, and a count of them."""

    STATE = ("density", "num_frames")

    def __init__(
        self,
        config: DensityBonusConfig,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.quantizer = FrameQuantizer(spec, resolution=config.resolution, levels=config.levels)
        self.name = type(config.density).__name__.removesuffix("Config")
        self.density = config.density.build(
            shape=self.quantizer.shape,
            levels=self.quantizer.levels,
            seed=seed,
            device=device,
            precision=precision,
        )
        self.num_frames = 0
        settings = {"resolution": config.resolution}
        if not spec.planes:
            settings = {"levels": config.levels} | settings
        self.variety = VarietyCheck(type(config).__name__.removesuffix("Config"), settings)

    def observe(
        self, frames: UInt8[Tensor, "n C H W"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Learn the frames in order; return each one's log-prob just before and after, in nats.

        Raises NumericalError if a log-probability is not finite.
        """
        symbols = self.quantizer(frames)
        self.variety.update(frames, symbols)
        before, after = self.density.observe(symbols)
        self.num_frames += len(frames)
        for log_prob, when in ((before, "before"), (after, "after")):
            check_finite(log_prob, f"{self.name} density's log-probability {when} learning a frame")
        return before, after
