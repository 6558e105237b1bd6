"""Registered Gymnasium environments of other people: every layout, range, reward and info."""

from typing import Any

import gymnasium
import numpy as np
from gymnasium.spaces import Box, Discrete
from gymnasium.wrappers import FrameStackObservation, TransformObservation

from reverie.envs.gym import GymConfig


class Noise(gymnasium.Env[Any, Any]):
    """Random frames, unlike each other; random rewards and episodes of a few steps."""

    shape: tuple[int, ...] = (9, 7)
    num_actions, shortest, longest = 3, 2, 7
    low, high, declared = 0, 255, (0, 255)
    reward: Any = None
    """Each step's reward, instead of random ones."""

    def __init__(self) -> None:
        self.observation_space = Box(*self.declared, self.shape, np.uint8)
        self.action_space = Discrete(self.num_actions)

    def frame(self) -> Any:
        return self.np_random.integers(self.low, self.high + 1, self.shape, dtype=np.uint8)

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.steps_left = int(self.np_random.integers(self.shortest, self.longest + 1))
        self.dies = bool(self.np_random.integers(2))
        return self.frame(), self.info(reset=True)

    def step(self, action: int) -> Any:
        self.steps_left -= 1
        over = self.steps_left == 0
        reward = float(self.np_random.integers(1 << 20)) if self.reward is None else self.reward
        return self.frame(), reward, over and self.dies, over and not self.dies, self.info()

    def info(self, *, reset: bool = False) -> dict[str, Any]:
        return {}


class Raises(Noise):
    def frame(self) -> Any:
        if self.np_random.random() < 0.2:
            raise ZeroDivisionError("the exit has no door")
        return super().frame()


class Infos(Noise):
    """Infos that differ in keys, kinds and shapes from step to step and from copy to copy."""

    def info(self, *, reset: bool = False) -> dict[str, Any]:
        kinds: tuple[Any, ...] = (
            15,
            0.99,
            "ten percent",
            None,
            np.ones(2, np.float32),
            np.array(1.0),
            [1, 2],
            {},
        )
        draw = self.np_random.integers(len(kinds), size=3)
        names = ("discount", "privileged", "_discount", "lives", "episode")
        return {str(self.np_random.choice(names)): kinds[i] for i in draw}


class Floats(Noise):
    def __init__(self) -> None:
        super().__init__()
        self.observation_space = Box(0, 1, self.shape, np.float32)


class LateLight(Noise):
    """Pixels of 0 and 1, and of 200 from the hundredth step on."""

    steps = 0

    def frame(self) -> Any:
        self.steps += 1
        return super().frame() * np.uint8(200 if self.steps > 100 else 1)


def register(name: str, kind: type[Noise] = Noise, **attributes: Any) -> None:
    """Register an env with changed attributes."""
    made: Any = type(name, (kind,), attributes)
    gymnasium.register(f"{name}-v0", entry_point=made)


def register_stack(name: str, frames: int, padding: Any, **attributes: Any) -> None:
    """Register an env whose observations are stacked by Gymnasium's wrapper."""
    kind = type(name, (Noise,), attributes)

    def make(**options: Any) -> Any:
        return FrameStackObservation(kind(), frames, padding_type=padding)

    gymnasium.register(f"{name}-v0", entry_point=make)


def stack_in_last_axis(**options: Any) -> Any:
    """Stacked RGB frames as one image of 12 channels."""
    env = FrameStackObservation(type("Rgb", (Noise,), {"shape": (9, 7, 3)})(), 4)
    space = Box(0, 255, (9, 7, 12), np.uint8)
    return TransformObservation(env, lambda x: x.transpose(1, 2, 0, 3).reshape(9, 7, 12), space)


register("Gray")
register("Rgb", shape=(9, 7, 3))
register("OneChannel", shape=(1, 9, 7))
register("OneChannelLast", shape=(9, 7, 1))
register("Chw", shape=(3, 9, 7))
register("FourChannels", shape=(4, 9, 7))
register("FourChannelsLast", shape=(9, 7, 4))
register_stack("StackFirst", 4, "reset")
register_stack("StackZero", 4, "zero")
register_stack("StackOther", 4, np.full((9, 7), 9, np.uint8))
register_stack("StackRgb", 3, "reset", shape=(9, 7, 3))
register_stack("StackChw", 3, "zero", shape=(3, 9, 7))
gymnasium.register("StackLast-v0", entry_point=stack_in_last_axis)
register("Bits", high=1, declared=(0, 1))
register("UndeclaredBits", high=1)
register("UndeclaredTen", high=10)
register("Shifted", low=100, high=110, declared=(100, 110))
register("OneStep", shortest=1, longest=1)
register("NeverEnds", shortest=10**6, longest=10**6)
register("OneAction", num_actions=1)
register("ManyActions", num_actions=300)
register("Infos", Infos)
register("Raises", Raises)
register("Floats", Floats)
register("LateLight", LateLight, high=1)
register("NotANumber", reward=float("nan"))
register("Infinite", reward=-float("inf"))
register("Text", reward="much")
register("Nothing", reward=[])
register("Tenths", reward=0.1)
register("Large", reward=2**24 + 1)
register("Larger", reward=np.int64(2**40 + 1))

LAYOUTS: dict[str, tuple[GymConfig, tuple[int, int, int], int, str]] = {
    "gray": (GymConfig("Gray-v0"), (1, 9, 7), 1, "zero"),
    "rgb": (GymConfig("Rgb-v0"), (3, 9, 7), 3, "zero"),
    "one channel": (GymConfig("OneChannel-v0"), (1, 9, 7), 1, "zero"),
    "one channel last": (GymConfig("OneChannelLast-v0"), (1, 9, 7), 1, "zero"),
    "channels first": (GymConfig("Chw-v0", "CHW"), (3, 9, 7), 3, "zero"),
    "four channels": (GymConfig("FourChannels-v0", "CHW"), (4, 9, 7), 4, "zero"),
    "four channels last": (GymConfig("FourChannelsLast-v0", "HWC"), (4, 9, 7), 4, "zero"),
    "stack, first": (GymConfig("StackFirst-v0"), (4, 9, 7), 1, "first"),
    "stack, zero": (GymConfig("StackZero-v0"), (4, 9, 7), 1, "zero"),
    "stack, other": (GymConfig("StackOther-v0"), (4, 9, 7), 1, "stored"),
    "stack, declared": (GymConfig("StackFirst-v0", "KHW", padding="first"), (4, 9, 7), 1, "first"),
    "stack, as channels": (GymConfig("StackFirst-v0", "CHW"), (4, 9, 7), 4, "zero"),
    "stack of rgb": (GymConfig("StackRgb-v0"), (9, 9, 7), 3, "first"),
    "stack of channels first": (GymConfig("StackChw-v0", "KCHW"), (9, 9, 7), 3, "zero"),
    "stack in the last axis": (
        GymConfig("StackLast-v0", "HWK", 3, "first"), (12, 9, 7), 3, "first",
    ),
    "bits": (GymConfig("Bits-v0"), (1, 9, 7), 1, "zero"),
    "ten": (GymConfig("UndeclaredTen-v0"), (1, 9, 7), 1, "zero"),
    "shifted": (GymConfig("Shifted-v0"), (1, 9, 7), 1, "zero"),
    "one step": (GymConfig("OneStep-v0"), (1, 9, 7), 1, "zero"),
    "endless": (GymConfig("NeverEnds-v0"), (1, 9, 7), 1, "zero"),
    "one action": (GymConfig("OneAction-v0"), (1, 9, 7), 1, "zero"),
    "many actions": (GymConfig("ManyActions-v0"), (1, 9, 7), 1, "zero"),
    "infos": (GymConfig("Infos-v0"), (1, 9, 7), 1, "zero"),
}  # fmt: skip
"""Configs by what is special, with their observations' shape, channels of a frame and padding."""
