"""Gradient steps of several seeds at once: their norms are clipped apart, and Adam is one call."""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor


class GradientSteps:
    """Adam over the parameters of several seeds, on the moments of the seeds' own optimizers.

    After ``share`` the state of a seed's optimizer is what it would be alone. The parameters of a
    seed are those of one network, and make their steps together.
    """

    def __init__(self, optimizers: Sequence[torch.optim.Adam]) -> None:
        self.optimizers = list(optimizers)
        self.parameters = [optimizer.param_groups[0]["params"] for optimizer in optimizers]
        steps = [[float(x["step"]) for x in own.state.values()] for own in optimizers]
        self.steps = torch.tensor([max(own, default=0.0) for own in steps])
        """The number of steps of each seed."""

    def backward(self, losses: Float[Tensor, " S"]) -> None:
        """Compute the gradient of each seed's own loss; the others have none."""
        for own in self.parameters:
            for x in own:
                x.grad = None
        losses.sum().backward()

    @torch.no_grad()
    def step(self, max_norm: float) -> None:
        """Make a step for each seed that has a gradient, which is clipped to a norm.

        The arithmetic of ``clip_grad_norm_``, seed by seed, and of fused Adam, at the learning rate
        of the first seed.
        """
        with_gradient = [[x for x in own if x.grad is not None] for own in self.parameters]
        seeds = [i for i, own in enumerate(with_gradient) if own]
        parameters = [x for own in with_gradient for x in own]
        gradients = [x.grad for x in parameters]
        norms = torch.stack(torch._foreach_norm(gradients)).view(len(seeds), -1)
        scale = (max_norm / (torch.linalg.vector_norm(norms, dim=1) + 1e-6)).clamp(max=1.0)
        if not (scale == 1).all():
            torch._foreach_mul_(gradients, scale.repeat_interleave(norms.shape[1]).unbind())
        self.steps[seeds] += 1
        steps = self.steps.unbind()
        state = [self._state(i, x) for i in seeds for x in with_gradient[i]]
        settings = self.optimizers[0].param_groups[0]
        beta1, beta2 = settings["betas"]
        torch._fused_adam_(
            parameters, gradients, [x["exp_avg"] for x in state], [x["exp_avg_sq"] for x in state],
            [], [steps[i] for i in seeds for _ in with_gradient[i]],
            lr=settings["lr"], beta1=beta1, beta2=beta2, eps=settings["eps"],
            weight_decay=settings["weight_decay"], amsgrad=False, maximize=False,
        )  # fmt: skip

    def share(self) -> None:
        """Store the number of steps in the seeds' own optimizers."""
        for optimizer, steps in zip(self.optimizers, self.steps, strict=True):
            for state in optimizer.state.values():
                state["step"].copy_(steps)

    def _state(self, seed: int, parameter: Tensor) -> dict[str, Tensor]:
        """Return the moments of a parameter in its seed's optimizer, 0 before its first step."""
        state: dict[str, Tensor] = self.optimizers[seed].state[parameter]
        if not state:
            state["step"] = torch.zeros(())
            state["exp_avg"] = torch.zeros_like(parameter)
            state["exp_avg_sq"] = torch.zeros_like(parameter)
        return state
