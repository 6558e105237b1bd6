"""Evaluation: whole episodes in separate envs, with the protocol beside the score."""

import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import torch

from ...agents.interface import Policy
from ...agents.loop import interact
from ...agents.policies import EpsilonGreedy, RandomPolicy
from ...envs import prng
from ...envs.atari.atari import AtariConfig
from ...envs.batched_env import BatchedEnv, spec_of
from ...envs.digest import frame_digest
from ...envs.errors import Interrupted, RunError, UsageError
from ...envs.interface import EnvConfig
from ..runs.console import progress_console
from ..runs.live_line import LiveLine
from ..runs.outputs import check_writable
from ..runs.runtime import interrupts, pick_device
from ..runs.scores import Scores
from .plan_drawings import draw_episode, with_plan
from .plans import PlanTrace
from .quota import EpisodeQuota
from .screen import enlarged, newest_frame, screen_of
from .video import Video

MAX_STEPS = 27_000
"""Agent steps after which an episode is cut off by default: 108,000 frames of an Atari game."""


class MediaError(RunError):
    """The video or the figure of an evaluation was not written; its ``scores`` are complete."""

    def __init__(self, message: str, scores: Scores) -> None:
        super().__init__(message)
        self.scores = scores


@torch.no_grad()
def evaluate(
    policy: Policy,
    env: EnvConfig,
    *,
    episodes: int = 30,
    seed: int = 0,
    num_envs: int = 32,
    device: torch.device | str = "auto",
    threads: int = 0,
    stochastic: bool = False,
    max_steps: int = 0,
    video: Path | None = None,
    figure: Path | None = None,
    privileged: bool = False,
    snapshots: bool = False,
    purpose: prng.Purpose = prng.Purpose.EVAL,
    tell: Callable[[str], object] | None = None,
) -> Scores:
    """Play ``episodes`` whole episodes with the greedy policy and the protocol's epsilon.

    With ``stochastic`` the agent acts as in training instead (PPO samples from its policy), and
    the protocol's epsilon, which is for deterministic policies, is 0. Every env has a fixed quota
    of episodes, so that short episodes are not favored, and an episode is cut off after
    ``max_steps`` agent steps (see ``Evaluation``). ``video`` is the path of a video of one episode
    and ``figure`` that of a figure of its plans, if the policy has a planner. With ``privileged``
    the envs offer their true state, with ``snapshots`` their snapshots (see ``TimeStep``). Random
    numbers are those of ``seed`` and ``purpose``. A long evaluation shows its progress on stderr,
    or hands it to ``tell``.

    Raises UsageError, before the first step, if a file could not be written, and MediaError, which
    holds the scores, if writing one fails after all. SIGINT, SIGTERM and SIGHUP
    end the evaluation after the current timestep with Interrupted, a KeyboardInterrupt.

    Example::

        scores = evaluate(agent, AtariConfig("ms_pacman"), episodes=30)
        print(scores.mean, scores.standard_error)
    """
    if episodes < 1 or num_envs < 1:
        raise UsageError(f"episodes is {episodes} and num_envs {num_envs}; both must be 1 or more.")
    media = [path for path in (video, figure) if path]
    check_writable(*media, remedy="choose another path, or make it writable")
    n, max_steps = min(num_envs, episodes), max_steps or longest_episode(env)
    envs = BatchedEnv(
        env.build(n, threads=threads, privileged=privileged),
        seed=seed,
        purpose=purpose,
        device=pick_device(device),
        snapshots=snapshots,
    )
    epsilon = 0.0 if stochastic else env.eval_epsilon
    behavior = EpsilonGreedy(policy, envs.spec.num_actions, epsilon)
    names = env.action_names(envs.spec.num_actions)
    quota, trace, start_digests = EpisodeQuota(episodes, n, max_steps), PlanTrace(), set[int]()
    progress, num_steps, start_time = LiveLine(progress_console(), tell), 0, time.monotonic()
    unwritten: list[str] = []

    def describe() -> str:
        rate = num_steps / (time.monotonic() - start_time)
        return f"{env.env_name}: {quota.describe()}, {rate:,.0f}/s"

    # Emulators that are left open, or amid a step, abort the process when it exits.
    with interrupts() as interrupted, closing(envs), closing(progress):
        screen = screen_of(envs) if video else newest_frame
        carry = behavior.initial(n)
        carry["rng"] = prng.initial_rng(seed, purpose, n).to(envs.device)
        step, recorder = envs.reset(), None
        if video:
            recorder = Video(video, step, lambda x: enlarged(screen(x)), with_plan(trace, names))
        start = step, carry
        progress.start()
        while not (interrupted or quota.done):
            for t in interact(envs, behavior, explore=stochastic, start=start):
                for i in t.step.first.nonzero()[:, 0].tolist():
                    if quota.counts(i):
                        start_digests.add(int(frame_digest(t.step.obs[i : i + 1])))
                quota.update(t)
                trace.update(t)
                num_steps += n
                if recorder:
                    try:
                        recorder.update(t)
                        if quota.waiting[0]:
                            recorder.finish()
                    except OSError as error:  # the scores are worth more
                        unwritten.append(_unwritten(video, error))
                        recorder = None
                if progress.due():
                    progress.show(describe())
                if interrupted or quota.stuck:
                    break
            if not (interrupted or quota.done):
                quota.reset()
                start = envs.reset(int(envs.seed_index.max()) + 1), t.next_carry
    if interrupted:
        raise Interrupted(interrupted[0])
    if figure and trace.timesteps:
        title = f"{env.env_name}, evaluation seed {seed}"
        try:
            draw_episode(trace.timesteps, names, title, figure)
        except OSError as error:
            unwritten.append(_unwritten(figure, error))
    finished = quota.finished
    scores = Scores(
        env_name=env.env_name,
        suite=env.suite,
        protocol=env.protocol_label,
        epsilon=epsilon,
        seed=seed,
        distinct_starts=len(start_digests),
        scores=tuple(episode.score for episode in finished),
        lengths=tuple(episode.length for episode in finished),
        stochastic=stochastic,
        truncated=tuple(episode.truncated for episode in finished),
        max_steps=max_steps,
    )
    if unwritten:
        raise MediaError(" ".join(unwritten), scores)
    return scores


def longest_episode(env: EnvConfig) -> int:
    """Return the default of ``max_steps``, which leaves an Atari protocol's own cap as it is."""
    frames = env.protocol.frames_cap if isinstance(env, AtariConfig) else 0
    return max(MAX_STEPS, frames // env.frame_skip + 1)


def _unwritten(path: Path | None, error: OSError) -> str:
    return f"{path} cannot be written ({error.strerror or error}); the scores are complete."


def random_policy(env: EnvConfig, seed: int = 0) -> RandomPolicy:
    """Return the uniformly random policy of an env."""
    return RandomPolicy(spec_of(env).num_actions, seed)


def random_play(
    env: EnvConfig,
    *,
    episodes: int,
    seed: int = 0,
    num_envs: int = 32,
    threads: int = 0,
    max_steps: int = 0,
) -> Scores:
    """Return the scores of the uniformly random policy in an env, under its protocol."""
    policy = random_policy(env, seed)
    return evaluate(
        policy,
        env,
        episodes=episodes,
        seed=seed,
        num_envs=num_envs,
        device="cpu",
        threads=threads,
        max_steps=max_steps,
    )
