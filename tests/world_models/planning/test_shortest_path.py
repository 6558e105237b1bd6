"""Shortest paths against the maze's own distances, and PPO that follows them."""

from dataclasses import replace
from itertools import islice
from pathlib import Path

import pytest
import torch

from reverie import Experiment, evaluate, load, train
from reverie.agents.loop import interact
from reverie.agents.rollout import select
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Transition
from reverie.envs.maze import MOVES, Maze, MazeConfig
from reverie.experiments.runs.run import Run
from reverie.experiments.training.train_together import train_together
from reverie.world_models.planning.shortest_path import (
    ShortestPathConfig,
    distances_to,
    next_move,
)

from sample_agents import OPTIONS, SMALL_PPO, batch_of, equal

LOOPS = MazeConfig(rooms=3, loops=0.5)
FOLLOWER = replace(SMALL_PPO, planner=ShortestPathConfig())


def test_distances_and_moves_are_those_of_the_maze() -> None:
    """Of several shortest paths the first move in the order up, right, down, left is taken."""
    env = Maze(64, LOOPS)
    env.reset(seed=0)
    walls, walker, goal = map(torch.from_numpy, (env.walls, env.walker, env.goal))
    distance = distances_to(goal, walls)
    assert torch.equal(distance.where(distance.isfinite(), -1.0), torch.from_numpy(env.distance))
    moves, num_ties = next_move(walls, walker, goal), 0
    for i, move in enumerate(moves.tolist()):
        beside = [env.distance[i][tuple(env.walker[i] + step)] for step in MOVES]
        free = [x for x in beside if x >= 0]
        assert beside[move] == min(free) == env.steps_to_goal[i] - 1
        assert move == beside.index(min(free))
        num_ties += beside.count(min(free)) > 1
    assert num_ties


def test_ppo_reaches_the_best_return_of_every_held_out_maze() -> None:
    """Untrained, and after updates, in which the policy costs nothing and the value learns."""
    env = LOOPS.eval_env.build(32)
    envs = BatchedEnv(env, seed=4)
    agent = FOLLOWER.build(envs.spec, seed=0)
    step, carry = envs.reset(), agent.initial(32)
    best, score, mazes = torch.zeros(32), torch.zeros(32), set[bytes]()
    for _ in range(3 * FOLLOWER.num_steps):
        best = torch.where(step.first, torch.from_numpy(env.best_return), best)
        output = agent.act(step, carry)
        next_step = envs.step(output.action)
        score = torch.where(step.last, 0.0, score + next_step.reward)
        for i in next_step.last.nonzero()[:, 0].tolist():
            assert score[i] == pytest.approx(float(best[i]))
            mazes.add(env.walls[i].tobytes())
        t = Transition(
            step, carry, output.action, output.extras, next_step, output.carry, torch.zeros(32)
        )
        metrics = agent.learn(t)
        if metrics:
            assert float(metrics["losses/entropy"]) == 0
            assert abs(float(metrics["losses/policy_loss"])) < 1e-6
            assert float(metrics["losses/value_loss"]) > 0
        step, carry = next_step, output.carry
    assert agent.steps == 3 * FOLLOWER.num_steps * 32
    assert len(mazes) > 20


@pytest.mark.parametrize("lstm", [0, 8])
def test_learning_repeats_the_policy_of_acting(lstm: int) -> None:
    """The stored true states of a rollout give the logits of its timesteps, with an LSTM too."""
    envs = BatchedEnv(LOOPS.build(4), seed=0)
    agent = replace(FOLLOWER, lstm=lstm).build(envs.spec, seed=0)
    transitions = list(islice(interact(envs, agent), FOLLOWER.num_steps))
    batch = batch_of(agent, transitions)
    logits, value, *_ = agent.network(
        batch.obs, batch.first, batch.carry, batch.action, batch.decision, batch.privileged
    )
    assert torch.equal(logits.argmax(-1), batch.action)
    torch.testing.assert_close(value, batch.value)
    shuffled = select(batch, torch.randperm(len(batch)))
    loss, metrics = agent.ppo_loss(shuffled)
    assert loss.requires_grad
    assert float(metrics["losses/approx_kl"]) == 0


def test_runs_resume_and_seeds_train_together_as_alone(tmp_path: Path) -> None:
    experiment = Experiment(FOLLOWER, LOOPS, seed=1, total_timesteps=512, num_envs=4)
    whole = train(experiment, tmp_path / "whole", OPTIONS)
    for steps in (232, 512):  # amid a rollout
        train(replace(experiment, total_timesteps=steps), tmp_path / "resumed", OPTIONS)
    seeds = [experiment, replace(experiment, seed=2)]
    folders = [tmp_path / "seed-1", tmp_path / "seed-2"]
    train_together(seeds, folders, replace(OPTIONS, seeds_together=2))
    expected = (whole.checkpoints.load() or {})["agent"]
    for name in ("resumed", "seed-1"):
        assert equal((Run(tmp_path / name).checkpoints.load() or {})["agent"], expected), name
    agent = load(whole.folder, device="cpu")[1]
    scores = evaluate(agent, LOOPS.eval_env, episodes=20, threads=1, privileged=True)
    assert scores.mean > 0.7


def test_an_env_that_is_no_maze_is_refused_by_the_bytes_it_lacks() -> None:
    spec = BatchedEnv(CatchConfig().build(4)).spec
    message = (
        r"agent\.planner:shortest-path needs walker_row, .*, wall_\* of the true state, which "
        r"consists of ball_row, ball_column, paddle in this env; choose another agent.planner"
    )
    with pytest.raises(UsageError, match=message):
        FOLLOWER.build(spec)
    with pytest.raises(UsageError, match="needs the true state, which this env does not offer"):
        FOLLOWER.build(replace(spec, privileged=()))
