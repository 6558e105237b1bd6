"""Envs that return to snapshots: what is returned to is what was visited."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import AtariProtocol
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig, TimeStep, timestep_from_state, timestep_state
from reverie.envs.maze import MazeConfig
from reverie.envs.minatar import MinAtarConfig
from reverie.envs.restorable import RestorableEnvs

from sample_agents import SMALL_BREAKOUT
from sample_envs import EXAMPLES

STACKED = AtariConfig(
    "montezuma_revenge", AtariProtocol("stacked", noops=0, height=24, width=20, frames_cap=120)
)
DETERMINISTIC: list[EnvConfig] = [CatchConfig(), DeepSeaConfig(5), MazeConfig(), STACKED]
"""Envs whose chance, if they have any, is in the start of an episode."""


def restorable(config: EnvConfig, *, episode_steps: int = 30, num_envs: int = 3) -> RestorableEnvs:
    env = config.build(1, privileged=True)
    return RestorableEnvs(env, num_envs=num_envs, episode_steps=episode_steps, seed=5)


def random_actions(envs: BatchedEnv, timesteps: int, n: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(1)
    return torch.randint(envs.spec.num_actions, (timesteps, n), generator=generator)


def assert_equal(a: TimeStep, b: TimeStep, *, but: tuple[str, ...] = ()) -> None:
    for name, x in a.columns().items():
        assert name in but or torch.equal(x, b.columns()[name]), name


@pytest.mark.parametrize("config", DETERMINISTIC, ids=lambda x: x.env_name)
def test_steps_are_those_of_the_env(config: EnvConfig) -> None:
    """All envs start as the first one does, and go as it goes, with the whole stack of frames."""
    envs, plain = restorable(config), BatchedEnv(config.build(3, privileged=True), seed=5)
    step, expected = envs.reset(), plain.reset()
    for action in random_actions(envs, 25, 1):
        assert_equal(step.select(slice(1)), expected.select(slice(1)), but=("snapshot",))
        assert_equal(step.select(slice(1)), step.select(slice(1, 2)))
        step, expected = envs.step(action.repeat(3)), plain.step(action.repeat(3))
        if step.last.any():
            break
    plain.close()
    envs.close()


@pytest.mark.parametrize(
    "config", [*DETERMINISTIC, MinAtarConfig(), SMALL_BREAKOUT], ids=lambda x: x.env_name
)
def test_a_return_gives_the_time_step_of_the_visit(config: EnvConfig) -> None:
    """From there the same actions lead to the same places, if there is no chance."""
    envs = restorable(config, episode_steps=4)
    start = step = envs.reset()
    assert step.first.all()
    visits, actions = [], random_actions(envs, 4)
    for action in actions:
        step = envs.step(action)
        visits.append(step)
    assert step.last.all()
    assert step.snapshot is not None
    assert (step.discount == 1).all(), "cut off, not ended"
    envs.return_to(torch.tensor([2, 0]), visits[1].snapshot[[1, 1]])  # type: ignore[index]
    step = envs.step(actions[0])
    assert step.first.all()
    assert not step.reward.any()
    for row, of in ((0, visits[1].select(slice(1, 2))), (1, start.select(slice(1)))):
        assert_equal(step.select(slice(row, row + 1)), of, but=("reward", "first", "discount"))
    assert torch.equal(step.obs[0], step.obs[2])
    if config in DETERMINISTIC:
        for action, visit in zip(actions[2:], visits[2:], strict=True):
            step = envs.step(action[[1, 1, 1]])
            assert_equal(step.select(slice(1)), visit.select(slice(1, 2)), but=("last",))
    envs.close()


def test_an_episode_ends_with_the_env_or_a_life_and_starts_again() -> None:
    envs = restorable(DeepSeaConfig(4), episode_steps=50, num_envs=2)
    start = envs.reset()
    lasts = []
    for _ in range(9):
        step = envs.step(torch.zeros(2, dtype=torch.int64))
        lasts.append(bool(step.last[0]))
        assert step.discount[0] == (not lasts[-1])
        if len(lasts) > 1 and lasts[-2]:
            assert step.first.all()
            assert torch.equal(step.obs, start.obs)
    assert lasts == [False] * 3 + [True] + [False] * 4 + [True]
    lives = AtariProtocol("lives", noops=0, life_loss=True, height=24, width=20, stack=1)
    envs = restorable(AtariConfig("breakout", lives), episode_steps=300, num_envs=1)
    envs.reset()
    lost = next(step for _ in range(300) if (step := envs.step(torch.ones(1).long())).last)
    assert lost.discount.item() == 0
    assert not envs.step(torch.ones(1).long()).last
    envs.close()


@pytest.mark.parametrize("config", [SMALL_BREAKOUT, MinAtarConfig()], ids=lambda x: x.env_name)
def test_a_state_continues_exactly_in_new_envs(config: EnvConfig) -> None:
    """Also with sticky actions, whose chance is a function of the seed and the timestep."""
    envs = restorable(config, episode_steps=9)
    start, actions = envs.reset(), random_actions(envs, 40)
    for action in actions[:20]:
        step = envs.step(action)
    state, stored, other = envs.state_dict(), timestep_state(step), restorable(config)
    other.episode_steps = 9
    assert torch.equal(other.load_state_dict(state), step.obs)
    loaded = timestep_from_state(stored, other.spec, torch.device("cpu"))
    assert_equal(loaded, step)
    for action in actions[20:]:
        expected, step = envs.step(action), other.step(action)
        assert_equal(step, expected)
        if step.last.any():
            for each in (envs, other):
                assert start.snapshot is not None
                each.return_to(torch.tensor([1]), start.snapshot[:1])
    with pytest.raises(ValueError, match="its snapshots are not of 2"):
        restorable(config, num_envs=2).load_state_dict(state)
    for each in (envs, other):
        each.close()


def test_chance_differs_between_envs_and_timesteps() -> None:
    sticky = replace(SMALL_BREAKOUT.protocol, sticky=0.5)
    envs = restorable(AtariConfig("freeway", sticky), num_envs=16)
    envs.reset()
    up = torch.full((16,), 2)
    ends = [envs.step(up).obs.numpy() for _ in range(3)][-1]
    assert len(np.unique(ends.reshape(16, -1), axis=0)) > 2
    envs.close()


def test_what_cannot_return_is_refused() -> None:
    gym = EXAMPLES["gym"][0].build(1)
    with pytest.raises(UsageError, match=r"The policy starts from snapshots .* offers none; choos"):
        RestorableEnvs(gym, num_envs=2, episode_steps=5)
    plain = BatchedEnv(CatchConfig().build(1), snapshots=True)
    step = plain.reset()
    assert step.snapshot is not None
    with pytest.raises(UsageError, match="EmulatorEnvs starts every episode itself; make the env"):
        plain.return_to(torch.tensor([0]), step.snapshot)
    with pytest.raises(UsageError, match=r"Action 3 of env 1 is not in 0\.\.2"):
        restorable(CatchConfig()).send(torch.tensor([0, 3, 0]))
