"""Learning in imagination alone, in rounds: record play, fit the predictor, train in it, repeat.

The main loop of Kaiser et al. 2020 ("Model-Based Reinforcement Learning for Atari", Algorithm 1).
Random play is recorded first, and then play of the agent that the rounds before have trained, so
that the predictor learns what a better policy sees. Every stage is a recording or a run of its own,
which an interrupted command continues.
"""

import shutil
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from ...agents.interface import Policy
from ...envs.batched_env import spec_of
from ...envs.checks import at_least, check, within
from ...envs.errors import UsageError
from ...world_models.interface import PredictorConfig
from ...world_models.prediction.feedforward import SMALL
from ..config.experiment import Experiment
from ..config.serialization import encode, with_defaults
from ..datasets.collect import collect
from ..datasets.writer import MANIFEST
from ..evaluation.evaluate import random_policy
from ..evaluation.run_evaluation import Evaluation, evaluate_run
from ..evaluation.trained_agent import load
from ..runs.config_differences import config_differences
from ..runs.files import FORMAT, check_format, read_json, write_json
from ..runs.folder_lock import locked
from ..runs.part_errors import building
from ..runs.run import Run
from ..runs.runtime import pick_device, pick_threads
from ..runs.scores import find_scores, scores_file
from ..sessions.options import PretrainOptions, RunOptions, TrainOptions
from ..text.formatting import format_number, with_error
from .imagined_env import ImaginationConfig
from .predictors import PredictorPretraining
from .pretrain import pretrain
from .train import train

CONFIG, RESULTS = "imagine.json", "rounds.json"


@dataclass(frozen=True)
class ImagineOptions(RunOptions):
    """What each round records, fits and imagines, and how it is executed."""

    predictor: PredictorConfig = SMALL
    """The model of the next frame, reward and discount."""
    rounds: int = 5
    """Rounds of recording, fitting and training."""
    real_steps: int = 20_000
    """Agent steps of real play that a round records, over all envs."""
    epsilon: float = 0.05
    """Probability of a random action in recorded play of an agent, beside its own randomness."""
    num_real_envs: int = 8
    """Parallel real envs that are recorded."""
    kept_recordings: int = 5
    """Newest recordings that a predictor learns from; older ones are deleted."""
    num_updates: int = 5_000
    """Gradient steps of the predictor in a round; it goes on from the weights of the last round."""
    imagined_steps: int = 200_000
    """Agent steps of training in imagination in a round, over all imagined envs."""
    horizon: int = 50
    """Steps after which an imagined episode is truncated."""
    eval_episodes: int = 10
    """Whole real episodes that score the agent of a round."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check(self, "", at_least(1), "rounds", "real_steps", "num_real_envs", "kept_recordings")
        check(self, "", at_least(1), "num_updates", "imagined_steps", "horizon", "eval_episodes")
        check(self, "", within(0, 1), "epsilon")


def imagine(
    experiment: Experiment, folder: Path | str, options: ImagineOptions
) -> list[dict[str, Any]]:
    """Train an agent in rounds of imagination, or go on; return the result of each finished round.

    ``experiment`` has the real env; its length has no meaning. The folder of round i is
    ``round-i``, with ``recording``, ``predictor`` and ``agent``; the results are in
    ``rounds.json``. Raises UsageError if the folder holds other rounds, or if the agent needs what
    imagination lacks, and Interrupted if a signal ended a stage.
    """
    folder = Path(folder)
    if experiment.needs_privileged or experiment.needs_snapshots or experiment.agent.return_after:
        raise UsageError(
            "A part of this agent needs the true state or snapshots of the env, which imagination "
            "lacks; choose another part."
        )
    experiment = replace(experiment, total_timesteps=options.imagined_steps)
    deadline = time.monotonic() + 60 * options.max_minutes if options.max_minutes else None
    results: list[dict[str, Any]] = []
    _check_parts(experiment, folder, options)
    with locked(folder, "learning"):
        _check_config(experiment, folder, options)
        for number in range(1, options.rounds + 1):
            result = _Round(number, experiment, folder, options, deadline).execute()
            if result is None:
                print(f"Stopped in round {number}; the same command continues.")
                break
            results.append(result)
            write_json(folder / RESULTS, results)
            if not options.quiet:
                print(describe(result, options.rounds))
    return results


def describe(result: dict[str, Any], rounds: int) -> str:
    """Return the result of a round as a line."""
    imagined = result["imagined"]
    return (
        f"Round {result['round']} of {rounds}: {result['real_steps']:,} real steps, score "
        f"{with_error(result['score'], result['standard_error'])} "
        f"({result['episodes']} episodes)"
        f"{'' if imagined is None else f', {format_number(imagined)} in imagined ones'}"
    )


@dataclass(frozen=True)
class _Round:
    number: int
    experiment: Experiment
    root: Path
    options: ImagineOptions
    deadline: float | None

    def folder(self, stage: str, number: int | None = None) -> Path:
        return self.root / f"round-{number or self.number}" / stage

    def execute(self) -> dict[str, Any] | None:
        """Do what is left of the round; return None if the time is up first."""
        self._delete_old_recordings()
        self._record()
        fitted = PretrainOptions(**self._common())
        if not _is_finished(pretrain(self.pretraining(), self.folder("predictor"), fitted)):
            return None
        options = TrainOptions(**self._common(), log_every=self.options.log_every)
        run = train(self._training(), self.folder("agent"), options)
        return self._result(run) if _is_finished(run) else None

    def _delete_old_recordings(self) -> None:
        """Delete what neither this round learns from nor the agent of the last one starts in."""
        for number in range(1, self.number - self.options.kept_recordings):
            shutil.rmtree(self.folder("recording", number), ignore_errors=True)

    def _record(self) -> None:
        """Record play of the agent of the last round, or random play, unless it has been."""
        options, folder, env = self.options, self.folder("recording"), self.experiment.env
        if (folder / MANIFEST).exists():
            return
        seed, device = self.experiment.seed + self.number, str(pick_device(options.device))
        policy: Policy = random_policy(env, seed)
        name, epsilon = "random", 0.0
        if self.number > 1:
            name, epsilon = f"round-{self.number - 1}", options.epsilon
            _, policy = load(self.folder("agent", self.number - 1), device=device)
        collect(
            policy,
            env,
            folder,
            frames=options.real_steps,
            epsilon=epsilon,
            name=name,
            seed=seed,
            num_envs=options.num_real_envs,
            device=device if self.number > 1 else "cpu",
            threads=pick_threads(options.threads),
            imports=options.imports,
        )

    def pretraining(self) -> PredictorPretraining:
        """Return the job of the predictor; raises UsageError for one that cannot learn."""
        options = self.options
        oldest = max(1, self.number - options.kept_recordings + 1)
        data = (self.folder("recording", i) for i in range(oldest, self.number + 1))
        spec = spec_of(self.experiment.env)
        return PredictorPretraining(
            data=tuple(data),
            predictor=options.predictor,
            stack=spec.obs_shape[0] // spec.channels,
            num_updates=options.num_updates,
            seed=self.experiment.seed,
            init_from=self.folder("predictor", self.number - 1) if self.number > 1 else None,
        )

    def _training(self) -> Experiment:
        env = ImaginationConfig(run=self.folder("predictor"), horizon=self.options.horizon)
        before = self.folder("agent", self.number - 1) if self.number > 1 else None
        return replace(self.experiment, env=env, init_from=before or self.experiment.init_from)

    def _common(self) -> dict[str, Any]:
        """Return the options of a stage."""
        names = ("imports", "device", "threads", "precision", "compile", "track", "quiet")
        left = 0.0 if self.deadline is None else (self.deadline - time.monotonic()) / 60
        common = {name: getattr(self.options, name) for name in (*names, "checkpoint_minutes")}
        return common | {"max_minutes": max(left, 1e-9) if self.deadline else 0.0}

    def _result(self, run: Run) -> dict[str, Any]:
        """Return the scores in the real env, which is played unless it has been, and others."""
        options = self.options
        scores = find_scores(run.folder / scores_file(stochastic=False))
        if scores is None or scores.episodes != options.eval_episodes:
            evaluation = Evaluation(episodes=options.eval_episodes)
            (scores,) = evaluate_run(
                run.folder, evaluation, device=options.device, threads=options.threads
            )
        return {
            "round": self.number,
            "real_steps": self.number * options.real_steps,
            "imagined_steps": self.number * options.imagined_steps,
            "score": scores.mean,
            "standard_error": scores.standard_error,
            "episodes": scores.episodes,
            "imagined": run.last_line("metrics.jsonl").get("charts/mean_episodic_return"),
        }


def _check_parts(experiment: Experiment, folder: Path, options: ImagineOptions) -> None:
    """Build the predictor and the agent, which may refuse the env, before a file is written."""
    job = _Round(1, experiment, folder, options, None).pretraining()
    spec = spec_of(experiment.env, experiment.num_envs)
    settings: dict[str, Any] = {"seed": experiment.seed, "device": pick_device(options.device)}
    with building("predictor"):
        job.predictor.build_for(spec, **settings)
    with building("agent"):
        experiment.agent.build(spec, **settings)


def _is_finished(run: Run) -> bool:
    """Return whether a stage has ended; raises Interrupted if a signal ended the session."""
    run.raise_interrupted()
    return run.finished


def _check_config(experiment: Experiment, folder: Path, options: ImagineOptions) -> None:
    """Store what is learned; raises UsageError if the folder holds something else.

    More rounds may be asked for later.
    """
    execution = {"class", "rounds", *(x.name for x in fields(RunOptions))}

    def settings(of: ImagineOptions) -> dict[str, Any]:
        return {x: y for x, y in encode(of, folder).items() if x not in execution}

    config = settings(options) | {"experiment": encode(experiment, folder)}
    path = folder / CONFIG
    if not path.exists():
        write_json(path, {"format": FORMAT} | config)
    stored = read_json(path)
    check_format(path, stored.pop("format", None), "begin in another folder")
    complete = settings(ImagineOptions()) | with_defaults(stored)
    if differing := config_differences(complete, config):
        raise UsageError(
            f"The folder {folder} holds other rounds ({'; '.join(differing)}); choose another with "
            "--folder."
        )
