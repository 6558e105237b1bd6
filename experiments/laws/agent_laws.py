"""Laws of what meets the env: bonuses, agents, and envs themselves."""

from collections.abc import Iterator
from contextlib import closing
from copy import deepcopy
from dataclasses import replace
from itertools import islice

import torch

from ...agents.bonuses.bonus import Bonus, BonusConfig
from ...agents.interface import Agent, AgentConfig
from ...agents.loop import interact
from ...agents.policies import RandomPolicy
from ...envs.batched_env import BatchedEnv
from ...envs.catch import CatchConfig
from ...envs.interface import EnvConfig, Transition, timestep_state
from .interface import Laws
from .stored_states import restored, same, same_state

N = 4


def play(env: EnvConfig, timesteps: int) -> Iterator[Transition]:
    """Yield transitions of random play."""
    with closing(BatchedEnv(env.build(N, threads=1))) as envs:
        yield from islice(interact(envs, RandomPolicy(envs.spec.num_actions)), timesteps)


def bonus_laws(config: BonusConfig) -> Laws:
    """Yield the laws of a bonus."""
    with closing(BatchedEnv(CatchConfig().build(N))) as envs:
        spec = envs.spec
    a, b = (config.build(spec, seed=0) for _ in range(2))
    yield "It is called, and has a state, as the protocol Bonus.", isinstance(a, Bonus)
    transitions = list(play(CatchConfig(), 30))
    for t in transitions[:20]:
        bonus = a(t)
        yield (
            "Bonuses are finite, 0 or more, float32 [N].",
            (
                bonus.shape == (N,)
                and bonus.dtype == torch.float32
                and bool(bonus.isfinite().all() and (bonus >= 0).all())
            ),
        )
        yield "A reset has bonus 0.", not bonus[~t.valid].any()
        yield "Equal seeds give equal bonuses.", torch.equal(bonus, b(t))
    reset = next(t for t in transitions if not t.valid.any())
    state = a.state_dict()
    a(reset)
    yield "Nothing is learned from a reset.", same(state, a.state_dict())
    twin = restored(a, config.build(spec, seed=0))
    equal = all(torch.equal(a(t), twin(t)) for t in transitions[20:])
    yield "A restored bonus continues exactly.", equal and same_state(a, twin)


def agent_laws(config: AgentConfig) -> Laws:
    """Yield the laws of an agent, in Catch."""
    with closing(BatchedEnv(CatchConfig().build(N))) as envs:
        a, b, paid = (config.build(envs.spec, seed=0) for _ in range(3))
        yield "It has the methods of the protocol Agent.", isinstance(a, Agent)
        loop = interact(envs, a)
        for t in islice(loop, 60):
            b.learn(t)
            a.learn(t)
            reward = torch.where(t.valid, t.next_step.reward, 1e6)
            paid.learn(replace(t, next_step=replace(t.next_step, reward=reward)))
        state, carry = deepcopy(a.state_dict()), deepcopy(t.next_carry)
        for explore in (True, False):
            x, y, z, w = (
                p.act(t.next_step, t.next_carry, explore=explore) for p in (a, a, b, paid)
            )
            yield (
                "Actions are int64 [N], within the actions of the env.",
                (
                    x.action.shape == (N,)
                    and x.action.dtype == torch.int64
                    and bool(((x.action >= 0) & (x.action < envs.spec.num_actions)).all())
                ),
            )
            yield "A carry keeps its names.", x.carry.keys() == carry.keys()
            yield "Its random numbers are in the carry.", torch.equal(x.action, y.action)
            yield "Equal seeds and transitions give equal actions.", torch.equal(x.action, z.action)
            yield "Nothing is learned from the reward of a reset.", torch.equal(x.action, w.action)
        yield (
            "act changes neither the carry nor the state.",
            same(carry, t.next_carry) and same(state, a.state_dict()),
        )
        twin = restored(a, config.build(envs.spec, seed=0))
        for t in islice(loop, 20):
            step, carry = t.step, t.carry
            yield (
                "A restored agent continues exactly.",
                torch.equal(t.action, twin.act(step, carry).action),
            )
            a.learn(t)
            twin.learn(t)


def env_laws(config: EnvConfig) -> Laws:
    """Yield the laws of an env, in random play."""
    a, b = (list(play(config, 300)) for _ in range(2))
    for t in a:
        step = t.next_step
        yield (
            "An episode begins after the end of the one before.",
            torch.equal(step.first, t.step.last),
        )
        wrong = step.first & (step.last | (step.reward != 0))
        yield "The first step of an episode is not its last, and has no reward.", not wrong.any()
    ended = any(bool(t.next_step.last.any()) for t in a)
    yield "An episode ends within 300 timesteps of random play.", ended
    states = [[timestep_state(t.next_step) for t in x] for x in (a, b)]
    yield "Equal seeds and actions give equal episodes.", same(*states)
    with closing(BatchedEnv(config.build(N, threads=1), seed=1)) as envs:
        loop = interact(envs, RandomPolicy(envs.spec.num_actions))
        *_, last = islice(loop, 40)
        state, after = envs.state_dict(), list(islice(loop, 20))
    with closing(BatchedEnv(config.build(N, threads=1), seed=1)) as twin:
        equal = torch.equal(twin.load_state_dict(state), last.next_step.obs)
        steps = [timestep_state(twin.step(t.action)) for t in after]
    yield (
        "Rebuilt from its seeds and actions, it continues exactly.",
        equal and same(steps, [timestep_state(t.next_step) for t in after]),
    )
