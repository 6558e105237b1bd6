"""Gradient steps of several seeds at once: their norms are clipped apart, and Adam is one call."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class GradientSteps:
    """One Adam over the parameters of several seeds, whose own optimizers share its moments.

    So the state of a seed's optimizer is always what it would be alone.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Adam]) -> None:
        self.optimizers = list(optimizers)
        self.parameters = [optimizer.param_groups[0]["params"] for optimizer in optimizers]
        settings = self.optimizers[0].param_groups[0]
        everything = [x for parameters in self.parameters for x in parameters]
        self.adam = torch.optim.Adam(
            everything, lr=settings["lr"], betas=settings["betas"], eps=settings["eps"], fused=True
        )
        for optimizer in self.optimizers:
            self.adam.state.update(optimizer.state)

    def backward(self, losses: Float[Tensor, " S"]) -> None:
        """Compute the gradient of each seed's own loss; the others have none."""
        self.adam.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]

    def step(self, max_norm: float) -> None:
        """Make a step for each seed that has a gradient, which is clipped to a norm.

        The arithmetic of ``clip_grad_norm_``, seed by seed, at the learning rate of the first seed.
        """
        gradients = [[x.grad for x in own if x.grad is not None] for own in self.parameters]
        seeds = [own for own in gradients if own]
        flat = [x for own in seeds for x in own]
        norms = torch.stack(torch._foreach_norm(flat)).view(len(seeds), -1)
        scale = (max_norm / (torch.linalg.vector_norm(norms, dim=1) + 1e-6)).clamp(max=1.0)
        torch._foreach_mul_(flat, scale.repeat_interleave(norms.shape[1]).unbind())
        self.adam.param_groups[0]["lr"] = self.optimizers[0].param_groups[0]["lr"]
        self.adam.step()
        for optimizer, own in zip(self.optimizers, self.parameters, strict=True):
            if not optimizer.state and own[0] in self.adam.state:
                optimizer.state.update({x: self.adam.state[x] for x in own if x in self.adam.state})
