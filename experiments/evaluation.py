"""Evaluation: whole episodes on streams of their own, with the protocol beside the score."""

import math
import statistics
from collections.abc import Mapping
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from agents.bonus import Bonus
from agents.interface import Agent, Policy
from agents.loop import interact
from agents.policies import EpsilonGreedy, RandomPolicy
from envs import dice
from envs.atari import AtariConfig
from envs.digest import frame_digest
from envs.errors import UsageError
from envs.games import HUMAN_RANDOM_TABLE, human_normalised, near_names
from envs.interface import EnvConfig
from envs.protocol import PROTOCOLS
from envs.stream import Stream, spec_of
from experiments.config import Experiment
from experiments.machine import interrupts, pick_device
from experiments.plans import PlanTrace, with_plan
from experiments.run import Run, building, fitting
from experiments.states import check_tick, restore
from experiments.trackers import Episodes, Video, screen_of


@dataclass(frozen=True)
class Scores:
    """Raw scores of whole episodes, and what they mean."""

    world: str
    protocol: str
    epsilon: float
    seed: int
    distinct_starts: int
    scores: list[float]
    """Game points, one an episode."""
    lengths: list[int]
    """Agent steps."""
    explore: bool = False
    """Whether the agent explored as in training."""

    @property
    def mean(self) -> float:
        return statistics.fmean(self.scores)

    @property
    def standard_error(self) -> float | None:
        """Of the mean over episodes; None for one episode."""
        if len(self.scores) < 2:
            return None
        return statistics.stdev(self.scores) / math.sqrt(len(self.scores))

    def summary(self) -> dict[str, Any]:
        """Everything, and the numbers people read first."""
        normalised = human_normalised(self.world, self.mean)
        return {
            "mean": self.mean,
            "median": statistics.median(self.scores),
            "standard_error": self.standard_error,
            "min": min(self.scores),
            "max": max(self.scores),
            "episodes": len(self.scores),
            "human_normalised": normalised,
            "human_random_table": HUMAN_RANDOM_TABLE if normalised is not None else None,
            **asdict(self),
        }

    def __str__(self) -> str:
        s = self.summary()
        error = "" if self.standard_error is None else f" ± {self.standard_error:,.1f} (s.e.)"
        lines = [
            f"{self.world}: mean {self.mean:,.1f}{error}  median {s['median']:,.1f}  "
            f"min {s['min']:,.1f}  max {s['max']:,.1f}  "
            f"over {_plural(len(self.scores), 'episode')} "
            f"from {_plural(self.distinct_starts, 'distinct start')}",
            f"  protocol {conditions(s)}, epsilon {self.epsilon:g}, evaluation seed {self.seed}",
        ]
        if s["human_normalised"] is not None:
            lines.append(
                f"  human-normalised {s['human_normalised']:.3f} (0 random, 1 human; "
                f"table: {HUMAN_RANDOM_TABLE})"
            )
        return "\n".join(lines)


@torch.no_grad()
def evaluate(
    policy: Policy,
    env: EnvConfig,
    *,
    episodes: int = 30,
    seed: int = 0,
    streams: int = 32,
    device: torch.device | str = "auto",
    threads: int = 0,
    explore: bool = False,
    video: Path | None = None,
    figure: Path | None = None,
) -> Scores:
    """Play ``episodes`` whole episodes without exploring, but for the protocol's epsilon.

    With ``explore`` the agent acts as in training instead, by its own chance alone: an
    actor-critic draws from its policy, and the protocol's epsilon, which is for players that
    have none, is left out.
    Every stream has a fixed quota of episodes, so that short ones are not favoured. Video and
    figure are of one episode; the figure is of its plans, if the policy has any. Ctrl-C and
    SIGTERM end it after the current tick, as KeyboardInterrupt.
    """
    if episodes < 1 or streams < 1:
        raise UsageError(f"episodes is {episodes} and streams {streams}; both must be 1 or more.")
    n = min(streams, episodes)
    quota = [episodes // n + (stream < episodes % n) for stream in range(n)]
    stream = Stream(
        env.build(n, threads=threads), seed=seed, purpose="eval", device=pick_device(device)
    )
    epsilon = 0.0 if explore else env.eval_epsilon
    player = EpsilonGreedy(policy, stream.spec.num_actions, epsilon)
    names = env.action_names(stream.spec.num_actions)
    trace = PlanTrace(names) if figure else None
    tracker, starts = Episodes(n), set[int]()
    finished: list[list[dict[str, Any]]] = [[] for _ in range(n)]
    # Emulators that are left open, or in the middle of a tick, abort the process at its end.
    with interrupts() as interrupted, closing(stream):
        film = Video(video, with_plan(screen_of(stream), names)) if video else None
        memory = player.initial(n)
        memory["dice"] = dice.keys(seed, "eval", n).to(stream.device)
        start = stream.reset(), memory
        for t in interact(stream, player, explore=explore, start=start):
            for i in t.step.first.nonzero()[:, 0].tolist():
                if len(finished[i]) < quota[i]:
                    starts.add(int(frame_digest(t.step.obs[i : i + 1])))
            tracker.update(t)
            for watcher in (film, trace):
                if watcher:
                    watcher.update(t)
            for episode in tracker.pop():
                mine = finished[episode["stream"]]
                if len(mine) < quota[episode["stream"]]:
                    mine.append(episode)
            whole = all(len(mine) == due for mine, due in zip(finished, quota, strict=True))
            if whole or interrupted:
                break
    if interrupted:
        raise KeyboardInterrupt
    if trace and figure:
        trace.draw(figure, f"{env.title}, evaluation seed {seed}")
    played = [episode for mine in finished for episode in mine]
    return Scores(
        world=env.title,
        protocol=env.protocol_label,
        epsilon=epsilon,
        seed=seed,
        distinct_starts=len(starts),
        scores=[episode["score"] for episode in played],
        lengths=[episode["length"] for episode in played],
        explore=explore,
    )


def random_policy(env: EnvConfig, seed: int = 0) -> RandomPolicy:
    """Uniform play of a world."""
    return RandomPolicy(spec_of(env).num_actions, seed)


def random_play(
    env: EnvConfig, *, episodes: int, seed: int = 0, streams: int = 32, threads: int = 0
) -> Scores:
    """Scores of uniform play in a world, under its protocol."""
    policy = random_policy(env, seed)
    return evaluate(
        policy, env, episodes=episodes, seed=seed, streams=streams, device="cpu", threads=threads
    )


def evaluate_run(
    folder: Path | str,
    *,
    protocol: str = "",
    episodes: int = 30,
    seed: int = 0,
    streams: int = 32,
    device: torch.device | str = "auto",
    threads: int = 0,
    explore: bool = False,
    video: Path | None = None,
    figure: Path | None = None,
) -> Scores:
    """Play a run's final checkpoint in its world's ``evaluation``; the scores stay in the folder.

    They are ``scores.json``, or ``scores-NAME.json`` under a protocol not its own, and
    ``-exploring`` where they explored; ``steps`` says which checkpoint was played.
    """
    experiment, agent, _, steps = load_trained(folder, device=str(device))
    world = experiment.env.evaluation
    env = under(world, protocol) if protocol else world
    scores = evaluate(
        agent,
        env,
        episodes=episodes,
        seed=seed,
        streams=streams,
        device=device,
        threads=threads,
        explore=explore,
        video=video,
        figure=figure,
    )
    name = scores_file("" if env is world else protocol, explore)
    Run(folder).write_json(name, scores.summary() | {"steps": steps})
    return scores


def scores_file(protocol: str = "", explore: bool = False) -> str:
    """Where a run keeps its scores under a protocol, which is its own where none is named."""
    return "-".join(["scores", *filter(None, [protocol, "exploring" * explore])]) + ".json"


def conditions(scores: Mapping[str, Any]) -> str:
    """What a summary's numbers may be compared under: a protocol, and whether agents explored."""
    return str(scores["protocol"]) + ", as in training" * bool(scores.get("explore"))


def under(env: EnvConfig, protocol: str) -> EnvConfig:
    """A game under a named protocol, as an agent of this one can play it.

    What the agent sees and presses stays (format, skip, action set); stickiness, starts, FIRE,
    lives, cap and epsilon are the named one's. The label of the protocol says all of that.
    """
    if not isinstance(env, AtariConfig):
        raise UsageError(f"{env.title} has one protocol, its own; --protocols is for Atari games.")
    if protocol not in PROTOCOLS:
        hint = near_names(protocol, PROTOCOLS) or f" There are {', '.join(PROTOCOLS)}."
        raise UsageError(f"There is no protocol '{protocol}'.{hint}")
    if protocol == env.protocol.name:
        return env
    interface = ("full_actions", "skip", "maxpool", "stack", "height", "width", "grey")
    kept: dict[str, Any] = {name: getattr(env.protocol, name) for name in interface}
    return replace(env, protocol=replace(PROTOCOLS[protocol], **kept))


def load(folder: Path | str, *, device: str = "auto") -> tuple[Experiment, Agent]:
    """A run's experiment, and its agent as the last checkpoint knows it."""
    experiment, agent, _, _ = load_trained(folder, device=device)
    return experiment, agent


def load_trained(
    folder: Path | str, *, device: str = "auto"
) -> tuple[Experiment, Agent, Bonus, int]:
    """A run's experiment, its agent and bonus as the last whole checkpoint knows them, and the
    agent steps of that checkpoint.
    """
    run, where = Run(folder), pick_device(device)
    experiment = run.experiment()
    state = run.load()
    if state is None:
        raise UsageError(f"{run.folder} has no checkpoint yet; train it first.")
    with building("world"):
        spec = spec_of(experiment.env, experiment.streams)
    with building("agent"):
        agent = experiment.agent.build(spec, seed=experiment.seed, device=where)
        bonus = experiment.bonus.build(spec, seed=experiment.seed, device=where)
    with fitting(run.folder):
        restore(agent, state["agent"], "agent")
        restore(bonus, state["bonus"], "bonus")
        done = check_tick(state["tick"]) * experiment.streams
    return experiment, agent, bonus, experiment.agent.steps_spent + done


def _plural(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"
