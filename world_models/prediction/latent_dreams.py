"""Latent dreams: an agent learns from the state of a predictor, whose frames are never decoded.

As Dreamer's actor (Hafner et al. 2020, "Dream to Control"). The features of a state are handed over
as an observation, an image of one row of bytes, so that any agent takes them.
"""

from dataclasses import replace
from typing import Protocol, runtime_checkable

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ...envs.interface import Carry, Metrics, Segment
from ..interface import Prediction, Predictor
from ..state import HasState


@runtime_checkable
class LatentPredictor(Predictor, Protocol):
    """A predictor with a state of its own, which it predicts without decoding a frame.

    Example::

        import torch
        from reverie.world_models.prediction.rssm import TINY_RSSM

        predictor = TINY_RSSM.build(obs_shape=(1, 10, 5), num_actions=3)
        obs = torch.zeros(8, 1, 10, 5, dtype=torch.uint8)
        action, first = torch.zeros(8, dtype=torch.int64), torch.ones(8, dtype=torch.bool)
        carry = predictor.observe(predictor.initial(8), action, obs, first)
        features = predictor.features(carry)  # [8, 1, 1, D]
    """

    num_features: int

    def initial(self, n: int) -> Carry:
        """Return the state before the first observation."""

    def observe(
        self,
        carry: Carry,
        action: Int64[Tensor, " B"],
        obs: UInt8[Tensor, "B K H W"],
        first: Bool[Tensor, " B"],
    ) -> Carry:
        """Return the state after an action and the observation that followed it.

        Where that is the ``first`` of an episode, neither the state nor the action counts.
        """

    def features(self, carry: Carry) -> UInt8[Tensor, "B 1 1 D"]:
        """Return what an agent observes of a state."""

    def predict_latent(
        self, carry: Carry, action: Int64[Tensor, " B"]
    ) -> tuple[Float[Tensor, " B"], Float[Tensor, " B"], Carry]:
        """Return the reward and discount of an action, as in ``Prediction``, and the next state.

        ``carry`` is not modified.
        """


def filtered_states(
    predictor: LatentPredictor,
    obs: UInt8[Tensor, "B F K H W"],
    action: Int64[Tensor, "B F1"],
    first: Bool[Tensor, "B F"],
) -> list[Carry]:
    """Return the states after each of F observations and the F1 = F-1 actions between them."""
    before = torch.cat([torch.zeros_like(first[:, :1], dtype=torch.int64), action], 1)
    first = torch.cat([torch.ones_like(first[:, :1]), first[:, 1:]], 1)
    carry, states = predictor.initial(len(obs)), []
    for t in range(obs.shape[1]):
        carry = predictor.observe(carry, before[:, t], obs[:, t], first[:, t])
        states.append(carry)
    return states


class LatentDreams(HasState):
    """A ``LatentPredictor`` as a ``Predictor`` of its own features, as ``Imagination`` takes one.

    Example::

        import torch
        from reverie.world_models.prediction.latent_dreams import LatentDreams
        from reverie.world_models.prediction.rssm import TINY_RSSM

        dreams = LatentDreams(TINY_RSSM.build(obs_shape=(1, 10, 5), num_actions=3))
        obs = torch.zeros(8, 1, 1, 10, 5, dtype=torch.uint8)
        none, first = torch.zeros(8, 0, dtype=torch.int64), torch.ones(8, 1, dtype=torch.bool)
        carry = dreams.start(obs, none, first)
        prediction, carry = dreams.predict(carry, torch.zeros(8, dtype=torch.int64))
    """

    STATE = ("predictor",)
    channels = 1

    def __init__(self, predictor: LatentPredictor) -> None:
        self.predictor = predictor
        self.obs_shape = 1, 1, predictor.num_features
        self.num_actions, self.context = predictor.num_actions, predictor.context

    @property
    def batch_shape(self) -> tuple[int, int]:
        """Number of segments and of timesteps for the next update, those of the predictor."""
        return self.predictor.batch_shape

    def start(
        self,
        obs: UInt8[Tensor, "B F K H W"],
        action: Int64[Tensor, "B F1"],
        first: Bool[Tensor, "B F"],
    ) -> Carry:
        """Return the states after all observations of the contexts, B F rows.

        So dreams start at every state of a context, as in the paper, also at the first of an
        episode.
        """
        states = filtered_states(self.predictor, obs, action, first)
        return self._with_features({x: torch.cat([y[x] for y in states]) for x in states[0]})

    def predict(self, carry: Carry, action: Int64[Tensor, " B"]) -> tuple[Prediction, Carry]:
        """Predict one step, with the features of the next state as observation."""
        reward, discount, state = self.predictor.predict_latent(carry, action)
        next_carry = self._with_features(state)
        return Prediction(next_carry["obs"], reward, discount), next_carry

    def update(self, segment: Segment) -> Metrics:
        """Take one gradient step of the predictor on segments of frames."""
        return self.predictor.update(segment)

    def encode(self, segment: Segment) -> Segment:
        """Return a recorded segment with features as observations."""
        states = filtered_states(self.predictor, segment.obs, segment.action, segment.first)
        return replace(segment, obs=torch.stack([self.predictor.features(x) for x in states], 1))

    def _with_features(self, state: Carry) -> Carry:
        return state | {"obs": self.predictor.features(state)}
