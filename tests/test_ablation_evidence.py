"""Grids at their real size: right verdicts, little scheduling, and nodes that die."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from experiments.findings import compare, judge
from experiments.records import read
from experiments.reproduce import RESULTS
from experiments.tasks import Task

pytestmark = pytest.mark.evidence
ROOT = Path(__file__).parent.parent

BONUSES = (
    "dqn env:catch,deep-sea bonus:none,pseudo-count,simhash+scale=0.3 agent.network:mlp "
    "--agent.network.hidden 64 64 --steps 60000 --streams 8 --agent.epsilon-steps 7500 "
    "--agent.learning-starts 300 --agent.capacity 100000 --agent.learning-rate 1e-3 "
    "--agent.target-every 100 --seeds 3"
).split()


def test_a_grid_of_bonuses_ends_with_the_right_verdicts(tmp_path: Path) -> None:
    """Counting helps on DeepSea and has nothing to help with on Catch; 15 minutes on 2 cores."""
    command = [sys.executable, "-m", "experiments.cli", "ablate", *BONUSES]
    begin = time.monotonic()
    done = subprocess.run(
        [*command, "--folder", str(tmp_path)], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    minutes = (time.monotonic() - begin) / 60
    said = re.search(r"scheduling took ([\d.]+)% more", done.stdout)
    assert said is not None
    print(f"{minutes:.1f} minutes; scheduling {said[1]}% of the runs' own time")
    assert float(said[1]) <= 3
    (found,) = compare(read([tmp_path])[0])
    words = {(x.variant, x.world): x.word for x in found.verdicts()}
    assert words == right(found.labels.values())
    assert (tmp_path / "report.html").exists()


def test_the_committed_grid_of_bonuses_says_the_same() -> None:
    data = json.loads((RESULTS / "ablations" / "bonuses.json").read_text())
    scores: dict[str, dict[tuple[str, int], float]] = {name: {} for name in data["variants"]}
    for run in data["runs"]:
        mean = sum(run["scores"]) / len(run["scores"])
        scores[run["variant"]][run["world"], run["seed"]] = mean
    assert data["command"].split()[2:] == BONUSES
    words = {(x.variant, x.world): x.word for x in judge(scores)}
    assert words == right(data["variants"])


def right(variants: Any) -> dict[tuple[str, str], str]:
    _, *bonuses = variants
    return {
        (name, world): word
        for name in bonuses
        for world, word in (("catch", "cannot tell"), ("deep-sea", "helps"))
    }


def test_a_ray_cluster_that_loses_a_node_loses_no_run(tmp_path: Path) -> None:
    """Two local nodes; one is killed half-way, and its run goes on elsewhere."""
    ray = pytest.importorskip("ray", reason="ray is not installed; `pip install -e .[ray]`")
    from ray.cluster_utils import Cluster as Nodes

    from experiments.cluster import Cluster

    memory = {"object_store_memory": 80_000_000}
    nodes = Nodes(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    other = nodes.add_node(num_cpus=1, **memory)
    words = ("episodic", "env:catch", "--streams", "8", "--agent.capacity", "2000")
    words += ("--device", "cpu", "--steps", "40000", "--checkpoint-minutes", "0.01")
    tasks = [
        Task((*words, "--seed", f"{i}"), tmp_path / f"run-{i}", 40_000, episodes=8)
        for i in range(6)
    ]
    try:
        cluster = Cluster(nodes.address)
        outcomes = []
        for outcome in cluster.outcomes(tasks):
            outcomes.append(outcome)
            if len(outcomes) == 2:
                nodes.remove_node(other, allow_graceful=False)
        assert [outcome.error for outcome in outcomes] == [""] * 6
        assert {outcome.task for outcome in outcomes} == set(tasks)
        assert all(task.done for task in tasks)
    finally:
        ray.shutdown()
        nodes.shutdown()
