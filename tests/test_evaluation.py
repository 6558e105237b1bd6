"""Evaluation: quotas, raw points, starts, videos; and configs as values."""

import json
import os
import signal
import weakref
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path

import imageio.v3 as imageio
import numpy as np
import pytest
import torch
from torch import Tensor

from agents.episodic import EpisodicConfig
from agents.loop import interact
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.gym import GymConfig
from envs.interface import Memory, Step, Transition
from envs.protocol import PROTOCOLS
from envs.stream import Stream
from experiments import PRESETS, Experiment, TrainOptions, evaluate, train
from experiments.config import choose, choose_all, decode, differences, encode, fingerprint, roles
from experiments.evaluation import evaluate_run
from experiments.trackers import Image, Video
from world_models.interface import RepresentationConfig


@pytest.mark.parametrize(("episodes", "streams"), [(1, 8), (10, 4), (30, 32)])
def test_every_stream_plays_its_quota(episodes: int, streams: int) -> None:
    """Episodes of `Counter` differ in length: with no quota the short ones would be favoured."""
    env = GymConfig("worlds:Counter-v0")
    scores = evaluate(RandomPolicy(3), env, episodes=episodes, streams=streams)
    assert len(scores.scores) == len(scores.lengths) == episodes
    assert scores.epsilon == 0
    if episodes == 30:
        assert 4 < sum(scores.lengths) / 30 < 6.5, "lengths are uniform in 2..8"
        assert 5 <= scores.distinct_starts <= 7
    assert ("±" in str(scores)) == (episodes > 1), "one episode has no standard error"
    kept = json.loads(json.dumps(scores.summary(), allow_nan=False))
    assert kept["episodes"] == episodes


def test_scores_of_a_real_game_are_raw_and_carry_their_protocol(tmp_path: Path) -> None:
    """Ms. Pac-Man pays 10 points a pellet; random play scores some hundreds."""
    env = AtariConfig("ms_pacman", replace(PROTOCOLS["machado"], noops=30))
    video = tmp_path / "episode.mp4"
    scores = evaluate(RandomPolicy(18), env, episodes=3, video=video, threads=1)
    assert all(score >= 50 and score % 10 == 0 for score in scores.scores)
    assert scores.protocol == "machado with noops 30"
    assert scores.epsilon == 0.001
    assert scores.distinct_starts >= 2
    summary = scores.summary()
    assert summary["human_normalised"] == pytest.approx((scores.mean - 307.3) / (6951.6 - 307.3))
    assert "machado with noops 30, epsilon 0.001" in str(scores)
    frames = imageio.imread(video, plugin="pyav")
    assert frames.shape[1:] == (420, 640, 3)
    assert len(frames) == scores.lengths[0]
    assert frames[0].std() > 10


class Wanderer(RandomPolicy):
    """Stands still, but wanders where it explores; Catch pays whoever is below the fruit."""

    def act(self, step: Step, memory: Memory, *, explore: bool = True) -> tuple[Tensor, Memory]:
        action, memory = super().act(step, memory)
        return action if explore else torch.ones_like(action), memory


def test_an_evaluation_explores_where_it_is_asked_to() -> None:
    """Who wanders where it explores plays as chance does, by the same dice, and otherwise not."""
    still, wanders, chance = (
        evaluate(policy, CatchConfig(), episodes=400, explore=explore)
        for policy, explore in ((Wanderer(3), False), (Wanderer(3), True), (RandomPolicy(3), False))
    )
    assert wanders.scores == chance.scores != still.scores
    assert [scores.summary()["explore"] for scores in (still, wanders)] == [False, True]
    assert ", as in training, epsilon" in str(wanders)
    assert "training" not in str(still)


@dataclass(frozen=True)
class ByChance(CatchConfig):
    """Catch, evaluated with a random action at every step."""

    @property
    def eval_epsilon(self) -> float:
        return 1.0


class Still(RandomPolicy):
    """Stands still, exploring or not."""

    def act(self, step: Step, memory: Memory, *, explore: bool = True) -> tuple[Tensor, Memory]:
        action, memory = super().act(step, memory)
        return torch.ones_like(action), memory


def test_who_explores_by_a_chance_of_its_own_is_given_no_other() -> None:
    """As in training, the protocol's epsilon is left out; else it is at work."""
    alone = evaluate(Still(3), CatchConfig(), episodes=100)
    told, mixed = (evaluate(Still(3), ByChance(), episodes=100, explore=x) for x in (True, False))
    assert told.scores == alone.scores != mixed.scores
    assert (told.epsilon, mixed.epsilon) == (0.0, 1.0)


def test_scores_as_in_training_stand_beside_the_others(tmp_path: Path) -> None:
    experiment = Experiment(EpisodicConfig(), CatchConfig(), steps=80, streams=8)
    train(experiment, tmp_path, TrainOptions(device="cpu", threads=1))
    evaluate_run(tmp_path, episodes=4, device="cpu")
    evaluate_run(tmp_path, episodes=4, device="cpu", explore=True)
    explored = {
        name: json.loads((tmp_path / name).read_text())["explore"]
        for name in ("scores.json", "scores-exploring.json")
    }
    assert explored == {"scores.json": False, "scores-exploring.json": True}


def test_scores_name_the_checkpoint_that_was_played(tmp_path: Path) -> None:
    experiment = Experiment(EpisodicConfig(), CatchConfig(), steps=80, streams=8)
    options = TrainOptions(device="cpu", threads=1, bare_seconds=0, quiet=True)
    for steps in (80, 160):
        run = train(replace(experiment, steps=steps), tmp_path, options)
    run.checkpoints.path(160).write_bytes(b"damaged")
    evaluate_run(tmp_path, episodes=4, device="cpu")
    assert json.loads((tmp_path / "scores.json").read_text())["steps"] == 80


class Interrupting(RandomPolicy):
    """Presses Ctrl-C at every tick."""

    def act(self, step: Step, memory: Memory, *, explore: bool = True) -> tuple[Tensor, Memory]:
        os.kill(os.getpid(), signal.SIGINT)
        return super().act(step, memory)


def test_an_interrupt_closes_the_emulators_and_leaves_no_film(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Emulators left open, or in the middle of a tick, would abort the process at its end."""
    closed: list[bool] = []
    monkeypatch.setattr(Stream, "close", lambda self: closed.append(self._sent is None))
    with pytest.raises(KeyboardInterrupt):
        evaluate(Interrupting(3), CatchConfig(), video=tmp_path / "catch.mp4")
    assert closed == [True]
    assert not list(tmp_path.iterdir())


def test_a_film_is_encoded_as_it_is_played_and_comes_to_the_disk_whole(tmp_path: Path) -> None:
    images = [np.full((16, 32, 3), 20 * tick, np.uint8) for tick in range(9)]
    kept: list[weakref.ref[Image]] = []

    def render(t: Transition) -> Image:
        image = images[len(kept)].copy()
        kept.append(weakref.ref(image))
        return image

    film = Video(tmp_path / "film.mp4", render)
    for t in islice(interact(Stream(CatchConfig().build(1)), RandomPolicy(3)), 12):
        film.update(t)
        assert all(image() is None for image in kept)
        assert film.done == film.path.exists()
    assert list(tmp_path.iterdir()) == [film.path]
    imageio.imwrite(
        tmp_path / "at once.mp4", np.stack(images), plugin="pyav", codec="libx264", fps=15
    )
    assert film.path.read_bytes() == (tmp_path / "at once.mp4").read_bytes()


def test_a_video_of_any_world(tmp_path: Path) -> None:
    evaluate(RandomPolicy(3), CatchConfig(), episodes=1, video=tmp_path / "catch.mp4")
    assert len(imageio.imread(tmp_path / "catch.mp4", plugin="pyav")) == 9


@dataclass(frozen=True)
class OwnConfig(RepresentationConfig):
    """A part from outside this repository."""

    size: int = 3


def test_configs_survive_json_and_say_how_they_differ() -> None:
    for experiment in PRESETS.values():
        assert decode(Experiment, json.loads(json.dumps(encode(experiment)))) == experiment
    own = Experiment(agent=EpisodicConfig(representation=OwnConfig(7)), env=CatchConfig(rows=4))
    assert decode(Experiment, encode(own)) == own
    other = replace(own, seed=1)
    assert differences(encode(own), encode(other)) == ["seed: 0, not 1"]
    assert fingerprint(own) != fingerprint(other)
    assert fingerprint(own) == fingerprint(replace(own, steps=5))
    with pytest.raises(UsageError, match="unknown fields: colour"):
        decode(Experiment, encode(own) | {"colour": 1})


def test_parts_are_chosen_by_role_and_keep_their_presets_settings() -> None:
    tuned = Experiment(agent=EpisodicConfig(gamma=0.9))
    assert choose(tuned, "agent", "episodic") == tuned
    assert choose(tuned, "env", "catch").env == CatchConfig()
    chosen = choose_all(tuned, ["env.protocol:nature", "env:atari"])
    assert chosen.env == AtariConfig(protocol=PROTOCOLS["nature"])
    twin = choose_all(PRESETS["dqn-cts"], ["agent:episodic", "bonus:none"])
    assert choose_all(twin, ["bonus:simhash", "agent:dqn"]).agent == PRESETS["dqn"].agent
    assert dict(roles(tuned)).keys() == {
        "agent",
        "agent.representation",
        "bonus",
        "env",
        "env.protocol",
    }


def test_training_films_whole_episodes_now_and_then(tmp_path: Path) -> None:
    options = TrainOptions(
        device="cpu", threads=1, bare_seconds=0, quiet=True, video_every=400, log_every=400
    )
    train(replace(PRESETS["episodic"], env=CatchConfig(), steps=1200, streams=4), tmp_path, options)
    films = sorted((tmp_path / "videos").glob("train-*.mp4"))
    assert len(films) == 2, "the third begins with the last tick"
    for film in films:
        assert len(imageio.imread(film, plugin="pyav")) == 9
    curve = imageio.imread(tmp_path / "figures" / "learning_curve.png")
    assert curve.std() > 5
