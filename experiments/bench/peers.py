"""Other libraries at our settings, for the benchmark's ratios; they come with the extra `peers`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from envs.errors import UsageError

PEERS = ("sb3", "envpool")
EXTRA = "install it with pip install -e '.[peers]', or leave it out of --against"


@dataclass(frozen=True)
class Contender:
    """One way of doing the same work; ``run`` does a round of it and says how many steps."""

    name: str
    run: Callable[[], int]
    close: Callable[[], None] = lambda: None


def check_peers(against: str) -> tuple[str, ...]:
    """The named libraries; raises UsageError for one that is unknown or not installed."""
    names = tuple(name for name in against.split(",") if name)
    for name in names:
        if name not in PEERS:
            raise UsageError(f"There is no peer '{name}'; --against knows {', '.join(PEERS)}.")
        try:
            __import__({"sb3": "stable_baselines3", "envpool": "envpool"}[name])
        except ImportError as error:
            raise UsageError(f"--against {name}: {error}; {EXTRA}.") from error
    return names


def sb3_ppo(game: str, *, streams: int, device: str) -> Contender:
    """Stable-Baselines3's PPO, at CleanRL's Atari settings; a round is one segment."""
    from stable_baselines3 import PPO

    env = _sb3_env(game, streams)
    model = PPO(
        "CnnPolicy", env, n_steps=128, batch_size=128 * streams // 4, n_epochs=4,
        learning_rate=2.5e-4, clip_range=0.1, clip_range_vf=0.1, ent_coef=0.01, vf_coef=0.5,
        max_grad_norm=0.5, device=device,
    )  # fmt: skip

    def run() -> int:
        model.learn(128 * streams, reset_num_timesteps=False)
        return 128 * streams

    return Contender("Stable-Baselines3 PPO", run, env.close)


def sb3_dqn(game: str, *, streams: int, warm_up: int, device: str) -> Contender:
    """Stable-Baselines3's DQN: batches of 32, an update every four steps."""
    from stable_baselines3 import DQN

    env = _sb3_env(game, streams)
    model = DQN(
        "CnnPolicy", env, buffer_size=20_000, learning_starts=warm_up, batch_size=32,
        learning_rate=6.25e-5, train_freq=1, gradient_steps=streams // 4,
        target_update_interval=10_000, device=device,
    )  # fmt: skip
    model.learn(warm_up)

    def run() -> int:
        model.learn(400, reset_num_timesteps=False)
        return 400

    return Contender("Stable-Baselines3 DQN", run, env.close)


def envpool_emulator(game: str, *, streams: int, threads: int, ticks: int) -> Contender:
    """EnvPool's emulators alone under random actions, with the same processing of frames."""
    import envpool

    title = "".join(word.capitalize() for word in game.split("_"))
    env = envpool.make_gymnasium(
        f"{title}-v5", num_envs=streams, num_threads=threads, episodic_life=False,
        reward_clip=False, repeat_action_probability=0.0, noop_max=30,
    )  # fmt: skip
    env.reset()
    draw = np.random.default_rng(0)
    actions = int(env.action_space.n)

    def run() -> int:
        for _ in range(ticks):
            env.step(draw.integers(actions, size=streams, dtype=np.int32))
        return ticks * streams

    return Contender("bare EnvPool", run, env.close)


def _sb3_env(game: str, streams: int) -> Any:
    import ale_py
    import gymnasium
    from stable_baselines3.common.env_util import make_atari_env
    from stable_baselines3.common.vec_env import VecFrameStack

    gymnasium.register_envs(ale_py)
    title = "".join(word.capitalize() for word in game.split("_"))
    try:
        return VecFrameStack(make_atari_env(f"{title}NoFrameskip-v4", n_envs=streams, seed=0), 4)
    except ImportError as error:  # its Atari wrappers need OpenCV
        raise UsageError(f"--against sb3: {error}; {EXTRA}.") from error
