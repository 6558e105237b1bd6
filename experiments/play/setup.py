"""What is played: the game, the policy that acts in it, and the parts that are inspected."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agents.bonuses.density_bonus import DensityBonusConfig
from ...agents.interface import Policy
from ...agents.policies import EpsilonGreedy, RandomPolicy
from ...envs.batched_env import spec_of
from ...envs.errors import UsageError
from ...envs.interface import EnvConfig
from ...world_models.interface import Density, Predictor, SnapshotPredictor
from ...world_models.precision import FLOAT32
from ..config.serialization import read_job
from ..datasets.writer import Manifest
from ..evaluation.trained_agent import load_trained
from ..runs.run import Run
from ..training.densities import DensityPretraining
from ..training.predictors import PredictorPretraining
from ..training.pretrain import Pretraining, load_model
from ..training.representations import RepresentationPretraining
from .game import Game
from .learned_parts import PretrainedDensity


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
    env = Manifest.read(job.data[0]).env_with_stack(stack)
    if agent:
        setup = replace(_load_agent(Path(agent), seed, device), run=str(folder))
    else:
        game = Game(env, seed=seed)
        policy = RandomPolicy(game.spec.num_actions, seed)
        setup = PlaySetup(str(folder), game, "random policy", policy, ())
    try:
        if isinstance(job, PredictorPretraining):
            _check_predictor(setup, agent, model, env.env_name)
            setup = replace(setup, predictor=model)
        elif isinstance(job, DensityPretraining):
            model = _pretrained_density(setup, agent, job, model, env)
    except UsageError:
        setup.game.close()
        raise
    return replace(setup, parts=(*setup.parts, model))


def _check_predictor(setup: PlaySetup, agent: str, predictor: Predictor, env_name: str) -> None:
    """Raise UsageError if the agent plays another env than that of the predictor."""
    game = setup.game
    if (
        game.spec.obs_shape != predictor.obs_shape
        or game.spec.num_actions != predictor.num_actions
        or game.env_name != env_name
    ):
        raise UsageError(
            f"--agent {agent} was trained on {game.env_name} with {game.spec.num_actions} actions "
            f"and observations of shape {game.spec.obs_shape}, but the predictor in {setup.run} on "
            f"{env_name} with {predictor.num_actions} actions and observations of shape "
            f"{predictor.obs_shape}; choose an --agent whose env, actions and shape are the same."
        )


def _pretrained_density(
    setup: PlaySetup, agent: str, job: DensityPretraining, density: Density, env: EnvConfig
) -> PretrainedDensity:
    """Return a density with the preprocessing of frames; raises UsageError for an agent's other."""
    spec, recorded = setup.game.spec, spec_of(env)
    frame, learned = ((x.channels, *x.obs_shape[1:]) for x in (spec, recorded))
    if (setup.game.env_name, frame) != (env.env_name, learned):
        raise UsageError(
            f"--agent {agent} plays {setup.game.env_name} with frames of shape {frame}, but the "
            f"density in {setup.run} has learned {env.env_name} with frames of shape {learned}; "
            "choose an --agent whose env and frames are the same."
        )
    state = Run(setup.run).checkpoints.load(lambda state: {"frames": state["frames"]})
    config = DensityBonusConfig(job.density, resolution=job.resolution, levels=job.levels)
    frame_density = config.frame_density(spec, job.seed, "cpu", FLOAT32)
    frame_density.density = density
    frame_density.num_frames = state["frames"] if state else 0
    return PretrainedDensity(frame_density)


def _load_agent(folder: Path, seed: int, device: str) -> PlaySetup:
    experiment, agent, bonus, _ = load_trained(folder, device=device)
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
    return PlaySetup(str(folder), game, type(agent).__name__, policy, (agent, bonus), predictor)
