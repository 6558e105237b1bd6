"""Seeds that train together are, bit for bit, the runs that they are alone."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.rnd import RNDConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.agents.bonuses.true_counts import TrueCountsConfig
from reverie.agents.dqn import DQNConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.networks import SmallConvConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.maze import MazeConfig
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.options import TrainOptions
from reverie.experiments.sessions.session_clock import SessionClock
from reverie.experiments.sessions.throughput import without_machine_metrics
from reverie.experiments.training import logs
from reverie.experiments.training.train import train
from reverie.experiments.training.train_together import train_together
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.planning.figar import FiGARConfig

OPTIONS = TrainOptions(device="cpu", threads=1, quiet=True, random_play_seconds=0.0, log_every=100)
DQN = DQNConfig(
    learning_starts=40, buffer_size=150, batch_size=8, target_network_frequency=24,
    exploration_steps=100, learning_rate=1e-3,
)  # fmt: skip
PPO = PPOConfig(num_steps=16, num_minibatches=2, update_epochs=2, learning_rate=1e-3)
MAZE = MazeConfig(rooms=3, view=5, max_episode_steps=20)
HISTOGRAM = PseudoCountConfig(density=HistogramConfig())
CASES = {
    "dqn, deep sea, histogram": Experiment(DQN, DeepSeaConfig(4), HISTOGRAM),
    "dqn without episodes, mazes, simhash": Experiment(
        replace(DQN, monte_carlo_weight=0.0, n_step=2, dueling=True, random_shift=1),
        MAZE,
        SimHashConfig(),
    ),
    "ppo, mazes, cts": Experiment(replace(PPO, num_minibatches=9), MAZE, PseudoCountConfig()),
    "ppo with two values, deep sea, rnd": Experiment(
        replace(PPO, intrinsic_value=True), DeepSeaConfig(4), RNDConfig().example()
    ),
    "dqn, minatar, true counts": Experiment(
        replace(DQN, network=SmallConvConfig()), MinAtarConfig(), TrueCountsConfig()
    ),
    "figar, deep sea": Experiment(replace(PPO, planner=FiGARConfig()), DeepSeaConfig(4)),
}


@pytest.fixture(autouse=True)
def _without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "learning_curve", lambda run: None)


def seeds_of(experiment: Experiment, count: int = 3) -> list[Experiment]:
    return [replace(experiment, seed=s, num_envs=3, total_timesteps=180) for s in range(count)]


def folders(path: Path, seeds: Sequence[Experiment]) -> list[Path]:
    return [path / f"s{x.seed}" for x in seeds]


def contents(folder: Path) -> Any:
    """What a run has written, without what depends on the machine's speed."""
    run = Run(folder)
    state = run.checkpoints.load()
    assert state
    state["callbacks"].pop("Throughput", None)
    rows = [without_machine_metrics(row) for row in run.read_lines("metrics.jsonl")]
    return plain(state), rows, run.read_lines("episodes.jsonl"), run.read_lines("evaluations.jsonl")


def plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: plain(x) for name, x in value.items()}
    if isinstance(value, list | tuple):
        return [plain(x) for x in value]
    if isinstance(value, torch.Tensor):
        return str(value.dtype), tuple(value.shape), value.contiguous().numpy().tobytes()
    return value


@pytest.mark.parametrize("name", CASES)
def test_each_run_is_the_one_it_is_alone(name: str, tmp_path: Path) -> None:
    seeds = seeds_of(CASES[name], 2)
    for seed, folder in zip(seeds, folders(tmp_path / "alone", seeds), strict=True):
        train(seed, folder, OPTIONS)
    runs = train_together(seeds, folders(tmp_path / "together", seeds), OPTIONS)
    assert all(run.finished for run in runs)
    alone, together = (
        [contents(x) for x in folders(tmp_path / kind, seeds)] for kind in ("alone", "together")
    )
    assert together == alone
    assert len({str(x[0]["agent"]) for x in alone}) == len(seeds)  # the seeds differ


def stop_after(monkeypatch: pytest.MonkeyPatch, timesteps: int) -> None:
    """End the next session after so many timesteps, as its time limit would."""
    count = iter(range(timesteps))
    limit = property(lambda self: next(count, None) is None)
    monkeypatch.setattr(SessionClock, "time_is_up", limit)


@pytest.mark.parametrize("agent", [DQN, PPO])
def test_runs_continue_alone_and_together(
    agent: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two seeds stop amid a rollout, one goes on alone, and both meet a third that is new."""
    seeds, options = seeds_of(Experiment(agent, CatchConfig(6, 5))), replace(OPTIONS, eval_every=90)
    options = replace(options, eval_episodes=2)
    for seed, folder in zip(seeds, folders(tmp_path / "alone", seeds), strict=True):
        train(seed, folder, options)
    own = folders(tmp_path / "together", seeds)
    with monkeypatch.context() as stopped:
        stop_after(stopped, 21)
        train_together(seeds[:2], own[:2], options)
    with monkeypatch.context() as stopped:
        stop_after(stopped, 17)
        train(seeds[0], own[0], options)
    steps = [Run(folder).checkpoints.steps()[-1] for folder in own[:2]]
    assert 0 < steps[1] < steps[0] < 180
    train_together(seeds, own, options)
    for folder, expected in zip(own, folders(tmp_path / "alone", seeds), strict=True):
        assert contents(folder) == contents(expected)
    finished = train_together(seeds, own, options)
    assert all(run.finished for run in finished)


@pytest.mark.parametrize(
    ("experiment", "options", "sentence"),
    [
        (Experiment(MFECConfig(), CatchConfig()), {}, "seeds of MFEC cannot learn together"),
        (Experiment(replace(PPO, lstm=8), CatchConfig()), {}, "has a LSTMCell"),
        (Experiment(PPO, CatchConfig()), {"precision": "bf16"}, "choose --precision fp32"),
        (Experiment(PPO, CatchConfig()), {"pipeline": 3}, "choose --pipeline 1"),
    ],
)
def test_what_cannot_train_together_is_refused(
    experiment: Experiment, options: dict[str, Any], sentence: str, tmp_path: Path
) -> None:
    seeds = seeds_of(experiment, 2)
    with pytest.raises(UsageError, match=sentence):
        train_together(seeds, folders(tmp_path, seeds), replace(OPTIONS, **options))


def test_runs_that_train_together_differ_in_their_seed_alone(tmp_path: Path) -> None:
    first, second = seeds_of(CASES["figar, deep sea"], 2)
    for other, sentence in ((replace(second, num_envs=4), "seed alone"), (first, "same seed")):
        with pytest.raises(UsageError, match=sentence):
            train_together([first, other], [tmp_path / "a", tmp_path / "b"], OPTIONS)
    with pytest.raises(UsageError, match="seeds_together is 2"):
        train(first, tmp_path / "c", replace(OPTIONS, seeds_together=2))


def test_seeds_train_together_in_one_process_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"RANK": 0, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2}.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(UsageError, match="leave out torchrun, or --seeds-together"):
        train_together(seeds_of(CASES["figar, deep sea"], 1), [tmp_path / "run"], OPTIONS)
    assert not (tmp_path / "run").exists()
