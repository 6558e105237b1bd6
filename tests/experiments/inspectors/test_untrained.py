"""What is shown as untrained: parts without an update, until their first one."""

from itertools import islice

import pytest

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.experiments.inspectors.learned_parts import parts_of, untrained_reason
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.prediction.mlp import MLPPredictorConfig
from reverie.world_models.representation.variational import VariationalConfig

from play_fixtures import build_session
from sample_agents import LAW_AGENTS, shortened


@pytest.mark.parametrize("name", LAW_AGENTS)
def test_an_agent_is_untrained_until_it_has_learned(name: str) -> None:
    """Of every agent of the table; playing does not train it."""
    session = build_session(shortened(LAW_AGENTS[name]), timesteps=0)
    agent = session.setup.parts[0]
    assert session.view.untrained
    assert session.step()
    reasons = session.view.untrained
    assert all(" yet" in reason for reason in reasons)
    envs = BatchedEnv(CatchConfig().build(2), seed=1)
    for t in islice(interact(envs, agent), 600):
        agent.learn(t)
        if not any(map(untrained_reason, parts_of(agent))):
            break
    envs.close()
    assert session.step()
    assert session.view.untrained == ()
    session.close()


def test_models_are_untrained_until_their_first_update() -> None:
    predictor = MLPPredictorConfig().build(obs_shape=(1, 10, 5), num_actions=3, seed=0)
    session = build_session(predictor=predictor)
    assert session.mode == "dream"
    assert "has made no update yet" in session.view.untrained[0]
    small = VariationalConfig(VAEConfig(size=4))
    assert untrained_reason(small.build(obs_shape=(1, 10, 5), seed=1))


def test_a_density_learns_during_play() -> None:
    spec = BatchedEnv(CatchConfig().build(1)).spec
    session = build_session(bonus=PseudoCountConfig().build(spec))
    assert "has learned no frame yet" in session.view.untrained[0]
    assert session.step()
    assert session.step()
    assert session.view.untrained == ()


def test_a_random_policy_is_not_untrained() -> None:
    assert build_session().view.untrained == ()
