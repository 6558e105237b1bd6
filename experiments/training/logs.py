"""The logs of a run: metrics, episodes, the learning curve and videos."""

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ...envs.errors import NumericalError
from ...envs.interface import Metrics, Transition
from ...envs.ranks import Ranks
from ..evaluation.episodes import Episodes
from ..evaluation.plans import PlanLengths
from ..evaluation.screen import enlarged, newest_frame
from ..evaluation.video import Video
from ..reporting.figures import learning_curve
from ..runs.run import Run
from ..sessions.callbacks import Callback, Row
from ..sessions.event_log import EventLog


@dataclass(frozen=True)
class Exchange:
    """What the ranks of a run tell the first one about their envs, and when."""

    ranks: Ranks
    can_stop: Callable[[], bool]
    """Whether all ranks are at the end of a rollout."""

    def due(self) -> bool:
        """Return whether to exchange after this timestep: at the end of every rollout, if any."""
        return self.ranks.alone or self.can_stop()


class Means(Callback):
    """Means of a learner's metrics between two rows; sums stay on the device until then."""

    STATE = ("sums", "counts")

    def __init__(self) -> None:
        self.sums: dict[str, Tensor | float] = {}
        self.counts: dict[str, int] = {}

    def on_metrics(self, metrics: Metrics) -> None:
        for name, value in metrics.items():
            self.sums[name] = self.sums.get(name, 0.0) + value
            self.counts[name] = self.counts.get(name, 0) + 1

    def on_checkpoint(self) -> None:
        """Raise NumericalError, which names the metric, if the sum of a loss is not finite.

        Other metrics are undefined on some batches, such as the variance of one return.
        """
        for name, value in self.sums.items():
            if name.endswith("loss") and not math.isfinite(value):
                raise NumericalError(
                    f"The metric {name} is {float(value)}: training has diverged; try a smaller "
                    "learning rate."
                )

    def metrics(self) -> Metrics:
        """Return the means since the last call without undefined ones, or raise NumericalError."""
        self.on_checkpoint()
        means = {name: float(self.sums[name]) / self.counts[name] for name in sorted(self.sums)}
        self.sums, self.counts = {}, {}
        return {name: mean for name, mean in means.items() if math.isfinite(mean)}


class PlanTracking(Callback):
    """Lengths of plans since the last row: a histogram, their mean, and the share of length 1."""

    STATE = ("lengths",)

    def __init__(self, num_envs: int, device: torch.device, exchange: Exchange) -> None:
        self.lengths, self.exchange = PlanLengths(num_envs, device), exchange

    def on_transition(self, t: Transition, step: int) -> None:
        self.lengths.update(t)
        if self.exchange.due():
            counts, ranks = self.lengths.counts, self.exchange.ranks
            total = ranks.sum(counts)
            self.lengths.counts = total if ranks.first else torch.zeros_like(counts)

    def metrics(self) -> Metrics:
        return self.lengths.metrics()


class MetricsLog(Callback):
    """Writer of metrics.jsonl."""

    def __init__(self, run: Run) -> None:
        self.run = run

    def on_start(self, step: int) -> None:
        self.run.truncate_lines("metrics.jsonl", step)

    def on_row(self, row: Row) -> None:
        """Write the row's metrics, without nan."""
        known = {name: x for name, x in row.metrics.items() if x == x}
        self.run.append_lines("metrics.jsonl", [{"step": row.step, "frames": row.frames} | known])


class EpisodeLog(Callback):
    """Writer of every episode, and of the learning curve; the metrics of the last episodes.

    With ``fresh``, the session starts new episodes, and those of its checkpoint are not scored. Of
    several ranks the first one writes the episodes of all, when they ``exchange`` them.
    """

    STATE = ("episodes",)

    def __init__(
        self, run: Run, events: EventLog, envs: slice, exchange: Exchange, *, fresh: bool = False
    ) -> None:
        self.run, self.events, self.fresh = run, events, fresh
        self.episodes = Episodes(envs.stop - envs.start, envs.start)
        self.exchange = exchange
        self.ended: list[dict[str, Any]] = []
        """Episodes that ended since the last exchange."""

    def on_start(self, step: int) -> None:
        self.run.truncate_lines("episodes.jsonl", step)
        if self.fresh:
            self.episodes.discard_unfinished()

    def on_transition(self, t: Transition, step: int) -> None:
        self.ended += self.episodes.ended(t, step)
        if self.exchange.due():
            ended = [row for rows in self.exchange.ranks.collect(self.ended) for row in rows]
            self.episodes.add(sorted(ended, key=lambda row: (row["step"], row["env"])))
            self.ended = []

    def metrics(self) -> Metrics:
        return self.episodes.metrics()

    def on_row(self, row: Row) -> None:
        self.on_checkpoint()

    def on_checkpoint(self) -> None:
        rows = self.episodes.pop()
        self.run.append_lines("episodes.jsonl", rows)
        self.events.write_scalars((row["step"], _episode_scalars(row)) for row in rows)

    def on_end(self, step: int) -> None:
        learning_curve(self.run)


def _episode_scalars(row: dict[str, Any]) -> dict[str, float]:
    return {"charts/episodic_return": row["score"], "charts/episodic_length": row["length"]}


class Videos(Callback):
    """Writer of an episode of env 0 as videos/train-STEP.mp4, begun every ``every`` steps.

    It is a whole one, unless the session ends before it.
    """

    def __init__(self, folder: Path, every: int) -> None:
        self.folder, self.every = folder, every
        self.video: Video | None = None

    def on_transition(self, t: Transition, step: int) -> None:
        is_due = step // self.every > (step - len(t.action)) // self.every
        if is_due and (self.video is None or self.video.done):
            path = self.folder / f"train-{step}.mp4"
            self.video = Video(path, t.step, lambda step: enlarged(newest_frame(step)))
        if self.video:
            self.video.update(t)

    def on_end(self, step: int) -> None:
        if self.video:
            self.video.finish()
