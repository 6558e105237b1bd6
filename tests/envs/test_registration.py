"""Gymnasium's ids of our environments, and single environments: the episodes of a vector."""

import subprocess
import sys
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from reverie.envs import registration
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.errors import UsageError
from reverie.envs.gym import GymConfig
from reverie.envs.interface import EnvConfig
from reverie.envs.single_env import SingleEnv

from sample_envs import LAW_ENVS

TIMESTEPS = 150
SMALL: dict[str, dict[str, Any]] = {
    "Atari": {"game": "pong", "protocol": "atari100k"},
    "DeepSea": {"size": 5},
}
"""Settings of the ids in these tests, where they are not the usual ones."""


@pytest.mark.parametrize(
    "config", [x for x in LAW_ENVS if not isinstance(x, GymConfig)], ids=lambda x: x.env_name
)
def test_episodes_of_a_single_env_are_those_of_a_vector(config: EnvConfig) -> None:
    vector, single = config.build(1), SingleEnv(config)
    obs, _ = vector.reset(seed=7)
    actions = np.random.default_rng(0).integers(
        vector.single_action_space.n,  # type: ignore[attr-defined]
        size=TIMESTEPS,
    )
    own, _ = single.reset(seed=7)
    done = False
    for action in actions:
        assert np.array_equal(own, obs[0])
        if done:  # the vector ignores the action
            own, _ = single.reset()
            reward, done = 0.0, False
            obs, expected, *_ = vector.step(np.array([action]))
        else:
            own, reward, terminated, truncated, info = single.step(action)
            done = terminated or truncated
            obs, expected, *ended, _ = vector.step(np.array([action]))
            assert [bool(x[0]) for x in ended] == [terminated, truncated]
            assert all(not name.startswith("_") for name in info)
        assert reward == expected[0]
    single.close()


@pytest.mark.parametrize("kind", registration.KINDS)
def test_gymnasium_makes_envs_that_its_checker_accepts(kind: str) -> None:
    settings = SMALL.get(kind, {})
    single = gymnasium.make(f"reverie/{kind}-v0", **settings)
    check_env(single.unwrapped, skip_render_check=True)
    vector = gymnasium.make_vec(f"reverie/{kind}-v0", num_envs=3, **settings)
    assert vector.num_envs == 3
    assert vector.single_observation_space == single.observation_space
    assert vector.metadata["autoreset_mode"] == gymnasium.vector.AutoresetMode.NEXT_STEP


def test_a_protocol_is_named_and_a_wrong_name_is_refused() -> None:
    env: Any = gymnasium.make_vec("reverie/Atari-v0", num_envs=2, **SMALL["Atari"]).unwrapped
    assert (env.game, env.protocol) == ("pong", PROTOCOLS["atari100k"])
    with pytest.raises(UsageError, match="Did you mean atari100k"):
        gymnasium.make("reverie/Atari-v0", protocol="atari10k")
    with pytest.raises(UsageError, match=r"gymnasium\.make"):
        SingleEnv(GymConfig("sample_envs:Counter-v0"))
    assert AtariConfig().build(1).metadata["reset_mask"]


def test_the_id_itself_registers_and_importing_the_package_does_not_load_gymnasium() -> None:
    code = (
        "import sys, reverie; assert 'gymnasium' not in sys.modules\n"
        "import gymnasium\n"
        "gymnasium.make('reverie.envs.registration:reverie/Catch-v0').reset(seed=0)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
