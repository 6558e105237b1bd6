"""Memory layouts and the hint after an out-of-memory error."""

import weakref

import pytest
import torch

from reverie.envs.errors import UsageError
from reverie.world_models.precision import run_with_oom_hint, to_channels_last


@pytest.mark.parametrize("shape", [(5, 4, 7, 6), (2, 3, 4, 7, 6), (5, 1, 7, 6), (1, 12, 7, 6)])
def test_to_channels_last_changes_the_layout_and_no_value(shape: tuple[int, ...]) -> None:
    obs = torch.randint(256, shape, dtype=torch.uint8)
    converted = to_channels_last(obs)
    assert torch.equal(converted, obs)
    assert converted.flatten(0, -4).is_contiguous(memory_format=torch.channels_last)
    assert to_channels_last(converted) is converted


def test_smaller_sizes_are_tried_after_the_memory_of_larger_ones_is_freed() -> None:
    allocated: list[weakref.ref[torch.Tensor]] = []

    def run(size: int) -> int:
        assert not any(ref() is not None for ref in allocated)
        tensor = torch.zeros(size)
        allocated.append(weakref.ref(tensor))
        if size > 3:
            raise torch.OutOfMemoryError("too large")
        return size

    with pytest.raises(UsageError, match="2 fit"):
        run_with_oom_hint(run, 16, "{} fit".format)
    assert len(allocated) == 4
    allocated.clear()
    assert run_with_oom_hint(run, 3, str) == 3
