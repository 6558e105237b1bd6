"""On a GPU: transfers that are still under way."""

from typing import Any

import pytest
import torch

from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="no GPU")


def test_no_transfer_under_way_is_overwritten() -> None:
    """Every copy waits for a GPU that is busy for longer than the steps take."""
    batched_envs = [
        BatchedEnv(CatchConfig().build(8), seed=0, device=device) for device in ("cpu", "cuda")
    ]
    steps = [[envs.reset()] for envs in batched_envs]
    sleep: Any = torch.cuda._sleep
    sleep(2_000_000_000)  # cycles, about a second
    for _ in range(40):
        for envs, own in zip(batched_envs, steps, strict=True):
            own.append(envs.step(torch.zeros(8, dtype=torch.int64)))
    for on_cpu, on_gpu in zip(*steps, strict=True):
        for name, x in on_cpu.columns().items():
            assert torch.equal(x, on_gpu.columns()[name].cpu())
    for envs in batched_envs:
        envs.close()
