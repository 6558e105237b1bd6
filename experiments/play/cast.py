"""Who can play a run, and what of it can be shown."""

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from agents.interface import Policy
from agents.policies import EpsilonGreedy, RandomPolicy
from envs.errors import UsageError
from experiments.evaluation import load_trained
from experiments.play.game import Game
from experiments.predictors import PredictorPretraining
from experiments.pretraining import Pretraining, load_model
from experiments.recorder import Manifest
from experiments.representations import RepresentationPretraining
from experiments.run import Run
from world_models.interface import Predictor, Representation


@dataclass(frozen=True)
class Cast:
    """A game, who plays it, and the parts that are looked into."""

    run: str
    game: Game
    player: str
    """What the player is called on the page."""
    policy: Policy
    parts: tuple[Any, ...]
    """Agents, bonuses and whatever else has insides."""
    predictor: Predictor | None
    why_no_dream: str
    """Empty where there is a predictor."""


@dataclass(frozen=True)
class _Fitted:
    """A representation without an agent."""

    representation: Representation


def cast(folder: Path | str, *, agent: str = "", seed: int = 0, device: str = "auto") -> Cast:
    """What is in a run folder; ``agent`` names another run, which plays where a run has no player.

    Raises UsageError for a folder that holds no run, an agent of another world, or a game whose
    ROM is missing.
    """
    job = Run(folder).job()
    if not isinstance(job, Pretraining):
        if agent:
            raise UsageError(f"{folder} has a player of its own; leave out --agent.")
        return _trained(Path(folder), seed, device)
    job, model = load_model(folder, device=device)
    stack = job.stack if isinstance(job, PredictorPretraining | RepresentationPretraining) else 1
    env = Manifest.read(Path(job.data[0])).world(stack)
    predictor = model if isinstance(job, PredictorPretraining) else None
    parts: tuple[Any, ...] = (_Fitted(model),) if isinstance(model, Representation) else ()
    if not agent:
        game = Game(env, seed=seed)
        policy: Policy = RandomPolicy(game.spec.num_actions, seed)
        return Cast(str(folder), game, "random play", policy, parts, predictor, _why(predictor))
    player = _trained(Path(agent), seed, device)
    if predictor is not None and (
        player.game.spec.obs_shape != predictor.obs_shape
        or player.game.spec.num_actions != predictor.num_actions
        or player.game.title != env.title
    ):
        player.game.close()
        raise UsageError(
            f"{agent} plays {player.game.title} with {player.game.spec.num_actions} actions and "
            f"looks {player.game.spec.obs_shape}; the predictor is of {env.title} with "
            f"{predictor.num_actions} and {predictor.obs_shape}. Name an agent of the same."
        )
    return replace(
        player,
        run=str(folder),
        parts=(*player.parts, *parts),
        predictor=predictor,
        why_no_dream=_why(predictor),
    )


def _trained(folder: Path, seed: int, device: str) -> Cast:
    experiment, agent, bonus, _ = load_trained(folder, device=device)
    env = experiment.env.evaluation
    where = getattr(agent, "device", "cpu")
    game = Game(env, seed=seed, device=where)
    policy = EpsilonGreedy(agent, game.spec.num_actions, env.eval_epsilon)
    predictor = agent.simulator.predictor if hasattr(agent, "simulator") else None
    return Cast(
        str(folder), game, type(agent).__name__, policy, (agent, bonus), predictor, _why(predictor)
    )


def _why(predictor: Predictor | None) -> str:
    if predictor is not None:
        return ""
    return (
        "This run has no predictor, so there is no dream to play in. A run of "
        "`reverie pretrain predictor:small` has one, and so has a trained dreamer."
    )
