"""Heads of a predictor for reward and discount."""

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional


class RewardDiscountHeads(nn.Linear):
    """Linear heads for the symlog of the reward and the logit of the discount, zero at first."""

    def __init__(self, num_features: int) -> None:
        super().__init__(num_features, 2)
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def predict(
        self, features: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return rewards, and discounts in 0..1."""
        reward, discount = self(features).float().unbind(1)
        return symexp(reward), discount.sigmoid()

    def loss(
        self,
        features: Float[Tensor, "B D"],
        reward: Float[Tensor, " B"],
        discount: Float[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of both heads, per step.

            (u - symlog(r))^2 / 2 - d log(sigmoid(l)) - (1 - d) log(1 - sigmoid(l))

        u and l are the outputs, r the reward and d the discount.
        """
        symlog_reward, logit = self(features).float().unbind(1)
        cross_entropy = functional.binary_cross_entropy_with_logits(
            logit, discount, reduction="none"
        )
        squared_error: Tensor = (symlog_reward - symlog(reward)).square()
        return squared_error / 2 + cross_entropy


def symlog(x: Tensor) -> Tensor:
    """Compute sign(x) ln(|x| + 1) (Hafner et al. 2023)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Compute the inverse of ``symlog``, sign(x) (exp(|x|) - 1)."""
    return x.sign() * x.abs().expm1()
