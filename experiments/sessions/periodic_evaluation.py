"""Evaluation of an agent while it is trained."""

import signal
from collections.abc import Callable
from dataclasses import replace

from ...envs.interface import Transition
from ..runs.run import Run
from ..runs.scores import Scores
from . import random_state
from .callbacks import Callback
from .event_log import EventLog

FILE = "evaluations.jsonl"


class PeriodicEvaluation(Callback):
    """Writer of evaluations.jsonl: the scores of the agent as it is about every ``every`` steps.

    ``play`` returns the scores of the present agent, and ``can_play`` whether it acts as its
    parameters say: in pipelined envs no action may be pending. Training is not disturbed: ``play``
    draws from keys of its own, and the process-wide generators are restored. A signal ends an
    evaluation, which the next session makes again. With ``every`` 0 there are none.
    """

    STATE = ("due",)

    def __init__(
        self,
        run: Run,
        events: EventLog,
        play: Callable[[], Scores],
        *,
        every: int,
        can_play: Callable[[], bool],
        tell: Callable[[str], None],
    ) -> None:
        self.run, self.events, self.play = run, events, play
        self.every, self.can_play, self.tell = every, can_play, tell
        self.due = False

    def on_start(self, step: int) -> None:
        self.run.truncate_lines(FILE, step)
        last = self.run.last_line(FILE)
        if last.get("step") == step:  # evaluated by a session that was killed after it
            self.due = False
        self._evaluate_if_due(step)

    def on_transition(self, t: Transition, step: int) -> None:
        if self.every:
            self.due |= step // self.every > (step - len(t.action)) // self.every
            self._evaluate_if_due(step)

    def _evaluate_if_due(self, step: int) -> None:
        if not (self.every and self.due and self.can_play()):
            return
        generators = random_state.capture()
        try:
            scores = replace(self.play(), steps=step)
        except KeyboardInterrupt:
            signal.raise_signal(signal.SIGTERM)  # the driver stops with a checkpoint
            return
        finally:
            random_state.restore(generators)
        self.due = False
        lengths = scores.lengths
        means = {"eval/return": scores.mean, "eval/length": sum(lengths) / len(lengths)}
        self.events.write_scalars([(step, means)])
        self.run.append_lines(FILE, [{"step": step} | scores.to_json()])
        first_line = str(scores).partition("\n")[0]
        self.tell(f"step {step:>9,}  evaluation of {first_line}")
