"""The env itself as a predictor: true, not clairvoyant, and of use to agents without training."""

from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie.agents.dyna import DynaConfig
from reverie.agents.informed import InformedConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.mpc import MPCConfig
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig, Segment
from reverie.envs.maze import MazeConfig
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.evaluation.evaluate import evaluate
from reverie.experiments.evaluation.trained_agent import load
from reverie.experiments.play.setup import load_setup
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.experiments.training.train import train
from reverie.world_models.prediction.emulator import Emulator, EmulatorConfig
from reverie.world_models.prediction.imagination import Imagination

from sample_agents import DQN, EXAMPLES, OPTIONS, SMALL_CATCH, equal, for_small_catch
from sample_envs import EXAMPLES as EXAMPLE_ENVS

EMULATOR = EmulatorConfig()
MPC = MPCConfig(EMULATOR, samples=32, horizon=9, iterations=2, model_learning_starts=1, epsilon=0.0)
DYNA: DynaConfig = replace(EXAMPLES["dyna"], predictor=EMULATOR)  # type: ignore[assignment, call-arg]
CATCH = CatchConfig()


def envs_of(config: EnvConfig, n: int = 4) -> BatchedEnv:
    return BatchedEnv(config.build(n), seed=0, snapshots=True)


def emulator(envs: BatchedEnv) -> Emulator:
    return EMULATOR.build_for(envs.spec)


def test_it_predicts_what_happens_and_nothing_after_the_end() -> None:
    """Catch, whose only chance is in the starts of episodes, to its end and beyond."""
    envs = envs_of(CATCH)
    step, predictor = envs.reset(), emulator(envs)
    carry = predictor.start_from(step.obs, step.snapshot)
    generator = torch.Generator().manual_seed(0)
    for _ in range(9):
        action = torch.randint(3, (4,), generator=generator)
        prediction, carry = predictor.predict(carry, action)
        step = envs.step(action)
        assert torch.equal(prediction.obs, step.obs)
        assert torch.equal(prediction.reward, step.reward.float())
        assert torch.equal(prediction.discount, step.discount)
        assert torch.equal(prediction.last, step.last)  # type: ignore[arg-type]
    assert step.last.all()
    after, next_carry = predictor.predict(carry, action)
    assert torch.equal(after.obs, step.obs)
    assert not after.reward.any()
    assert torch.equal(next_carry["snapshot"], carry["snapshot"])


def test_chance_is_that_of_the_key_and_not_of_the_env() -> None:
    """Sticky actions are others under other keys, and the real env's are others too."""
    envs = envs_of(MinAtarConfig("breakout", sticky=0.5), n=24)
    predictor = emulator(envs)
    envs.reset()
    step = envs.step(torch.ones(24, dtype=torch.int64))
    carry = predictor.start_from(step.obs, step.snapshot)
    right = torch.full((24,), 3)
    a, b = (predictor.predict(carry, right)[0] for _ in range(2))
    assert torch.equal(a.obs, b.obs)
    other, _ = predictor.predict(carry | {"rng": prng.next_rng(carry["rng"])}, right)
    real = envs.step(right)
    for obs in (other.obs, real.obs):
        assert 0.2 < float((obs != a.obs).any(3).any(2).any(1).float().mean()) < 0.8


def test_an_imagined_episode_ends_where_the_env_times_out() -> None:
    envs = envs_of(MazeConfig(max_episode_steps=3), n=8)
    step = envs.reset()
    empty, false = torch.zeros(8, 0), torch.zeros(8, 1, dtype=torch.bool)
    assert step.snapshot is not None
    starts = Segment(
        action=empty.long(), obs=step.obs[:, None], reward=empty, bonus=empty, discount=empty,
        first=false, last=false, snapshot=step.snapshot[:, None],
    )  # fmt: skip
    dream = BatchedEnv(Imagination(emulator(envs), starts, 8, horizon=50, tensors=True))
    dream.reset()
    steps = [dream.step(torch.zeros(8, dtype=torch.int64)) for _ in range(7)]
    ended = torch.stack([x.last for x in steps], 1)
    timed_out = (ended[:, 2] & (steps[2].discount == 1)) | ended[:, :2].any(1)
    assert timed_out.all()
    assert not any((x.first & x.last).any() for x in steps)


def test_planning_in_it_catches_every_ball_without_training() -> None:
    envs = envs_of(CATCH)
    agent, caught = MPC.build(envs.spec, seed=0), []
    for t in islice(interact(envs, agent, explore=False), 25):
        assert agent.learn(t) == {}
        caught += t.next_step.reward[t.next_step.last].tolist()
    assert caught == [1.0] * 8


def test_learning_in_it_needs_fewer_steps_than_learning_in_a_model() -> None:
    """Dyna learns a small Catch in half the timesteps that a learned predictor needs."""
    config, timesteps = for_small_catch(DYNA)
    envs = BatchedEnv(SMALL_CATCH.build(8), seed=0, snapshots=True)
    agent: Any = config.build(envs.spec, seed=0)
    for t in islice(interact(envs, agent), timesteps // 2):
        agent.learn(t)
    assert agent.simulator.schedule.count == 0
    assert evaluate(agent, SMALL_CATCH, episodes=60, threads=1).mean > 0.9


AGENTS: list[AgentConfig] = [
    replace(MPC, model_learning_starts=20, samples=4, horizon=3),
    replace(DYNA, model_learning_starts=40, imagination_envs=4, horizon=3),
    InformedConfig(EMULATOR, inner=DQN, model_learning_starts=20, trajectory_length=4),
]


@pytest.mark.parametrize("config", AGENTS, ids=lambda x: type(x).__name__)
def test_a_run_resumes_exactly_and_can_be_played(config: AgentConfig, tmp_path: Path) -> None:
    experiment = Experiment(config, CATCH, total_timesteps=96, num_envs=2)
    runs = [tmp_path / "straight", tmp_path / "resumed"]
    straight = train(experiment, runs[0], OPTIONS)
    train(replace(experiment, total_timesteps=60), runs[1], OPTIONS)
    resumed = train(experiment, runs[1], OPTIONS)
    assert equal(straight.checkpoints.load(), resumed.checkpoints.load())
    _, agent = load(runs[0], device="cpu")
    envs: Any = {"threads": 1, "snapshots": True, "max_steps": 5}
    assert len(evaluate(agent, CATCH, episodes=1, **envs).scores) == 1
    setup = load_setup(runs[0], device="cpu")
    assert setup.predictor is None
    assert "no learned predictor" in setup.no_dream_reason
    setup.game.close()


def test_it_is_refused_by_name_where_there_is_nothing_to_step(tmp_path: Path) -> None:
    foreign = Experiment(MPC, EXAMPLE_ENVS["gym"][0], num_envs=2)
    sentence = "agent.predictor:emulator starts from snapshots of the env, and Counter-v0 offers"
    with pytest.raises(UsageError, match=sentence):
        train(foreign, tmp_path / "gym", OPTIONS)
    with pytest.raises(UsageError, match="this env offers none; choose a learned predictor"):
        MPC.build(BatchedEnv(CATCH.build(1)).spec)
    with pytest.raises(UsageError, match="the env itself, and there is no env to step"):
        EMULATOR.build(obs_shape=(1, 10, 5), num_actions=3)
    with pytest.raises(UsageError, match="has nothing to learn; choose another predictor"):
        PredictorPretraining(predictor=EMULATOR)
    envs = envs_of(CATCH)
    with pytest.raises(UsageError, match="starts from snapshots of the env"):
        emulator(envs).start(
            envs.reset().obs[:, None], torch.zeros(4, 0).long(), torch.ones(4, 1).bool()
        )
