"""Wrappers of env:gym by import path, among them MiniGrid's."""

import sys
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import pytest

from reverie.envs.batched_env import BatchedEnv, spec_of
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.experiments.cli import main as cli
from reverie.experiments.runs.run import Run

import sample_envs  # noqa: F401  # registers sample_envs:Counter-v0

HERE = __name__


class Doubled(gymnasium.RewardWrapper[Any, Any]):
    """Double the reward."""

    def reward(self, reward: Any) -> Any:
        return 2 * float(reward)


class PlusOne(gymnasium.RewardWrapper[Any, Any]):
    """Add one to the reward."""

    def reward(self, reward: Any) -> Any:
        return float(reward) + 1


class NeedsSize(gymnasium.Wrapper[Any, Any, Any, Any]):
    """A wrapper with an argument of its own."""

    def __init__(self, env: Any, size: int) -> None:
        super().__init__(env)


@pytest.fixture(autouse=True)
def _imported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "my_wrappers", sys.modules[HERE])


def first_reward(*wrappers: str) -> float:
    env = GymConfig("sample_envs:Counter-v0", wrappers=wrappers).build(1)
    env.reset(seed=0)
    return float(env.step(np.array([0]))[1][0])


def test_wrappers_are_applied_from_the_inside_outwards() -> None:
    plain = first_reward()
    assert first_reward("my_wrappers:Doubled", "my_wrappers:PlusOne") == 2 * plain + 1
    assert first_reward("my_wrappers:PlusOne", "my_wrappers:Doubled") == 2 * (plain + 1)


def test_the_label_of_scores_names_the_wrappers() -> None:
    config = GymConfig("Some-v0", wrappers=("my_wrappers:PlusOne", "my_wrappers:Doubled"))
    assert config.protocol_label == "PlusOne, Doubled"
    assert GymConfig("Some-v0").protocol_label == "own"


@pytest.mark.parametrize(
    ("wrapper", "message"),
    [
        ("Doubled", r"env\.wrappers is Doubled; write module:Class"),
        ("never.imported:A", r"never\.imported is not imported; add --import never\.imported"),
        ("my_wrappers:Missing", r"Missing is no subclass of gymnasium\.Wrapper in my_wrappers"),
        ("subprocess:run", r"run is no subclass of gymnasium\.Wrapper in subprocess"),
        ("my_wrappers:NeedsSize", r"constructor of my_wrappers:NeedsSize in sample_envs:Counter"),
    ],
)
def test_what_is_no_wrapper_is_refused(wrapper: str, message: str) -> None:
    import subprocess  # noqa: F401  # so that it counts as imported

    with pytest.raises(UsageError, match=message):
        spec_of(GymConfig("sample_envs:Counter-v0", wrappers=(wrapper,)))


def test_an_agent_is_trained_in_minigrid(tmp_path: Path) -> None:
    command = (
        "train dqn env:gym --import minigrid --env.id MiniGrid-DoorKey-5x5-v0 --env.wrappers "
        "minigrid.wrappers:ImgObsWrapper agent.network:mlp --agent.network.hidden 8 "
        "--agent.learning-starts 40 --agent.buffer-size 2000 --agent.monte-carlo-weight 0 "
        "--total-timesteps 160 --num-envs 2 --device cpu --threads 1 "
        "--random-play-seconds 0"
    )
    folder = tmp_path / "minigrid"
    assert cli.main([*command.split(), "--folder", str(folder)]) == 0
    run = Run(folder)
    assert run.read_lines("metrics.jsonl")[-1]["step"] == 160
    # A role after a flag of several values, which have colons too.
    assert run.config()["agent"]["network"]["hidden"] == [8]
    config = GymConfig("MiniGrid-DoorKey-5x5-v0", wrappers=("minigrid.wrappers:ImgObsWrapper",))
    envs = BatchedEnv(config.build(2))
    assert envs.spec.obs_shape == (3, 7, 7)
    assert int(envs.reset().obs.max()) > 15, "small pixel values are scaled"
