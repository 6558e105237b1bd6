"""Other libraries at the same settings, for comparison.

The extra `peers` installs Stable-Baselines3 and EnvPool. CleanRL is scripts, not a package: its PPO
runs from a checkout of the user's, in a process that waits between rounds.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from ...envs.errors import UsageError

PACKAGES = {
    "sb3": {"stable_baselines3": "stable-baselines3", "cv2": "opencv-python-headless"},
    "envpool": {"envpool": "envpool"},
}
"""Of each library that is a package: the modules it needs, and what installs them."""
CLEANRL_SCRIPT = Path("cleanrl", "ppo_atari_envpool.py")
"""In a checkout of CleanRL. It prints its speed after every rollout and the updates on it."""
REMEDY = "or leave it out of --compare-with"


@dataclass(frozen=True)
class Contender:
    """One implementation of a workload; ``run`` executes a round and returns its agent steps."""

    name: str
    run: Callable[[], int]
    close: Callable[[], None] = lambda: None


def check_peers(compare_with: str) -> dict[str, str]:
    """Return the named libraries, each with the folder given for it (``sb3,cleanrl=FOLDER``).

    Raises UsageError if one is unknown or not installed.
    """
    peers: dict[str, str] = {}
    for named in filter(None, compare_with.split(",")):
        name, _, peers[name] = named.partition("=")
        if name == "cleanrl":
            _cleanrl_script(peers[name])
        elif named in PACKAGES:
            _check_package(name)
        else:
            raise UsageError(
                f"Unknown library '{named}'; --compare-with takes {', '.join(PACKAGES)} and "
                "cleanrl=FOLDER, separated by commas."
            )
    return peers


def _check_package(name: str) -> None:
    for module, distribution in PACKAGES[name].items():
        try:
            import_module(module)
        except ImportError as error:
            raise UsageError(
                f"--compare-with {name}: {error}; run `pip install {distribution}`, {REMEDY}."
            ) from error


def _cleanrl_script(checkout: str) -> Path:
    script = Path(checkout).resolve() / CLEANRL_SCRIPT
    if not script.is_file():
        raise UsageError(
            f"--compare-with cleanrl={checkout}: there is no file {script}; name the folder of a "
            f"checkout of https://github.com/vwxyzjn/cleanrl, {REMEDY}."
        )
    return script


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


PAUSING = """
import builtins, runpy, sys
write = builtins.print
def wait():
    if not sys.stdin.readline():
        sys.exit()
def print_and_wait(*values, **options):
    write(*values, **options, flush=True)
    if values[:1] == ("SPS:",):
        wait()
builtins.print = print_and_wait
sys.argv = sys.argv[1:]
wait()
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""Program that runs a script, and waits for a line of input before it and after every rollout."""


def cleanrl_ppo(checkout: str, game: str, *, num_envs: int, threads: int, device: str) -> Contender:
    """Return CleanRL's PPO on EnvPool at its Atari settings; a round is one rollout.

    It runs under the Python of the checkout's ``.venv``, or under this one. EnvPool chooses the
    number of its threads. ``run`` raises UsageError if the script fails.
    """
    script = _cleanrl_script(checkout)
    environment = script.parents[1] / ".venv"
    python = environment / "bin" / "python"
    if not python.exists():
        python = Path(sys.executable)
    settings = ["--env-id", f"{_gym_name(game)}-v5", "--num-envs", str(num_envs)]
    settings += ["--no-cuda"] * (device == "cpu")
    folder = TemporaryDirectory()
    with Path(folder.name, "stderr.txt").open("w") as stderr:
        process = subprocess.Popen(
            [str(python), "-c", PAUSING, str(script), *settings], cwd=folder.name, text=True,
            env=os.environ | {"OMP_NUM_THREADS": str(threads)}, stdin=subprocess.PIPE,
            stdout=subprocess.PIPE, stderr=stderr,
        )  # fmt: skip
    requests, lines = process.stdin, process.stdout
    assert requests is not None
    assert lines is not None

    def run() -> int:
        requests.write("\n")
        requests.flush()
        if not any(line.startswith("SPS:") for line in lines):
            log = Path(folder.name, "stderr.txt").read_text(encoding="utf-8")
            *_, reason = ["it has no error message", *log.splitlines()]
            raise UsageError(
                f"--compare-with cleanrl: {script} ended under {python}: {reason}; install "
                f"CleanRL's requirements (envpool 0.6 to 0.8, gym 0.23) in {environment}, {REMEDY}."
            )
        return 128 * num_envs

    def close() -> None:
        requests.close()
        process.wait()
        lines.close()
        folder.cleanup()

    return Contender("CleanRL PPO on EnvPool", run, close)


def _gym_name(game: str) -> str:
    return game.title().replace("_", "")
