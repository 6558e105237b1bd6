"""A representation from inside: what it keeps of a frame, and what each of its latents draws."""

from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Float
from torch import Tensor

from experiments.play.moment import Insight, Moment
from experiments.play.panels import Image, Images, Numbers, Panel, Picture, Slider
from experiments.play.pictures import picture
from world_models.interface import Representation
from world_models.representation.variational import VariationalRepresentation


@runtime_checkable
class HasRepresentation(Protocol):
    representation: Representation


@torch.no_grad()
def decoded(representation: Representation, keys: Float[Tensor, "B D"]) -> list[Image]:
    """The newest frames that keys stand for; none where a representation cannot draw."""
    if not isinstance(representation, VariationalRepresentation):
        return []
    net = representation.model
    mean: Tensor = net.likelihood(keys[:, : net.latent].to(representation.device)).mean
    return list((mean[:, -1].clamp(0, 1) * 255).round().to(torch.uint8).cpu().numpy())


class Reconstruction:
    """The frame, its reconstruction, and the same with one latent turned by hand."""

    def __init__(self, agent: HasRepresentation) -> None:
        self.representation = agent.representation
        self.rank, self.value = 0, None
        if isinstance(self.representation, VariationalRepresentation):
            self.order = _by_effect(self.representation)

    rank: int
    """Place of the turned latent in the order of what latents draw, the strongest first,"""
    value: float | None
    """and what it is turned to; None leaves it."""

    def look(self, now: Moment) -> Insight:
        model = self.representation
        if not isinstance(model, VariationalRepresentation):
            kind = type(model).__name__
            rows = ("kind", kind), ("numbers in a key", str(model.dim))
            note = "it has no decoder, so what it keeps of a frame cannot be drawn"
            return Insight((Numbers("Representation", rows, note),))
        code = model.encode(now.step.obs)[:, : model.model.latent]
        latent = self.order[self.rank]
        own = float(code[0, latent])
        turned = code.clone()
        turned[0, latent] = own if self.value is None else self.value
        kept, changed = decoded(model, torch.cat([code, turned]))
        low, high = _range(model)
        pictures = (
            Picture(picture(now.step.frame[0]), "seen"),
            Picture(kept, "reconstructed"),
            Picture(changed, f"turned: {float(turned[0, latent]):.2f}"),
        )
        panels: tuple[Panel, ...] = (
            Images("Representation", pictures),
            Slider("latent, by what it draws", "rank", 0, len(self.order) - 1, 1, self.rank, 0),
            Slider(f"latent {latent}", "latent", low, high, 0.05, self.value, own),
        )
        return Insight(panels)

    def turn(self, name: str, value: float | None) -> None:
        """Choose a latent by its rank, or its value."""
        if not isinstance(self.representation, VariationalRepresentation):
            return
        if name == "rank":
            self.rank = min(max(int(value or 0), 0), len(self.order) - 1)
            self.value = None
        elif name == "latent":
            low, high = _range(self.representation)
            self.value = None if value is None else min(max(value, low), high)


def _range(model: VariationalRepresentation) -> tuple[float, float]:
    """Where codes are: bits, or three standard deviations of the prior to either side."""
    return (0.0, 1.0) if model.model.spacing == 1 else (-3.0, 3.0)


@torch.no_grad()
def _by_effect(model: VariationalRepresentation) -> list[int]:
    """The latents, those first that change most of a picture between their two ends."""
    low, high = _range(model)
    ends = []
    for end in (low, high):
        codes = torch.full((model.model.latent,) * 2, (low + high) / 2, device=model.device)
        codes.fill_diagonal_(end)
        ends.append(model.model.likelihood(codes).mean)
    order: list[int] = (
        (ends[1] - ends[0]).abs().flatten(1).mean(1).argsort(descending=True).tolist()
    )
    return order
