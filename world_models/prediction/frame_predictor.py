"""Frame predictor: a network that predicts frames, as a simulator with reward and discount.

Training minimizes the error of the network's own predictions over several steps (Oh et al. 2015,
section 3), with horizons, learning rates and batch sizes from a ``CurriculumConfig``.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64, UInt8
from torch import Tensor

from ...envs import prng
from ...envs.checks import at_least, check
from ...envs.interface import Carry, Metrics, Segment
from ..interface import Prediction
from ..precision import FLOAT32, Precision
from ..state import HasState
from .adversarial import Adversary
from .curriculum import CurriculumConfig
from .frame_network import FrameNetwork
from .heads import RewardDiscountHeads, RewardHead
from .inputs import check_obs_shape, one_hot_actions
from .mean_frame import MeanFrame
from .motion import motion_weights


@dataclass(frozen=True)
class FramePredictorConfig(CurriculumConfig):
    """Base of the configs of frame predictors; a subclass adds ``build_network``."""

    reward_head: RewardHead = "symlog"
    """How rewards are predicted: by regression of their symlog, or by probabilities of their sign
    (for an agent that clips rewards) or of bins (two-hot)."""
    head_hidden: int = 0
    """Units of a hidden layer of the heads for reward and discount; 0 for linear heads."""
    motion_weight: float = 0.0
    """Additional weight of the squared errors of pixels that change from the previous frame; the
    weights of a frame are scaled to a mean of 1."""
    adversarial: float = 0.0
    """Weight of a discriminator's score of predicted frames beside their errors, which are summed
    over pixels: sharper predictions where the future is random. 0 trains no discriminator."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "predictor", at_least(0), "head_hidden", "motion_weight", "adversarial")

    def training_settings(self, **changes: Any) -> dict[str, Any]:
        """Return the settings of heads and schedule, for another network, with some changes.

        Horizons are not among them: they count from a network's context.
        """
        names = ("reward_head", "head_hidden", "learning_rates", "batch_sizes", "updates")
        return {name: getattr(self, name) for name in names} | changes

    def build_network(
        self, obs_shape: tuple[int, int, int], num_actions: int, channels: int
    ) -> FrameNetwork:
        """Return the network, with weights drawn from torch's global generator."""
        raise NotImplementedError

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "FramePredictor":
        with prng.seeded(seed):
            network = self.build_network(obs_shape, num_actions, channels)
            return FramePredictor(
                self,
                network,
                obs_shape=obs_shape,
                num_actions=num_actions,
                channels=channels,
                seed=seed,
                device=device,
                precision=precision,
            )


class FramePredictor(HasState):
    """A ``FrameNetwork`` as a ``Predictor``.

    Raises UsageError for observations of another shape and, on a CPU, for actions out of range.

    Example::

        from itertools import islice
        from reverie.agents.loop import interact
        from reverie.agents.policies import RandomPolicy
        from reverie.agents.replay import Replay
        from reverie.envs.batched_env import BatchedEnv
        from reverie.envs.catch import CatchConfig
        from reverie.world_models.prediction.feedforward import FeedforwardConfig

        envs = BatchedEnv(CatchConfig().build(8), seed=0)
        replay = Replay(envs.spec, capacity=10_000, gamma=1.0, monte_carlo=False)
        for t in islice(interact(envs, RandomPolicy(3)), 100):
            replay.append(t, t.next_step.reward)
        predictor = FeedforwardConfig(size="tiny").build(obs_shape=(1, 10, 5), num_actions=3)
        metrics = predictor.update(replay.sample_segments(*predictor.batch_shape))
    """

    STATE = ("network", "heads", "optimizer", "mean_frame", "seed", "updates")

    def __init__(
        self,
        config: FramePredictorConfig,
        network: FrameNetwork,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        channels: int,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.obs_shape, self.num_actions = config, obs_shape, num_actions
        self.precision, self.seed = precision, seed
        self.channels, self.context, self.device = channels, network.context, torch.device(device)
        network.initialize()
        self.heads = RewardDiscountHeads(
            network.num_features, config.reward_head, hidden=config.head_hidden
        )
        self.heads.to(device)
        network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.network = network
        self.mean_frame = MeanFrame((channels, *obs_shape[1:]), device)
        self.updates = 0
        weights: list[Tensor] = []
        biases: list[Tensor] = []
        for name, parameter in [*network.named_parameters(), *self.heads.named_parameters()]:
            is_bias = name.rpartition(".")[2].startswith("bias")
            (biases if is_bias else weights).append(parameter)
        self.optimizer = torch.optim.Adam(
            [{"params": weights}, {"params": biases}], lr=config.learning_rates[0], fused=True
        )
        self.adversary: Adversary | None = None
        if config.adversarial:
            rate = config.learning_rates[0]
            self.adversary = Adversary(obs_shape, num_actions, channels, rate, device)

    @property
    def phase(self) -> int:
        """Phase of the curriculum of the next update."""
        return self.config.phase_at(self.updates)

    @property
    def batch_shape(self) -> tuple[int, int]:
        phase = self.phase
        return self.config.batch_sizes[phase], self.context - 1 + self.config.horizons[phase]

    def fit_mean(self, frames: UInt8[Tensor, "M C H W"]) -> None:
        """Set the mean frame; without a call, the first update fits it to its own frames."""
        self.mean_frame.fit(frames)

    @torch.no_grad()
    def start(
        self,
        obs: UInt8[Tensor, "B F K H W"],
        action: Int64[Tensor, "B F1"],
        first: Bool[Tensor, "B F"],
    ) -> Carry:
        check_obs_shape(obs, self.obs_shape)
        obs, action = obs.to(self.device), action.to(self.device)
        carry = self.network.initial(len(obs), self.device)
        if "rng" in carry:  # a default; callers replace it with keys of their own
            carry["rng"] = prng.initial_rng(self.seed, prng.Purpose.DREAM, len(obs)).to(self.device)
        for t in range(obs.shape[1] - 1):
            carry = self._reset(carry, first[:, t])
            one_hot = one_hot_actions(action[:, t], self.num_actions)
            carry = self.network.observe(self.mean_frame.center(obs[:, t]), one_hot, carry)
        return {"obs": obs[:, -1]} | self._reset(carry, first[:, -1])

    @torch.no_grad()
    def predict(self, carry: Carry, action: Int64[Tensor, " B"]) -> tuple[Prediction, Carry]:
        one_hot = one_hot_actions(action, self.num_actions)
        network_carry = {name: value for name, value in carry.items() if name != "obs"}
        with self.precision.autocast(self.device):
            output = self.network(self.mean_frame.center(carry["obs"]), one_hot, network_carry)
            reward, discount = self.heads.predict(output.features)
        frame = self.mean_frame.to_bytes(output.frame)
        obs = torch.cat([carry["obs"][:, self.channels :], frame], 1)
        return Prediction(obs, reward, discount), {"obs": obs} | output.carry

    def update(self, segment: Segment) -> Metrics:
        """Take a gradient step on the mean loss over the segment.

        The network observes the first ``context`` observations and then predicts from its own
        predictions; gradients flow back through them.
        """
        check_obs_shape(segment.obs, self.obs_shape)
        self.mean_frame.fit_first(segment)
        phase = self.phase
        for group, factor in zip(self.optimizer.param_groups, (1, 2), strict=True):
            group["lr"] = factor * self.config.learning_rates[phase]
        loss, metrics = self.loss(segment, phase)
        optimizers = [self.optimizer, *([self.adversary.optimizer] if self.adversary else [])]
        for optimizer in optimizers:
            optimizer.zero_grad()
        loss.backward()
        for optimizer in optimizers:
            optimizer.step()
        self.updates += 1
        return metrics

    def loss(self, segment: Segment, phase: int) -> tuple[Float[Tensor, ""], Metrics]:
        """Return the multi-step loss of a segment, and its terms; steps after an end count 0.

            mean over steps of  |x' - x|^2 / 2 + loss of the heads + KL

        x' is the predicted and x the true frame, both in 0..1; the squared error is summed over
        pixels, as published, and weighted by ``motion_weight``. A network with a loss of its own,
        such as a diffusion model's, has that in place of the squared error, without weights. An
        adversary adds its weighted score of x' and its own loss, whose gradient is that of the
        adversary alone. A step's input are the predictions before it, or true frames under teacher
        forcing.
        """
        obs, action = segment.obs.to(self.device), segment.action.to(self.device)
        discount = segment.discount.to(self.device)
        reward = segment.reward.to(self.device, torch.float32)
        weight = segment.valid.to(self.device).cumprod(1).float()
        network_input = self.mean_frame.center(obs[:, 0])
        carry = self.network.initial(len(obs), self.device)
        if "rng" in carry:  # other latents in every update
            rng = prng.initial_rng(self.seed, prng.Purpose.TRAIN, len(obs)) + self.updates
            carry["rng"] = prng.splitmix64(rng).to(self.device)
        teacher_forcing = self.network.teacher_forcing and phase == 0
        squared_errors: list[Tensor] = []
        frame_losses: list[Tensor] = []
        heads_losses: list[Tensor] = []
        kls: list[Tensor] = []
        hinges: list[Tensor] = []
        for t in range(action.shape[1]):
            one_hot = one_hot_actions(action[:, t], self.num_actions)
            if t < self.context - 1:
                carry = self.network.observe(network_input, one_hot, carry)
                network_input = self.mean_frame.center(obs[:, t + 1])
                continue
            target = self.mean_frame.center(obs[:, t + 1, -self.channels :])
            with self.precision.autocast(self.device):
                output = self.network(network_input, one_hot, carry, target)
                heads_loss = self.heads.loss(output.features, reward[:, t], discount[:, t])
            frame, carry = output.frame.float(), output.carry
            error = (frame - target).square()
            squared_errors.append(error.sum((1, 2, 3)))
            frame_loss = squared_errors[-1] / 2
            if output.loss is not None:
                frame_loss = output.loss
            elif self.config.motion_weight:
                frames = obs[:, t : t + 2, -self.channels :]
                weights = motion_weights(frames, self.config.motion_weight)
                frame_loss = (weights * error).sum((1, 2, 3)) / 2
            if self.adversary is not None:
                score_loss, hinge = self.adversary.losses(network_input, one_hot, frame, target)
                frame_loss = frame_loss + self.config.adversarial * score_loss + hinge
                hinges.append(hinge)
            frame_losses.append(frame_loss)
            kls.append(torch.zeros_like(squared_errors[-1]) + output.kl)
            heads_losses.append(heads_loss)
            if teacher_forcing:
                network_input = self.mean_frame.center(obs[:, t + 1])
            else:
                network_input = torch.cat([network_input[:, self.channels :], frame], 1)
        weight = weight[:, self.context - 1 :]
        squared_error, of_frames, of_heads, kl = (
            _weighted_mean(values, weight)
            for values in (squared_errors, frame_losses, heads_losses, kls)
        )
        loss = of_frames + of_heads + kl
        metrics: Metrics = {
            "loss": loss.detach(),
            "squared_error": squared_error.detach() * 255**2 / self.mean_frame.value.numel(),
            "heads": of_heads.detach(),
        }
        if isinstance(output.kl, Tensor):
            metrics["kl"] = kl.detach()
        if hinges:
            metrics["discriminator"] = _weighted_mean(hinges, weight).detach()
        return loss, metrics

    def state_dict(self) -> dict[str, Any]:
        adversary = {"adversary": self.adversary.state_dict()} if self.adversary else {}
        return super().state_dict() | adversary

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        if self.adversary is not None:
            self.adversary.load_state_dict(state["adversary"])

    def _reset(self, carry: Carry, first: Tensor) -> Carry:
        """Zero the recurrent state of the rows that begin an episode; keep their keys."""
        keep = ~first.to(self.device)
        return {
            name: value if name == "rng" else value * keep.view(-1, *[1] * (value.ndim - 1))
            for name, value in carry.items()
        }


def _weighted_mean(
    values: list[Float[Tensor, " B"]], weight: Float[Tensor, "B T"]
) -> Float[Tensor, ""]:
    return (torch.stack(values, 1) * weight).sum() / weight.sum().clamp(min=1)
