"""What `torch.compile` asks of agents, tried without a GPU.

On a GPU a compiled function is a CUDA graph: a call overwrites what earlier calls returned, of any
function.
"""

import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import fields, is_dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.agents.interface import AgentConfig
from reverie.agents.loop import interact
from reverie.agents.simulator import ModelBasedConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.interface import EnvSpec
from reverie.envs.pipeline import Pipeline
from reverie.world_models.precision import Precision

from sample_agents import LAW_AGENTS, equal


def tensors(x: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested containers."""
    if isinstance(x, Tensor):
        yield x
    elif isinstance(x, dict | list | tuple):
        for value in x.values() if isinstance(x, dict) else x:
            yield from tensors(value)
    elif is_dataclass(x):
        yield from tensors([getattr(x, field.name) for field in fields(x)])


class Overwriting(Precision):
    """Compiles functions to those whose outputs are garbage after the next call of any of them."""

    outputs: list[Tensor] = []  # noqa: RUF012  # of a class, as the graphs of a device share memory
    compiled = 0

    def maybe_compile(self, function: Callable[..., Any], device: torch.device) -> Any:
        kind = type(self)
        kind.compiled += 1

        def replayed(*arguments: Any, **named: Any) -> Any:
            for x in kind.outputs:
                x.data.fill_(torch.nan) if x.is_floating_point() else x.data.bitwise_not_()
            outputs = function(*arguments, **named)
            inputs = {x.data_ptr() for x in tensors([*arguments, *named.values()])}
            kind.outputs = [x for x in tensors(outputs) if x.data_ptr() not in inputs]
            return outputs

        return replayed


def compiled_functions(config: AgentConfig) -> int:
    """Return how many functions of an agent are compiled."""
    before = Overwriting.compiled
    config.build(EnvSpec(8, 3, (1, 10, 5)), precision=Overwriting())
    return Overwriting.compiled - before


COMPILED = [
    name
    for name, config in LAW_AGENTS.items()
    if not isinstance(config, ModelBasedConfig) and compiled_functions(config)
]
"""Agents that compile functions of their own; an agent with a predictor holds one of them."""


def two_groups() -> Pipeline:
    return Pipeline([BatchedEnv(CatchConfig().build(4), first_env=first) for first in (0, 4)])


def test_an_output_that_is_kept_is_overwritten() -> None:
    double = Overwriting().maybe_compile(lambda x: x + x, torch.device("cpu"))
    kept = double(torch.ones(3))
    double(torch.ones(3))
    assert kept.isnan().all()


@pytest.mark.parametrize("name", COMPILED)
def test_an_agent_keeps_no_output_of_a_compiled_function(name: str) -> None:
    """Also where it acts in one group of envs, and then in the other, before it learns."""
    states = []
    for precision in (Precision(), Overwriting()):
        envs = two_groups()
        agent = LAW_AGENTS[name].build(envs.spec, seed=0, precision=precision)
        for t in islice(interact(envs, agent, sync_every=32), 64):
            metrics = agent.learn(t)
        states.append([agent.state_dict(), t.extras, t.next_carry, t.action, metrics])
        envs.close()
    assert equal(*states)


@pytest.mark.long
def test_a_compiled_function_is_one_graph_for_a_shape() -> None:
    """Else a device waits for Python between graphs, or for a compilation at every step.

    In a process without the tests' checks of shapes, which are code of the functions, too.
    """
    done = subprocess.run(
        [sys.executable, "-c", GRAPHS, *COMPILED],
        cwd=Path(__file__).parents[1],
        capture_output=True,
        text=True,
        check=True,
    )
    expected = [name + " 1" * compiled_functions(LAW_AGENTS[name]) for name in COMPILED]
    assert done.stdout.splitlines() == expected, done.stderr


GRAPHS = """
import sys
from itertools import islice
import torch
from reverie.agents.loop import interact
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.world_models.precision import Precision
from sample_agents import LAW_AGENTS

class Counting(Precision):
    def maybe_compile(self, function, device):
        index = len(graphs)
        graphs.append(0)

        def backend(module, inputs):
            graphs[index] += 1
            return module.forward

        return torch.compile(function, backend=backend, dynamic=False)

for name in sys.argv[1:]:
    graphs = []
    torch.compiler.reset()
    envs = BatchedEnv(CatchConfig().build(8), seed=0)
    agent = LAW_AGENTS[name].build(envs.spec, precision=Counting())
    for t in islice(interact(envs, agent), 80):
        agent.learn(t)
    print(name, *graphs)
"""
