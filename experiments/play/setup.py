"""What is played: the game, the policy that acts in it, and the parts that are inspected."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agents.bonuses.density_bonus import DensityBonusConfig
from ...agents.interface import Policy
from ...agents.policies import EpsilonGreedy, RandomPolicy
from ...envs.batched_env import spec_of
from ...envs.errors import UsageError
from ...envs.interface import EnvSpec
from ...world_models.interface import Density, Predictor, SnapshotPredictor
from ...world_models.precision import FLOAT32
from ..config.serialization import read_job
from ..evaluation.trained_agent import load_trained
from ..inspectors.learned_parts import HasArchive, PretrainedDensity, ShownArchive
from ..runs.part_errors import loading
from ..runs.run import Run
from ..training.densities import DensityPretraining
from ..training.predictors import PredictorPretraining
from ..training.pretrain import Pretraining, load_model
from ..training.representations import RepresentationPretraining
from .game import Game


@dataclass(frozen=True)
class PlaySetup:
    """A game, its policy, and the parts that are inspected."""

    run: str
    game: Game
    player: str
    """Name of the policy on the page."""
    policy: Policy
    parts: tuple[Any, ...]
    """Agents, bonuses and other objects that ``INSPECTORS`` matches."""
    predictor: Predictor | None = None
    imported: bool = False
    """Whether a run came without optimizers, by which one tells whether a part has learned."""

    @property
    def no_dream_reason(self) -> str:
        """Why there is no dream; empty if there is a predictor."""
        if self.predictor is not None:
            return ""
        return (
            "This run has no learned predictor, so the dream mode is not available; play a run of "
            "reverie pretrain predictor:small or of reverie train dyna."
        )


def load_setup(
    folder: Path | str, *, agent: str = "", seed: int = 0, device: str = "auto"
) -> PlaySetup:
    """Load a run; ``agent`` names the run whose agent plays if the first is a pretraining.

    Raises UsageError if a folder holds no run, if the agent does not fit the env of a predictor or
    of a density, or if a game is missing.
    """
    job = read_job(folder)
    if not isinstance(job, Pretraining):
        if agent:
            raise UsageError(
                f"--agent {agent} cannot play {folder}, which has an agent of its own; remove "
                "--agent."
            )
        return _load_agent(Path(folder), seed, device)
    job, model = load_model(folder, device=device)
    stack = job.stack if isinstance(job, PredictorPretraining | RepresentationPretraining) else 1
    env = job.manifest.env_with_stack(stack)
    if agent:
        setup = replace(_load_agent(Path(agent), seed, device), run=str(folder))
    else:
        game = Game(env, seed=seed)
        policy = RandomPolicy(game.spec.num_actions, seed)
        setup = PlaySetup(str(folder), game, "random policy", policy, ())
    part, spec, here, learned = model, setup.game.spec, "", ""
    if isinstance(job, PredictorPretraining):
        setup = replace(setup, predictor=model)
        shapes = ((x.num_actions, x.obs_shape) for x in (spec, model))
        here, learned = (f"{x} actions and observations of shape {shape}" for x, shape in shapes)
    elif isinstance(job, DensityPretraining):
        part = _pretrained_density(Path(folder), job, model, spec)
        frames = ((x.channels, *x.obs_shape[1:]) for x in (spec, spec_of(env)))
        here, learned = map("frames of shape {}".format, frames)
    if learned and (here, setup.game.env_name) != (learned, env.env_name):
        setup.game.close()
        raise UsageError(
            f"--agent {agent} was trained on {setup.game.env_name} with {here}, but the {job.role} "
            f"in {folder} on {env.env_name} with {learned}; choose an --agent whose env, actions "
            "and shape are the same."
        )
    imported = setup.imported or _is_imported(Path(folder))
    return replace(setup, parts=(*setup.parts, part), imported=imported)


def _pretrained_density(
    folder: Path, job: DensityPretraining, density: Density, spec: EnvSpec
) -> PretrainedDensity:
    """Return a density with the preprocessing of its frames, and the number that it has learned."""
    config = DensityBonusConfig(job.density, resolution=job.resolution, levels=job.levels)
    frame_density = config.frame_density(spec, job.seed, "cpu", FLOAT32)
    frame_density.density = density
    state = Run(folder).checkpoints.load(lambda state: {"frames": state["frames"]})
    frame_density.num_frames = state["frames"] if state else 0
    return PretrainedDensity(frame_density)


def _load_agent(folder: Path, seed: int, device: str) -> PlaySetup:
    experiment, agent, bonus, _ = load_trained(folder, device=device)
    parts: tuple[Any, ...] = agent, bonus
    if isinstance(agent, HasArchive):
        _load_archive(folder, agent)
        parts = *parts, ShownArchive(agent, spec_of(experiment.env, snapshots=True).dynamics)
    env = experiment.env.eval_env
    game = Game(
        env,
        seed=seed,
        device=getattr(agent, "device", "cpu"),
        snapshots=experiment.needs_snapshots,
    )
    policy = EpsilonGreedy(agent, game.spec.num_actions, env.eval_epsilon)
    predictor = agent.simulator.predictor if hasattr(agent, "simulator") else None
    if isinstance(predictor, SnapshotPredictor):
        predictor = None  # the env itself, so a dream would show nothing
    name, imported = type(agent).__name__, _is_imported(folder)
    return PlaySetup(str(folder), game, name, policy, parts, predictor, imported)


def _is_imported(folder: Path) -> bool:
    state = Run(folder).checkpoints.load(lambda state: dict.fromkeys(state, 0))
    return state is not None and "random_state" not in state


def _load_archive(folder: Path, agent: HasArchive) -> None:
    """Load the archive, which the agent does not need to act, and which is shown."""
    with loading(folder):
        state = Run(folder).checkpoints.load(lambda state: {"archive": state["agent"]["archive"]})
        if state:
            agent.archive.load_state_dict(state["archive"])
