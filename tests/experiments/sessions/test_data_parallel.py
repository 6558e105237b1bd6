"""Two processes train as one process does with all envs; what they cannot share is refused."""

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie import Experiment, TrainOptions, train
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.networks import MLPConfig
from reverie.agents.on_policy import OnPolicyAgent
from reverie.agents.ppo import PPO, PPOConfig
from reverie.agents.pqn import PQNConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.prng import bits
from reverie.envs.ranks import ALONE, Ranks
from reverie.experiments.config.registry import AGENTS
from reverie.experiments.runs.run import Run
from reverie.experiments.sessions.data_parallel import data_parallel
from reverie.experiments.training.envs import make_batched_env
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.planning.figar import FiGARConfig

from sample_agents import OPTIONS, SMALL_BREAKOUT, equal, metric_rows

SMALL = PPOConfig(network=MLPConfig((8,)), num_steps=8, num_minibatches=3, update_epochs=2)
PQN = PQNConfig(network=MLPConfig((8,)), num_steps=8, num_minibatches=3, update_epochs=2)
CATCH = CatchConfig(rows=6, columns=4)
HISTOGRAM = PseudoCountConfig(HistogramConfig(), resolution=6)
EXPERIMENTS = {
    "plain": Experiment(SMALL, SMALL_BREAKOUT),
    "planner": Experiment(replace(SMALL, planner=FiGARConfig(max_repetitions=3)), CATCH),
    "pqn": Experiment(PQN, CATCH),
    "bonus": Experiment(replace(SMALL, lstm=8, bptt_length=4), CATCH, HISTOGRAM),
}
EXPERIMENTS = {k: replace(x, num_envs=4, total_timesteps=64) for k, x in EXPERIMENTS.items()}


def in_ranks(folder: Path, function: Callable[[], Any], size: int = 2) -> list[str]:
    """Run a function in processes as torchrun starts them; return what each of them printed."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = str(free.getsockname()[1])

    def run(rank: int) -> None:
        names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size}
        os.environ |= {name: str(x) for name, x in names.items()}
        os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        with open(folder / f"rank{rank}", "w") as file:
            with redirect_stdout(file), redirect_stderr(file):
                try:
                    function()
                except BaseException as error:
                    print(f"{type(error).__name__}: {error}")
            file.flush()
            if rank == 0:  # it holds the store of the others, as torchrun's own process does
                others_ended.wait(60)
            os._exit(0)

    context = get_context("fork")
    others_ended = context.Event()
    processes = [context.Process(target=run, args=(rank,)) for rank in range(size)]
    for process in processes:
        process.start()
    for process in reversed(processes):
        if process is processes[0]:
            others_ended.set()
        process.join(60)
        assert process.exitcode is not None, "a rank hangs"
    return [(folder / f"rank{rank}").read_text() for rank in range(size)]


def state_of(folder: Path) -> dict[str, Any]:
    state = Run(folder).checkpoints.load()
    assert state is not None
    return state


def close(a: Any, b: Any) -> bool:
    """Whether two nested states are equal up to 1e-6 in their floating-point numbers."""
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(close(a[name], b[name]) for name in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(close, a, b))
    if isinstance(a, torch.Tensor) and a.is_floating_point():
        return torch.allclose(a, b, rtol=1e-4, atol=1e-6)
    return bool(equal(a, b))


def test_two_processes_train_as_one_does_with_all_envs(tmp_path: Path) -> None:
    """Parameters, envs, carries, episodes and metrics; one process continues what two began."""

    def both() -> None:
        for name, experiment in EXPERIMENTS.items():
            train(experiment, tmp_path / "two" / name, OPTIONS)

    for name, experiment in EXPERIMENTS.items():
        train(experiment, tmp_path / "one" / name, OPTIONS)
    assert in_ranks(tmp_path, both) == ["", ""]
    for name in EXPERIMENTS:
        one, two = tmp_path / "one" / name, tmp_path / "two" / name
        states = state_of(one), state_of(two)
        for part in ("agent", "bonus", "envs", "next_step", "next_carry"):
            assert close(states[0][part], states[1][part]), (name, part)
        for part in ("EpisodeLog", "PlanTracking"):
            assert equal(*(state["callbacks"][part] for state in states)), (name, part)
        assert (one / "episodes.jsonl").read_bytes() == (two / "episodes.jsonl").read_bytes()
        rows = metric_rows(one), metric_rows(two)
        assert rows[0][-1].keys() == rows[1][-1].keys()
        assert rows[0][-1] == pytest.approx(rows[1][-1], rel=1e-3, abs=1e-5)
    longer = replace(experiment, total_timesteps=128)
    for folder in (one, two):
        train(longer, folder, OPTIONS)
    assert close(state_of(one)["agent"], state_of(two)["agent"])


def test_two_processes_resume_bit_for_bit(tmp_path: Path) -> None:
    experiment = EXPERIMENTS["bonus"]
    longer, options = replace(experiment, total_timesteps=128), replace(OPTIONS, log_every=64)

    def both() -> None:
        for total in (experiment, longer):
            train(total, tmp_path / "parts", options)
        train(longer, tmp_path / "whole", options)

    assert in_ranks(tmp_path, both) == ["", ""]
    parts, whole = (state_of(tmp_path / name) for name in ("parts", "whole"))
    assert equal(parts, whole)
    assert parts["step"] == 128
    assert metric_rows(tmp_path / "parts")[-1] == metric_rows(tmp_path / "whole")[-1]


def test_a_signal_to_one_process_stops_both_at_the_end_of_a_rollout(tmp_path: Path) -> None:
    def both() -> None:
        agent: Any = PPO
        learn = agent.learn

        def interrupted(self: PPO, t: Any) -> Any:
            if self.ranks.rank == 1 and self.steps == 40:
                signal.raise_signal(signal.SIGINT)
                signal.raise_signal(signal.SIGINT)  # torchrun repeats the terminal's
            return learn(self, t)

        agent.learn = interrupted
        loud = replace(OPTIONS, quiet=False)
        run = train(replace(EXPERIMENTS["bonus"], total_timesteps=320), tmp_path / "run", loud)
        print(f"signal {run.signal}", file=sys.stderr)

    first, second = in_ranks(tmp_path, both)
    assert "Stopped at step 64; the same command continues" in first
    assert first.endswith("signal 2\n")
    assert second == "signal 2\n"
    assert Run(tmp_path / "run").checkpoints.steps() == [64]


def test_the_end_of_a_process_ends_all_with_one_sentence(tmp_path: Path) -> None:
    def both() -> None:
        agent: Any = PPO
        update = agent.update

        def killed(self: PPO, batch: Any) -> Any:
            if self.ranks.rank == 1 and self.steps == 96:
                os.kill(os.getpid(), signal.SIGKILL)
            return update(self, batch)

        agent.update = killed
        options = replace(OPTIONS, checkpoint_minutes=0)
        train(replace(EXPERIMENTS["planner"], total_timesteps=320), tmp_path / "run", options)

    first, second = in_ranks(tmp_path, both)
    assert second == ""
    (sentence,) = first.splitlines()
    assert "LostRank: The run stopped at step 92. Another process of this run has ended." in first
    assert "The checkpoint of step 64" in sentence
    assert sentence.endswith("the same command continues from it.")
    assert train(EXPERIMENTS["planner"], tmp_path / "run", OPTIONS).finished


def test_what_processes_cannot_share_is_refused_once(tmp_path: Path) -> None:
    odd = replace(EXPERIMENTS["bonus"], num_envs=3)
    texts = in_ranks(tmp_path, lambda: train(odd, tmp_path / "run", OPTIONS))
    assert len([text for text in texts if "num_envs is 3, and 2 processes share" in text]) == 1
    assert sum("make --num-envs a multiple of 2" in text for text in texts) == 1


def test_agents_are_refused_by_capability(tmp_path: Path) -> None:
    ranks, envs = Ranks(0, 2), make_batched_env(EXPERIMENTS["plain"], torch.device("cpu"), 1)
    for kind in AGENTS.values():
        experiment = replace(EXPERIMENTS["plain"], agent=kind())
        agent = experiment.agent.build(envs.spec)
        if isinstance(agent, OnPolicyAgent):
            data_parallel(agent, experiment, OPTIONS, ranks)
            assert agent.ranks is ranks
            continue
        with pytest.raises(
            UsageError, match=r"learns in one process: .*; choose ppo or pqn, or train"
        ):
            data_parallel(agent, experiment, OPTIONS, ranks)
    agent = EXPERIMENTS["plain"].agent.build(envs.spec)
    refused: dict[str, tuple[Experiment, TrainOptions]] = {
        "init-from": (replace(EXPERIMENTS["plain"], init_from=tmp_path), OPTIONS),
        "resume": (EXPERIMENTS["plain"], replace(OPTIONS, resume="fresh-episodes")),
        "count-rooms": (EXPERIMENTS["plain"], replace(OPTIONS, count_rooms=True)),
        "count-states": (EXPERIMENTS["plain"], replace(OPTIONS, count_states=True)),
    }
    for flag, (experiment, options) in refused.items():
        with pytest.raises(UsageError, match=f"leave out --{flag}, or train in one process"):
            data_parallel(agent, experiment, options, ranks)


def test_ranks_share_the_rows_of_a_batch() -> None:
    order = bits(torch.tensor([1]), 24)[0].argsort()
    parts = [Ranks(rank, 3).own(order, 8) + 8 * rank for rank in range(3)]
    assert torch.cat(parts).sort()[0].tolist() == list(range(24))
    for part in parts:  # in the batch's order
        assert torch.equal(part, order[torch.isin(order, part)])
    assert [Ranks(rank, 3).rows(12) for rank in range(3)] == [
        slice(0, 4),
        slice(4, 8),
        slice(8, 12),
    ]
    assert torch.equal(ALONE.own(order, 24), order)


def test_the_package_is_a_command() -> None:
    run = subprocess.run(
        [sys.executable, "-m", "reverie", "--version"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith("reverie ")
