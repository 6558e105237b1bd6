"""What all frame predictors share: looks, the mean frame, the multi-step loss, the two heads.

A net says the next frame of a look and an action; here it becomes a whole simulator. Training
follows Oh et al. 2015, section 3.3: the error of 1, then 3, then 5 steps of the net's own
predictions, each phase with a rate and batch of its own.
"""

import copy
from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64, UInt8
from torch import Tensor, nn
from torch.nn import functional

from envs import dice
from envs.errors import UsageError
from envs.interface import Memory, Metrics, Segment
from world_models.arithmetic import arithmetic, channels_innermost
from world_models.interface import Prediction, PredictorConfig
from world_models.optimizers import load_optimizer
from world_models.prediction.net import Net
from world_models.prediction.networks import initialise, one_hot


@dataclass(frozen=True)
class CurriculumConfig(PredictorConfig):
    """How a predictor learns; the fields of one phase stand at the same place.

    The last phase goes on for as long as there are updates.
    """

    horizons: tuple[int, ...] = (1, 3, 5)
    """Steps imagined from the net's own predictions."""
    learning_rates: tuple[float, ...] = (1e-4, 1e-5, 1e-5)
    """Of Adam; biases learn twice as fast, as in the authors' code."""
    batches: tuple[int, ...] = (32, 8, 8)
    """Segments in an update."""
    updates: tuple[int, ...] = (1_500_000, 1_000_000, 1_000_000)

    def __post_init__(self) -> None:
        phases = (self.horizons, self.learning_rates, self.batches, self.updates)
        if not self.horizons or len({len(phase) for phase in phases}) > 1:
            raise UsageError(
                f"A predictor's curriculum has {', '.join(str(len(p)) for p in phases)} horizons, "
                "learning_rates, batches and updates; there must be as many of each, one or more."
            )
        if any(value <= 0 for phase in phases for value in phase):
            raise UsageError("A predictor's curriculum must have numbers above 0 alone.")

    def net(self, obs_shape: tuple[int, int, int], num_actions: int, colours: int) -> "Net":
        """The network, with weights drawn from torch's generator: all that a predictor adds."""
        raise NotImplementedError

    def build(
        self,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int = 1,
        seed: int = 0,
        device: torch.device | str = "cpu",
    ) -> "FramePredictor":
        with dice.seeded(seed):
            net = self.net(obs_shape, num_actions, colours)
            return FramePredictor(
                self,
                net,
                obs_shape=obs_shape,
                num_actions=num_actions,
                colours=colours,
                seed=seed,
                device=device,
            )


class FramePredictor:
    """A net as a Predictor; frames are bytes outside, and in 0..1 less their mean inside.

    The loss of a step is half the squared error summed over pixels, as published, and those of the
    two heads: of the reward's symlog (Hafner et al. 2023, eq. 9), and of the discount's logit.
    Raises UsageError for looks of another shape, and for actions in host memory it does not know.
    """

    def __init__(
        self,
        config: CurriculumConfig,
        net: Net,
        *,
        obs_shape: tuple[int, int, int],
        num_actions: int,
        colours: int,
        seed: int,
        device: torch.device | str,
    ) -> None:
        self.config, self.obs_shape, self.num_actions = config, obs_shape, num_actions
        self.arithmetic = arithmetic()
        self.colours, self.context, self.device = colours, net.context, torch.device(device)
        self.seed = seed
        initialise(net)
        self.heads = nn.Linear(net.width, 2)  # the reward's symlog and the discount's logit
        nn.init.zeros_(self.heads.weight)
        nn.init.zeros_(self.heads.bias)
        self.heads.to(device)
        net.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        self.net = net
        self.mean = torch.zeros(colours, *obs_shape[1:], device=device)  # of a frame, in 0..1
        self.has_mean = False
        self.updates = 0
        named = [*net.named_parameters(), *self.heads.named_parameters()]
        is_bias = [name.rpartition(".")[2].startswith("bias") for name, _ in named]
        self.optimizer = torch.optim.Adam(
            [
                {"params": [p for (_, p), bias in zip(named, is_bias, strict=True) if bias == kind]}
                for kind in (False, True)
            ],
            lr=config.learning_rates[0],
            fused=True,
        )

    @property
    def phase(self) -> int:
        """Where in the curriculum the next update is."""
        done = 0
        for phase, updates in enumerate(self.config.updates):
            done += updates
            if self.updates < done:
                return phase
        return len(self.config.updates) - 1

    @property
    def lesson(self) -> tuple[int, int]:
        phase = self.phase
        return self.config.batches[phase], self.context - 1 + self.config.horizons[phase]

    def fit_mean(self, frames: UInt8[Tensor, "M C H W"]) -> None:
        """Take the mean frame from these; else the first update's are taken."""
        self.mean.copy_(frames.float().mean(0) / 255)
        self.has_mean = True

    @torch.no_grad()
    def start(self, context: Segment) -> Memory:
        self._check(context)
        obs = context.obs.to(self.device)
        state = self.net.initial(len(obs), self.device)
        if "dice" in state:  # whoever imagines gives it dice of its own
            state["dice"] = dice.keys(self.seed, "dream", len(obs)).to(self.device)
        for t in range(obs.shape[1] - 1):
            state = self._reset(state, context.first[:, t])
            state = self.net.remember(self._inside(obs[:, t]), state)
        return {"obs": obs[:, -1]} | self._reset(state, context.first[:, -1])

    @torch.no_grad()
    def predict(self, state: Memory, action: Int64[Tensor, " B"]) -> tuple[Prediction, Memory]:
        known = one_hot(action, self.num_actions)
        inner = {name: value for name, value in state.items() if name != "obs"}
        with self.arithmetic.multiplying(self.device):
            imagined = self.net.imagine(self._inside(state["obs"]), known, inner)
            reward, discount = self.heads(imagined.code).float().unbind(1)
        pixels = ((imagined.frame.float() + self.mean) * 255).round_().clamp_(0, 255)
        obs = torch.cat([state["obs"][:, self.colours :], pixels.to(torch.uint8)], 1)
        reward = reward.sign() * reward.abs().expm1()
        prediction = Prediction(obs, reward, discount.sigmoid())
        return prediction, {"obs": obs} | imagined.state

    def update(self, segment: Segment) -> Metrics:
        """One step on the mean loss over the segment's ticks after the first ``context`` frames.

        From there on the net goes on from its own predictions, and its errors are followed back
        through them.
        """
        self._check(segment)
        if not self.has_mean:
            self.fit_mean(segment.obs[:, :, -self.colours :].flatten(0, 1).to(self.device))
        phase = self.phase
        for group, factor in zip(self.optimizer.param_groups, (1, 2), strict=True):
            group["lr"] = factor * self.config.learning_rates[phase]
        loss, metrics = self.loss(segment, phase)
        self.optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.updates += 1
        return metrics

    def loss(self, segment: Segment, phase: int) -> tuple[Float[Tensor, ""], Metrics]:
        """The loss of a segment, and what it is made of."""
        obs, action = segment.obs.to(self.device), segment.action.to(self.device)
        discount = segment.discount.to(self.device)
        symlog = segment.reward.to(self.device)
        symlog = symlog.sign() * symlog.abs().log1p()
        # Nothing is learned past an episode's end.
        weight = segment.valid.to(self.device).cumprod(1).float()
        look = self._inside(obs[:, 0])
        state = self.net.initial(len(obs), self.device)
        if "dice" in state:  # chance is another in every update
            key = dice.keys(self.seed, "train", len(obs)) + self.updates
            state["dice"] = dice.splitmix64(key).to(self.device)
        errors: list[Tensor] = []
        heads: list[Tensor] = []
        nats: list[Tensor] = []
        for t in range(action.shape[1]):
            if t < self.context - 1:
                state = self.net.remember(look, state)
                look = self._inside(obs[:, t + 1])
                continue
            target = self._inside(obs[:, t + 1, -self.colours :])
            with self.arithmetic.multiplying(self.device):
                known = one_hot(action[:, t], self.num_actions)
                imagined = self.net.imagine(look, known, state, target)
                said = self.heads(imagined.code).float()
            frame, state = imagined.frame.float(), imagined.state
            errors.append((frame - target).square().sum((1, 2, 3)))
            nats.append(torch.zeros_like(errors[-1]) + imagined.nats)
            continues = functional.binary_cross_entropy_with_logits(
                said[:, 1], discount[:, t], reduction="none"
            )
            heads.append((said[:, 0] - symlog[:, t]).square() / 2 + continues)
            if self.net.teaches and phase == 0:
                look = self._inside(obs[:, t + 1])
            else:
                look = torch.cat([look[:, self.colours :], frame], 1)
        weight = weight[:, self.context - 1 :]
        total = weight.sum().clamp(min=1)

        def mean(values: list[Tensor]) -> Tensor:
            return (torch.stack(values, 1) * weight).sum() / total

        error, of_heads, cost = mean(errors), mean(heads), mean(nats)
        loss = error / 2 + of_heads + cost
        metrics: Metrics = {
            "loss": loss.detach(),
            "squared_error": error.detach() * 255**2 / self.mean.numel(),
            "heads": of_heads.detach(),
        }
        if isinstance(imagined.nats, Tensor):
            metrics["nats"] = cost.detach()
        return loss, metrics

    def state_dict(self) -> dict[str, Any]:
        parts = {name: getattr(self, name).state_dict() for name in ("net", "heads", "optimizer")}
        own = {"mean": self.mean, "has_mean": self.has_mean}
        return copy.deepcopy(parts) | own | {"seed": self.seed, "updates": self.updates}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.net.load_state_dict(state["net"])
        self.heads.load_state_dict(state["heads"])
        load_optimizer(self.optimizer, state["optimizer"])
        self.mean.copy_(state["mean"])
        self.has_mean = state["has_mean"]
        self.seed, self.updates = state["seed"], state["updates"]

    def _check(self, segment: Segment) -> None:
        if tuple(segment.obs.shape[2:]) != self.obs_shape:
            raise UsageError(
                f"A predictor of looks {self.obs_shape} was given {tuple(segment.obs.shape[2:])}; "
                "record and train it in the format it is asked in."
            )

    def _inside(self, obs: UInt8[Tensor, "B K H W"]) -> Float[Tensor, "B K H W"]:
        """Bytes as the net sees them."""
        mean = self.mean.repeat(obs.shape[1] // self.colours, 1, 1)
        inside = channels_innermost(obs).float().div_(255)
        return inside.sub_(mean)

    def _reset(self, state: Memory, first: Tensor) -> Memory:
        """Nothing is remembered across an episode's end."""
        keep = ~first.to(self.device)
        return {
            name: value if name == "dice" else value * keep.view(-1, *[1] * (value.ndim - 1))
            for name, value in state.items()
        }
