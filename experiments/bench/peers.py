"""Other libraries at the same settings, for comparison; the extra `peers` installs them."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from ...envs.errors import UsageError

PEERS = ("sb3", "envpool")
EXTRA = "install it with pip install -e '.[peers]', or leave it out of --compare-with"


@dataclass(frozen=True)
class Contender:
    """One implementation of a workload; ``run`` executes a round and returns its agent steps."""

    name: str
    run: Callable[[], int]
    close: Callable[[], None] = lambda: None


def check_peers(compare_with: str) -> tuple[str, ...]:
    """Return the named libraries; raises UsageError if one is unknown or not installed."""
    names = tuple(name for name in compare_with.split(",") if name)
    for name in names:
        if name not in PEERS:
            raise UsageError(f"Unknown library '{name}'; --compare-with takes {', '.join(PEERS)}.")
        try:
            __import__({"sb3": "stable_baselines3", "envpool": "envpool"}[name])
        except ImportError as error:
            raise UsageError(f"--compare-with {name}: {error}; {EXTRA}.") from error
    return names


def sb3_ppo(game: str, *, num_envs: int, device: str) -> Contender:
    """Return Stable-Baselines3's PPO at CleanRL's Atari settings; a round is one rollout."""
    from stable_baselines3 import PPO

    env = _sb3_env(game, num_envs)
    model = PPO(
        "CnnPolicy", env, n_steps=128, batch_size=128 * num_envs // 4, n_epochs=4,
        learning_rate=2.5e-4, clip_range=0.1, clip_range_vf=0.1, ent_coef=0.01, vf_coef=0.5,
        max_grad_norm=0.5, device=device,
    )  # fmt: skip

    def run() -> int:
        model.learn(128 * num_envs, reset_num_timesteps=False)
        return 128 * num_envs

    return Contender("Stable-Baselines3 PPO", run, env.close)


def sb3_dqn(game: str, *, num_envs: int, learning_starts: int, device: str) -> Contender:
    """Return Stable-Baselines3's DQN with batches of 32 and an update every four steps."""
    from stable_baselines3 import DQN

    env = _sb3_env(game, num_envs)
    model = DQN(
        "CnnPolicy", env, buffer_size=20_000, learning_starts=learning_starts, batch_size=32,
        learning_rate=6.25e-5, train_freq=1, gradient_steps=num_envs // 4,
        target_update_interval=10_000, device=device,
    )  # fmt: skip
    model.learn(learning_starts)

    def run() -> int:
        model.learn(400, reset_num_timesteps=False)
        return 400

    return Contender("Stable-Baselines3 DQN", run, env.close)


def envpool_emulator(game: str, *, num_envs: int, threads: int, num_timesteps: int) -> Contender:
    """Return EnvPool's emulators under random actions, with the same frame processing."""
    import envpool

    title = "".join(word.capitalize() for word in game.split("_"))
    env = envpool.make_gymnasium(
        f"{title}-v5", num_envs=num_envs, num_threads=threads, episodic_life=False,
        reward_clip=False, repeat_action_probability=0.0, noop_max=30,
    )  # fmt: skip
    env.reset()
    rng = np.random.default_rng(0)
    num_actions = int(env.action_space.n)

    def run() -> int:
        for _ in range(num_timesteps):
            env.step(rng.integers(num_actions, size=num_envs, dtype=np.int32))
        return num_timesteps * num_envs

    return Contender("EnvPool", run, env.close)


def _sb3_env(game: str, num_envs: int) -> Any:
    import ale_py
    import gymnasium
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gymnasium.register_envs(ale_py)
    title = "".join(word.capitalize() for word in game.split("_"))
    try:
        return VecFrameStack(make_atari_env(f"{title}NoFrameskip-v4", n_envs=num_envs, seed=0), 4)
    except ImportError as error:  # its Atari wrappers need OpenCV
        raise UsageError(f"--compare-with sb3: {error}; {EXTRA}.") from error
