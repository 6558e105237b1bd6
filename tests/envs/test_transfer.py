"""A timestep's fields in one buffer."""

import numpy as np
import pytest
import torch

from reverie.envs.transfer import DTYPES, _places, _views, timestep_from_arrays


@pytest.mark.parametrize("privileged", [0, 3])
def test_a_time_step_holds_copies_of_the_arrays(privileged: int) -> None:
    """With a size of observations that is not a multiple of four bytes."""
    images = np.arange(30, dtype=np.uint8).reshape(3, 2, 1, 5)
    arrays = {
        "reward": np.array([2.0**24 + 1, -0.1, 1e300]),
        "discount": np.array([0.0, 1.0, 0.5], np.float32),
        "first": np.array([False, True, False]),
        "last": np.array([True, False, False]),
    }
    if privileged:
        arrays["privileged"] = np.arange(9, dtype=np.uint8).reshape(3, 3)
    expected = {name: torch.from_numpy(x.copy()) for name, x in (arrays | {"obs": images}).items()}
    step = timestep_from_arrays(images, arrays, 1, torch.device("cpu"))
    for array in (images, *arrays.values()):
        array[:] = 0  # as an environment that writes into its arrays again
    columns = step.columns()
    assert torch.equal(columns.pop("frame"), expected["obs"][:, -1:])
    assert {*columns} == {*expected}
    for name, x in expected.items():
        assert columns[name].dtype == DTYPES[name]
        assert torch.equal(columns[name], x)


def test_views_of_a_copied_buffer_have_the_same_values() -> None:
    """As on a device to which the buffer was copied."""
    shapes: dict[str, tuple[int, ...]] = dict.fromkeys(list(DTYPES)[:4], (3,))
    shapes["obs"] = 3, 1, 1, 5
    places = _places(tuple(shapes.items()))
    buffer = torch.zeros(14 * 3 + 3 * 5, dtype=torch.uint8)
    assert places[-1].stop == len(buffer)
    written = _views(buffer, places)
    written["obs"].copy_(torch.arange(15).view(3, 1, 1, 5))
    written["reward"][:] = torch.tensor([1.5, -2.0, 1e9])
    written["first"][2] = True
    read = _views(buffer.clone(), places)
    assert all(torch.equal(read[name], x) for name, x in written.items())
    assert read["reward"].tolist() == [1.5, -2.0, 1e9]
