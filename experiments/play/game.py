"""The played game: a single env, with the screen that a person sees."""

from dataclasses import asdict
from typing import Any

import torch

from ...envs import prng
from ...envs.atari.atari import Atari, AtariConfig
from ...envs.atari.protocol import PRESENTATION_FIELDS
from ...envs.batched_env import BatchedEnv
from ...envs.interface import Carry, EnvConfig, TimeStep
from ...envs.maze import Maze
from ..evaluation.screen import frame_to_image, screen_of
from ..evaluation.video import Image
from ..inspectors.panels import Images, Picture


class Game:
    """A single env that can be reset at any time; ``time_step`` is its current TimeStep.

    Every episode is seeded by its number, so that its chance does not depend on the episodes
    before it, and an episode can be replayed from its actions.
    """

    def __init__(
        self,
        env: EnvConfig,
        *,
        seed: int = 0,
        device: torch.device | str = "cpu",
        snapshots: bool = False,
    ) -> None:
        self.env_name, self.protocol = env.env_name, env.protocol_label
        self.seed, self.rules = seed, rules_of(env)
        self.actions: list[int] = []
        """Those of the episode until now."""
        self.envs = BatchedEnv(
            env.build(1, threads=1, privileged=True),
            seed=seed,
            purpose=prng.Purpose.EVAL,
            device=device,
            snapshots=snapshots,
        )
        self.spec = self.envs.spec
        self.action_names = env.action_names(self.spec.num_actions)
        self._render = screen_of(self.envs)
        self.screen_is_observed = not isinstance(self.envs.env, Maze)
        """Whether the screen shows what a frame does, in other pixels; a maze has a larger one."""
        self.score, self.life_lost = 0.0, False
        """``life_lost`` is whether the newest step cost a life, but not the last one."""
        self.time_step = self.envs.reset()
        self.lives = self._count_lives()

    @property
    def episode(self) -> int:
        """Number of the episode, from 0; with ``seed`` it seeds all its chance."""
        return int(self.envs.seed_index[0])

    @property
    def length(self) -> int:
        """Agent steps of the episode until now."""
        return len(self.actions)

    @property
    def last(self) -> bool:
        """Whether the episode has ended."""
        return bool(self.time_step.last[0])

    def reset(self, episode: int | None = None) -> TimeStep:
        """Begin an episode, by default the next one."""
        self.score, self.actions, self.life_lost = 0.0, [], False
        self.time_step = self.envs.reset(self.episode + 1 if episode is None else episode)
        self.lives = self._count_lives()
        return self.time_step

    def step(self, action: int) -> TimeStep:
        """Take one agent step; after the last step of an episode this begins the next one."""
        if self.last:
            return self.reset()
        step = self.time_step = self.envs.step(torch.tensor([action], device=self.envs.device))
        self.score += float(step.reward[0])
        self.actions.append(action)
        lives_before, self.lives = self.lives, self._count_lives()
        ended = float(step.discount[0]) == 0 or 0 < self.lives < lives_before
        self.life_lost = ended and not self.last
        return step

    def seeded(self, carry: Carry) -> Carry:
        """Return a policy's carry with the random numbers of the episode, as its chance is."""
        if "rng" not in carry:
            return carry
        rng = prng.keys(self.seed, prng.Purpose.EVAL, torch.tensor([self.episode]))
        return carry | {"rng": rng.to(carry["rng"].device)}

    def observation(self) -> Images | None:
        """Return the newest frame that the agent observes; None if that is the screen itself."""
        frame = self.time_step.frame[0]
        if (image := frame_to_image(frame)).shape == self.screen().shape:
            return None
        (stacked, height, width), channels = self.spec.obs_shape, len(frame)
        count = stacked // channels
        which = f"the newest of {count} stacked frames" if count > 1 else "the observed frame"
        note = f"{which}, {height} x {width} pixels"
        return Images("Observation", (Picture(image),), note)

    def screen(self) -> Image:
        """Return the emulator's color screen, the rendered maze, or else the newest frame."""
        return self._render(self.time_step)

    def close(self) -> None:
        self.envs.close()

    def _count_lives(self) -> int:
        """Return the lives of an Atari game, whatever its protocol; 0 for other envs."""
        env = self.envs.env
        return env.follow(0).ale.lives() if isinstance(env, Atari) else 0


def rules_of(env: EnvConfig) -> Any:
    """Return what the scores of two runs must have in common to be compared.

    That is the env, in Atari but for the name of the protocol and the form of its observations.
    """
    if not isinstance(env, AtariConfig):
        return env
    rules = asdict(env.protocol)
    return {name: x for name, x in rules.items() if name not in (*PRESENTATION_FIELDS, "name")}
