"""Pipelines: overlapping emulators and policy changes no result."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from gymnasium.spaces import Discrete
from torch import Tensor

from reverie import Experiment, train
from reverie.agents.interface import ActOutput, AgentConfig
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.agents.ppo import PPO, PPOConfig
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import EmulatorTimeout, UsageError
from reverie.envs.interface import (
    Carry,
    EnvConfig,
    Metrics,
    Segment,
    TimeStep,
    Transition,
    timestep_state,
)
from reverie.envs.pipeline import Pipeline
from reverie.experiments.runs.run import Run

from sample_agents import EXAMPLES, OPTIONS, equal, metric_rows
from sample_envs import HangingEnv, ScriptedEnv

BREAKOUT = AtariConfig("breakout", replace(PROTOCOLS["machado"], frames_cap=400))


def make_pipeline(env: EnvConfig, count: int = 2, size: int = 4, **settings: Any) -> Pipeline:
    return Pipeline(
        [
            BatchedEnv(env.build(size, threads=1), first_env=size * i, **settings)
            for i in range(count)
        ]
    )


def same(a: Transition, b: Transition) -> bool:
    left, right = (
        {"action": t.action, **timestep_state(t.next_step), **t.next_carry} for t in (a, b)
    )
    return left.keys() == right.keys() and all(torch.equal(left[k], right[k]) for k in left)


@pytest.mark.parametrize(
    ("env", "sync_every", "reseed_after"),
    [(CatchConfig(), 1, 30), (CatchConfig(), 7, 30), (BREAKOUT, 7, 10_000)],
    ids=["catch-1", "catch-7", "breakout-7"],
)
def test_a_pipeline_equals_its_parts_and_one_env_of_all(
    env: EnvConfig, sync_every: int, reseed_after: int
) -> None:
    """With a policy that does not learn; in Catch with envs that are seeded anew in between."""
    policy = RandomPolicy(3)
    overlapped = interact(
        make_pipeline(env, reseed_after=reseed_after), policy, sync_every=sync_every
    )
    whole = interact(BatchedEnv(env.build(8, threads=1), reseed_after=reseed_after), policy)
    halves = [
        BatchedEnv(env.build(4, threads=1), first_env=4 * i, reseed_after=reseed_after)
        for i in range(2)
    ]
    rng = policy.initial(8)["rng"]
    separate = [
        interact(envs, policy, start=(envs.reset(), {"rng": rng[4 * i : 4 * i + 4]}))
        for i, envs in enumerate(halves)
    ]
    resets = 0
    for t, expected, a, b in islice(zip(overlapped, whole, *separate, strict=False), 150):
        assert same(t, expected)
        for name, x in timestep_state(t.next_step).items():
            assert torch.equal(
                x, torch.cat([timestep_state(half.next_step)[name] for half in (a, b)])
            )
        resets += int(t.next_step.first.sum())
    assert resets > 5


class UpdateCounter:
    """Policy whose action is the number of its updates."""

    def __init__(self) -> None:
        self.updates = 0

    def initial(self, n: int) -> Carry:
        return {"rng": prng.initial_rng(0, prng.Purpose.TRAIN, n)}

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        return ActOutput(torch.full((len(step.reward),), self.updates), carry)


def test_actions_are_one_update_old_except_at_a_segments_start() -> None:
    def ages(sync_every: int) -> Iterator[list[int]]:
        policy = UpdateCounter()
        parts = [
            BatchedEnv(ScriptedEnv(2, actions=Discrete(99)), first_env=2 * i) for i in range(2)
        ]
        loop = interact(Pipeline(parts), policy, sync_every=sync_every)
        for timestep, t in enumerate(islice(loop, 9)):
            yield sorted(set((timestep - t.action).tolist()))
            policy.updates += 1

    assert list(ages(sync_every=1)) == [[0]] * 9
    assert list(ages(sync_every=4)) == [[0], [1], [1], [1], [0], [1], [1], [1], [0]]


def test_an_on_policy_agent_learns_the_same_in_a_pipeline() -> None:
    """No step is under way at the end of a segment, so no action is of an older policy."""
    config = EXAMPLES["ppo"]
    agents = []
    for envs in (BatchedEnv(CatchConfig().build(8)), make_pipeline(CatchConfig())):
        agent = config.build(envs.spec, seed=0)
        length = config.rollout_length
        for t in islice(interact(envs, agent, sync_every=length), 3 * length):
            agent.learn(t)
        agents.append(agent.state_dict()["network"])
    assert agents[0].keys() == agents[1].keys()
    for name, x in agents[0].items():
        assert torch.allclose(x, agents[1][name], atol=1e-4), name


@pytest.mark.parametrize("config", [EXAMPLES["ppo"], EXAMPLES["dqn"]], ids=["ppo", "dqn"])
def test_a_resumed_pipeline_equals_an_uninterrupted_one(
    config: AgentConfig, tmp_path: Path
) -> None:
    options = replace(OPTIONS, pipeline=2)
    experiment = Experiment(config, CatchConfig(), seed=3, total_timesteps=3000, num_envs=8)
    train(experiment, tmp_path / "straight", options)
    train(replace(experiment, total_timesteps=1500), tmp_path / "halved", options)
    train(experiment, tmp_path / "halved", options)
    assert metric_rows(tmp_path / "halved")[-1] == metric_rows(tmp_path / "straight")[-1]
    states = [Run(tmp_path / name).checkpoints.load() or {} for name in ("straight", "halved")]
    assert equal(states[0]["agent"], states[1]["agent"])


def test_a_segment_begun_without_a_pipeline_is_ended_by_the_same_policy(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Four of sixteen timesteps are played without a pipeline; later segments are whole.

    Batches of other sizes round otherwise, so the user is told that this is not exact.
    """
    config = EXAMPLES["ppo"]
    assert isinstance(config, PPOConfig)
    config = replace(config, num_steps=16, bptt_length=16)
    experiment = Experiment(config, CatchConfig(), total_timesteps=8 * 20, num_envs=8)
    train(experiment, tmp_path, OPTIONS)
    act, train_on = PPO.act, PPO.train_on
    num_updates = 0
    updates_at_act: list[int] = []

    def recorded_act(self: PPO, *step: Any, **options: Any) -> Any:
        updates_at_act.append(num_updates)
        return act(self, *step, **options)

    def counted_train_on(self: PPO, segment: Segment, next_value: Tensor) -> Metrics:
        nonlocal num_updates
        num_updates += 1
        return train_on(self, segment, next_value)

    monkeypatch.setattr(PPO, "act", recorded_act)
    monkeypatch.setattr(PPO, "train_on", counted_train_on)
    train(replace(experiment, total_timesteps=8 * 64), tmp_path, replace(OPTIONS, pipeline=2))
    assert [updates_at_act.count(n) / 2 for n in range(3)] == [12, 16, 16]
    assert updates_at_act == sorted(updates_at_act)
    assert capsys.readouterr().err == "Continuing is not exact: pipeline was 1 and is 2.\n"


def test_a_state_does_not_depend_on_the_parts() -> None:
    """The state of two parts continues in one BatchedEnv, and vice versa."""
    policy = RandomPolicy(4)
    for counts in ((2, 1), (1, 2)):
        saved, restored = (make_pipeline(BREAKOUT, n, 8 // n, seed=3) for n in counts)
        *_, t = islice(interact(saved, policy), 110)
        obs = restored.load_state_dict(saved.state_dict())
        assert torch.equal(obs, t.next_step.obs)
        assert equal(saved.state_dict(), restored.state_dict())


def test_a_hanging_part_raises_a_timeout() -> None:
    parts = [BatchedEnv(env(2), timeout=0.2) for env in (ScriptedEnv, HangingEnv)]
    loop = interact(Pipeline(parts), RandomPolicy(2), sync_every=100)
    with pytest.raises(EmulatorTimeout, match="did not return within"):
        for _ in islice(loop, 5):
            pass


@pytest.mark.parametrize(("num_envs", "pipeline"), [(5, 2), (4, 0), (1, 2)])
def test_envs_that_cannot_be_divided_into_parts_are_refused(
    num_envs: int, pipeline: int, tmp_path: Path
) -> None:
    experiment = Experiment(PPOConfig(), CatchConfig(), num_envs=num_envs)
    with pytest.raises(
        UsageError, match=f"pipeline is {pipeline}, and {num_envs} envs cannot be divided"
    ):
        train(experiment, tmp_path, replace(OPTIONS, pipeline=pipeline))
