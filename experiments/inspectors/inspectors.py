"""The inspectors of agents, and the table of all inspectors.

An inspector is chosen by the attributes of an agent or a bonus (a Q-network, a policy network,
tables, a representation, a simulator, a density), not by its class: a new agent is shown by the
parts it shares with others, and a new kind of part needs one line in ``INSPECTORS``.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Protocol, runtime_checkable

import torch
from torch import Tensor

from ...agents.bonuses.visit_counts import VisitCounts
from ...agents.episodic.neural_dictionary import NeuralDictionary
from ...agents.output_networks import PolicyNetwork, QNetwork
from ...agents.simulator import Simulator
from ...envs.interface import Carry, TimeStep
from ...world_models.interface import PlannerOutput
from ...world_models.representation.variational import VariationalRepresentation
from ..evaluation.plan_drawings import EXTRA_ROWS, plan_levels
from ..evaluation.plans import Plan, follow_plan
from ..evaluation.screen import frame_to_image
from .archive_inspector import ArchiveInspector
from .bonus_inspectors import (
    DensityBonusInspector,
    HasDensity,
    PretrainedDensityInspector,
    VisitCountsInspector,
)
from .composition_inspector import CompositionInspector, composer_of
from .context import Inspection, Inspector, StepContext
from .learned_parts import HasArchive, HasTables, PretrainedDensity, ShownArchive, parts_of
from .panels import BarChart, Heatmap, Images, Panel, Picture, Table
from .representation_inspector import RepresentationInspector, decode_keys


@runtime_checkable
class HasQNetwork(Protocol):
    q_network: QNetwork


@runtime_checkable
class HasPolicyNetwork(Protocol):
    network: PolicyNetwork

    def outputs(
        self, step: TimeStep, carry: Carry
    ) -> tuple[Tensor, Tensor, PlannerOutput, Carry]: ...


@runtime_checkable
class HasSimulator(Protocol):
    simulator: Simulator


@dataclass
class QValuesInspector:
    """The Q-value of each action, the mean over the heads if there are several."""

    agent: HasQNetwork

    def inspect(self, context: StepContext) -> Inspection:
        values = tuple(self.agent.q_network(context.observed.obs).flatten(0, -2).mean(0).tolist())
        note = "the return that the network expects of each action, in learning rewards"
        chart = BarChart("Action values", context.action_names, values, context.action, note)
        return Inspection((chart,), max(values))


@dataclass
class PolicyInspector:
    """The policy's probabilities and value, and its planner's plan."""

    agent: HasPolicyNetwork
    timestep: int = -1
    plans: tuple[Plan | None, Plan | None] = (None, None)
    """Of the timestep before and of the last inspected one."""

    def inspect(self, context: StepContext) -> Inspection:
        logits, _, planner_output, _ = self.agent.outputs(context.observed, context.carry)
        probs, value = logits[0, 0].softmax(0), float(context.extras["value"][0])
        entropy = float(-(probs * probs.log().clamp(min=-50)).sum())
        rows = [("value", f"{value:.3f}"), ("entropy, nats", f"{entropy:.2f}")]
        panels: list[Panel] = []
        if plan := self._plan(context):
            rows.append(("timesteps since replanning", str(plan.age)))
            rows.append(
                ("replanning probability", f"{float(planner_output.replan_prob[0, 0]):.2f}")
            )
            if plan.written:
                levels, labels = plan_levels(plan), (*context.action_names, *EXTRA_ROWS)
                note = "planned probabilities, from 0 (no color) to 1 (full color)"
                axis = "timesteps ahead; 0 is the current one"
                panels = [Heatmap("Plan", labels, levels, axis, EXTRA_ROWS, note)]
        chart = BarChart(
            "Policy", context.action_names, tuple(probs.tolist()), context.action, "probabilities"
        )
        title = "Value and plan" if len(rows) > 2 else "Value"
        note = "value: the return that the network expects from here, in learning rewards"
        return Inspection((chart, Table(title, tuple(rows), note), *panels), value)

    def _plan(self, context: StepContext) -> Plan | None:
        before, last = self.plans
        if context.timestep != self.timestep:
            self.timestep, before = context.timestep, last
        self.plans = before, follow_plan(before, context.next_carry, context.extras)
        return self.plans[1]


@dataclass
class EpisodicMemoryInspector:
    """The estimated return of each action, and the best action's nearest neighbors."""

    agent: HasTables
    max_neighbors: int = 6

    def inspect(self, context: StepContext) -> Inspection:
        tables, best = self.agent.tables, context.action
        if "key" not in context.extras or not any(tables.sizes):
            note = "keys are stored after an episode, once the representation is fitted"
            return Inspection((Table("Episodic memory", (("stored keys", "none yet"),), note),))
        key = context.extras["key"]
        digest = None if "place" in context.extras else context.extras["digest"]
        distances, indices = tables.search(key)
        estimates, exact = tables.estimate_from_neighbors(key, digest, distances, indices)
        returns = tuple(estimates[:, 0].tolist())
        how = "of this very state, which is stored" if bool(exact[best, 0]) else "of its neighbors"
        note = f"the return that memory holds for each action, {how}"
        chart = BarChart("Estimated returns", context.action_names, returns, best, note)
        value = returns[best] if returns[best] < float("inf") else None
        pairs = zip(distances[best, :, 0].tolist(), indices[best, :, 0].tolist(), strict=True)
        captions = {
            index: f"{float(tables.returns[best, index]):,.0f} at {max(x, 0.0) ** 0.5:.2g}"
            for x, index in islice(pairs, self.max_neighbors)
            if x < float("inf")
        }
        title = f"Nearest neighbors of {context.action_names[best]}"
        return Inspection((chart, self._neighbors(title, best, captions)), value)

    def _neighbors(self, title: str, action: int, captions: dict[int, str]) -> Panel:
        """Show the neighbors in an action's table, by their indices, as frames if possible."""
        tables, indices = self.agent.tables, list(captions)
        channels = self.agent.spec.channels
        if "observations" in tables.columns:
            newest = tables.observations[action, indices][:, -channels:]
            images = list(map(frame_to_image, newest))
            note = "remembered states near this one: the return after each, and its distance"
        elif decoded := decode_keys(
            self.agent.representation,
            tables.keys[action, torch.tensor(indices, dtype=torch.int64)],
            channels,
        ):
            images = decoded
            note = "decoded from keys (frames are not stored): return, and distance to this state"
        else:
            rows = ((f"neighbor {i}", caption) for i, caption in enumerate(captions.values(), 1))
            note = "return at a distance; this agent stores keys only, which cannot be decoded"
            return Table(title, tuple(rows), note)
        return Images(title, tuple(map(Picture, images, captions.values())), note)


def dictionary_of(agent: Any) -> NeuralDictionary | None:
    """Return the dictionary of an agent that has one."""
    tables = getattr(agent, "tables", None)
    return tables if isinstance(tables, NeuralDictionary) else None


@dataclass
class DictionaryInspector:
    """The value of each action by its nearest keys, and the values of the best action's."""

    agent: Any
    max_neighbors: int = 6

    def inspect(self, context: StepContext) -> Inspection:
        tables, best, key = self.agent.tables, context.action, context.extras["key"]
        values = tuple(tables.values(key)[0][:, 0].tolist())
        note = "means of the nearest keys' values, weighted by the kernel"
        chart = BarChart("Action values", context.action_names, values, best, note)
        count = min(tables.sizes[best], self.max_neighbors)
        rows = []
        if count:
            distances, index = tables.keys.search_action(key, best, tables.sizes[best], count)
            found = zip(tables.returns[best, index[0]].tolist(), distances[0].tolist(), strict=True)
            rows = [
                (f"neighbor {i}", f"{x:,.2f} at {d**0.5:.2g}") for i, (x, d) in enumerate(found, 1)
            ]
        title = f"Nearest keys of {context.action_names[best]}"
        return Inspection((chart, Table(title, tuple(rows), "value at key distance")), values[best])


@dataclass
class TrajectoryInspector:
    """The best trajectory of an archive, and how far the episode has followed it."""

    agent: HasArchive

    def inspect(self, context: StepContext) -> Inspection:
        length, time = len(self.agent.best_actions), int(context.next_carry["time"][0])
        rows = (
            ("score", f"{self.agent.best_score:g}"),
            ("actions", f"{min(time, length)} of {length}"),
        )
        return Inspection((Table("Best trajectory", rows, "then actions are random"),))


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
        carry, step = context.carry, context.step
        if "context_obs" not in carry:  # then the context is this observation alone
            carry = simulator.initial(1)
            step = replace(step, first=torch.ones_like(step.first))
        state = simulator.start(step, carry, key)
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
    (HasArchive, TrajectoryInspector),
    (ShownArchive, ArchiveInspector),
    (dictionary_of, DictionaryInspector),
    (VariationalRepresentation, RepresentationInspector),
    (composer_of, CompositionInspector),
    (HasSimulator, SimulatorInspector),
    (HasDensity, DensityBonusInspector),
    (PretrainedDensity, PretrainedDensityInspector),
    (VisitCounts, VisitCountsInspector),
)
"""The inspector of every part that is an instance of a protocol or class, or that a function finds
something in."""


def build_inspectors(*parts: Any) -> Iterator[Inspector]:
    """Build the inspectors of agents, models and bonuses, and of the parts inside them."""
    for part in parts_of(*parts):
        for role, inspector in INSPECTORS:
            if isinstance(part, role) if isinstance(role, type) else role(part) is not None:
                yield inspector(part)
