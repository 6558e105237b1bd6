"""Laws of environments of the user's own, through every store and command."""

from collections.abc import Iterator
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from foreign_envs import LAYOUTS, Noise
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, SyncVectorEnv
from gymnasium.wrappers import FrameStackObservation
from torch import Tensor

from reverie import Experiment, evaluate, load, train
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.agents.policies import RandomPolicy
from reverie.agents.ppo import PPOConfig
from reverie.agents.replay import Replay
from reverie.envs.batched_env import BatchedEnv, spec_of
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import EnvError, UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import Carry, EnvConfig, TimeStep, Transition
from reverie.envs.layout import Layout
from reverie.envs.maze import MazeConfig
from reverie.envs.minatar import MinAtarConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.datasets.collect import collect
from reverie.experiments.play.game import Game

from sample_agents import DQN, OPTIONS, equal
from sample_envs import DreamConfig

CONFIGS = {name: config for name, (config, *_) in LAYOUTS.items()}
OWN = {
    "catch of 3 columns": CatchConfig(rows=6, columns=3),
    "maze": MazeConfig(rooms=3),
    "minatar": MinAtarConfig("space_invaders"),
}
ALL: dict[str, EnvConfig] = CONFIGS | OWN
each_env = pytest.mark.parametrize("env", ALL.values(), ids=ALL)
SMALL_DQN = replace(DQN, learning_starts=20, replay_ratio=0.5, n_step=1, exploration_steps=100)
PPO = PPOConfig(network=MLPConfig((8,)), num_steps=8, bptt_length=8, num_minibatches=1)


def play(env: EnvConfig, timesteps: int, num_envs: int = 3) -> Iterator[Transition]:
    envs = BatchedEnv(env.build(num_envs), seed=1)
    yield from islice(interact(envs, RandomPolicy(envs.spec.num_actions)), timesteps)
    envs.close()


@pytest.mark.parametrize("name", LAYOUTS)
def test_the_layout_is_as_declared_or_guessed(name: str) -> None:
    env, shape, channels, padding = LAYOUTS[name]
    spec = spec_of(env)
    assert (spec.obs_shape, spec.channels, spec.padding) == (shape, channels, padding)


@pytest.mark.parametrize("name", LAYOUTS)
def test_images_are_the_environments_pixels(name: str) -> None:
    """Each image is the observation that Gymnasium returned, its axes in another order."""
    env, (stacked, height, width), channels, _ = LAYOUTS[name]
    vector_env = env.build(2)
    raw: list[Any] = []
    step = vector_env.step
    vector_env.step = lambda actions: raw.append(step(actions)) or raw[-1]  # type: ignore
    envs = BatchedEnv(vector_env, seed=4)
    low, high = {"bits": (0, 1), "ten": (0, 15), "shifted": (100, 110)}.get(name, (0, 255))
    axes = vector_env.layout.axes  # type: ignore[attr-defined]
    for t in islice(interact(envs, RandomPolicy(envs.spec.num_actions)), 20):
        obs = t.next_step.obs.view(2, -1, channels, height, width).long().numpy()
        for k in range(stacked // channels):
            for c in range(channels):
                index = {"H": slice(None), "W": slice(None), "K": k, "C": c}
                if "K" in axes and "C" not in axes:
                    index["K"] = k * channels + c
                pixels = raw[-1][0][(slice(None), *(index[axis] for axis in axes))]
                assert np.array_equal(
                    obs[:, k, c], (pixels.astype(int) - low) * (255 // (high - low))
                )


@pytest.mark.parametrize("env", [*ALL.values(), DreamConfig()], ids=[*ALL, "dream"])
def test_replay_returns_what_the_policy_saw(env: EnvConfig) -> None:
    """Observations, actions, rewards in float32 and discounts, of transitions and of segments."""
    spec = replace(spec_of(env), num_envs=3)
    capacity = 300 * spec.stored_channels // spec.channels  # in frames
    replay = Replay(spec, capacity=capacity, gamma=1.0, monte_carlo=False)
    transitions = list(play(env, 90))
    for t in transitions:
        replay.append(t, t.next_step.reward)
    cell = replay._find(torch.arange(len(replay)))
    timestep, copy = cell // 3, cell % 3
    newest = replay.head - 1  # a row holds the newest timestep that is written there
    timestep = newest - (newest - timestep) % replay.num_rows - (replay.stack - 1)
    batch = replay.gather(torch.arange(len(replay)))
    assert len(replay) > 60
    for i, (time, n) in enumerate(zip(timestep.tolist(), copy.tolist(), strict=True)):
        t = transitions[time]
        assert torch.equal(batch.obs[i], t.step.obs[n])
        assert torch.equal(batch.next_obs[i], t.next_step.obs[n])
        assert batch.action[i] == t.action[n]
        assert batch.reward[i] == t.next_step.reward[n].float()
        assert batch.discount[i] == t.next_step.discount[n]
    seen = {
        x.tobytes() for t in transitions for x in (*t.step.obs.numpy(), *t.next_step.obs.numpy())
    }
    segments = replay.sample_segments(20, 3)
    assert all(obs.numpy().tobytes() in seen for obs in segments.obs[~segments.last])


class Spy(RandomPolicy):
    """Keeps what it saw and did."""

    def __init__(self, num_actions: int) -> None:
        super().__init__(num_actions)
        self.seen: list[tuple[TimeStep, Tensor]] = []

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        output = super().act(step, carry, explore=explore)
        self.seen.append((step, output.action))
        return output


@each_env
def test_recordings_return_what_the_policy_saw(env: EnvConfig, tmp_path: Path) -> None:
    spec = spec_of(env)
    policy = Spy(spec.num_actions)
    recording = collect(policy, env, tmp_path / "data", frames=120, num_envs=2)
    stack = spec.obs_shape[0] // recording.frame_shape[0]
    rows = torch.arange(len(recording))
    obs = recording.observations(rows, stack).view(-1, 2, *spec.obs_shape)
    columns = {name: x.view(-1, 2, *x.shape[1:]) for name, x in recording.columns.items()}
    assert len(policy.seen) == 59
    for i, (step, action) in enumerate(policy.seen):
        assert torch.equal(obs[i], step.obs)
        assert torch.equal(columns["action"][i], action)
        for name in ("first", "last"):
            assert torch.equal(columns[name][i], getattr(step, name))
        if i:
            assert torch.equal(columns["reward"][i - 1], step.reward)
            assert torch.equal(columns["discount"][i - 1], step.discount)
    steps_left = recording.columns["steps_left"]
    rows = (steps_left >= 1).nonzero()[:, 0]
    segments = recording.segments(rows, 1, stack)
    assert torch.equal(segments.obs[:, 0], obs.flatten(0, 1)[rows])
    assert torch.equal(segments.obs[:, 1], obs.flatten(0, 1)[rows + 2])
    assert torch.equal(segments.action[:, 0], recording.columns["action"][rows])


TRAINED = [
    *("four channels last", "stack, first", "stack, other", "ten", "one step", "endless"),
    "many actions",
]


@pytest.mark.parametrize("name", TRAINED)
def test_training_resumes_exactly_and_the_agent_is_evaluated_and_played(
    name: str, tmp_path: Path
) -> None:
    agent = PPO if name in ("endless", "stack, other") else SMALL_DQN
    experiment = Experiment(agent, CONFIGS[name], total_timesteps=192, num_envs=4)
    train(experiment, tmp_path / "straight", OPTIONS)
    train(replace(experiment, total_timesteps=100), tmp_path / "halved", OPTIONS)
    train(experiment, tmp_path / "halved", OPTIONS)
    agents = [load(tmp_path / x, device="cpu")[1] for x in ("straight", "halved")]
    assert equal(agents[0].state_dict(), agents[1].state_dict())
    episodes = [(tmp_path / x / "episodes.jsonl").read_text() for x in ("straight", "halved")]
    assert episodes[0] == episodes[1]
    if name != "endless":
        assert len(evaluate(agents[0], CONFIGS[name], episodes=3).scores) == 3
    game = Game(CONFIGS[name])
    for action in (0, 0, 0):
        game.step(action)
    assert game.screen().shape[:2] == (9, 7)
    game.close()


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (GymConfig("FourChannels-v0"), r"whose axes may be CHW or HWC .* choose with --env.axes"),
        (GymConfig("FourChannelsLast-v0"), "whose axes may be"),
        (GymConfig("Chw-v0"), "whose axes may be"),
        (GymConfig("StackChw-v0"), "whose axes may be KHWC, KCHW"),
        (GymConfig("StackLast-v0"), "stacked RGB frames in one axis"),
        (GymConfig("FourChannels-v0", "KHW"), "stacks 4 frames, .* choose --env.padding zero"),
        (GymConfig("StackLast-v0", "HWK", 5), "env.channels is 5, .* must divide"),
        (GymConfig("Rgb-v0", "HWC", 3), "env.channels is 3, and the axes HWC tell"),
        (GymConfig("Gray-v0", "CHW"), "env.axes is CHW, and Gray-v0 has observations of shape"),
        (GymConfig("Gray-v0", "HX"), "env.axes is HX"),
        (GymConfig("Floats-v0"), "Floats-v0 has observation space .* needs uint8 images"),
    ],
)
def test_what_is_not_known_is_refused_with_the_choices(env: GymConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BatchedEnv(env.build(2))


@pytest.mark.parametrize(
    ("env", "message"),
    [
        (GymConfig("FourChannels-v0", "KHW", padding="stored"), "older frames .* --env.axes CHW"),
        (GymConfig("FourChannels-v0", "KHW", padding="zero"), "--env.padding zero .zeros., first"),
        (GymConfig("StackFirst-v0", "KHW", padding="zero"), "not as its padding, 'zero', says"),
        (GymConfig("StackZero-v0", "KHW", padding="first"), "not as its padding, 'first', says"),
        (GymConfig("StackRgb-v0", "CHWK", padding="stored"), "--env.axes KHWC"),
        (
            GymConfig("LateLight-v0"),
            "has a pixel of 200 at .* in 0..1; set --env.high 200",
        ),
        (GymConfig("Gray-v0", high=9), "in 0..9; set --env.high"),
    ],
)
def test_a_wrong_declaration_ends_at_the_first_contradiction(env: GymConfig, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        list(play(env, 150))


@pytest.mark.parametrize(
    ("name", "reward"), [("Tenths", 0.1), ("Large", 2**24 + 1), ("Larger", 2**40 + 1)]
)
def test_rewards_are_exact(name: str, reward: float, tmp_path: Path) -> None:
    env = GymConfig(f"{name}-v0")
    scores = evaluate(RandomPolicy(3), env, episodes=6)
    for score, length in zip(scores.scores, scores.lengths, strict=True):
        assert score == sum(reward for _ in range(length))
    recording = collect(RandomPolicy(3), env, tmp_path / "data", frames=20, num_envs=2)
    assert set(recording.columns["reward"].tolist()) == {0.0, float(reward)}


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "NotANumber",
            r"Env 0 of NotANumber-v0 returned the reward nan at timestep 1 after its seed",
        ),
        (
            "Infinite",
            r"Env 0 of Infinite-v0 returned the reward -inf at timestep 1",
        ),
        ("Text", r"Text-v0 raised ValueError .*much.* at timestep 1"),
        ("Nothing", "Nothing-v0 raised ValueError"),
        (
            "Raises",
            r"Raises-v0 raised ZeroDivisionError .the exit .* in .*foreign_envs.py",
        ),
    ],
)
def test_a_failing_environment_ends_every_command_with_one_sentence(
    name: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    env = GymConfig(f"{name}-v0")
    experiment = Experiment(SMALL_DQN, env, total_timesteps=400, num_envs=2)
    with pytest.raises(EnvError, match=message):
        train(experiment, tmp_path / "run", OPTIONS)
    with pytest.raises(EnvError, match=message):
        evaluate(RandomPolicy(3), env, episodes=20)
    with pytest.raises(EnvError, match=message):
        collect(RandomPolicy(3), env, tmp_path / "data", frames=200, num_envs=2)
    argv = ["collect", "random", "env:gym", "--env.id", env.id, "--import", "foreign_envs"]
    assert cli.main([*argv, "--frames", "200", "--folder", str(tmp_path / "again")]) == 1
    assert capsys.readouterr().err.startswith("reverie: ")


def test_only_our_own_environments_set_discounts() -> None:
    """Whatever a foreign info holds, a discount is 0 exactly where an episode terminated."""
    for t in play(GymConfig("Infos-v0"), 200):
        step = t.next_step
        assert ((step.discount == 1) | (step.last & (step.discount == 0))).all()
        assert step.privileged is None
    deaths = torch.stack([t.next_step.discount == 0 for t in play(GymConfig("Infos-v0"), 200)])
    assert deaths.any()


@pytest.mark.parametrize(
    ("name", "factor"), [("Bits", 255), ("UndeclaredBits", 255), ("UndeclaredTen", 17), ("Gray", 1)]
)
def test_small_pixel_values_are_scaled(name: str, factor: int) -> None:
    obs = [t.step.obs for t in play(GymConfig(f"{name}-v0"), 30)]
    values = np.unique(torch.cat(obs).numpy())
    high = {"Bits": 1, "UndeclaredBits": 1, "UndeclaredTen": 10}.get(name, 255)
    assert values.tolist() == [factor * x for x in range(high + 1)]


def test_vector_environments_of_the_users_follow_the_same_rules() -> None:
    kind = type("Declared", (Noise,), {"shape": (4, 9, 7), "layout": Layout("CHW")})
    options: dict[str, Any] = {"autoreset_mode": AutoresetMode.NEXT_STEP}
    assert BatchedEnv(SyncVectorEnv([kind] * 2, **options)).spec.channels == 4
    stack = [lambda: FrameStackObservation(Noise(), 4)] * 2
    spec = BatchedEnv(SyncVectorEnv(stack, **options)).spec
    assert (spec.stack, spec.padding) == (4, "first")
    envs = AsyncVectorEnv(stack, **options)
    with pytest.raises(UsageError, match="whose axes may be"):
        BatchedEnv(envs)
    envs.layout = Layout("KHW", padding="first")  # type: ignore[attr-defined]
    assert BatchedEnv(envs).spec.padding == "first"
    envs.close()


def test_a_probe_leaves_the_generators_of_the_process_as_they_were() -> None:
    np.random.seed(3)  # noqa: NPY002
    torch.manual_seed(3)
    expected = np.random.get_state()[1].tolist(), torch.rand(1)  # type: ignore  # noqa: NPY002
    torch.manual_seed(3)
    GymConfig("Gray-v0", padding="zero").build(1)
    assert (np.random.get_state()[1].tolist(), torch.rand(1)) == expected  # type: ignore  # noqa: NPY002


def test_catch_plays_in_as_many_envs_as_are_allowed() -> None:
    """Whole episodes: the ball falls for four timesteps, and random play misses it more often."""
    envs = BatchedEnv(CatchConfig(rows=5, columns=4).build(100_000))
    *_, t = islice(interact(envs, RandomPolicy(3)), 4)
    assert t.next_step.obs.shape == (100_000, 1, 5, 4)
    assert bool(t.next_step.last.all())
    assert -0.6 < float(t.next_step.reward.mean()) < -0.2
