"""Evaluation: whole episodes in separate envs, with the protocol beside the score."""

import time
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.constructors import PrimitiveConstructorSpec

from ...agents.bonuses.bonus import Bonus
from ...agents.interface import Agent, Policy
from ...agents.loop import interact
from ...agents.policies import EpsilonGreedy, RandomPolicy
from ...envs import prng
from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean
from ...envs.atari.protocol import PROTOCOLS
from ...envs.batched_env import BatchedEnv, spec_of
from ...envs.checks import at_least, check
from ...envs.digest import frame_digest
from ...envs.errors import Interrupted, RunError, UsageError
from ...envs.interface import EnvConfig
from ...world_models.state import without_buffers
from ..config.experiment import Experiment
from ..config.serialization import read_experiment
from ..runs.files import to_json
from ..runs.outputs import check_writable, write_or_keep
from ..runs.provenance import code_version
from ..runs.run import Run, building, loading
from ..runs.runtime import interrupts, pick_device
from ..runs.scores import Scores, scores_file
from ..runs.state_checks import check_count, restore
from .plan_drawings import draw_episode, with_plan
from .plans import PlanTrace
from .progress_line import ProgressLine
from .quota import EpisodeQuota
from .screen import enlarged, newest_frame, screen_of
from .video import Video

MAX_STEPS = 27_000
"""Agent steps after which an episode is cut off by default: 108,000 frames of an Atari game."""


def _split_names(args: list[str]) -> tuple[str, ...]:
    """Return the names of a command-line argument that separates them by commas."""
    names = tuple(filter(None, map(str.strip, args[0].split(","))))
    if not names:
        raise UsageError("it takes names separated by commas, as in mfec,machado")
    return names


Names = Annotated[
    tuple[str, ...],
    PrimitiveConstructorSpec(
        nargs=1,
        metavar="NAME,NAME",
        instance_from_str=_split_names,
        is_instance=lambda value: isinstance(value, tuple),
        str_from_instance=lambda names: [",".join(names)],
    ),
]
"""Names that are one argument on the command line."""


@dataclass(frozen=True)
class Evaluation:
    """What is played to score a trained agent, and what is recorded of it."""

    episodes: int = 30
    """Whole episodes to play under each protocol."""
    protocols: Names = ()
    """Protocols separated by commas, as in mfec,machado; by default the run's own, which ablate
    never leaves out."""
    stochastic: bool = False
    """Act as in training, without the protocol's epsilon; PPO samples from its policy."""
    video: bool = False
    """Write an MP4 of one episode under each protocol."""
    max_steps: int = 0
    """Agent steps after which an episode is cut off and scored as it stands; 0 for 27,000, or an
    Atari protocol's own cap if that is larger."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "episodes")
        check(self, "", at_least(0), "max_steps")


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
    purpose: prng.Purpose = prng.Purpose.EVAL,
    tell: Callable[[str], object] | None = None,
) -> Scores:
    """Play ``episodes`` whole episodes with the greedy policy and the protocol's epsilon.

    With ``stochastic`` the agent acts as in training instead (PPO samples from its policy), and
    the protocol's epsilon, which is for deterministic policies, is 0. Every env has a fixed quota
    of episodes, so that short episodes are not favored, and an episode is cut off after
    ``max_steps`` agent steps (see ``Evaluation``). ``video`` is the path of a video of one episode
    and ``figure`` that of a figure of its plans, if the policy has a planner. With ``privileged``
    the envs offer their true state (see ``TimeStep``). Random numbers are those of ``seed`` and
    ``purpose``. A long evaluation shows its progress on stderr, or hands it to ``tell``.

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
    n, max_steps = min(num_envs, episodes), max_steps or _longest_episode(env)
    envs = BatchedEnv(
        env.build(n, threads=threads, privileged=privileged),
        seed=seed,
        purpose=purpose,
        device=pick_device(device),
    )
    epsilon = 0.0 if stochastic else env.eval_epsilon
    behavior = EpsilonGreedy(policy, envs.spec.num_actions, epsilon)
    names = env.action_names(envs.spec.num_actions)
    quota, trace, start_digests = EpisodeQuota(episodes, n, max_steps), PlanTrace(), set[int]()
    progress, num_steps, start_time = ProgressLine(tell), 0, time.monotonic()
    unwritten: list[str] = []

    def describe() -> str:
        rate = num_steps / (time.monotonic() - start_time)
        return f"{env.env_name}: {quota.describe()}; {num_steps:,} steps, {rate:,.0f} steps/s"

    # Emulators that are left open, or amid a step, abort the process when it exits.
    with interrupts() as interrupted, closing(envs), closing(progress):
        screen = screen_of(envs) if video else newest_frame
        carry = behavior.initial(n)
        carry["rng"] = prng.initial_rng(seed, purpose, n).to(envs.device)
        step, recorder = envs.reset(), None
        if video:
            recorder = Video(video, step, lambda x: enlarged(screen(x)), with_plan(trace, names))
        start = step, carry
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
                progress.update(describe)
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


def _longest_episode(env: EnvConfig) -> int:
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


def evaluate_run(
    folder: Path | str,
    evaluation: Evaluation = Evaluation(),  # frozen
    *,
    seed: int = 0,
    num_envs: int = 32,
    device: torch.device | str = "auto",
    threads: int = 0,
    show: Callable[[Scores], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> list[Scores]:
    """Evaluate a run's last checkpoint in its ``eval_env`` and write the scores into its folder.

    Returns the scores under each protocol; ``show`` is called with them before they are written,
    and ``tell`` with the progress. A file is named by ``scores_file``, with an empty protocol for
    the run's own, and holds the checkpoint's agent steps and the commit of the code. Raises
    UsageError, before the first step, if a file could not be written, and RunError, which says
    where the scores are, if writing one fails after all.
    """
    run, results, unwritten = Run(folder), list[Scores](), list[str]()
    experiment, agent, _, steps = load_trained(folder, device=str(device))
    own_env = experiment.env.eval_env
    protocols = evaluation.protocols or ("",)
    envs = {protocol: with_protocol(own_env, protocol) for protocol in protocols}
    files = {
        protocol: run.folder
        / scores_file("" if env is own_env else protocol, stochastic=evaluation.stochastic)
        for protocol, env in envs.items()
    }
    check_writable(*files.values(), remedy="make the run folder writable, or copy it elsewhere")
    for protocol, env in envs.items():
        suffix = f"-{protocol}" if protocol else ""
        try:
            scores = evaluate(
                agent,
                env,
                episodes=evaluation.episodes,
                seed=seed,
                num_envs=num_envs,
                device=device,
                threads=threads,
                stochastic=evaluation.stochastic,
                max_steps=evaluation.max_steps,
                video=evaluation_video(run, protocol) if evaluation.video else None,
                figure=run.folder / "figures" / f"plan{suffix}.png",
                privileged=bool(experiment.needs_privileged),
                tell=tell,
            )
        except MediaError as error:
            scores = error.scores
            unwritten.append(str(error))
        results.append(replace(scores, steps=steps, **code_version()))
        if show:
            show(results[-1])
        write_or_keep(files[protocol], to_json(results[-1].to_json(), indent=1) + "\n")
    if unwritten:
        raise RunError(" ".join(unwritten))
    return results


def evaluation_video(run: Run, protocol: str = "") -> Path:
    """Return the path of a run's video of an evaluation under a protocol."""
    return run.folder / "videos" / f"evaluation{f'-{protocol}' if protocol else ''}.mp4"


def with_protocol(env: EnvConfig, protocol: str) -> EnvConfig:
    """Return a game under a named protocol, with the interface that its agent was trained on.

    An empty name is the env's own protocol. Observation format, frame skip and action set stay;
    sticky actions, no-op starts, FIRE on reset, life loss, frame cap and epsilon are those of the
    named protocol, and the label lists the differences. Raises UsageError for an env that is no
    Atari game or an unknown protocol.
    """
    if not protocol:
        return env
    if not isinstance(env, AtariConfig):
        raise UsageError(
            f"{env.env_name} has only its own protocol; leave out --protocols, which is for Atari "
            "games."
        )
    if protocol not in PROTOCOLS:
        hint = did_you_mean(protocol, PROTOCOLS) or f" The protocols are {', '.join(PROTOCOLS)}."
        raise UsageError(f"Unknown protocol '{protocol}'.{hint}")
    if protocol == env.protocol.name:
        return env
    interface = ("full_actions", "skip", "maxpool", "stack", "height", "width", "grayscale")
    unchanged: dict[str, Any] = {name: getattr(env.protocol, name) for name in interface}
    return replace(env, protocol=replace(PROTOCOLS[protocol], **unchanged))


def load(folder: Path | str, *, device: str = "auto") -> tuple[Experiment, Agent]:
    """Return a run's experiment, and its agent as of the last checkpoint, to act."""
    experiment, agent, _, _ = load_trained(folder, device=device)
    return experiment, agent


def load_trained(
    folder: Path | str, *, device: str = "auto"
) -> tuple[Experiment, Agent, Bonus, int]:
    """Return a run's experiment, its agent and bonus, and its agent steps, at the last checkpoint.

    The agent's buffers of data to learn from are empty: they are not read, so that an agent can act
    even if they are damaged. Raises UsageError if there is no checkpoint, or one of another config
    or version.
    """
    run, torch_device = Run(folder), pick_device(device)
    experiment = read_experiment(folder)
    with building("env"):
        needs = bool(experiment.needs_privileged)
        spec = spec_of(experiment.env, experiment.num_envs, privileged=needs)
    with building("agent"):
        agent = experiment.agent.build(spec, seed=experiment.seed, device=torch_device)
        bonus = experiment.bonus.build(spec, seed=experiment.seed, device=torch_device)
    with loading(run.folder):
        state = run.checkpoints.load(
            lambda state: {
                "agent": without_buffers(agent, state["agent"]),
                "bonus": without_buffers(bonus, state["bonus"]),
                "step": state["step"],
            }
        )
        if state is None:
            raise UsageError(f"{run.folder} has no checkpoint yet; train it first.")
        restore(agent, state["agent"], "agent")
        restore(bonus, state["bonus"], "bonus")
        steps = check_count(state["step"], "step")
    return experiment, agent, bonus, steps
