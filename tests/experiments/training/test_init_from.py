"""Tests of --init-from: an agent starts from a pretrained part, or from another training."""

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from reverie import Experiment, load, train
from reverie.agents.dqn import DQNConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.mpc import MPCConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.on_policy import OnPolicyConfig
from reverie.agents.policies import RandomPolicy
from reverie.agents.ppo import PPOConfig
from reverie.agents.pqn import PQNConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.config.registry import TABLES
from reverie.experiments.datasets.collect import collect
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.command_line import parse_experiment
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.experiments.training.pretrain import load_model, pretrain
from reverie.experiments.training.representations import RepresentationPretraining
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.representation.variational import VariationalConfig

from sample_agents import DQN, OPTIONS, TINY, equal, metric_rows
from sample_models import flat

PLAN = MPCConfig(
    TINY, samples=4, horizon=2, model_learning_starts=20, model_replay_ratio=0.0
)  # never learns by itself
QUIET = PretrainOptions(device="cpu", threads=1, quiet=True)
PREDICTOR = PredictorPretraining(predictor=TINY, stack=1, num_updates=3, batch_size=4)


@dataclass(frozen=True)
class MirroredCatchConfig(CatchConfig):
    """Catch under another name."""

    @property
    def env_name(self) -> str:
        return "mirrored-catch"


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TABLES[EnvConfig], "mirrored-catch", MirroredCatchConfig)
    monkeypatch.setattr(PredictorPretraining, "finish", lambda *args: None)  # has its own tests
    monkeypatch.setattr(PredictorPretraining, "evaluate", lambda *args: {})


def record(name: str, env: EnvConfig, frames: int = 200) -> Path:
    collect(RandomPolicy(3), env, name, frames=frames, num_envs=4)
    return Path(name)


def experiment(
    agent: AgentConfig, init_from: str | None = None, env: EnvConfig | None = None, **changes: Any
) -> Experiment:
    settings: dict[str, Any] = {"total_timesteps": 120, "num_envs": 4} | changes
    path = Path(init_from) if init_from else None
    return Experiment(agent, env or CatchConfig(), init_from=path, **settings)


def final_state(run: Run) -> dict[str, Any]:
    state = run.checkpoints.load()
    assert state is not None
    return state


def assert_same_end(a: Run, b: Run) -> None:
    states = [flat(final_state(run)) for run in (a, b)]
    assert states[0].keys() == states[1].keys()
    different = [name for name, x in states[0].items() if not equal(x, states[1][name])]
    assert not different


def test_a_pretrained_predictor_is_needed_until_the_first_checkpoint() -> None:
    job = replace(PREDICTOR, data=(record("data", CatchConfig()),))
    pretrain(job, "model", replace(QUIET, precision="bf16"))
    _, model = load_model("model", device="cpu")
    uninterrupted = train(experiment(PLAN, "model"), "uninterrupted", OPTIONS)
    train(experiment(PLAN, "model", total_timesteps=60), "resumed", OPTIONS)
    shutil.rmtree("model")
    resumed = train(experiment(PLAN, "model"), "resumed", OPTIONS)
    assert_same_end(uninterrupted, resumed)
    assert metric_rows(uninterrupted.folder)[-1] == metric_rows(resumed.folder)[-1]
    agent: Any = load("resumed", device="cpu")[1]
    assert agent.simulator.ready
    assert equal(agent.simulator.predictor.network.state_dict(), model.network.state_dict())


def test_an_agent_that_never_learns_needs_a_pretrained_part(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(UsageError, match="the predictor never learns; add --init-from RUN"):
        experiment(PLAN)
    argv = ["mpc", "env:catch", "--agent.model-replay-ratio", "0", "--init-from", "model"]
    _, [parsed], _ = parse_experiment(argv)
    assert parsed.init_from == Path("model")
    assert cli.main(["train", *argv[:-2]]) == 2
    assert "agent.model_replay_ratio is 0" in capsys.readouterr().err


def test_runs_that_do_not_fit_are_refused() -> None:
    data = record("data", CatchConfig())
    pretrain(replace(PREDICTOR, data=(data,)), "model", QUIET)
    pretrain(
        replace(PREDICTOR, data=(data,), stack=2),
        "stacked",
        QUIET,
    )
    for agent, run, env, message in (
        (PLAN, "nowhere", None, "nowhere is no run folder"),
        (DQN, "model", None, "the agent DQN has no predictor to start from it"),
        (replace(PLAN, predictor=replace(TINY, action_conditional=False)), "model", None,
         r"agent\.predictor\.action_conditional: True, not False\); give both the same ones"),
        (PLAN, "model", MirroredCatchConfig(),
         "env_name: catch, not mirrored-catch"),
        (PLAN, "stacked", None, r"obs_shape: \(2, 10, 5\), not \(1, 10, 5\)"),
    ):  # fmt: skip
        with pytest.raises(UsageError, match=message):
            train(experiment(agent, run, env), f"run-{agent}-{run}"[:40], OPTIONS)
    config = Run("model").config()
    Run.open("empty", config).begin(config, 0, {"modified": False})
    with pytest.raises(UsageError, match="init_from is empty, which has no checkpoint yet"):
        train(experiment(PLAN, "empty"), "run", OPTIONS)
    train(experiment(DQN), "agent", OPTIONS)
    small = CatchConfig(rows=6, columns=3)
    for wrong, message in (
        (experiment(replace(DQN, gamma=0.5), "agent"), r"gamma: 0\.99, not 0\.5"),
        (experiment(DQN, "agent", num_envs=2), "num_envs: 4, not 2"),
        (experiment(DQN, "agent", small), r"obs_shape: \(1, 10, 5\), not"),
    ):
        with pytest.raises(UsageError, match=message):
            train(wrong, "other", OPTIONS)
        assert not Path("other/config.json").exists()


@pytest.mark.parametrize(
    "agent",
    [
        DQNConfig(MLPConfig((16,)), buffer_size=4000, learning_starts=10, exploration_steps=100),
        PPOConfig(MLPConfig((16,)), num_steps=12, num_minibatches=1, anneal_steps=120),
        PQNConfig(MLPConfig((16,)), num_steps=12, num_minibatches=1, exploration_steps=100),
        MFECConfig(num_neighbors=2, capacity=100),
    ],
    ids=["dqn", "ppo", "pqn", "mfec"],
)
def test_a_trained_agent_is_fine_tuned_in_another_env(agent: AgentConfig) -> None:
    """It keeps what it has learned and stored; schedules, steps and seeds are new."""
    source = final_state(train(experiment(agent), "source", OPTIONS))
    tuned = experiment(agent, "source", MirroredCatchConfig(), seed=1)
    first = final_state(train(replace(tuned, total_timesteps=4), "first", OPTIONS))
    assert first["step"] == 4
    assert first["initial_steps"] == 0
    if isinstance(agent, DQNConfig):
        assert first["agent"]["steps"] == 4 + 8, "with the time-out and the reset"
        assert equal(first["agent"]["q_network"], source["agent"]["q_network"])
    elif isinstance(agent, OnPolicyConfig):
        assert first["agent"]["steps"] == 4 + 8
        network = "q_network" if isinstance(agent, PQNConfig) else "network"
        assert equal(first["agent"][network], source["agent"][network])
    other = final_state(train(replace(tuned, total_timesteps=4, seed=2), "other", OPTIONS))
    assert not equal(first["next_carry"]["rng"], other["next_carry"]["rng"])

    uninterrupted = train(tuned, "uninterrupted", OPTIONS)
    train(replace(tuned, total_timesteps=60), "resumed", OPTIONS)
    shutil.rmtree("source")
    resumed = train(tuned, "resumed", OPTIONS)
    assert_same_end(uninterrupted, resumed)
    lengths = [row["length"] for row in resumed.read_lines("episodes.jsonl")]
    assert set(lengths) == {9}, "only complete episodes are scored"


def test_new_episodes_do_not_part_rollouts_from_the_groups_of_a_pipeline() -> None:
    """Groups wait for each other where a rollout ends, so that one policy plays all of it.

    The source stops amid a rollout of 12 timesteps, and each start of new episodes adds two.
    """
    agent = PPOConfig(MLPConfig((16,)), num_steps=12, num_minibatches=1)
    train(experiment(agent), "source", OPTIONS)
    tuned = experiment(agent, "source", MirroredCatchConfig(), total_timesteps=20)
    train(tuned, "run", OPTIONS)
    for total, options in (
        (60, replace(OPTIONS, pipeline=2)),
        (120, replace(OPTIONS, pipeline=2, resume="fresh-episodes")),
        (180, replace(OPTIONS, pipeline=2)),
    ):
        run = train(replace(tuned, total_timesteps=total), "run", options)
        assert final_state(run)["step"] >= total
        assert final_state(run)["agent"]["rollout"]["length"] == 0


def test_the_frames_of_a_representation_are_agent_steps() -> None:
    vae = VariationalConfig(VAEConfig(size=4))
    job = RepresentationPretraining(
        data=(record("data", CatchConfig()),), representation=vae, num_updates=2, batch_size=4
    )
    pretrain(job, "fit", QUIET)
    agent = MFECConfig(representation=vae)
    run = train(experiment(agent, "fit", total_timesteps=300), "run", OPTIONS)
    assert final_state(run)["initial_steps"] == 200
    assert final_state(run)["step"] == 300
    shutil.rmtree("fit")
    longer = train(experiment(agent, "fit", total_timesteps=340), "run", OPTIONS)
    assert longer.finished
    assert final_state(longer)["step"] == 340
