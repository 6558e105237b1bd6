"""The emulator: the env itself as a predictor, a privileged reference of what a model could give.

It clones the state of the env, which no agent may see, and steps the clone. Frames, rewards and
ends are those of the env. Chance (sticky actions, random starts) is drawn anew from the key in its
carry, not by the env's generator, so it does not know the future.
"""

from dataclasses import dataclass
from typing import Any, NoReturn

import torch
from jaxtyping import Bool, Int64, UInt8
from numpy.typing import NDArray
from torch import Tensor

from ...envs import prng
from ...envs.dynamics import no_snapshots
from ...envs.errors import UsageError
from ...envs.interface import Carry, EnvSpec, Metrics, Segment
from ..interface import Prediction, PredictorConfig
from ..precision import FLOAT32, Precision
from ..state import HasState


@dataclass(frozen=True)
class EmulatorConfig(PredictorConfig):
    """The env itself, cloned and stepped; a privileged reference, which learns nothing."""

    trainable = False
    needs_snapshots = True

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> NoReturn:
        raise UsageError(
            "predictor:emulator is the env itself, and there is no env to step; choose a learned "
            "predictor, such as predictor:small-mlp."
        )

    def build_for(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Emulator":
        return Emulator(spec, seed=seed, device=device)


class Emulator(HasState):
    """The dynamics of ``spec`` as a ``SnapshotPredictor``.

    Raises UsageError if the spec has none.

    Example::

        import torch
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig
        from reverie.world_models.prediction.emulator import EmulatorConfig

        envs = BatchedEnv(CatchConfig().build(8), snapshots=True)
        predictor, step = EmulatorConfig().build_for(envs.spec), envs.reset()
        carry = predictor.start_from(step.obs, step.snapshot)
        for action in torch.randint(3, (5, 8)):
            prediction, carry = predictor.predict(carry, action)
    """

    context = 1
    batch_shape = 1, 1

    def __init__(self, spec: EnvSpec, *, seed: int = 0, device: torch.device | str = "cpu") -> None:
        if spec.dynamics is None:
            raise no_snapshots("predictor:emulator")
        self.dynamics = spec.dynamics
        self.obs_shape, self.channels = spec.obs_shape, spec.channels
        self.num_actions, self.seed = spec.num_actions, seed
        self.device = torch.device(device)

    def start(
        self,
        obs: UInt8[Tensor, "B F K H W"],
        action: Int64[Tensor, "B F1"],
        first: Bool[Tensor, "B F"],
    ) -> Carry:
        """Raise UsageError: observations are not enough."""
        return self.start_from(obs[:, -1], None)

    def start_from(
        self, obs: UInt8[Tensor, "B K H W"], snapshot: UInt8[Tensor, "B S"] | None
    ) -> Carry:
        if snapshot is None:
            raise no_snapshots("predictor:emulator")
        n, device = len(obs), self.device
        return {
            "obs": obs.to(device),
            "snapshot": snapshot.to(device),
            "ended": torch.zeros(n, dtype=torch.bool, device=device),
            # A default; callers replace it with keys of their own.
            "rng": prng.initial_rng(self.seed, prng.Purpose.DREAM, n).to(device),
        }

    @torch.no_grad()
    def predict(self, carry: Carry, action: Int64[Tensor, " B"]) -> tuple[Prediction, Carry]:
        """Step the envs whose episodes have not ended; the others stay as they are."""
        obs, snapshot, rng = carry["obs"].clone(), carry["snapshot"].clone(), carry["rng"]
        ended = carry["ended"].clone()
        reward = torch.zeros(len(rng), device=self.device)
        discount = torch.ones_like(reward)
        rows = (~ended).nonzero()[:, 0]
        if len(rows):
            seed = prng.randint(rng[rows], 2**31, prng.Purpose.CHANCE)
            outcome = self.dynamics.step(
                *(x.cpu().numpy() for x in (snapshot[rows], action[rows], seed))
            )
            obs[rows] = torch.cat([obs[rows, self.channels :], self._tensor(outcome.frame)], 1)
            snapshot[rows] = self._tensor(outcome.snapshot)
            reward[rows] = self._tensor(outcome.reward).float()
            discount[rows] = self._tensor(outcome.discount).float()
            ended[rows] = self._tensor(outcome.last)
        next_carry = {"obs": obs, "snapshot": snapshot, "ended": ended, "rng": prng.next_rng(rng)}
        return Prediction(obs, reward, discount, last=ended), next_carry

    def update(self, segment: Segment) -> Metrics:
        """Return no metrics: there is nothing to learn."""
        return {}

    def _tensor(self, x: NDArray[Any]) -> Tensor:
        return torch.from_numpy(x).to(self.device)
