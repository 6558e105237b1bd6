"""Laws of every environment of the registry, and tests of BatchedEnv."""

import gc
import threading
import time
from itertools import islice
from typing import Any

import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv, EmulatorEnvs
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import EmulatorTimeout, UsageError
from reverie.envs.interface import EnvConfig, Transition, timestep_state
from reverie.envs.layout import Layout

from sample_envs import DETERMINISTIC, LAW_ENVS, HangingEnv, ScriptedEnv

each_env = pytest.mark.parametrize("env", LAW_ENVS, ids=lambda env: env.env_name)


def play(envs: BatchedEnv, timesteps: int, seed: int = 0) -> list[Transition]:
    policy = RandomPolicy(envs.spec.num_actions, seed)
    return list(islice(interact(envs, policy), timesteps))


def same(a: list[Transition], b: list[Transition]) -> bool:
    pairs = [(x.next_step, y.next_step) for x, y in zip(a, b, strict=True)]
    states = [(timestep_state(x), timestep_state(y)) for x, y in pairs]
    return all(torch.equal(x[name], y[name]) for x, y in states for name in x)


@each_env
def test_laws_of_an_environment(env: EnvConfig) -> None:
    envs = BatchedEnv(env.build(4, threads=1), seed=1)
    transitions = play(envs, 300)
    envs.close()
    assert any(bool(t.next_step.last.any()) for t in transitions), "no episode ended"
    assert transitions[0].step.first.all()
    for t in transitions:
        step, next_step = t.step, t.next_step
        assert step.obs.shape == (4, *envs.spec.obs_shape)
        assert torch.equal(next_step.first, step.last), (
            "an episode begins after the end of the one before"
        )
        assert not (next_step.first & next_step.last).any()
        assert (next_step.reward[next_step.first] == 0).all(), "no reward at the first step"
        assert (next_step.discount[next_step.first] == 1).all()
        assert ((next_step.discount == 0) | (next_step.discount == 1)).all()
        assert torch.equal(step.frame, step.obs[:, -envs.spec.channels :])


@each_env
def test_equal_seeds_give_equal_experience_and_others_do_not(env: EnvConfig) -> None:
    batched_envs = [BatchedEnv(env.build(4, threads=1), seed=seed) for seed in (5, 5, 6)]
    a, b, c = (play(envs, 120) for envs in batched_envs)
    assert same(a, b)
    assert same(a, c) == (env.env_name in DETERMINISTIC)
    assert same(a, play(batched_envs[0], 120)), "reset starts again from the first seeds"


@each_env
def test_restored_envs_continue_exactly(env: EnvConfig) -> None:
    """The log is replayed, through envs that were seeded anew in between."""
    envs = BatchedEnv(env.build(4, threads=1), seed=2, reseed_after=60)
    loop = interact(envs, RandomPolicy(envs.spec.num_actions))
    before = list(islice(loop, 211))
    state = envs.state_dict()
    after = list(islice(loop, 40))
    baseline = BatchedEnv(env.build(4, threads=1), seed=2, reseed_after=60)
    obs = baseline.load_state_dict(state)
    assert torch.equal(obs, before[-1].next_step.obs)
    for t in after:
        step, expected = timestep_state(baseline.step(t.action)), timestep_state(t.next_step)
        assert all(torch.equal(step[name], expected[name]) for name in step)
    assert torch.equal(baseline.state_dict()["action_log"], envs.state_dict()["action_log"])


def test_envs_are_seeded_anew_only_at_resets_and_logs_stay_short() -> None:
    envs = BatchedEnv(CatchConfig().build(4), seed=0, reseed_after=50)
    assert isinstance(envs, EmulatorEnvs)
    reseeds = 0
    loop = interact(envs, RandomPolicy(envs.spec.num_actions))
    for _ in range(1500):
        seed_index = envs.seed_index.clone()
        t = next(loop)
        reseeded = envs.seed_index != seed_index
        assert not (reseeded & ~t.next_step.first).any()
        reseeds += int(reseeded.sum())
        assert envs.steps_since_seed.max() < 50 + 20  # an episode of Catch has ten timesteps
    assert reseeds > 50
    assert len(envs._log) < 1200 * 4


def test_rewards_discounts_and_resets_of_a_scripted_env() -> None:
    envs = BatchedEnv(ScriptedEnv(2))
    first, steps = (
        envs.reset(),
        [envs.step(torch.zeros(2, dtype=torch.int64)) for _ in range(5)],
    )
    assert [s.reward.tolist() for s in steps] == [[1, 1], [2, 2], [4, 4], [0, 0], [1, 1]]
    assert [s.last.tolist()[0] for s in steps] == [False, False, True, False, False]
    assert [s.first.tolist()[0] for s in steps] == [False, False, False, True, False]
    assert steps[2].discount.tolist() == [0.0, 1.0], "terminated and truncated"
    # The env writes into one buffer; earlier observations stay unchanged.
    assert [int(s.obs[0].max()) for s in (first, *steps)] == [0, 1, 2, 3, 0, 1]


def test_lost_lives_end_the_discount_and_not_the_episode() -> None:
    """Under `nature` (life loss = discount 0) and not under `mfec`, in the same real games."""
    losses = {}
    for name in ("nature", "mfec"):
        envs = BatchedEnv(AtariConfig("breakout", PROTOCOLS[name]).build(4, threads=1), seed=0)
        losses_by_timestep = []
        for t in play(envs, 300):
            losses_by_timestep.append(int(((t.next_step.discount == 0) & ~t.next_step.last).sum()))
            assert (t.next_step.discount[t.next_step.last] == 0).all()
        losses[name] = sum(losses_by_timestep)
    assert losses["nature"] >= 8
    assert losses["mfec"] == 0


@pytest.mark.parametrize(
    ("shape", "layout", "expected", "channels"),
    [
        ((2, 2), None, (1, 2, 2), 1),
        ((5, 3), None, (1, 5, 3), 1),
        ((1, 5, 6), None, (1, 5, 6), 1),
        ((5, 6, 3), None, (3, 5, 6), 3),
        ((5, 6, 1), None, (1, 5, 6), 1),
        ((4, 5, 6), Layout("CHW"), (4, 5, 6), 4),
        ((5, 6, 4), Layout("HWC"), (4, 5, 6), 4),
        ((4, 5, 6), Layout("KHW", padding="stored"), (4, 5, 6), 1),
        ((5, 6, 4), Layout("HWK", padding="stored"), (4, 5, 6), 1),
        ((5, 6, 12), Layout("HWK", 3, padding="stored"), (12, 5, 6), 3),
        ((1, 5, 6, 3), Layout("KHWC"), (3, 5, 6), 3),
        ((2, 3, 5, 6), Layout("KCHW", padding="stored"), (6, 5, 6), 3),
        ((5, 6, 3, 2), Layout("HWCK", padding="stored"), (6, 5, 6), 3),
    ],
)
def test_layouts_become_channels_first(
    shape: tuple[int, ...], layout: Layout | None, expected: tuple[int, int, int], channels: int
) -> None:
    envs = BatchedEnv(ScriptedEnv(2, shape=shape, layout=layout))
    assert envs.spec.obs_shape == expected
    assert envs.spec.channels == channels
    assert envs.reset().obs.shape == (2, *expected)


@pytest.mark.parametrize(
    "shape",
    [
        *[(4, 84, 84), (84, 84, 4), (3, 84, 84), (12, 84, 84), (84, 84, 12), (3, 9, 3), (1, 9, 3)],
        *[(4, 84, 84, 3), (4, 3, 84, 84), (1, 84, 84, 3)],
    ],
)
def test_a_layout_is_refused_where_there_is_a_choice(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"whose axes may be .*; choose with --env.axes"):
        BatchedEnv(ScriptedEnv(2, shape=shape))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (ScriptedEnv(mode=AutoresetMode.SAME_STEP), "SAME_STEP"),
        (ScriptedEnv(mode=AutoresetMode.DISABLED), "DISABLED"),
        (ScriptedEnv(mode=None), "NEXT_STEP"),
        (ScriptedEnv(dtype=np.float32), "uint8"),
        (ScriptedEnv(shape=(3,)), "images"),
        (ScriptedEnv(actions=Box(-1, 1, (2,), np.float32)), "Discrete"),
        (ScriptedEnv(actions=Discrete(3, start=1)), "from 0"),
    ],
)
def test_unsupported_environments_are_refused(env: ScriptedEnv, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BatchedEnv(env)


@pytest.mark.parametrize("action", [-1, 4, 99])
def test_an_action_out_of_range_is_refused_before_the_emulator_hangs(action: int) -> None:
    envs = BatchedEnv(AtariConfig("breakout").build(2, threads=1))
    envs.reset()
    with pytest.raises(UsageError, match=f"Action {action} of env 1 is not in 0..3"):
        envs.step(torch.tensor([0, action]))
    envs.step(torch.tensor([0, 1]))  # the refused step has changed nothing


def test_a_hanging_emulator_raises_a_timeout() -> None:
    envs = BatchedEnv(HangingEnv(2), timeout=0.2)
    envs.reset()
    action = torch.zeros(2, dtype=torch.int64)
    envs.step(action)
    envs.step(action)
    with pytest.raises(EmulatorTimeout, match=r"did not return within 0.2 s at timestep 2"):
        envs.step(action)


def test_envs_are_closed_after_the_step_under_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """As after Ctrl-C: ale_py's emulators abort the process if they are freed amid a step."""
    env = ScriptedEnv(2)
    events: list[str] = []
    step, close = env.step, env.close

    def slow_step(actions: Any) -> Any:
        time.sleep(0.1)
        events.append("step")
        return step(actions)

    def recorded_close(**options: Any) -> None:
        events.append("close")
        close(**options)

    monkeypatch.setattr(env, "step", slow_step)
    monkeypatch.setattr(env, "close", recorded_close)
    envs = BatchedEnv(env)
    envs.reset()
    envs.send(torch.zeros(2, dtype=torch.int64))
    envs.close()
    assert events == ["step", "close"]


def test_deleted_envs_leave_no_thread_behind() -> None:
    before = threading.active_count()
    for _ in range(3):
        BatchedEnv(ScriptedEnv(2)).reset()
    gc.collect()
    for thread in threading.enumerate():
        if thread.daemon:
            thread.join(timeout=0.5)
    assert threading.active_count() <= before


def test_small_envs_step_in_the_callers_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the result is asked for, an error is raised there, and the envs go on after it."""
    before, env = threading.active_count(), CatchConfig().build(2)
    envs, step = BatchedEnv(env), env.step
    assert threading.active_count() == before
    assert isinstance(envs, EmulatorEnvs)
    envs.reset()
    action = torch.zeros(2, dtype=torch.int64)
    monkeypatch.setattr(env, "step", lambda actions: 1 // 0)
    envs.send(action)
    with pytest.raises(ZeroDivisionError):
        envs.receive()
    monkeypatch.setattr(env, "step", step)
    assert not envs.step(action).last.any()
    envs.send(action)
    envs.close()  # a step that was not asked for is not made
    assert envs.steps_since_seed.tolist() == [1, 1]


def test_env_seeds_differ_between_training_and_evaluation() -> None:
    seed_index = torch.zeros(8, dtype=torch.int64)
    train, evaluation = (
        prng.env_seeds(0, p, seed_index) for p in (prng.Purpose.TRAIN, prng.Purpose.EVAL)
    )
    assert (train != evaluation).all()
