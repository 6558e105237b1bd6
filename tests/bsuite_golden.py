"""Recording of bsuite's DeepSea and of its analysis, in ``golden/deep_sea.json``.

bsuite 0.3.6 needs an older numpy and pandas than this package, so it has a venv of its own, and
nothing of this package is imported:

    python3 -m venv build/bsuite
    build/bsuite/bin/pip install bsuite==0.3.6 "numpy<2" "pandas<2" "plotnine<0.13" setuptools
    build/bsuite/bin/python tests/bsuite_golden.py
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

GOLDEN = Path(__file__).parent / "golden" / "deep_sea.json"
SIZES = range(10, 51, 2)
NUM_EPISODES = 10_000


def play(size: int) -> dict[str, Any]:
    """Play an episode to the right, one almost, and one at random; return what the env returned.

    An observation is the index of its cell, and -1 where it is empty.
    """
    from bsuite.environments.deep_sea import DeepSea

    env = DeepSea(size, mapping_seed=42)
    generator = np.random.RandomState(size)  # in every version of numpy
    row: dict[str, Any] = {"size": size, "actions": "", "cells": [], "rewards": [], "bad": []}
    for mistakes in (0.0, 1 / size, 0.5):
        step = env.reset()
        while not step.last():
            right = int(env._action_mapping[env._row, env._column])
            action = 1 - right if generator.rand() < mistakes else right
            step = env.step(action)
            row["actions"] += str(action)
            row["rewards"].append(float(step.reward))
            row["cells"].append(int(step.observation.argmax()) if step.observation.any() else -1)
        row["bad"].append(env.bsuite_info()["total_bad_episodes"])
    return row


def bad_episodes(seed: int, found: int, rate: float) -> list[bool]:
    """Return whether each episode is bad: all until ``found``, then some at random."""
    draws = np.random.RandomState(seed).rand(NUM_EPISODES)
    return [bool(i < found or x < rate) for i, x in enumerate(draws)]


CASES = [(0, 0, 0.9), (1, 0, 1.0), (2, 1_000, 0.0), (3, 950, 0.5), (4, 5_000, 0.2), (5, 9_500, 0.0)]
"""Arguments of ``bad_episodes``; the last is not solved within ``NUM_EPISODES``."""


def analyze() -> Iterator[int | None]:
    """Yield the episode at which bsuite's analysis finds each case solved."""
    import pandas as pd
    from bsuite.experiments.deep_sea import analysis
    from bsuite.utils.wrappers import _logarithmic_logging

    for case in CASES:
        total = np.cumsum(bad_episodes(*case))
        logged = [i for i in range(1, NUM_EPISODES + 1) if _logarithmic_logging(i)]
        rows = {"size": 10, "episode": logged, "total_bad_episodes": total[np.array(logged) - 1]}
        (found,) = analysis.find_solution(pd.DataFrame(rows)).to_dict("records")
        yield int(found["episode"]) if found["solved"] else None


if __name__ == "__main__":
    record = {"episodes": list(map(play, SIZES)), "solved": list(analyze())}
    GOLDEN.write_text(json.dumps(record) + "\n", encoding="utf-8")
