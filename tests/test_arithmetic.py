"""How networks compute: layouts, and within what memory."""

import weakref

import pytest
import torch

from envs.errors import UsageError
from world_models.arithmetic import channels_innermost, within_memory


@pytest.mark.parametrize("shape", [(5, 4, 7, 6), (2, 3, 4, 7, 6), (5, 1, 7, 6), (1, 12, 7, 6)])
def test_channels_innermost_is_the_same_looks_as_convolutions_want_them(
    shape: tuple[int, ...],
) -> None:
    looks = torch.randint(256, shape, dtype=torch.uint8)
    found = channels_innermost(looks)
    assert torch.equal(found, looks)
    assert found.flatten(0, -4).is_contiguous(memory_format=torch.channels_last)
    assert channels_innermost(found) is found


def test_what_fits_is_tried_in_memory_that_was_given_back() -> None:
    """Nothing that an attempt too large had made is still alive when a smaller one is made."""
    made: list[weakref.ref[torch.Tensor]] = []

    def work(size: int) -> int:
        assert not any(ref() is not None for ref in made)
        piece = torch.zeros(size)
        made.append(weakref.ref(piece))
        if size > 3:
            raise torch.OutOfMemoryError("too large")
        return size

    with pytest.raises(UsageError, match="2 fit"):
        within_memory(work, 16, "{} fit".format)
    assert len(made) == 4
    made.clear()
    assert within_memory(work, 3, str) == 3
