"""Dyna (Sutton 1990): learn from imagined experience between the steps of the real environment.

By default from imagined experience alone, as in Hafner et al. 2020 ("Dream to Control"). The inner
agent may be any: it acts in the real environment, whose transitions train the predictor, and learns
from rollouts of the predictor, through the same loop as in an environment.

It observes frames or, with ``dreams`` latent, the states of a ``LatentPredictor``. In the real
environment its carry then holds the predictor's state, which is updated at every timestep with the
present weights; what earlier weights have made of earlier observations stays in it.
"""

import math
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Literal

import torch

from ..envs import prng
from ..envs.batched_env import BatchedEnv
from ..envs.checks import at_least, check, refuse, within
from ..envs.errors import UsageError
from ..envs.interface import Carry, EnvSpec, Metrics, TimeStep, Transition
from ..envs.pipeline import Pipeline
from ..world_models.precision import FLOAT32, Precision
from ..world_models.prediction import PREDICTORS
from ..world_models.prediction.imagination import Imagination
from ..world_models.prediction.latent_dreams import LatentDreams, LatentPredictor
from .dqn import DQNConfig
from .interface import ActOutput, AgentConfig, settings_at
from .loop import interact
from .recorded_env import RecordedEnv
from .schedules import Ratio
from .simulator import ModelBased, ModelBasedConfig, Simulator


@dataclass(frozen=True)
class DynaConfig(ModelBasedConfig):
    """An agent, and the imagined rollouts that it learns from."""

    inner: AgentConfig = DQNConfig(monte_carlo_weight=0.0, learning_starts=1_000)
    """The agent that acts and learns; its steps are imagined ones."""
    dreams: Literal["frames", "latent"] = "frames"
    """What the inner agent observes: frames, or the state of the predictor, from which no frame is
    decoded then."""
    imagination_envs: int = 32
    """Rollouts per round."""
    horizon: int = 15
    """Steps per rollout."""
    imagination_every: int = 64
    """Real steps between two rounds of rollouts."""
    real_fraction: float = 0.0
    """Fraction of a round's rollouts that are replaced by recorded segments of the real
    environment, for an off-policy inner agent; 0 is imagination alone."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "agent", at_least(1), "imagination_envs", "horizon", "imagination_every")
        check(self, "agent", within(0, 1), "real_fraction")
        if 0 < self.real_fraction < 1 and not 0 < self.num_recorded < self.imagination_envs:
            refuse(
                self, "agent", "real_fraction",
                f"a fraction of which agent.imagination_envs, {self.imagination_envs}, leaves one "
                "rollout or more of either kind, or 0 or 1",
            )  # fmt: skip
        self.check_inner(self.inner)
        if self.dreams == "latent" and not self.predictor.has_latents:
            names = [name for name, x in PREDICTORS.items() if x.has_latents]
            raise UsageError(
                f"agent.dreams is latent, and agent.predictor is {type(self.predictor).__name__}, "
                f"which has no latent state; set it to frames, or choose one of "
                f"agent.predictor:{', agent.predictor:'.join(names)}."
            )
        for role in ("representation", "planner"):
            if getattr(getattr(self.inner, role, None), "needs_privileged", False):
                raise UsageError(
                    f"agent.inner.{role} needs the true state, which imagined rollouts do not "
                    f"have; choose another agent.inner.{role}."
                )
        if self.real_fraction and self.inner.on_policy:
            raise UsageError(
                f"agent.real_fraction is {self.real_fraction}, and agent.inner is "
                f"{type(self.inner).__name__}, which learns on-policy; set it to 0 or choose an "
                "off-policy agent, such as agent.inner:dqn."
            )

    @property
    def num_recorded(self) -> int:
        """Rollouts of a round that are recorded segments."""
        return round(self.real_fraction * self.imagination_envs)

    @property
    def no_bonus_reason(self) -> str:
        return "a bonus is paid for real visits, and it learns from imagined rollouts"

    def first_update(self, num_envs: int) -> int:
        return int(self._real_steps(self.inner.first_update(self.imagination_envs)))

    def last_update(self, num_envs: int) -> float:
        return self._real_steps(self.inner.last_update(self.imagination_envs))

    def _real_steps(self, imagined: float) -> float:
        """Return the real steps at whose round of rollouts the imagined ones are reached."""
        round_steps = self.imagination_envs * (self.horizon + 1)  # of which one is a reset
        rounds = -(-imagined // round_steps) if imagined < math.inf else math.inf
        return self.model_learning_starts + max(rounds - 1, 0) * self.imagination_every

    def build(
        self,
        spec: EnvSpec,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        precision: Precision = FLOAT32,
    ) -> "Dyna":
        return Dyna(self, spec, seed=seed, device=device, precision=precision)


class Dyna(ModelBased):
    """Acts as its inner agent, which learns from rounds of imagined rollouts."""

    STATE = ("simulator", "inner", "schedule")

    def __init__(
        self,
        config: DynaConfig,
        spec: EnvSpec,
        *,
        seed: int,
        device: torch.device | str,
        precision: Precision = FLOAT32,
    ) -> None:
        self.config, self.spec, self.seed = config, spec, seed
        self.device = torch.device(device)
        self.simulator = Simulator(config, spec, seed=seed, device=device, precision=precision)
        self.model = predictor = self.simulator.predictor
        """The predictor of what the inner agent observes."""
        dream = replace(spec, num_envs=config.imagination_envs, padding="stored", dynamics=None)
        if config.dreams == "latent":
            assert isinstance(predictor, LatentPredictor)
            self.model = LatentDreams(predictor)
            dream = replace(dream, obs_shape=self.model.obs_shape, channels=1, planes=False)
        self.dream_spec = dream
        with settings_at("agent.inner"):
            self.inner = config.inner.build(dream, seed=seed, device=device, precision=precision)
        every = config.imagination_every
        start = config.model_learning_starts - every
        self.schedule = Ratio(1 / every, start=start, num_envs=spec.num_envs)
        self.round_end: tuple[TimeStep, Carry] | None = None  # of the latest round

    def initial(self, n: int) -> Carry:
        carry = self.inner.initial(n)
        if isinstance(self.model, LatentDreams):
            none = torch.zeros(n, 1, dtype=torch.int64, device=self.device)
            state = self.model.predictor.initial(n)
            carry |= {"context_action": none} | {f"context_{name}": x for name, x in state.items()}
        return carry

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        if not isinstance(self.model, LatentDreams):
            return self.inner.act(step, carry, explore=explore)
        context = {
            x.removeprefix("context_"): y for x, y in carry.items() if x.startswith("context_")
        }
        inner_carry = {x: y for x, y in carry.items() if not x.startswith("context_")}
        predictor, action = self.model.predictor, context.pop("action")[:, 0]
        state = predictor.observe(context, action, step.obs, step.first)
        features = predictor.features(state)
        observed = replace(step, obs=features, frame=features)
        output = self.inner.act(observed, inner_carry, explore=explore)
        state["action"] = output.action[:, None]
        next_context = {f"context_{name}": x for name, x in state.items()}
        extras = output.extras | {"observed": features}
        return ActOutput(output.action, output.carry | next_context, extras)

    def learn(self, t: Transition) -> Metrics:
        """Train the predictor, and the inner agent if a round of rollouts is due."""
        metrics = self.simulator.learn(t)
        if self.simulator.ready and len(self.simulator.replay):
            for number in self.schedule(self.simulator.steps):
                metrics |= self.imagine(number)
        return metrics

    def imagine(self, number: int) -> Metrics:
        """Train the inner agent on a round of rollouts; its number determines their seeds."""
        horizon, recorded = self.config.horizon, None
        parts: list[BatchedEnv] = []
        num_recorded = self.config.num_recorded
        num_imagined = self.config.imagination_envs - num_recorded
        if num_imagined:
            states = self.model.context if isinstance(self.model, LatentDreams) else 1
            starts = self.simulator.sample_starts(-(-4 * num_imagined // states))
            imagination = Imagination(
                self.model,
                starts,
                num_imagined,
                horizon=horizon,
                tensors=True,
                planes=self.dream_spec.planes,
            )
            seed = (self.seed << 32) + number - 1
            parts.append(
                BatchedEnv(imagination, seed=seed, purpose=prng.Purpose.DREAM, device=self.device)
            )
        if num_recorded:
            segment = self.simulator.replay.sample_segments(num_recorded, horizon)
            if isinstance(self.model, LatentDreams):
                segment = self.model.encode(segment)
            recorded = RecordedEnv(segment, self.dream_spec, self.device)
            parts.append(BatchedEnv(recorded, device=self.device))
        envs = parts[0] if len(parts) == 1 else Pipeline(parts)

        # All rounds are one sequence of timesteps to the inner agent. Between the last observation
        # of a round and the first of the next is a reset, whose action is ignored.
        step = envs.reset()
        last_step, carry = self.round_end or (_end_episodes(step), self._initial_carry())
        zeros = torch.zeros_like(step.discount)
        with torch.no_grad():
            output = self.inner.act(last_step, carry)
        action, extras = output.action, output.extras
        metrics = self._learn_imagined(
            Transition(last_step, carry, action, extras, step, output.carry, zeros)
        )
        total_reward = zeros
        transitions = islice(interact(envs, self.inner, start=(step, output.carry)), horizon)
        for timestep, t in enumerate(transitions, 1):
            if timestep == horizon:  # truncate the rollouts that started anew on the way
                t = replace(t, next_step=_end_episodes(t.next_step))
            if recorded is not None:
                t = replace(t, action=torch.cat([t.action[:num_imagined], recorded.action]))
            metrics |= self._learn_imagined(t)
            total_reward = total_reward + t.next_step.reward.float()
            self.round_end = t.next_step, t.next_carry
        return metrics | {"imagination/reward": total_reward.mean()}

    def _learn_imagined(self, t: Transition) -> Metrics:
        with settings_at("agent.inner"):
            return self.inner.learn(t)

    def _initial_carry(self) -> Carry:
        """Return the carry before the first round, with keys unlike those of the real envs."""
        n = self.config.imagination_envs
        rng = prng.initial_rng(self.seed, prng.Purpose.DREAM, n).to(self.device)
        return {name: rng if name == "rng" else x for name, x in self.inner.initial(n).items()}

    def state_dict(self) -> dict[str, Any]:
        step, carry = self.round_end or (None, {})
        return super().state_dict() | {"step": step.columns() if step else {}, "carry": carry}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        super().load_state_dict(state)
        columns, carry = (
            {name: x.to(self.device) for name, x in state[part].items()}
            for part in ("step", "carry")
        )
        self.round_end = (TimeStep(**columns), carry) if columns else None


def _end_episodes(step: TimeStep) -> TimeStep:
    """Mark the time step as the last of its episodes."""
    return replace(step, last=torch.ones_like(step.last))
