"""Exemplar models (EX2), Fu et al. 2017: the density of a frame by classification.

A classifier tells a frame, the exemplar, from the frames of the past. The harder that is, the more
often the frame was there. One network with the exemplar as an input is the classifier of every
frame (section 4.2), and noise on codes makes similar frames alike (section 4.1).
"""

from dataclasses import dataclass
from typing import Any, Literal

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn
from torch.nn import functional

from ...envs import prng
from ...envs.checks import above, at_least, check, refuse
from ...envs.interface import EnvSpec, Transition
from ...world_models.precision import FLOAT32, Precision
from ...world_models.state import HasState
from ..networks import AutoConfig, Network, NetworkConfig, orthogonal_
from ..schedules import Ratio
from .bonus import BonusConfig, bonus_of_next, check_finite
from .pseudo_counts import count_bonus

INITIAL_LOG_VARIANCE = -4.0
"""Of codes: noise that hid the frames would have to be unlearned first."""
PUBLISHED_SCALES = {"surprise": 0.01, "count": 0.05}


@dataclass(frozen=True)
class ExemplarConfig(BonusConfig):
    """An amortized exemplar model; frames are those of all envs."""

    in_order = False

    form: Literal["surprise", "count"] = "surprise"
    """``surprise``: -log p(x) of the frame's estimated density (Fu et al. 2017); ``count``: from
    the pseudo-count n p(x) after n frames, as that of Bellemare et al. 2016."""
    scale: float | None = None
    """Scale of the bonus; None is 0.01 per nat for surprise and 0.05 for count."""
    network: NetworkConfig = AutoConfig()
    """Feature extractors of the exemplar, and of the frame that is compared with it."""
    code: int = 32
    """Length of the noisy code of a frame."""
    hidden: int = 64
    """Units of the two hidden layers that compare two codes."""
    kl_coef: float = 1e-3
    """Coefficient of the KL divergence of codes from a standard normal, per nat: more of it makes
    the density smoother."""
    buffer_size: int = 10_000
    """Number of past frames that exemplars are compared with, the newest ones."""
    batch_size: int = 32
    """Exemplars of an update, the newest frames, and as many past frames."""
    update_ratio: float = 0.25
    """Updates per frame."""
    learning_rate: float = 1e-3
    """Learning rate of Adam."""

    def __post_init__(self) -> None:
        if self.form not in PUBLISHED_SCALES:
            refuse(self, "bonus", "form", "surprise or count")
        check(self, "bonus", at_least(0), "scale", "kl_coef")
        check(self, "bonus", at_least(1), "code", "hidden", "buffer_size", "batch_size")
        check(self, "bonus", above(0), "update_ratio", "learning_rate")

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Exemplar":
        return Exemplar(self, spec, seed=seed, device=device, precision=precision)


class Discriminator(nn.Module):
    """D(x*, x): the probability that x is the exemplar x*, of noisy codes of both.

    One encoder makes both codes. Beside them the hidden layers read their squared difference: what
    is equal is learned once, and so a frame that was never an exemplar does not count as frequent.
    """

    def __init__(self, encoder: Network, code: int, hidden: int) -> None:
        super().__init__()
        last = nn.Linear(encoder.features, 2 * code)
        self.encoder = nn.Sequential(encoder, last)
        self.head = nn.Sequential(
            nn.Linear(3 * code, hidden), nn.Tanh(),
            nn.Linear(hidden, hidden), nn.Tanh(),
            nn.Linear(hidden, 1),
        )  # fmt: skip
        orthogonal_(self)
        nn.init.constant_(last.bias[code:], INITIAL_LOG_VARIANCE)

    def code(
        self, frames: UInt8[Tensor, "B C H W"]
    ) -> tuple[Float[Tensor, "B D"], Float[Tensor, "B D"]]:
        """Return mean and log-variance of the code of each frame."""
        mean, log_variance = self.encoder(frames).chunk(2, 1)
        return mean, log_variance

    def logit(
        self, exemplar: Float[Tensor, "B D"], code: Float[Tensor, "B D"]
    ) -> Float[Tensor, " B"]:
        """Return log D - log(1 - D) of pairs of codes."""
        logit: Tensor = self.head(torch.cat([exemplar, code, (exemplar - code).square()], 1))
        return logit[:, 0]


class Exemplar(HasState):
    """A bonus by the density that the optimal classifier of equal classes implies (eq. 2).

        p(x) = (1 - D(x, x)) / D(x, x)

    It is computed at the means of the codes, after the updates of the timestep. An update takes the
    newest frames as exemplars, each beside itself and beside a past frame. Raises NumericalError if
    the bonus is not finite.
    """

    STATE = ("network", "optimizer", "schedule", "frames", "num_frames")

    def __init__(
        self,
        config: ExemplarConfig,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.seed, self.device = config, seed, torch.device(device)
        self.scale = PUBLISHED_SCALES[config.form] if config.scale is None else config.scale
        shape = spec.channels, *spec.obs_shape[1:]
        with prng.seeded(seed):
            encoder = config.network.build(shape, precision)
            self.network = Discriminator(encoder, config.code, config.hidden).to(device)
        self.optimizer = torch.optim.Adam(
            self.network.parameters(), lr=config.learning_rate, fused=True
        )
        self.schedule = Ratio(config.update_ratio)
        self.frames = PastFrames(config.buffer_size, shape)
        self.num_frames = 0

    def __call__(self, t: Transition) -> Float[Tensor, " N"]:
        return bonus_of_next(t, t.next_step.frame, self.observe)

    def observe(self, frames: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        """Learn the frames and return each one's bonus; raises NumericalError if not finite."""
        self.frames.append(frames)
        self.num_frames += len(frames)
        for update in self.schedule(self.num_frames):
            self._update(update, max(self.config.batch_size, len(frames)))
        surprise = -self.log_density(frames)
        if self.config.form == "surprise":
            bonus = surprise.clamp(min=0)
        else:
            bonus = count_bonus(self.num_frames * (-surprise).exp())
        return check_finite(self.scale * bonus, "bonus of the exemplar model")

    @torch.no_grad()
    def log_density(self, frames: UInt8[Tensor, "n C H W"]) -> Float[Tensor, " n"]:
        """Return log p(x) of each frame in nats, without an update."""
        code, _ = self.network.code(frames.to(self.device))
        return -self.network.logit(code, code)

    def _update(self, number: int, size: int) -> None:
        """Make one gradient step: tell the newest frames from past ones (eq. 4)."""
        key = torch.tensor([prng.fold_in(self.seed, number)])
        newest = self.frames.newest(size)
        n, (choice, noise) = len(newest), (prng.uniform, prng.normal)
        past = self.frames.at(choice(key, n, prng.Purpose.SAMPLE)[0])
        mean, log_variance = self.network.code(torch.cat([newest, past]).to(self.device))
        std = (log_variance / 2).exp()
        noise_key = prng.next_rng(key)  # else equal numbers, as purposes of one kind of key
        eps = noise(noise_key, 3 * mean[:n].numel(), prng.Purpose.LATENT)[0].to(self.device)
        eps = eps.view(3 * n, -1)
        exemplar = mean[:n] + std[:n] * eps[:n]
        logit = self.network.logit(exemplar.repeat(2, 1), mean + std * eps[n:])
        is_exemplar = torch.cat([torch.ones(n), torch.zeros(n)]).to(self.device)
        loss = functional.binary_cross_entropy_with_logits(logit, is_exemplar)
        kl = (mean.square() + log_variance.exp() - 1 - log_variance).sum(1).mean() / 2
        loss = loss + self.config.kl_coef * kl
        self.optimizer.zero_grad()
        loss.backward()
        self.optimizer.step()


class PastFrames:
    """The newest ``capacity`` frames, in host memory."""

    def __init__(self, capacity: int, shape: tuple[int, int, int]) -> None:
        self.capacity, self.count = capacity, 0
        self.rows = torch.empty(0, *shape, dtype=torch.uint8)

    def append(self, frames: UInt8[Tensor, "n C H W"]) -> None:
        """Store frames over the oldest ones."""
        self.count += len(frames)
        frames = frames[-self.capacity :].cpu()
        cells = torch.arange(self.count - len(frames), self.count) % self.capacity
        if (needed := int(cells.max()) + 1) > len(self.rows):
            larger = self.rows.new_empty(
                min(max(2 * len(self.rows), needed), self.capacity), *self.rows.shape[1:]
            )
            larger[: len(self.rows)] = self.rows
            self.rows = larger
        self.rows[cells] = frames

    def __len__(self) -> int:
        """Return the number of frames stored."""
        return min(self.count, self.capacity)

    def newest(self, n: int) -> UInt8[Tensor, "m C H W"]:
        """Return the newest frames, ``n`` if there are as many."""
        return self.rows[(self.count - 1 - torch.arange(min(n, len(self)))) % self.capacity]

    def at(self, uniforms: Float[Tensor, " n"]) -> UInt8[Tensor, "n C H W"]:
        """Return the frames at these uniform numbers in 0..1, of all that are stored."""
        return self.rows[(uniforms * len(self)).long()]

    def state_dict(self) -> dict[str, Any]:
        """Return the frames stored."""
        return {"count": self.count, "rows": self.rows[: len(self)].clone()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore the frames stored."""
        self.count, self.rows = state["count"], state["rows"].clone()
