"""An ensemble of predictors, whose disagreement shows where none of them has learned.

Each member has weights and minibatches of its own, as in PETS (Chua et al. 2018, "Deep
Reinforcement Learning in a Handful of Trials using Probabilistic Dynamics Models"). A prediction is
that of a random member, drawn anew for each row and step (their trajectory sampling TS1). Where the
members' next frames differ, the state is unknown (Pathak et al. 2019, "Self-Supervised Exploration
via Disagreement"), and a dream may end there (Kidambi et al. 2020, "MOReL"). MOReL pays a penalty
at such an end; here it is a truncation, after which rewards are 0.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ...envs import prng
from ...envs.checks import at_least, check
from ...envs.errors import UsageError
from ...envs.interface import Carry, Metrics, Segment
from ..interface import Prediction, Predictor, PredictorConfig
from ..precision import FLOAT32, Precision
from .feedforward import SMALL
from .mean_frame import HasMeanFrame


@dataclass(frozen=True)
class EnsembleConfig(PredictorConfig):
    """Several predictors of one kind; memory and time are as many times a member's."""

    member: PredictorConfig = SMALL
    """The predictor of which there are several."""
    members: int = 3
    """How many."""
    max_disagreement: float = 0.0
    """A dream is truncated where the variance of the members' frames, in squared gray levels and
    averaged over pixels, is greater; 0 for no limit."""

    def __post_init__(self) -> None:
        check(self, "predictor", at_least(1), "members")
        check(self, "predictor", at_least(0), "max_disagreement")
        if not self.member.trainable:
            raise UsageError(
                "predictor.member is the env itself, whose copies never disagree; choose a learned "
                "predictor, such as predictor.member:small."
            )

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Ensemble":
        members = [
            self.member.build(
                obs_shape=obs_shape,
                num_actions=num_actions,
                channels=channels,
                seed=prng.fold_in(seed, i),
                device=device,
                precision=precision,
            )
            for i in range(self.members)
        ]
        return Ensemble(members, seed=seed, max_disagreement=self.max_disagreement)


class Ensemble:
    """Predictors as one ``Predictor``, which is ``Disagreeing``.

    Example::

        import torch
        from reverie.world_models.prediction.ensemble import EnsembleConfig
        from reverie.world_models.prediction.feedforward import TINY

        ensemble = EnsembleConfig(TINY).build(obs_shape=(1, 10, 5), num_actions=3)
        obs, none = torch.zeros(8, 1, 1, 10, 5, dtype=torch.uint8), torch.zeros(8, 0).long()
        carry = ensemble.start(obs, none, first=torch.ones(8, 1, dtype=torch.bool))
        prediction, carry = ensemble.predict(carry, torch.zeros(8).long())
        variance = ensemble.disagreement(carry)  # [8, 1, 10, 5]
    """

    def __init__(self, members: Sequence[Predictor], *, seed: int, max_disagreement: float) -> None:
        self.members, self.seed = members, seed
        self.max_disagreement = max_disagreement or math.inf
        self.obs_shape, self.channels = members[0].obs_shape, members[0].channels
        self.num_actions, self.context = members[0].num_actions, members[0].context

    @property
    def batch_shape(self) -> tuple[int, int]:
        """A minibatch for every member, and the timesteps of its segments."""
        batch_size, timesteps = self.members[0].batch_shape
        return len(self.members) * batch_size, timesteps

    def fit_mean(self, frames: UInt8[Tensor, "M C H W"]) -> None:
        """Set the members' mean frames, where they have them."""
        for member in self.members:
            if isinstance(member, HasMeanFrame):
                member.fit_mean(frames)

    def start(
        self,
        obs: UInt8[Tensor, "B F K H W"],
        action: Int64[Tensor, "B F1"],
        first: Bool[Tensor, "B F"],
    ) -> Carry:
        carries = [member.start(obs, action, first) for member in self.members]
        newest = carries[0]["obs"]
        rng = prng.initial_rng(self.seed, prng.Purpose.DREAM, len(obs)).to(newest.device)
        disagreement = torch.zeros_like(newest[:, -self.channels :], dtype=torch.float32)
        halted = torch.zeros(len(obs), dtype=torch.bool, device=newest.device)
        return {"obs": newest, "rng": rng, "disagreement": disagreement, "halted": halted} | _own(
            carries
        )

    @torch.no_grad()
    def predict(self, carry: Carry, action: Int64[Tensor, " B"]) -> tuple[Prediction, Carry]:
        """Predict by a random member per row; a dream that has ended stays as it is."""
        rng, halted = carry["rng"], carry["halted"]
        outputs = [
            member.predict(member_carry, action)
            for member, member_carry in zip(self.members, self._carries(carry), strict=True)
        ]
        predictions, carries = [x for x, _ in outputs], [x for _, x in outputs]
        chosen = prng.randint(rng, len(self.members), prng.Purpose.MEMBER)
        row = torch.arange(len(rng), device=rng.device)
        obs, reward, discount = (
            torch.stack(column)[chosen, row]
            for column in zip(*((x.obs, x.reward, x.discount) for x in predictions), strict=True)
        )
        frames = torch.stack([x.obs[:, -self.channels :] for x in predictions])
        disagreement = frames.float().var(0, unbiased=False)
        next_halted = halted | (disagreement.mean((1, 2, 3)) > self.max_disagreement)
        keep = halted[:, None, None, None]
        obs = torch.where(keep, carry["obs"], obs)
        next_carry = {
            "obs": obs,
            "rng": prng.next_rng(rng),
            "disagreement": torch.where(keep, carry["disagreement"], disagreement),
            "halted": next_halted,
        }
        reward, discount = torch.where(halted, 0.0, reward), torch.where(halted, 1.0, discount)
        last = next_halted if self.max_disagreement < math.inf else None
        return Prediction(obs, reward, discount, last), next_carry | _own(carries)

    def disagreement(self, carry: Carry) -> Float[Tensor, "B C H W"]:
        return carry["disagreement"]

    def update(self, segment: Segment) -> Metrics:
        """Take a gradient step of every member on its own rows of the segment.

        Member i learns from every M-th row from i on, or, of fewer rows than members, from one.
        """
        rows, count = len(segment.action), len(self.members)
        metrics = [
            member.update(segment.select(slice(i % rows, None, count)))
            for i, member in enumerate(self.members)
        ]
        return {name: sum(x[name] for x in metrics) / count for name in metrics[0]}

    def state_dict(self) -> dict[str, Any]:
        return {str(i): member.state_dict() for i, member in enumerate(self.members)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        for i, member in enumerate(self.members):
            member.load_state_dict(state[str(i)])

    def _carries(self, carry: Carry) -> Iterator[Carry]:
        """Yield the state of every member, each with the common observation and its own keys."""
        for i in range(len(self.members)):
            prefix = f"{i}."
            own = {
                name.removeprefix(prefix): x for name, x in carry.items() if name.startswith(prefix)
            }
            if "rng" in own:
                own["rng"] = prng.splitmix64(carry["rng"] ^ i)
            yield own | {"obs": carry["obs"]}


def _own(carries: list[Carry]) -> Carry:
    """Return what the members' states have beside the common observation."""
    return {
        f"{i}.{name}": x for i, carry in enumerate(carries) for name, x in carry.items()
        if name != "obs"
    }  # fmt: skip
