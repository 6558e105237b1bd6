"""Schedules: hyperparameters as functions of the number of agent steps."""


def linear(step: int, *, begin: float, end: float, over: int) -> float:
    """Interpolate from ``begin`` at step 0 to ``end`` at step ``over``, constant outside.

    Mnih et al. 2015 decay epsilon in this way.
    """
    fraction = min(max(step / over, 0.0), 1.0)
    return (1 - fraction) * begin + fraction * end
