"""Evaluation: quotas, raw scores, starts, videos; and configs as values."""

import gc
import json
import os
import signal
import sys
import weakref
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import gymnasium
import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from gymnasium.spaces import Box, Discrete

from reverie import PRESETS, Experiment, TrainOptions, evaluate, train
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.interface import ActOutput
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs import prng
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv, EmulatorEnvs
from reverie.envs.catch import CatchConfig
from reverie.envs.deep_sea import DeepSeaConfig
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import Carry, TimeStep
from reverie.envs.maze import MazeConfig
from reverie.experiments.config.roles import choose_all, roles
from reverie.experiments.config.serialization import decode, encode, fingerprint
from reverie.experiments.evaluation.run_evaluation import (
    Evaluation,
    evaluate_run,
    with_protocol,
)
from reverie.experiments.evaluation.screen import screen_of
from reverie.experiments.evaluation.video import Image, Video, VideoWriter
from reverie.experiments.runs.config_differences import config_differences
from reverie.experiments.runs.provenance import code_version
from reverie.experiments.runs.scores import Scores, read_scores
from reverie.experiments.training.task import Task
from reverie.world_models.interface import RepresentationConfig
from reverie.world_models.representation import REPRESENTATIONS

import sample_envs  # noqa: F401  # registers Counter-v0


@pytest.mark.parametrize(("episodes", "num_envs"), [(1, 8), (10, 4), (30, 32)])
def test_every_env_plays_its_quota(episodes: int, num_envs: int) -> None:
    """Episodes of `Counter` differ in length: with no quota the short ones would be favored."""
    env = GymConfig("sample_envs:Counter-v0")
    scores = evaluate(RandomPolicy(3), env, episodes=episodes, num_envs=num_envs)
    assert len(scores.scores) == len(scores.lengths) == episodes
    assert scores.epsilon == 0
    if episodes == 30:
        assert 4 < sum(scores.lengths) / 30 < 6.5, "lengths are uniform in 2..8"
        assert 5 <= scores.distinct_starts <= 7
    assert ("±" in str(scores)) == (episodes > 1), "one episode has no standard error"
    stored = json.loads(json.dumps(scores.to_json(), allow_nan=False))
    assert (stored["episodes"], stored["mean"]) == (episodes, scores.mean)
    assert Scores.from_json(stored) == scores


def test_scores_of_a_real_game_are_raw_and_carry_their_protocol(tmp_path: Path) -> None:
    """Ms. Pac-Man pays 10 points a pellet; random play scores some hundreds."""
    env = AtariConfig("ms_pacman", replace(PROTOCOLS["machado"], noops=30, frames_cap=2000))
    video = tmp_path / "episode.mp4"
    scores = evaluate(RandomPolicy(18), env, episodes=3, video=video, threads=1)
    assert all(score >= 50 and score % 10 == 0 for score in scores.scores)
    assert scores.protocol == "machado with noops 30, frames_cap 2000"
    assert scores.epsilon == 0.001
    assert scores.distinct_starts >= 2
    assert scores.human_normalized == pytest.approx((scores.mean - 307.3) / (6951.6 - 307.3))
    assert "machado with noops 30, frames_cap 2000, epsilon 0.001" in str(scores)
    frames = imageio.imread(video, plugin="pyav")
    assert frames.shape[1:] == (420, 640, 3)
    assert len(frames) == scores.lengths[0] + 1, "the first observation, and one after each step"
    assert frames[0].std() > 10


class Exploring(RandomPolicy):
    """Acts at random if it explores, else stays."""

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        output = super().act(step, carry)
        return output if explore else replace(output, action=torch.ones_like(output.action))


def test_a_stochastic_evaluation_explores() -> None:
    """It equals random play with the same keys; the greedy evaluation differs."""
    greedy, stochastic, random = (
        evaluate(policy, CatchConfig(), episodes=400, stochastic=stochastic)
        for policy, stochastic in (
            (Exploring(3), False),
            (Exploring(3), True),
            (RandomPolicy(3), False),
        )
    )
    assert stochastic.scores == random.scores != greedy.scores
    assert [x.stochastic for x in (greedy, stochastic)] == [False, True]
    assert ", as in training, epsilon" in str(stochastic)
    assert "training" not in str(greedy)


@dataclass(frozen=True)
class RandomCatchConfig(CatchConfig):
    """Catch, evaluated with a random action at every step."""

    @property
    def eval_epsilon(self) -> float:
        return 1.0


class Staying(RandomPolicy):
    """Stays, whether it explores or not."""

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        output = super().act(step, carry)
        return replace(output, action=torch.ones_like(output.action))


def test_a_stochastic_evaluation_leaves_out_the_protocols_epsilon() -> None:
    expected = evaluate(Staying(3), CatchConfig(), episodes=100)
    stochastic, greedy = (
        evaluate(Staying(3), RandomCatchConfig(), episodes=100, stochastic=x) for x in (True, False)
    )
    assert stochastic.scores == expected.scores != greedy.scores
    assert (stochastic.epsilon, greedy.epsilon) == (0.0, 1.0)


@pytest.mark.parametrize(
    ("protocol", "label", "epsilon", "sticky"),
    [
        ("", "mfec with stack 4", 0.005, 0.0),
        ("mfec", "mfec with stack 4", 0.005, 0.0),
        ("+eval-epsilon=0", "mfec with stack 4, eval_epsilon 0.0", 0.0, 0.0),
        ("mfec+sticky=0.25", "mfec with sticky 0.25, stack 4", 0.005, 0.25),
        ("machado+sticky=0+life-loss=yes", "machado with sticky 0.0, full_actions False, life_loss "
         "True", 0.001, 0.0),
        ("+life-loss", "mfec with life_loss True, stack 4", 0.005, 0.0),
    ],
)  # fmt: skip
def test_settings_follow_the_name_of_a_protocol(
    protocol: str, label: str, epsilon: float, sticky: float
) -> None:
    env = with_protocol(AtariConfig("pong", replace(PROTOCOLS["mfec"], stack=4)), protocol)
    assert isinstance(env, AtariConfig)
    assert env.protocol_label == label
    assert (env.eval_epsilon, env.protocol.sticky, env.protocol.stack) == (epsilon, sticky, 4)


@pytest.mark.parametrize(
    ("protocol", "message"),
    [
        ("mfek+sticky=0", "Unknown protocol 'mfek'. Did you mean mfec?"),
        ("+stiky=0", "'stiky' is no setting .* these are sticky, noops, .*, eval-epsilon"),
        ("+stack=1", "'stack' is no setting"),
        ("+eval-epsilon=low", "The setting eval-epsilon of a protocol is 'low'; it must be a num"),
        ("+eval-epsilon=2", "protocol.eval_epsilon is 2"),
    ],
)
def test_settings_that_no_evaluation_has_are_refused(protocol: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        with_protocol(AtariConfig("pong"), protocol)


def test_stochastic_scores_have_a_file_of_their_own(tmp_path: Path) -> None:
    experiment = Experiment(MFECConfig(), CatchConfig(), total_timesteps=80, num_envs=8)
    train(experiment, tmp_path, TrainOptions(device="cpu", threads=1))
    evaluate_run(tmp_path, Evaluation(episodes=4), device="cpu")
    evaluate_run(tmp_path, Evaluation(episodes=4, stochastic=True), device="cpu")
    stochastic = {
        name: json.loads((tmp_path / name).read_text())["stochastic"]
        for name in ("scores.json", "scores-stochastic.json")
    }
    assert stochastic == {"scores.json": False, "scores-stochastic.json": True}


def test_runs_of_different_seeds_are_evaluated_on_different_episodes(tmp_path: Path) -> None:
    """Else a grid's intervals, which are over seeds, leave out the chance of the episodes."""
    lengths = {}
    for seed in (3, 4):
        experiment = Experiment(
            MFECConfig(), MazeConfig(), total_timesteps=80, num_envs=8, seed=seed
        )
        train(experiment, tmp_path / str(seed), TrainOptions(device="cpu", threads=1))
        evaluation = Evaluation(episodes=32, max_steps=20)
        (scores,) = evaluate_run(tmp_path / str(seed), evaluation, device="cpu")
        (again,) = evaluate_run(tmp_path / str(seed), evaluation, seed=0, device="cpu")
        assert (scores.seed, again.seed) == (seed, 0)
        lengths[seed] = scores.lengths
        task = Task(experiment, tmp_path / str(seed), evaluation=evaluation)
        assert task.scores
        assert not replace(task, evaluation=Evaluation(episodes=32)).scores, "another --max-steps"
    assert lengths[3] != lengths[4]


def test_scores_name_the_checkpoint_that_was_played(tmp_path: Path) -> None:
    experiment = Experiment(MFECConfig(), CatchConfig(), total_timesteps=80, num_envs=8)
    options = TrainOptions(device="cpu", threads=1, random_play_seconds=0, quiet=True)
    for steps in (80, 160):
        run = train(replace(experiment, total_timesteps=steps), tmp_path, options)
    run.checkpoints.path(160).write_bytes(b"damaged")
    (scores,) = evaluate_run(tmp_path, Evaluation(episodes=4), device="cpu")
    assert scores == read_scores(tmp_path / "scores.json")
    assert (scores.steps, scores.commit) == (80, code_version()["commit"])


class Interrupting(RandomPolicy):
    """Sends SIGINT at every timestep."""

    def act(self, step: TimeStep, carry: Carry, *, explore: bool = True) -> ActOutput:
        os.kill(os.getpid(), signal.SIGINT)
        return super().act(step, carry)


def test_an_interrupt_closes_the_emulators_and_leaves_no_video(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulators that are left open, or amid a step, would abort the process when it exits."""
    closed: list[bool] = []
    monkeypatch.setattr(
        EmulatorEnvs, "close", lambda self: closed.append(self._sent_actions is None)
    )
    with pytest.raises(KeyboardInterrupt):
        evaluate(Interrupting(3), CatchConfig(), video=tmp_path / "catch.mp4")
    assert closed == [True]
    assert not list(tmp_path.iterdir())


def test_a_video_is_encoded_during_the_episode_and_written_at_its_end(tmp_path: Path) -> None:
    images = [np.full((16, 32, 3), 20 * timestep, np.uint8) for timestep in range(10)]
    rendered: list[weakref.ref[Image]] = []

    def render(step: TimeStep) -> Image:
        image = images[len(rendered)].copy()
        rendered.append(weakref.ref(image))
        return image

    path, envs, policy = tmp_path / "video.mp4", BatchedEnv(CatchConfig().build(1)), RandomPolicy(3)
    step = envs.reset()
    video = Video(path, step, render)
    for t in islice(interact(envs, policy, start=(step, policy.initial(1))), 12):
        video.update(t)
        assert all(image() is None for image in rendered[:-1])
        assert video.done == path.exists()
    assert list(tmp_path.iterdir()) == [path]
    imageio.imwrite(
        tmp_path / "at once.mp4", np.stack(images), plugin="pyav", codec="libx264", fps=15
    )
    # The encoder's threads may differ by a byte.
    videos = [imageio.imread(x, plugin="pyav") for x in (path, tmp_path / "at once.mp4")]
    assert videos[0].shape == videos[1].shape == (10, 16, 32, 3)
    assert np.abs(videos[0].astype(int) - videos[1]).max() <= 3


def test_a_gif_keeps_the_color_of_a_thin_line_and_tells_backgrounds_apart(tmp_path: Path) -> None:
    image = np.tile(np.linspace(0, 255, 300).astype(np.uint8)[:, None, None], (1, 300, 3))
    image[100:104, ::30] = (227, 160, 55)
    image[:60], image[30:60] = (18, 19, 24), (27, 32, 40)
    writer = VideoWriter(tmp_path / "a.gif")
    writer.add(image)
    writer.close()
    shown = imageio.imread(writer.path, index=0)[..., :3].astype(int)
    red, _, blue = shown[66:69].reshape(-1, 3).T
    assert (red - blue).max() > 80, "the line is no gray"
    assert np.abs(shown[10, 0] - shown[30, 0]).max() >= 8


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
def test_a_video_appears_when_it_is_complete(tmp_path: Path, suffix: str) -> None:
    path = tmp_path / "folder" / f"video{suffix}"
    writer = VideoWriter(path)
    for timestep in range(7):
        writer.add(np.full((17, 33, 3), 30 * timestep, np.uint8))
        assert not path.parent.exists()
    writer.close()
    assert list(path.parent.iterdir()) == [path]
    shape = (4, 12, 22) if suffix == ".gif" else (7, 18, 34)
    assert imageio.imread(path, index=None).shape[:3] == shape
    unused = VideoWriter(tmp_path / f"unused{suffix}")
    unused.close()
    assert not unused.path.exists()


@pytest.mark.parametrize("suffix", [".mp4", ".gif"])
@pytest.mark.parametrize("size", [(1, 1), (1, 500), (37, 1), (17, 33), (3, 3000), (2500, 2100)])
def test_a_video_of_images_of_any_size(tmp_path: Path, size: tuple[int, int], suffix: str) -> None:
    writer = VideoWriter(tmp_path / f"video{suffix}")
    for level in (0, 80, 160, 240):
        writer.add(np.full((*size, 3), level, np.uint8))
    writer.close()
    frames = imageio.imread(writer.path, index=None)[..., :3]
    assert len(frames) == (3 if suffix == ".gif" else 4)
    assert frames[0].mean() < 10
    assert frames[-1].mean() > 230, "the last image is in it, too"
    assert max(frames.shape[1:3]) <= 2048


@pytest.mark.parametrize(("rows", "columns"), [(10, 5), (2, 2), (2, 301), (300, 3)])
def test_a_video_shows_every_observation_of_an_episode(
    tmp_path: Path, rows: int, columns: int
) -> None:
    env, path = CatchConfig(rows, columns), tmp_path / "catch.mp4"
    scores = evaluate(RandomPolicy(3), env, episodes=1, video=path)
    frames = imageio.imread(path, plugin="pyav")
    assert len(frames) == scores.lengths[0] + 1 == rows
    for index in (0, rows - 1):
        height = width = min(frames.shape[1] // rows, frames.shape[2] // columns)
        row = frames[index, index * height : (index + 1) * height, :, 0]
        assert (row > 128).sum() >= 0.8 * height * width, "the ball is in the row of the timestep"


def test_a_video_of_a_game_begins_with_the_screen_after_the_reset(tmp_path: Path) -> None:
    env = AtariConfig("breakout", replace(PROTOCOLS["mfec"], frames_cap=24))
    scores = evaluate(RandomPolicy(4), env, episodes=1, video=tmp_path / "video.mp4", threads=1)
    frames = imageio.imread(tmp_path / "video.mp4", plugin="pyav")
    assert len(frames) == scores.lengths[0] + 1 == 7
    envs = BatchedEnv(env.build(1, threads=1), purpose=prng.Purpose.EVAL)
    screen = screen_of(envs)
    expected = screen(envs.reset()).repeat(2, 0).repeat(4, 1)
    assert np.abs(frames[0].astype(int) - expected).mean() < 4
    envs.close()


class Thin(gymnasium.Env[Any, Any]):
    """Observations of one row; their brightness is the timestep."""

    observation_space, action_space = Box(0, 255, (1, 30), np.uint8), Discrete(2)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.time = 0
        return self._observe(), {}

    def step(self, action: int) -> Any:
        self.time += 1
        return self._observe(), 1.0, self.time == 5, False, {}

    def _observe(self) -> Any:
        return np.full((1, 30), 50 * self.time, np.uint8)


def test_a_video_of_frames_of_one_row(tmp_path: Path) -> None:
    gymnasium.register("Thin-v0", entry_point=lambda **_: Thin())
    evaluate(RandomPolicy(2), GymConfig("Thin-v0"), episodes=1, video=tmp_path / "thin.mp4")
    frames = imageio.imread(tmp_path / "thin.mp4", plugin="pyav")
    assert np.allclose(frames.mean((1, 2, 3)), [0, 50, 100, 150, 200, 250], atol=4)


@dataclass(frozen=True)
class OwnConfig(RepresentationConfig):
    """A config of another package."""

    size: int = 3


def test_configs_survive_json_and_differences_are_listed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(REPRESENTATIONS, "own", OwnConfig)
    own = Experiment(agent=MFECConfig(representation=OwnConfig(7)), env=CatchConfig(rows=4))
    assert decode(Experiment, encode(own)) == own
    other = replace(own, seed=1)
    assert config_differences(encode(own), encode(other)) == ["seed: 0, not 1"]
    sea = encode(replace(own, env=DeepSeaConfig()))
    assert config_differences(encode(own), sea)[0] == "env: CatchConfig, not DeepSeaConfig"
    assert fingerprint(own) != fingerprint(other)
    assert fingerprint(own) == fingerprint(replace(own, total_timesteps=5))
    with pytest.raises(UsageError, match="unknown fields: color"):
        decode(Experiment, encode(own) | {"color": 1})


def test_parts_are_chosen_by_role_and_keep_the_settings_of_presets() -> None:
    tuned = Experiment(agent=MFECConfig(gamma=0.9))
    assert choose_all(tuned, ["agent:mfec"]) == tuned
    assert choose_all(tuned, ["env:catch"]).env == CatchConfig()
    chosen = choose_all(tuned, ["env.protocol:nature", "env:atari"])
    assert chosen.env == AtariConfig(protocol=PROTOCOLS["nature"])
    baseline = choose_all(PRESETS["dqn-cts"], ["agent:mfec", "bonus:none"])
    assert choose_all(baseline, ["bonus:simhash", "agent:dqn"]).agent == PRESETS["dqn"].agent
    assert dict(roles(tuned)).keys() == {
        "agent",
        "agent.representation",
        "bonus",
        "env",
        "env.protocol",
    }


def test_a_video_that_is_dropped_raises_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The encoder of an interrupted evaluation is freed with the objects that it belongs to."""
    errors: list[Any] = []
    monkeypatch.setattr(sys, "unraisablehook", errors.append)
    writer: Any = VideoWriter(tmp_path / "dropped.mp4")
    writer.add(np.zeros((64, 64, 3), np.uint8))
    writer.itself = writer
    del writer
    gc.collect()
    assert not errors
    assert not list(tmp_path.iterdir())


def test_the_end_of_a_session_ends_its_video(tmp_path: Path) -> None:
    """Episodes have 9 observations; the one that begins at timestep 27 of 30 is cut."""
    options = TrainOptions(
        device="cpu", threads=1, random_play_seconds=0, quiet=True, video_every=10
    )
    mfec = replace(PRESETS["mfec"], env=DeepSeaConfig(8), total_timesteps=30, num_envs=1)
    train(mfec, tmp_path, options)
    videos = sorted((tmp_path / "videos").iterdir())
    assert [(x.name, len(imageio.imread(x, plugin="pyav"))) for x in videos] == [
        ("train-10.mp4", 9),
        ("train-20.mp4", 3),
    ]


def test_training_records_videos_of_whole_episodes(tmp_path: Path) -> None:
    options = TrainOptions(
        device="cpu", threads=1, random_play_seconds=0, quiet=True, video_every=400, log_every=400
    )
    train(
        replace(PRESETS["mfec"], env=CatchConfig(), total_timesteps=1200, num_envs=4),
        tmp_path,
        options,
    )
    videos = sorted((tmp_path / "videos").glob("train-*.mp4"))
    assert len(videos) == 2, "the third begins with the last timestep"
    for video in videos:
        assert len(imageio.imread(video, plugin="pyav")) == 10
    curve = imageio.imread(tmp_path / "figures" / "learning_curve.png")
    assert curve.std() > 5
