"""Heads of a predictor for reward and discount.

The reward's head is one of three. A regression of its symlog is pulled to 0 by the many steps
without a reward. A classifier gives a rare reward a probability of its own: of its sign, for
clipped rewards, or of bins on the scale of symlog (Hafner et al. 2023, "Mastering Diverse Domains
through World Models", equations 9 and 10).
"""

from typing import Literal

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional

RewardHead = Literal["symlog", "sign", "two-hot"]


class RewardCoding(nn.Module):
    """What the outputs of a reward head mean: a predicted reward, and a loss."""

    num_outputs: int

    def decode(self, outputs: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """Return the predicted reward; 0 for outputs of 0."""
        raise NotImplementedError

    def loss(
        self, outputs: Float[Tensor, "B N"], reward: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        """Return the loss of each row."""
        raise NotImplementedError


class Symlog(RewardCoding):
    """Regression of the symlog of the reward, by half the squared error."""

    num_outputs = 1

    def decode(self, outputs: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        return symexp(outputs[:, 0])

    def loss(
        self, outputs: Float[Tensor, "B N"], reward: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        squared_error: Tensor = (outputs[:, 0] - symlog(reward)).square()
        return squared_error / 2


class Sign(RewardCoding):
    """Probabilities of a negative, no and a positive reward; the prediction is the expected sign.

    For an agent that clips rewards (Mnih et al. 2015): the size of a reward is lost.
    """

    num_outputs = 3

    def decode(self, outputs: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        probs = outputs.softmax(1)
        return probs[:, 2] - probs[:, 0]

    def loss(
        self, outputs: Float[Tensor, "B N"], reward: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        return functional.cross_entropy(outputs, reward.sign().long() + 1, reduction="none")


class TwoHot(RewardCoding):
    """Probabilities of bins that are evenly spaced in the symlog of the reward.

    A reward is encoded by the two bins next to its symlog, weighted so that their mean is the
    symlog. The prediction is the symexp of the expected bin, which is below the mean of a random
    reward. Rewards beyond the bins, of more than 4e8, are clipped.
    """

    bins: Float[Tensor, " N"]
    """Antisymmetric, so that equal probabilities predict 0 exactly."""
    limit, num_outputs = 20.0, 255

    def __init__(self) -> None:
        super().__init__()
        positive = torch.linspace(0, self.limit, self.num_outputs // 2 + 1)
        bins = torch.cat([-positive[1:].flip(0), positive])
        self.register_buffer("bins", bins, persistent=False)

    def encode(self, reward: Float[Tensor, " B"]) -> Float[Tensor, "B N"]:
        """Return the weights of the bins, of which all but two are 0."""
        position = (symlog(reward).clamp(-self.limit, self.limit) + self.limit)[:, None]
        spacing = 2 * self.limit / (self.num_outputs - 1)
        index = torch.arange(self.num_outputs, device=reward.device)
        return (1 - (position / spacing - index).abs()).clamp(min=0)

    def decode(self, outputs: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        return self.expected(outputs.softmax(1))

    def expected(self, probs: Float[Tensor, "B N"]) -> Float[Tensor, " B"]:
        """Return the symexp of the expected bin."""
        return symexp(((probs - probs.flip(1)) * self.bins).sum(1) / 2)

    def loss(
        self, outputs: Float[Tensor, "B N"], reward: Float[Tensor, " B"]
    ) -> Float[Tensor, " B"]:
        return functional.cross_entropy(outputs, self.encode(reward), reduction="none")


REWARD_HEADS: dict[RewardHead, type[RewardCoding]] = {
    "symlog": Symlog,
    "sign": Sign,
    "two-hot": TwoHot,
}


class RewardDiscountHeads(nn.Module):
    """Heads for the reward and for the logit of the discount, zero at first.

    They are linear, after a hidden layer of ``hidden`` units if there are any. A head predicts a
    reward of 0 and a discount of 1/2 before it is trained.

    Example::

        import torch
        from reverie.world_models.prediction.heads import RewardDiscountHeads

        heads = RewardDiscountHeads(64, "two-hot")
        features, reward = torch.randn(8, 64), torch.ones(8)
        loss = heads.loss(features, reward, discount=torch.ones(8))  # [8]
        reward, discount = heads.predict(features)
    """

    def __init__(
        self, num_features: int, reward: RewardHead = "symlog", *, hidden: int = 0
    ) -> None:
        super().__init__()
        self.coding = REWARD_HEADS[reward]()
        self.output = nn.Linear(hidden or num_features, self.coding.num_outputs + 1)
        self.hidden = nn.Sequential()
        if hidden:
            self.hidden.extend([nn.Linear(num_features, hidden), nn.LayerNorm(hidden), nn.SiLU()])
        nn.init.zeros_(self.output.weight)
        nn.init.zeros_(self.output.bias)

    def forward(self, features: Float[Tensor, "B D"]) -> Float[Tensor, "B N"]:
        """Return the outputs of both heads, that of the discount last."""
        outputs: Tensor = self.output(self.hidden(features)).float()
        return outputs

    def predict(
        self, features: Float[Tensor, "B D"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"]]:
        """Return rewards, and discounts in 0..1."""
        outputs = self(features)
        return self.coding.decode(outputs[:, :-1]), outputs[:, -1].sigmoid()

    def loss(
        self,
        features: Float[Tensor, "B D"],
        reward: Float[Tensor, " B"],
        discount: Float[Tensor, " B"],
    ) -> Float[Tensor, " B"]:
        """Return the loss of both heads, per step.

            loss of the reward's head - d log(sigmoid(l)) - (1 - d) log(1 - sigmoid(l))

        l is the logit and d the discount.
        """
        outputs = self(features)
        cross_entropy = functional.binary_cross_entropy_with_logits(
            outputs[:, -1], discount, reduction="none"
        )
        return self.coding.loss(outputs[:, :-1], reward) + cross_entropy


def symlog(x: Tensor) -> Tensor:
    """Compute sign(x) ln(|x| + 1) (Hafner et al. 2023)."""
    return x.sign() * x.abs().log1p()


def symexp(x: Tensor) -> Tensor:
    """Compute the inverse of ``symlog``, sign(x) (exp(|x|) - 1)."""
    return x.sign() * x.abs().expm1()
