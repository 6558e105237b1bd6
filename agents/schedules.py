"""Quantities that change with the number of agent steps."""


def linear(step: int, *, begin: float, end: float, over: int) -> float:
    """From ``begin`` at step 0 to ``end`` at step ``over``, constant outside (Mnih et al. 2015)."""
    share = min(max(step / over, 0.0), 1.0)
    return (1 - share) * begin + share * end
