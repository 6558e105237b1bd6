"""What is played: the game, the policy that acts in it, and the parts that are inspected."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ...agents.interface import Policy
from ...agents.policies import EpsilonGreedy, RandomPolicy
from ...envs.errors import UsageError
from ...world_models.interface import Predictor, SnapshotPredictor
from ..config.serialization import read_job
from ..datasets.writer import Manifest
from ..evaluation.trained_agent import load_trained
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

    Raises UsageError if a folder holds no run, if the agent does not fit the predictor's env, or
    if a game is missing.
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
    predictor = model if isinstance(job, PredictorPretraining) else None
    if not agent:
        game = Game(env, seed=seed)
        policy = RandomPolicy(game.spec.num_actions, seed)
        return PlaySetup(str(folder), game, "random policy", policy, (model,), predictor)
    agent_setup = _load_agent(Path(agent), seed, device)
    game = agent_setup.game
    if predictor is not None and (
        game.spec.obs_shape != predictor.obs_shape
        or game.spec.num_actions != predictor.num_actions
        or game.env_name != env.env_name
    ):
        game.close()
        raise UsageError(
            f"--agent {agent} was trained on {game.env_name} with {game.spec.num_actions} actions "
            f"and observations of shape {game.spec.obs_shape}, but the predictor in {folder} on "
            f"{env.env_name} with {predictor.num_actions} actions and observations of shape "
            f"{predictor.obs_shape}; choose an --agent whose env, actions and shape are the same."
        )
    parts = (*agent_setup.parts, model)
    return replace(agent_setup, run=str(folder), parts=parts, predictor=predictor)


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
