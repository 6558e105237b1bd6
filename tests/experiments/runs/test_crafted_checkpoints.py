"""Checkpoints with a right checksum that no run has written are refused in a sentence."""

import hashlib
import io
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from reverie import TrainOptions, train
from reverie.agents.networks import MLPConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli.main import main
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.runs import checkpoints as checkpoints_module
from reverie.experiments.runs.blocks import BLOCK_SIZE
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.experiments.runs.packed_state import BLOCKS_KEY

NAME = "0" * 64


def in_blocks(names: Any, dtype: Any = "uint8", shape: Any = 5_000_000) -> dict[str, Any]:
    return {
        BLOCKS_KEY: names,
        "dtype": dtype,
        "shape": [shape] if isinstance(shape, int) else shape,
    }


def with_agent(agent: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda body: body | {"state": body["state"] | {"agent": agent}}


def nested(depth: int) -> Any:
    state: Any = {}
    for _ in range(depth):
        state = {"x": state}
    return state


def nan_weights(body: dict[str, Any]) -> dict[str, Any]:
    agent = body["state"]["agent"]
    name, value = next((k, v) for k, v in agent["network"].items() if v.is_floating_point())
    agent["network"][name] = torch.full_like(value, float("nan"))
    return body


CRAFTED: dict[str, tuple[Callable[[dict[str, Any]], Any], str]] = {
    "a list": (lambda body: [1, 2], "it is no checkpoint"),
    "no state": (lambda body: {"format": body["format"]}, "it holds no state"),
    "a state that is none": (lambda body: body | {"state": 3}, "it holds no state"),
    "groups that are none": (lambda body: body | {"groups": 3}, "it holds no state"),
    "groups of numbers": (lambda body: body | {"groups": [[1]]}, "it holds no state"),
    "a block elsewhere": (
        with_agent(in_blocks(["../../../secret"] * 2, shape=[5_000_000])),
        "valid",
    ),
    "too few blocks": (with_agent(in_blocks([NAME])), "bytes has 1"),
    "too many blocks": (
        with_agent(in_blocks([NAME] * 3)),
        "bytes has 3",
    ),
    "names that are none": (with_agent(in_blocks(7)), "valid description"),
    "a dtype that is none": (with_agent(in_blocks([NAME], "device", [3])), "valid description"),
    "a negative shape": (with_agent(in_blocks([NAME], "uint8", [-3])), "valid description"),
    "a shape of words": (with_agent(in_blocks([NAME], "uint8", ["a"])), "valid description"),
    "deep nesting": (with_agent(nested(1_500)), "nested too deeply"),
    "an agent that is none": (with_agent(None), "does not fit its config"),
    "another agent": (with_agent({"network": {}}), "does not fit its config"),
    "weights that are nan": (nan_weights, "network.*holds nan"),
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder: Path = tmp_path_factory.mktemp("run")
    experiment = Experiment(
        PPOConfig(network=MLPConfig(), num_steps=5), CatchConfig(), num_envs=4, total_timesteps=40
    )
    options = TrainOptions(device="cpu", threads=1, quiet=True, random_play_seconds=0)
    return train(experiment, folder / "run", options).folder


@pytest.mark.parametrize("name", CRAFTED)
def test_a_crafted_checkpoint_is_refused(
    name: str, trained: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    change, sentence = CRAFTED[name]
    (path,) = (trained / "checkpoints").glob("*.pt")
    content = path.read_bytes()
    body = io.BytesIO()
    limit = sys.getrecursionlimit()
    sys.setrecursionlimit(10_000)  # for the deep nesting
    torch.save(change(torch.load(io.BytesIO(content[32:]), weights_only=True)), body)
    sys.setrecursionlimit(limit)
    path.write_bytes(hashlib.sha256(body.getvalue()).digest() + body.getvalue())
    try:
        assert main(["evaluate", str(trained), "--episodes", "1", "--device", "cpu"]) == 2
        error = " ".join(capsys.readouterr().err.split())
        assert re.search(sentence, error), error
        assert main(["train", "ppo", "env:catch", "--folder", str(trained)]) == 2
    finally:
        path.write_bytes(content)
    assert main(["evaluate", str(trained), "--episodes", "1", "--device", "cpu"]) == 0


def test_more_memory_than_there_is_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block that is stored once may be read often."""
    checkpoints = Checkpoints(tmp_path)
    checkpoints.save(1, {"ring": torch.zeros(3 * BLOCK_SIZE, dtype=torch.uint8)})
    assert sum(path.stat().st_size for path in tmp_path.rglob("*") if path.is_file()) < 10e6
    monkeypatch.setattr(checkpoints_module, "available_memory", lambda: 10e6)
    with pytest.raises(UsageError, match=r"needs 0.0 GB of memory, and 0.0 GB are free"):
        Checkpoints(tmp_path).load()
    assert Checkpoints(tmp_path).load(lambda state: {}) == {}
