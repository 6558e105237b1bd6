"""Bonuses from a density: the pseudo-count of a frame, or the surprise at it.

Bellemare et al. 2016, "Unifying Count-Based Exploration and Intrinsic Motivation", and Ostrovski
et al. 2017, "Count-Based Exploration with Neural Density Models".
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor

from agents.bonus import BonusConfig, bonus_of_visits, check_finite, seen_shape
from agents.pseudo_counts import count_bonus, gain_count_bonus, gain_pseudo_count, pseudo_count
from envs.checks import above, at_least, check, refuse, within
from envs.interface import EnvSpec, Transition
from world_models.density.cts import CTSConfig
from world_models.density.symbols import as_symbols
from world_models.interface import DensityConfig


@dataclass(frozen=True)
class DensityBonusConfig(BonusConfig):
    """A density and the frames it sees."""

    density: DensityConfig = CTSConfig()
    """What says how likely a frame is."""
    resolution: int = 42
    """Rows and columns the density sees; a smaller world is seen as it is."""
    levels: int = 8
    """Shades of grey the density sees."""

    def __post_init__(self) -> None:
        check(self, "bonus", at_least(1), "resolution")
        check(self, "bonus", within(2, 256), "levels")


@dataclass(frozen=True)
class PseudoCountConfig(DensityBonusConfig):
    """Visits as a density counts them."""

    form: Literal["bellemare", "gain"] = "bellemare"
    """The count from both probabilities (Bellemare et al. 2016), or from the decayed prediction
    gain, for densities that learn by gradient (Ostrovski et al. 2017)."""
    scale: float | None = None
    """Factor of the bonus; None is the published one: 0.05 for bellemare (DQN), 1 for gain."""
    gain_factor: float = 0.1
    """c of the form gain."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.form not in PUBLISHED_SCALES:
            refuse(self, "bonus", "form", "bellemare or gain")
        check(self, "bonus", at_least(0), "scale")
        check(self, "bonus", above(0), "gain_factor")

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "PseudoCount":
        return PseudoCount(self, FrameDensity(self, spec, seed=seed, device=device))


PUBLISHED_SCALES = {"bellemare": 0.05, "gain": 1.0}


class PseudoCount:
    """scale (N + 0.01)^(-1/2), or scale N^(-1/2), where N is the frame's pseudo-count."""

    def __init__(self, config: PseudoCountConfig, density: "FrameDensity") -> None:
        self.config, self.density = config, density
        self.scale = PUBLISHED_SCALES[config.form] if config.scale is None else config.scale

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return bonus_of_visits(t, self.visit)

    def visit(self, frames: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        """The bonus of each frame; the density learns it."""
        return self.worth(*self.density.observe(frames))

    def count(self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The pseudo-counts of the frames that the density learned last."""
        if self.config.form == "bellemare":
            return pseudo_count(before, after)
        seen = torch.arange(1 - len(before), 1).to(before) + self.density.frames
        return gain_pseudo_count(after - before, seen, self.config.gain_factor)

    def worth(self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The bonus of the frames that the density learned last, from their log-probabilities."""
        of_count = count_bonus if self.config.form == "bellemare" else gain_count_bonus
        bonus = self.scale * of_count(self.count(before, after))
        return check_finite(bonus, "bonus from pseudo-counts")

    def state_dict(self) -> dict[str, Any]:
        return self.density.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.density.load_state_dict(state)


@dataclass(frozen=True)
class SurpriseConfig(DensityBonusConfig):
    """Surprise: nats a pixel; unlike a count's, its bonus never decays where worlds are noisy."""

    scale: float = 1.0
    """Bonus of a nat a pixel."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "bonus", at_least(0), "scale")

    def build(
        self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu"
    ) -> "Surprise":
        return Surprise(self.scale, FrameDensity(self, spec, seed=seed, device=device))


class Surprise:
    """scale (-log p) / pixels of a frame, in nats, before the density learns it."""

    def __init__(self, scale: float, density: "FrameDensity") -> None:
        self.scale, self.density = scale, density

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return bonus_of_visits(t, self.visit)

    def visit(self, frames: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        """The bonus of each frame; the density learns it."""
        return self.worth(*self.density.observe(frames))

    def worth(self, before: Float[Tensor, " n"], after: Float[Tensor, " n"]) -> Float[Tensor, " n"]:
        """The bonus of frames from their log-probabilities."""
        height, width = self.density.shape
        return self.scale * (-before / (height * width)).clamp(min=0)

    def state_dict(self) -> dict[str, Any]:
        return self.density.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.density.load_state_dict(state)


class FrameDensity:
    """A density that is shown frames of a world, and how many it has learned."""

    def __init__(
        self,
        config: DensityBonusConfig,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> None:
        self.shape, self.levels = seen_shape(spec, config.resolution), config.levels
        self.name = type(config.density).__name__.removesuffix("Config")
        self.density = config.density.build(
            shape=self.shape, levels=self.levels, seed=seed, device=device
        )
        self.frames = 0

    def observe(
        self, frames: UInt8[Tensor, "n C H W"]
    ) -> tuple[Float[Tensor, " n"], Float[Tensor, " n"]]:
        """Log-probabilities in nats just before and just after learning each frame, in order.

        Raises NumericalError where the density has lost its numbers.
        """
        before, after = self.density.observe(as_symbols(frames, self.shape, self.levels))
        self.frames += len(frames)
        for log_prob, when in ((before, "before"), (after, "after")):
            check_finite(log_prob, f"{self.name} density's log-probability {when} learning a frame")
        return before, after

    def state_dict(self) -> dict[str, Any]:
        return {"density": self.density.state_dict(), "frames": self.frames}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.density.load_state_dict(state["density"])
        self.frames = state["frames"]
