"""Notices: printed once, after the patience, of agents that wait for an episode to end."""

from dataclasses import replace
from itertools import islice
from typing import Any

import pytest

from reverie.agents.dqn import DQNConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.notices import Notice
from reverie.envs.batched_env import BatchedEnv

from sample_agents import DQN
from sample_envs import ScriptedEnv


def test_a_sentence_is_printed_once_after_the_patience(capsys: pytest.CaptureFixture[str]) -> None:
    notice = Notice(patience=10)
    for _ in range(3):
        notice.update(4, happened=False, sentence="Nothing has happened.")
        notice.update(0, happened=False, sentence="Nothing has happened.")
    assert capsys.readouterr().err == "reverie: Nothing has happened.\n"
    late = Notice(patience=10)
    for happened in (False, False, True, False, False):
        late.update(4, happened=happened, sentence="Nothing has happened.")
    assert capsys.readouterr().err == ""


class EndlessEnv(ScriptedEnv):
    """An environment whose episodes never end."""

    def step(self, actions: Any) -> Any:
        self.time[:] = 0
        obs, reward, terminated, _, info = super().step(actions)
        return obs, reward, terminated & False, terminated & False, info


WAITING = replace(DQN, network=MLPConfig((4,)), buffer_size=4_000)


@pytest.mark.parametrize(
    ("config", "expected"),
    [
        (WAITING, "DQN has made no update: with agent.monte_carlo_weight 0.1"),
        (MFECConfig(capacity=100), "MFEC has stored no return"),
        (replace(WAITING, monte_carlo_weight=0.0, replay_ratio=1e-3), ""),
    ],
)
def test_an_agent_that_waits_for_an_end_says_so(
    config: AgentConfig, expected: str, capsys: pytest.CaptureFixture[str]
) -> None:
    envs = BatchedEnv(EndlessEnv(200))
    agent = config.build(envs.spec)
    start = config.learning_starts if isinstance(config, DQNConfig) else 0
    timesteps = (start + 10_000) // 200 + 1
    play = interact(envs, agent)
    for t in islice(play, timesteps - 3):
        agent.learn(t)
    assert capsys.readouterr().err == ""
    for t in islice(play, 20):
        agent.learn(t)
    error = capsys.readouterr().err
    assert expected in error
    assert error.count("No episode has ended in") == error.count("\n") == bool(expected)


MANY = replace(WAITING, learning_starts=4, buffer_size=30_000)


@pytest.mark.parametrize(
    ("env", "config", "timesteps"),
    [
        (ScriptedEnv(200), WAITING, 60),
        (ScriptedEnv(200), MFECConfig(capacity=100), 60),
        # Two timesteps of 6,000 envs are more than 10,000 agent steps.
        (EndlessEnv(6_000), MANY, 3),
        (EndlessEnv(6_000), MFECConfig(capacity=100), 3),
    ],
)
def test_it_says_nothing_where_episodes_end_or_have_had_no_time_to(
    env: Any, config: AgentConfig, timesteps: int, capsys: pytest.CaptureFixture[str]
) -> None:
    envs = BatchedEnv(env)
    agent = config.build(envs.spec)
    for t in islice(interact(envs, agent), timesteps):
        agent.learn(t)
    assert capsys.readouterr().err == ""
