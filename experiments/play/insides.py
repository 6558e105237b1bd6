"""The insides of whoever plays: one ``Inside`` a role, found by what an agent is made of.

An agent is asked what parts it has (a Q-network, a policy and its planner, tables, a
representation, a simulator), not which agent it is: a new one is shown by what it shares with the
others, and a line in ``INSIDES`` shows a part that is new.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch

from agents.neighbours import NeighbourTables
from agents.networks import PolicyNetwork, QNetwork, Rounded
from agents.simhash import SimHash
from agents.simulator import Simulator
from experiments.plans import AHEAD, ahead
from experiments.play.counting import Counting, HasDensity, Hashing
from experiments.play.latents import HasRepresentation, Reconstruction, decoded
from experiments.play.moment import Inside, Insight, Moment
from experiments.play.panels import Bars, Images, Matrix, Numbers, Panel, Picture
from experiments.play.pictures import picture
from world_models.interface import Representation


@runtime_checkable
class HasValues(Protocol):
    online: QNetwork


@runtime_checkable
class HasPolicy(Protocol):
    player: Rounded
    network: PolicyNetwork


@runtime_checkable
class HasTables(Protocol):
    tables: NeighbourTables
    representation: Representation


@runtime_checkable
class HasSimulator(Protocol):
    simulator: Simulator


@dataclass
class Values:
    """The Q-values of each action."""

    agent: HasValues

    def look(self, now: Moment) -> Insight:
        values = self.agent.online(now.step.obs)[0].tolist()
        bars = Bars("Action values", now.names, tuple(values), now.action, "Q(s, a), learned scale")
        return Insight((bars,), max(values))


@dataclass
class PolicyAndPlan:
    """The policy's probabilities and value, and the plan that they are read from."""

    agent: HasPolicy

    def look(self, now: Moment) -> Insight:
        step = now.step
        network = self.agent.player.network
        logits, value, thought, _ = network(step.obs[:, None], step.first[:, None], now.memory)
        odds = logits[0, 0].softmax(0)
        worth, entropy = float(value[0, 0]), float(-(odds * odds.log().clamp(min=-50)).sum())
        rows = [("value", f"{worth:.3f}"), ("entropy, nats", f"{entropy:.2f}")]
        panels: list[Panel] = []
        if "age" in now.following:
            rows.append(("ticks since it planned anew", str(int(now.following["age"][0]))))
            chance = float(thought.commitment[0, 0])
            rows.append(("chance of planning anew next", f"{chance:.2f}"))
        if "plan" in now.following:
            policy, window, again = ahead(now.following)
            lines = [policy, window / window.max().clamp(min=1e-9), again]
            cells = torch.cat([line[:, :AHEAD] for line in lines]).numpy()
            labels = (*now.names, "window", "plan anew")
            note = f"the next {cells.shape[1]} ticks, now on the left"
            panels = [Matrix("Plan", labels, cells, ("window", "plan anew"), note)]
        bars = Bars("Policy", now.names, tuple(odds.tolist()), now.action, "probabilities")
        return Insight((bars, Numbers("Value and plan", tuple(rows)), *panels), worth)


@dataclass
class Remembered:
    """What the tables say of each action, and the memories that the best one's value is from."""

    agent: HasTables
    shown: int = 6

    def look(self, now: Moment) -> Insight:
        if "keyed" in now.following and not bool(now.following["keyed"][0]):
            note = "it plays by chance until its representation is fitted"
            return Insight((Numbers("Memory", (("keys", "none yet"),), note),))
        tables, best = self.agent.tables, now.action
        key, digest = now.following["key"], now.following["digest"]
        if not any(tables.sizes):
            return Insight((Numbers("Memory", (("keys", "none yet"),)),))
        distances, slots = tables.nearest(key)
        values, exact = tables.judge(key, digest, distances, slots)
        returns = tuple(values[:, 0].tolist())
        title = "Remembered returns"
        note = "seen before, exactly" if bool(exact[best, 0]) else "mean of the nearest keys"
        bars = Bars(title, now.names, returns, best, note)
        worth = returns[best] if returns[best] < float("inf") else None
        found = zip(distances[best, :, 0].tolist(), slots[best, :, 0].tolist(), strict=True)
        known = [(max(x, 0.0) ** 0.5, slot) for x, slot in found if x < float("inf")][: self.shown]
        captions = [
            f"{float(tables.returns[best, slot]):,.0f} at {apart:.2g}" for apart, slot in known
        ]
        return Insight((bars, self._memories(best, known, captions, now)), worth)

    def _memories(
        self, action: int, known: list[tuple[float, int]], captions: list[str], now: Moment
    ) -> Panel:
        tables, slots = self.agent.tables, [slot for _, slot in known]
        title = f"Nearest memories of {now.names[action]}"
        if "looks" in tables.columns:
            images = [picture(tables.looks[action, slot][-1:]) for slot in slots]
            note = "remembered frames; below each its return, and the distance of its key"
        elif drawn := decoded(self.agent.representation, tables.keys[action, torch.tensor(slots)]):
            images = drawn
            note = "no frames are kept: these are decoded from keys; return at distance of each"
        else:
            rows = zip((f"nearest {i + 1}" for i in range(len(known))), captions, strict=True)
            note = "returns at distances; this agent keeps keys alone, which cannot be drawn"
            return Numbers(title, tuple(rows), note)
        pairs = zip(images, captions, strict=True)
        return Images(title, tuple(Picture(image, caption) for image, caption in pairs), note)


@dataclass
class Imagined:
    """What the agent's own simulator imagines of each action."""

    agent: HasSimulator
    most: int = 9

    def look(self, now: Moment) -> Insight:
        simulator = self.agent.simulator
        if not simulator.ready:
            return Insight((Numbers("Imagination", (("its predictor", "has not learned yet"),)),))
        predictor, key = simulator.predictor, now.memory["dice"]
        seen = now.memory if "looks" in now.memory else simulator.initial(1)
        state = simulator.start(now.step, seen, key)
        count = min(len(now.names), self.most)
        every = torch.arange(count, device=state["obs"].device)
        repeated = {name: x.repeat_interleave(count, 0) for name, x in state.items()}
        prediction, _ = predictor.predict(repeated, every)
        pictures = tuple(
            Picture(picture(obs[-predictor.colours :]), f"{name} {reward:+.2f}")
            for obs, name, reward in zip(
                prediction.obs, now.names, prediction.reward.tolist(), strict=False
            )
        )
        note = "its next frame after each action, and the reward it expects"
        return Insight((Images("Imagined next", pictures, note),))


INSIDES: tuple[tuple[Any, Any], ...] = (
    (HasValues, Values),
    (HasPolicy, PolicyAndPlan),
    (HasTables, Remembered),
    (HasRepresentation, Reconstruction),
    (HasSimulator, Imagined),
    (HasDensity, Counting),
    (SimHash, Hashing),
)
"""What a part looks like, and what shows it."""


def insides_of(*parts: Any) -> list[Inside]:
    """What there is to show of agents (and of those inside them) and of bonuses."""
    return [
        show(each)
        for part in parts
        for each in _and_inner(part)
        for role, show in INSIDES
        if isinstance(each, role)
    ]


def _and_inner(part: Any) -> Iterator[Any]:
    """The agent inside an agent first: it is the one that values and acts."""
    if part is not None:
        yield from _and_inner(getattr(part, "inner", None))
        yield part
