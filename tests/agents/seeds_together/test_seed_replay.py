"""A replay of several seeds stores and samples, for each seed, what its own buffer would."""

from dataclasses import fields, replace
from itertools import islice

import pytest
import torch

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.agents.replay import Batch, Replay
from reverie.agents.seeds_together.seed_replay import SeedReplay
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Transition, concat_timesteps
from reverie.envs.maze import MazeConfig

SEEDS, ENVS = 2, 3
ENV = MazeConfig(rooms=3, view=3, max_episode_steps=12)


@pytest.mark.parametrize("monte_carlo", [False, True])
def test_each_seed_samples_what_its_own_buffer_would(monte_carlo: bool) -> None:
    """Episodes of many lengths, in a ring that is filled several times; joined in the middle."""
    envs = [BatchedEnv(ENV.build(ENVS), seed=seed) for seed in range(SEEDS)]
    settings = {"capacity": 90, "gamma": 0.9, "n_step": 2, "monte_carlo": monte_carlo}
    alone, own = (
        [Replay(x.spec, seed=seed, **settings) for seed, x in enumerate(envs)]  # type: ignore[arg-type]
        for _ in range(2)
    )
    loops = [interact(x, RandomPolicy(4, seed)) for seed, x in enumerate(envs)]
    joint, spec = None, envs[0].spec
    for timestep, each in enumerate(islice(zip(*loops, strict=True), 100)):
        for replay, t in zip(alone, each, strict=True):
            replay.append(t, t.next_step.reward.float())
        if timestep < 10:
            for replay, t in zip(own, each, strict=True):
                replay.append(t, t.next_step.reward.float())
            continue
        joint = joint or SeedReplay(own, replace(spec, num_envs=SEEDS * ENVS))
        t = joined(each)
        joint.append(t, t.next_step.reward.float())
        seeds = [i for i, replay in enumerate(alone) if len(replay)]
        assert joint.sizes.tolist() == [len(replay) for replay in alone]
        if seeds:
            batch = joint.gather(joint.sample_ranks(4, seeds, joint.sizes))
            expected = [alone[i].sample(4) for i in seeds]
            assert columns(batch) == columns(*expected)
    assert joint
    joint.share()
    for a, b in zip(alone, own, strict=True):
        states = [
            {name: torch.as_tensor(x) for name, x in state.items() if name != "padding"}
            for state in (a.state_dict(), b.state_dict())
        ]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(x, states[1][name]) for name, x in states[0].items())


def joined(each: tuple[Transition, ...]) -> Transition:
    steps, next_steps = ([getattr(t, name) for t in each] for name in ("step", "next_step"))
    action, bonus = (torch.cat([getattr(t, x) for t in each]) for x in ("action", "bonus"))
    return Transition(
        concat_timesteps(steps), {}, action, {}, concat_timesteps(next_steps), {}, bonus
    )


def columns(*batches: Batch) -> dict[str, list[float]]:
    return {
        x.name: torch.cat([getattr(batch, x.name) for batch in batches]).flatten().tolist()
        for x in fields(Batch)
    }
