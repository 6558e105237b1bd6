"""Long tests of ablations: verdicts of a full grid, scheduling overhead, and nodes that die."""

import json
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from reverie import Experiment, TrainOptions
from reverie.agents.episodic.mfec import MFECConfig
from reverie.envs.catch import CatchConfig
from reverie.experiments.ablation.evidence_grids import EVIDENCE
from reverie.experiments.evaluation.run_evaluation import Evaluation
from reverie.experiments.reporting.committed import RESULTS
from reverie.experiments.reporting.comparison import compare
from reverie.experiments.reporting.run_results import read_results
from reverie.experiments.reproduce.grid_tables import grid_verdicts
from reverie.experiments.training.task import Task
from reverie.experiments.verdicts.verdict_rule import read_rule

pytestmark = pytest.mark.results
ROOT = Path(__file__).parents[3]

GRID = "deep-sea-10"


def test_a_committed_grid_has_the_same_verdicts_again(tmp_path: Path) -> None:
    """Half an hour on 2 cores."""
    command = [sys.executable, "-m", "reverie.experiments.cli.main", "ablate"]
    start_time = time.monotonic()
    done = subprocess.run(
        [*command, *EVIDENCE[GRID].argv, "--folder", str(tmp_path)],
        cwd=ROOT, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    minutes = (time.monotonic() - start_time) / 60
    overhead = re.search(r"scheduling added ([\d.]+)%", done.stdout)
    assert overhead is not None
    print(f"{minutes:.1f} minutes; scheduling added {overhead[1]}%")
    assert float(overhead[1]) <= 3
    rule = read_rule(tmp_path)
    (comparison,) = compare(read_results([tmp_path])[0], rule=rule)
    labels = {(x.variant, x.env_name): x.label for x in comparison.verdicts()}
    assert labels == committed_labels()
    assert (tmp_path / "report.html").exists()


def test_counts_help_in_a_committed_grid_of_deep_sea() -> None:
    labels = committed_labels()
    assert len(labels) == 4
    assert labels["bonus simhash", "deep-sea"] == labels["bonus true-counts", "deep-sea"] == "helps"


def committed_labels() -> dict[tuple[str, str], str]:
    data = json.loads((RESULTS / "ablations" / f"{GRID}.json").read_text())
    assert data["command"].split()[2:] == [*EVIDENCE[GRID].argv]
    return {(x.variant, x.env_name): x.label for x in grid_verdicts(data)}


def test_ray_cluster_that_loses_a_node_loses_no_run(tmp_path: Path) -> None:
    """One of two local nodes is killed, and its run continues on the other."""
    ray = pytest.importorskip("ray", reason="ray is not installed; `pip install -e .[ray]`")
    from ray.cluster_utils import Cluster

    from reverie.experiments.ablation.ray_pool import RayPool

    memory = {"object_store_memory": 80_000_000}
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, **memory})
    node = cluster.add_node(num_cpus=1, **memory)
    experiment = Experiment(
        MFECConfig(capacity=2000), CatchConfig(), num_envs=8, total_timesteps=40_000
    )
    tasks = [
        Task(
            replace(experiment, seed=i),
            tmp_path / f"run-{i}",
            TrainOptions(device="cpu", threads=1, checkpoint_minutes=0.01),
            Evaluation(episodes=8),
        )
        for i in range(6)
    ]
    try:
        pool = RayPool(cluster.address)
        results = []
        for result in pool.execute(tasks):
            results.append(result)
            if len(results) == 2:
                cluster.remove_node(node, allow_graceful=False)
        assert [result.error for result in results] == [""] * 6
        assert {result.task for result in results} == set(tasks)
        assert all(task.scores for task in tasks)
    finally:
        ray.shutdown()
        cluster.shutdown()
