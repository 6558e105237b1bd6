"""Prequential bits: the surprise of the frames of the first pass, each before it is learned."""

import math

from ...envs.interface import Metrics
from ..sessions.callbacks import Callback
from .subject import Cell, Subject, of_frames


class FirstPass(Callback):
    """The sum of the surprise of the minibatches of the first ``num_updates`` updates."""

    STATE = ("nats", "count")

    def __init__(self, num_updates: int) -> None:
        self.num_updates = num_updates
        self.nats = 0.0
        """Sum over minibatches, in nats per pixel."""
        self.count = 0

    def on_metrics(self, metrics: Metrics) -> None:
        if self.count < self.num_updates:
            self.nats += float(metrics["density/nats_per_pixel"])
            self.count += 1


def first_pass(subject: Subject) -> Cell:
    """Return the bits per pixel of the training frames, each minibatch before it is learned."""
    state, batch_size = subject.state["callbacks"][FirstPass.__name__], subject.job.batch_size
    bits = state["nats"] / state["count"] / math.log(2)
    learned, of = state["count"] * batch_size, subject.num_first * batch_size
    shown = f"{bits:.4f}" + of_frames(learned, of)
    return Cell(shown, {"bits_per_pixel": bits, "frames": learned, "of": of})
