"""Envs with other spaces are refused in one sentence, whose wrapper makes them trainable."""

import re
from typing import Any

import gymnasium
import numpy as np
import pytest
from gymnasium import spaces, wrappers
from gymnasium.spaces import Box, Discrete
from gymnasium.vector import AutoresetMode, SyncVectorEnv

from reverie.envs.batched_env import BatchedEnv
from reverie.envs.errors import UsageError
from reverie.envs.layout import find_layout

IMAGE = Box(0, 255, (5, 4), np.uint8)
VECTOR = Box(-1.0, 1.0, (4,), np.float32)
PAIR: tuple[Any, ...] = (VECTOR, IMAGE)
SPACES: dict[str, tuple[spaces.Space[Any], spaces.Space[Any]]] = {
    "vector": (VECTOR, Discrete(2)),
    "state": (Discrete(5), Discrete(2)),
    "dict": (spaces.Dict({"image": IMAGE, "position": VECTOR}), Discrete(2)),
    "tuple": (spaces.Tuple(PAIR), Discrete(2)),
    "float image": (Box(0.0, 1.0, (5, 4), np.float32), Discrete(2)),
    "centered image": (Box(-1.0, 1.0, (5, 4), np.float32), Discrete(2)),
    "wide image": (Box(0, 255, (5, 4), np.int64), Discrete(2)),
    "continuous": (IMAGE, Box(-1.0, 1.0, (2,), np.float32)),
    "multi-discrete": (IMAGE, spaces.MultiDiscrete([2, 3])),
    "multi-binary": (IMAGE, spaces.MultiBinary(3)),
    "shifted": (IMAGE, Discrete(3, start=1)),
}


class Sampled(gymnasium.Env[Any, Any]):
    """An env of any spaces, which checks its actions and can be drawn."""

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, observations: spaces.Space[Any], actions: spaces.Space[Any]) -> None:
        self.observation_space, self.action_space = observations, actions
        self.render_mode = "rgb_array"

    def reset(self, **options: Any) -> tuple[Any, dict[str, Any]]:
        return self.observation_space.sample(), {}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        assert self.action_space.contains(action), action
        return self.observation_space.sample(), 0.0, False, False, {}

    def render(self) -> Any:
        return np.zeros((6, 7, 3), np.uint8)


def batched(make: Any) -> BatchedEnv:
    envs = SyncVectorEnv([make] * 2, autoreset_mode=AutoresetMode.NEXT_STEP)
    space = envs.single_observation_space
    if isinstance(space, Box) and space.dtype == np.uint8:
        envs.layout = find_layout(envs)  # type: ignore[attr-defined]
    return BatchedEnv(envs)


@pytest.mark.parametrize("kind", SPACES)
def test_the_wrapper_that_the_error_names_makes_the_env_trainable(kind: str) -> None:
    with pytest.raises(UsageError, match=r"a BatchedEnv needs") as refused:
        batched(lambda: Sampled(*SPACES[kind]))
    named = r"gymnasium\.wrappers\.(\w+\(env.*?\))(?:, with .*|\.)$"
    (wrapper,) = re.findall(named, str(refused.value))
    names = vars(wrappers) | {"np": np, "Box": Box, "Discrete": Discrete}
    envs = batched(lambda: eval(wrapper, names | {"env": Sampled(*SPACES[kind])}))
    step = envs.reset()
    for action in range(envs.spec.num_actions):
        step = envs.step(step.reward.long() * 0 + action)
    assert step.obs.dtype.itemsize == 1
