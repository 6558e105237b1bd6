"""The inspectors of agents, and the table of all inspectors.

An inspector is chosen by the attributes of an agent or a bonus (a Q-network, a policy network,
tables, a representation, a simulator, a density), not by its class: a new agent is shown by the
parts it shares with others, and a new kind of part needs one line in ``INSPECTORS``.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from ...agents.bonuses.simhash import SimHash
from ...agents.episodic.neighbor_tables import NeighborTables
from ...agents.networks import Bfloat16Copy, PolicyNetwork, QNetwork
from ...agents.simulator import Simulator
from ...world_models.interface import Representation
from ..evaluation.plans import SHOWN_TIMESTEPS, plan_of_first_env
from .bonus_inspectors import DensityBonusInspector, HasDensity, SimHashInspector
from .context import Inspection, Inspector, StepContext
from .images import frame_to_image
from .panels import BarChart, Heatmap, Images, Panel, Picture, Table
from .representation_inspector import HasRepresentation, RepresentationInspector, decode_keys

NO_KEYS = (("stored keys", "none yet"),)


@runtime_checkable
class HasQNetwork(Protocol):
    q_network: QNetwork


@runtime_checkable
class HasPolicyNetwork(Protocol):
    inference_copy: Bfloat16Copy
    network: PolicyNetwork


@runtime_checkable
class HasTables(Protocol):
    tables: NeighborTables
    representation: Representation


@runtime_checkable
class HasSimulator(Protocol):
    simulator: Simulator


@dataclass
class QValuesInspector:
    """The Q-value of each action."""

    agent: HasQNetwork

    def inspect(self, context: StepContext) -> Inspection:
        values = tuple(self.agent.q_network(context.step.obs)[0].tolist())
        note = "Q(s, a) in units of the learning reward"
        chart = BarChart("Action values", context.action_names, values, context.action, note)
        return Inspection((chart,), max(values))


@dataclass
class PolicyInspector:
    """The policy's probabilities and value, and its planner's plan."""

    agent: HasPolicyNetwork

    def inspect(self, context: StepContext) -> Inspection:
        step, next_carry = context.step, context.next_carry
        network = self.agent.inference_copy.network
        logits, values, plan, _ = network(step.obs[:, None], step.first[:, None], context.carry)
        probs = logits[0, 0].softmax(0)
        value, entropy = float(values[0, 0]), float(-(probs * probs.log().clamp(min=-50)).sum())
        rows = [("value", f"{value:.3f}"), ("entropy, nats", f"{entropy:.2f}")]
        panels: list[Panel] = []
        if "age" in next_carry:
            rows.append(("timesteps since replanning", str(int(next_carry["age"][0]))))
            rows.append(("replanning probability", f"{float(plan.replan_prob[0, 0]):.2f}"))
        if "plan" in next_carry:
            planned_probs, window, replan_probs = plan_of_first_env(next_carry)
            rescaled = planned_probs, window / window.max().clamp(min=1e-9), replan_probs
            cells = torch.cat([row[:, :SHOWN_TIMESTEPS] for row in rescaled]).numpy()
            extra = ("window", "replan")
            note = f"the next {cells.shape[1]} timesteps, the current one on the left"
            panels = [Heatmap("Plan", (*context.action_names, *extra), cells, extra, note)]
        chart = BarChart(
            "Policy", context.action_names, tuple(probs.tolist()), context.action, "probabilities"
        )
        return Inspection((chart, Table("Value and plan", tuple(rows)), *panels), value)


@dataclass
class EpisodicMemoryInspector:
    """The estimated return of each action, and the best action's nearest neighbors."""

    agent: HasTables
    max_neighbors: int = 6

    def inspect(self, context: StepContext) -> Inspection:
        carry = context.next_carry
        if "has_key" in carry and not bool(carry["has_key"][0]):
            note = "random policy until the representation is fitted"
            return Inspection((Table("Episodic memory", NO_KEYS, note),))
        tables, best = self.agent.tables, context.action
        key, digest = carry["key"], carry["digest"]
        if not any(tables.sizes):
            return Inspection((Table("Episodic memory", NO_KEYS),))
        distances, indices = tables.search(key)
        estimates, exact = tables.estimate_from_neighbors(key, digest, distances, indices)
        returns = tuple(estimates[:, 0].tolist())
        note = "stored state, exact match" if bool(exact[best, 0]) else "mean of nearest neighbors"
        chart = BarChart("Estimated returns", context.action_names, returns, best, note)
        value = returns[best] if returns[best] < float("inf") else None
        pairs = zip(distances[best, :, 0].tolist(), indices[best, :, 0].tolist(), strict=True)
        neighbors = [(max(x, 0.0) ** 0.5, index) for x, index in pairs if x < float("inf")]
        neighbors = neighbors[: self.max_neighbors]
        captions = [
            f"{float(tables.returns[best, index]):,.0f} at {distance:.2g}"
            for distance, index in neighbors
        ]
        neighbor_indices = [index for _, index in neighbors]
        title = f"Nearest neighbors of {context.action_names[best]}"
        return Inspection((chart, self._neighbors(title, best, neighbor_indices, captions)), value)

    def _neighbors(self, title: str, action: int, indices: list[int], captions: list[str]) -> Panel:
        tables = self.agent.tables
        if "observations" in tables.columns:
            images = [frame_to_image(tables.observations[action, index][-1:]) for index in indices]
            note = "stored frames, with return at key distance"
        elif decoded := decode_keys(
            self.agent.representation, tables.keys[action, torch.tensor(indices)]
        ):
            images = decoded
            note = "decoded from keys (frames are not stored), with return at key distance"
        else:
            rows = zip((f"neighbor {i + 1}" for i in range(len(indices))), captions, strict=True)
            note = "return at key distance; this agent stores keys only, which cannot be decoded"
            return Table(title, tuple(rows), note)
        pictures = zip(images, captions, strict=True)
        return Images(title, tuple(Picture(image, caption) for image, caption in pictures), note)


@dataclass
class SimulatorInspector:
    """The next frame and reward that the agent's simulator predicts for each action."""

    agent: HasSimulator
    max_actions: int = 9

    def inspect(self, context: StepContext) -> Inspection:
        simulator = self.agent.simulator
        if not simulator.ready:
            return Inspection((Table("Predicted frames", (("predictor", "not trained yet"),)),))
        predictor, key = simulator.predictor, context.carry["rng"]
        carry = context.carry if "context_obs" in context.carry else simulator.initial(1)
        state = simulator.start(context.step, carry, key)
        count = min(len(context.action_names), self.max_actions)
        actions = torch.arange(count, device=state["obs"].device)
        repeated = {name: x.repeat_interleave(count, 0) for name, x in state.items()}
        prediction, _ = predictor.predict(repeated, actions)
        pictures = tuple(
            Picture(frame_to_image(obs[-predictor.channels :]), f"{name} {reward:+.2f}")
            for obs, name, reward in zip(
                prediction.obs, context.action_names, prediction.reward.tolist(), strict=False
            )
        )
        note = "next frame and reward of each action"
        return Inspection((Images("Predicted frames", pictures, note),))


INSPECTORS: tuple[tuple[Any, Any], ...] = (
    (HasQNetwork, QValuesInspector),
    (HasPolicyNetwork, PolicyInspector),
    (HasTables, EpisodicMemoryInspector),
    (HasRepresentation, RepresentationInspector),
    (HasSimulator, SimulatorInspector),
    (HasDensity, DensityBonusInspector),
    (SimHash, SimHashInspector),
)
"""Pairs of a protocol or class, and the inspector of every part that is an instance of it."""


def build_inspectors(*parts: Any) -> list[Inspector]:
    """Build the inspectors of agents, of the agents that they wrap, and of bonuses."""
    return [
        inspector(inner_part)
        for part in parts
        for inner_part in _with_inner(part)
        for role, inspector in INSPECTORS
        if isinstance(inner_part, role)
    ]


def _with_inner(part: Any) -> Iterator[Any]:
    """Iterate over a part and the parts it wraps, innermost first: that one selects actions."""
    if part is not None:
        yield from _with_inner(getattr(part, "inner", None))
        yield part
