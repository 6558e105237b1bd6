"""How networks compute: layouts."""

import pytest
import torch

from world_models.arithmetic import channels_innermost


@pytest.mark.parametrize("shape", [(5, 4, 7, 6), (2, 3, 4, 7, 6), (5, 1, 7, 6), (1, 12, 7, 6)])
def test_channels_innermost_is_the_same_looks_as_convolutions_want_them(
    shape: tuple[int, ...],
) -> None:
    looks = torch.randint(256, shape, dtype=torch.uint8)
    found = channels_innermost(looks)
    assert torch.equal(found, looks)
    assert found.flatten(0, -4).is_contiguous(memory_format=torch.channels_last)
    assert channels_innermost(found) is found
