"""Every agent is recorded as it acts in training, and with ``greedy`` as it is evaluated."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.go_explore import GoExploreConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.mpc import MPCConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.experiments.datasets.collect import collect
from reverie.world_models.planning import PLANNERS
from reverie.world_models.planning.reactive import Reactive

from sample_agents import LAW_AGENTS, MFEC_VAE, PLANNER_EXAMPLES, SMALL_PPO

N, TIMESTEPS = 4, 24
CONFIGS = {name: x for name, x in LAW_AGENTS.items() if x is not MFEC_VAE} | {
    f"ppo-{name}": replace(SMALL_PPO, planner=PLANNER_EXAMPLES.get(name, planner()))
    for name, planner in PLANNERS.items()
    if not planner.needs_privileged
}


@pytest.mark.parametrize("config", CONFIGS.values(), ids=CONFIGS)
def test_actions_are_those_of_the_loop_in_training_or_in_evaluation(
    tmp_path: Path, config: AgentConfig
) -> None:
    if isinstance(config, MFECConfig):  # which explores seldom by default
        config = replace(config, epsilon=0.5)
    recorded = {}
    for greedy in (False, True):
        envs = BatchedEnv(CatchConfig().build(N), purpose=prng.Purpose.COLLECT)
        agent = config.build(envs.spec, seed=1)
        carry = agent.initial(N)
        carry["rng"] = prng.initial_rng(0, prng.Purpose.COLLECT, N)
        loop = interact(envs, agent, explore=not greedy, start=(envs.reset(), carry))
        expected = torch.stack([t.action for t in islice(loop, TIMESTEPS - 1)])
        data = collect(
            agent, CatchConfig(), tmp_path / str(greedy), frames=N * TIMESTEPS, num_envs=N,
            greedy=greedy,
        )  # fmt: skip
        recorded[greedy] = data.columns["action"].view(TIMESTEPS, N)[:-1].long()
        assert torch.equal(recorded[greedy], expected)
    if not isinstance(config, MPCConfig | GoExploreConfig):  # random until they have learned
        assert not torch.equal(recorded[False], recorded[True])


def test_the_recorded_share_of_each_action_is_its_probability(tmp_path: Path) -> None:
    """PPO samples from logits that are constant here; by argmax it takes the first action."""
    agent = PPOConfig(network=MLPConfig()).build(BatchedEnv(CatchConfig().build(N)).spec)
    planner, probs = agent.network.planner, torch.tensor([0.6, 0.3, 0.1])
    assert isinstance(planner, Reactive)
    torch.nn.init.zeros_(planner.action_head.weight)
    planner.action_head.bias.data = probs.log()
    for greedy, expected in ((False, probs), (True, torch.tensor([1.0, 0.0, 0.0]))):
        folder = tmp_path / str(greedy)
        recording = collect(agent, CatchConfig(), folder, frames=1600, num_envs=N, greedy=greedy)
        shares = torch.bincount(recording.columns["action"].long(), minlength=3) / len(recording)
        assert torch.allclose(shares, expected, atol=0.06)
