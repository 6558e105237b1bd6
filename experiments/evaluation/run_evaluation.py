"""Evaluation of trained runs: which protocols and episodes, and files of scores beside the run."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated, Any

import torch
from tyro.constructors import PrimitiveConstructorSpec

from ...envs.atari.atari import AtariConfig
from ...envs.atari.games import did_you_mean
from ...envs.atari.protocol import PROTOCOLS, AtariProtocol
from ...envs.checks import at_least, check
from ...envs.errors import RunError, UsageError
from ...envs.interface import EnvConfig
from ..config.config_file import description, read_value, typed_fields
from ..config.yaml_nodes import Node
from ..runs.files import to_json
from ..runs.outputs import check_writable, write_or_keep
from ..runs.provenance import code_version
from ..runs.run import Run
from ..runs.scores import Scores, scores_file
from .evaluate import MediaError, evaluate
from .trained_agent import load_trained


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


INTERFACE = ("full_actions", "skip", "maxpool", "stack", "height", "width", "grayscale")
"""Fields of a protocol that an evaluation leaves as they were in training."""


@dataclass(frozen=True)
class Evaluation:
    """What is played to score a trained agent, and what is recorded of it."""

    episodes: int = 30
    """Whole episodes to play under each protocol."""
    protocols: Names = ()
    """Protocols separated by commas, as in mfec,machado; by default the run's own, which ablate
    never leaves out. Settings follow a +, as in machado+sticky=0, or +eval-epsilon=0 for the run's
    own protocol without random actions."""
    stochastic: bool = False
    """Act as in training, without the protocol's epsilon; PPO samples from its policy."""
    video: bool = False
    """Write an MP4 of one episode under each protocol."""
    max_steps: int = 0
    """Agent steps after which an episode is cut off and scored as it stands; 0 for 27000, or an
    Atari protocol's own cap if that is larger."""

    def __post_init__(self) -> None:
        check(self, "", at_least(1), "episodes")
        check(self, "", at_least(0), "max_steps")


def evaluate_run(
    folder: Path | str,
    evaluation: Evaluation = Evaluation(),  # frozen
    *,
    seed: int | None = None,
    num_envs: int = 32,
    device: torch.device | str = "auto",
    threads: int = 0,
    show: Callable[[Scores], object] | None = None,
    tell: Callable[[str], object] | None = None,
) -> list[Scores]:
    """Evaluate a run's last checkpoint in its ``eval_env`` and write the scores into its folder.

    The evaluation's seed is the run's own by default, so that runs of different seeds play
    different episodes, and runs that differ in a part play the same. Returns the scores under each
    protocol; ``show`` is called with them before they are written,
    and ``tell`` with the progress. A file is named by ``scores_file``, with an empty protocol for
    the run's own, and holds the checkpoint's agent steps and the commit of the code. Raises
    UsageError, before the first step, if a file could not be written, and RunError, which says
    where the scores are, if writing one fails after all.
    """
    run, results, unwritten = Run(folder), list[Scores](), list[str]()
    experiment, agent, _, steps = load_trained(folder, device=str(device))
    own_env = experiment.env.eval_env
    seed = experiment.seed if seed is None else seed
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
                privileged=experiment.needs_privileged,
                snapshots=experiment.needs_snapshots,
                tell=tell,
            )
        except MediaError as error:
            scores = error.scores
            unwritten.append(str(error))
        results.append(
            replace(scores, steps=steps, resumes=run.inexact_resumes(steps), **code_version())
        )
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
    named protocol with the settings that follow its name, as in ``machado+sticky=0``, and the label
    lists the differences. Raises UsageError for an env that is no Atari game, an unknown protocol,
    or a setting that is unknown, of the interface or out of its range.
    """
    if not protocol:
        return env
    if not isinstance(env, AtariConfig):
        raise UsageError(
            f"{env.env_name} has only its own protocol; leave out --protocols, which is for Atari "
            "games."
        )
    name, *settings = protocol.split("+")
    if name not in ("", *PROTOCOLS):
        hint = did_you_mean(name, PROTOCOLS) or f" The protocols are {', '.join(PROTOCOLS)}."
        raise UsageError(f"Unknown protocol '{name}'.{hint}")
    found = env.protocol
    if name not in ("", found.name):
        unchanged: dict[str, Any] = {name: getattr(env.protocol, name) for name in INTERFACE}
        found = replace(PROTOCOLS[name], **unchanged)
    found = _with_settings(found, settings)
    return env if found == env.protocol else replace(env, protocol=found)


def _with_settings(protocol: AtariProtocol, settings: list[str]) -> AtariProtocol:
    """Return a protocol with settings like ``eval-epsilon=0`` or, of truth, ``life-loss``."""
    kinds = {x.name: kind for x, kind in typed_fields(protocol) if x.name not in INTERFACE}
    kinds.pop("name")
    values: dict[str, Any] = {}
    for setting in settings:
        flag, has_value, text = setting.partition("=")
        name = flag.replace("-", "_")
        if name not in kinds:
            raise UsageError(
                f"'{flag}' is no setting of a protocol that an evaluation can change; these are "
                f"{', '.join(kinds).replace('_', '-')}."
            )
        try:
            values[name] = read_value(Node(text if has_value else "true", 1), kinds[name])
        except (ValueError, LookupError) as error:
            raise UsageError(
                f"The setting {flag} of a protocol is '{text}'; it must be "
                f"{description(kinds[name])}."
            ) from error
    return replace(protocol, **values)
