"""Schedules: hyperparameters and updates as functions of the number of agent steps."""

import math
from collections.abc import Iterator

from ..world_models.state import HasState


class Ratio(HasState):
    """The updates that are due: ``ratio`` for each agent step from ``start`` on.

    After DreamerV3's ``Ratio``. After n steps floor((n - start) ratio) updates are due in all.
    Those that were missed are made up later. With ``num_envs`` at most 2 ceil(num_envs ratio) are
    made per timestep of these envs: twice as many as usual, or two where less than one is usual.

    Example::

        from reverie.agents.schedules import Ratio

        schedule = Ratio(0.25, start=1_000)
        for update in schedule(1_008):  # 1, 2
            ...
    """

    STATE = ("count",)

    def __init__(self, ratio: float, *, start: int = 0, num_envs: int | None = None) -> None:
        self.ratio, self.start = ratio, start
        self.at_most = None if num_envs is None else 2 * math.ceil(num_envs * ratio)
        self.count = 0
        """Updates so far."""

    def __call__(self, steps: int) -> Iterator[int]:
        """Yield the number, from 1 on, of each update that is due after ``steps`` agent steps."""
        target = math.floor(round((steps - self.start) * self.ratio, 9))  # 49 * (1 / 49) is 1
        due = target - self.count
        for _ in range(due if self.at_most is None else min(due, self.at_most)):
            self.count += 1
            yield self.count


def linear(step: int, *, begin: float, end: float, over: int) -> float:
    """Interpolate from ``begin`` at step 0 to ``end`` at step ``over``, constant outside.

        (1 - f) begin + f end,  f = min(max(step / over, 0), 1)

    Mnih et al. 2015 decay epsilon in this way.
    """
    fraction = min(max(step / over, 0.0), 1.0)
    return (1 - fraction) * begin + fraction * end
