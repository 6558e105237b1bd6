"""Evaluation: whole episodes in separate envs, with the protocol beside the score."""

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
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ..config.experiment import Experiment
from ..config.serialization import read_experiment
from ..runs.provenance import code_version
from ..runs.run import Run, building, loading
from ..runs.runtime import interrupts, pick_device
from ..runs.scores import Scores, scores_file
from ..runs.state_checks import check_count, restore
from .episodes import Episodes
from .plan_drawings import draw_episode, with_plan
from .plans import PlanTrace
from .screen import screen_of
from .video import Video


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

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "episodes")


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
    video: Path | None = None,
    figure: Path | None = None,
    privileged: bool = False,
) -> Scores:
    """Play ``episodes`` whole episodes with the greedy policy and the protocol's epsilon.

    With ``stochastic`` the agent acts as in training instead (PPO samples from its policy), and
    the protocol's epsilon, which is for deterministic policies, is 0. Every env has a fixed quota
    of episodes, so that short episodes are not favored. ``video`` is the path of a video of one
    episode and ``figure`` that of a figure of its plans, if the policy has a planner. With
    ``privileged`` the envs offer their true state (see ``TimeStep``). SIGINT and SIGTERM end the
    evaluation after the current timestep with KeyboardInterrupt.

    Example::

        scores = evaluate(agent, AtariConfig("ms_pacman"), episodes=30)
        print(scores.mean, scores.standard_error)
    """
    if episodes < 1 or num_envs < 1:
        raise UsageError(f"episodes is {episodes} and num_envs {num_envs}; both must be 1 or more.")
    n = min(num_envs, episodes)
    quota = [episodes // n + (i < episodes % n) for i in range(n)]
    envs = BatchedEnv(
        env.build(n, threads=threads, privileged=privileged),
        seed=seed,
        purpose=prng.Purpose.EVAL,
        device=pick_device(device),
    )
    epsilon = 0.0 if stochastic else env.eval_epsilon
    behavior = EpsilonGreedy(policy, envs.spec.num_actions, epsilon)
    names = env.action_names(envs.spec.num_actions)
    tracker, trace, start_digests = Episodes(n), PlanTrace(), set[int]()
    counted: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    # Emulators that are left open, or amid a step, abort the process when it exits.
    with interrupts() as interrupted, closing(envs):
        recorder = Video(video, with_plan(screen_of(envs), trace, names)) if video else None
        carry = behavior.initial(n)
        carry["rng"] = prng.initial_rng(seed, prng.Purpose.EVAL, n).to(envs.device)
        start = envs.reset(), carry
        for t in interact(envs, behavior, explore=stochastic, start=start):
            for i in t.step.first.nonzero()[:, 0].tolist():
                if len(counted[i]) < quota[i]:
                    start_digests.add(int(frame_digest(t.step.obs[i : i + 1])))
            tracker.update(t)
            trace.update(t)
            if recorder:
                recorder.update(t)
            for episode in tracker.pop():
                i = episode["env"]
                if len(counted[i]) < quota[i]:
                    counted[i].append(episode)
            if interrupted or [*map(len, counted)] == quota:
                break
    if interrupted:
        raise KeyboardInterrupt
    if figure and trace.timesteps:
        draw_episode(trace.timesteps, names, f"{env.env_name}, evaluation seed {seed}", figure)
    finished = [episode for env_episodes in counted for episode in env_episodes]
    return Scores(
        env_name=env.env_name,
        suite=env.suite,
        protocol=env.protocol_label,
        epsilon=epsilon,
        seed=seed,
        distinct_starts=len(start_digests),
        scores=tuple(episode["score"] for episode in finished),
        lengths=tuple(episode["length"] for episode in finished),
        stochastic=stochastic,
    )


def random_policy(env: EnvConfig, seed: int = 0) -> RandomPolicy:
    """Return the uniformly random policy of an env."""
    return RandomPolicy(spec_of(env).num_actions, seed)


def random_play(
    env: EnvConfig, *, episodes: int, seed: int = 0, num_envs: int = 32, threads: int = 0
) -> Scores:
    """Return the scores of the uniformly random policy in an env, under its protocol."""
    policy = random_policy(env, seed)
    return evaluate(
        policy, env, episodes=episodes, seed=seed, num_envs=num_envs, device="cpu", threads=threads
    )


def evaluate_run(
    folder: Path | str,
    evaluation: Evaluation = Evaluation(),  # frozen
    *,
    seed: int = 0,
    num_envs: int = 32,
    device: torch.device | str = "auto",
    threads: int = 0,
) -> list[Scores]:
    """Evaluate a run's last checkpoint in its ``eval_env`` and write the scores into its folder.

    Returns the scores under each protocol. A file is named by ``scores_file``, with an empty
    protocol for the run's own, and holds the checkpoint's agent steps and the commit of the code.
    """
    run, results = Run(folder), []
    experiment, agent, _, steps = load_trained(folder, device=str(device))
    own_env = experiment.env.eval_env
    for protocol in evaluation.protocols or ("",):
        env, suffix = with_protocol(own_env, protocol), f"-{protocol}" if protocol else ""
        scores = evaluate(
            agent,
            env,
            episodes=evaluation.episodes,
            seed=seed,
            num_envs=num_envs,
            device=device,
            threads=threads,
            stochastic=evaluation.stochastic,
            video=evaluation_video(run, protocol) if evaluation.video else None,
            figure=run.folder / "figures" / f"plan{suffix}.png",
            privileged=bool(experiment.needs_privileged),
        )
        results.append(replace(scores, steps=steps, **code_version()))
        name = scores_file("" if env is own_env else protocol, stochastic=evaluation.stochastic)
        run.write_json(name, results[-1].to_json())
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
    """Return a run's experiment, and its agent restored from the last checkpoint."""
    experiment, agent, _, _ = load_trained(folder, device=device)
    return experiment, agent


def load_trained(
    folder: Path | str, *, device: str = "auto"
) -> tuple[Experiment, Agent, Bonus, int]:
    """Return a run's experiment, its agent and bonus, and its agent steps, at the last checkpoint.

    Raises UsageError if there is no checkpoint, or one of another config or version.
    """
    run, torch_device = Run(folder), pick_device(device)
    experiment = read_experiment(folder)
    state = run.checkpoints.load()
    if state is None:
        raise UsageError(f"{run.folder} has no checkpoint yet; train it first.")
    with building("env"):
        needs = bool(experiment.needs_privileged)
        spec = spec_of(experiment.env, experiment.num_envs, privileged=needs)
    with building("agent"):
        agent = experiment.agent.build(spec, seed=experiment.seed, device=torch_device)
        bonus = experiment.bonus.build(spec, seed=experiment.seed, device=torch_device)
    with loading(run.folder):
        restore(agent, state["agent"], "agent")
        restore(bonus, state["bonus"], "bonus")
        steps = check_count(state["step"], "step")
    return experiment, agent, bonus, steps
