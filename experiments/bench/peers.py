"""Other libraries at the same settings, for comparison; the extra `peers` installs them."""

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any

import numpy as np

from ...envs.errors import UsageError

PEERS = {"sb3": "stable_baselines3", "envpool": "envpool"}
"""The package of each library."""
REMEDY = "or leave it out of --compare-with"


@dataclass(frozen=True)
class Contender:
    """One implementation of a workload; ``run`` executes a round and returns its agent steps."""

    name: str
    run: Callable[[], int]
    close: Callable[[], None] = lambda: None


def check_peers(compare_with: str) -> tuple[str, ...]:
    """Return the named libraries; raises UsageError if one is unknown or not installed."""
    names = tuple(filter(None, compare_with.split(",")))
    for name in names:
        if name not in PEERS:
            raise UsageError(f"Unknown library '{name}'; --compare-with takes {', '.join(PEERS)}.")
        try:
            import_module(PEERS[name])
        except ImportError as error:
            raise UsageError(
                f"--compare-with {name}: {error}; run `pip install {PEERS[name]}`, {REMEDY}."
            ) from error
    return names


def emulators(
    name: str, env: Any, num_actions: int, *, num_envs: int, num_timesteps: int
) -> Contender:
    """Return a vector env under random actions; a round is ``num_timesteps`` timesteps."""
    rng = np.random.default_rng(0)

    def run() -> int:
        for _ in range(num_timesteps):
            env.step(rng.integers(num_actions, size=num_envs, dtype=np.int32))
        return num_timesteps * num_envs

    return Contender(name, run, env.close)


def envpool_emulators(game: str, *, num_envs: int, threads: int, num_timesteps: int) -> Contender:
    """Return EnvPool's emulators under random actions, with the same frame processing."""
    import envpool

    env = envpool.make_gymnasium(
        f"{_gym_name(game)}-v5", num_envs=num_envs, num_threads=threads, episodic_life=False,
        reward_clip=False, repeat_action_probability=0.0, noop_max=30,
    )  # fmt: skip
    env.reset()
    num_actions = int(env.action_space.n)
    return emulators("EnvPool", env, num_actions, num_envs=num_envs, num_timesteps=num_timesteps)


def sb3_ppo(game: str, *, num_envs: int, device: str) -> Contender:
    """Return Stable-Baselines3's PPO at CleanRL's Atari settings; a round is one rollout."""
    return _sb3(
        "PPO", game, num_envs, 128 * num_envs, n_steps=128, batch_size=128 * num_envs // 4,
        n_epochs=4, learning_rate=2.5e-4, clip_range=0.1, clip_range_vf=0.1, ent_coef=0.01,
        vf_coef=0.5, max_grad_norm=0.5, device=device,
    )  # fmt: skip


def sb3_dqn(game: str, *, num_envs: int, learning_starts: int, device: str) -> Contender:
    """Return Stable-Baselines3's DQN with batches of 32 and an update every four steps."""
    return _sb3(
        "DQN", game, num_envs, 400, warmup=learning_starts, learning_starts=learning_starts,
        buffer_size=20_000, batch_size=32, learning_rate=6.25e-5, train_freq=1,
        gradient_steps=num_envs // 4, target_update_interval=10_000, device=device,
    )  # fmt: skip


def _sb3(
    algorithm: str, game: str, num_envs: int, steps: int, *, warmup: int = 0, **settings: Any
) -> Contender:
    """Return the training of an algorithm, in rounds of some agent steps after a warm-up."""
    import ale_py
    import gymnasium
    import stable_baselines3
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gymnasium.register_envs(ale_py)
    try:
        envs = make_atari_env(f"{_gym_name(game)}NoFrameskip-v4", n_envs=num_envs, seed=0)
    except ImportError as error:  # its Atari wrappers need OpenCV
        raise UsageError(
            f"--compare-with sb3: {error}; run `pip install opencv-python-headless`, {REMEDY}."
        ) from error
    model = getattr(stable_baselines3, algorithm)("CnnPolicy", VecFrameStack(envs, 4), **settings)
    if warmup:
        model.learn(warmup)

    def run() -> int:
        model.learn(steps, reset_num_timesteps=False)
        return steps

    return Contender(f"Stable-Baselines3 {algorithm}", run, envs.close)


def _gym_name(game: str) -> str:
    return game.title().replace("_", "")
