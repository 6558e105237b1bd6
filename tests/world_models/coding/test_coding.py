"""Laws of coding, for every density that has conditionals of single pixels."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.envs.errors import NumericalError, UsageError
from reverie.world_models.coding import decode, encode
from reverie.world_models.coding.prequential import NotReproduced
from reverie.world_models.density.capabilities import SequentialDensity
from reverie.world_models.density.cts import CTS
from reverie.world_models.density.histogram import Histogram
from reverie.world_models.interface import Density

from sample_models import DENSITY_EXAMPLES, assert_same_state, random_frames

SHAPE, LEVELS = (3, 4), 3


def build(name: str, shape: tuple[int, int] = SHAPE, levels: int = LEVELS) -> Density:
    return DENSITY_EXAMPLES[name].build(shape=shape, levels=levels)


CODERS = [x for x in DENSITY_EXAMPLES if isinstance(build(x), SequentialDensity)]
OTHERS = [x for x in DENSITY_EXAMPLES if x not in CODERS]
FRAMES = {
    "none": torch.zeros(0, *SHAPE, dtype=torch.uint8),
    "one": random_frames(1, SHAPE, LEVELS),
    "equal": torch.full((9, *SHAPE), LEVELS - 1, dtype=torch.uint8),
    "dependent": random_frames(12, SHAPE, LEVELS),
    "uniform": torch.randint(LEVELS, (12, *SHAPE), generator=torch.Generator().manual_seed(0)).to(
        torch.uint8
    ),
}


@pytest.mark.parametrize("frames", FRAMES.values(), ids=FRAMES)
@pytest.mark.parametrize("name", CODERS)
def test_frames_come_back_with_a_density_that_has_learned_the_same(
    name: str, frames: Tensor
) -> None:
    coder, decoder = build(name), build(name)
    message = encode(coder, frames)
    assert torch.equal(decode(decoder, message), frames)
    assert_same_state(coder, decoder)


@pytest.mark.parametrize("settings", [{"batch_size": 5}, {"learn": False}])
@pytest.mark.parametrize("name", CODERS)
def test_frames_come_back_with_equal_settings(name: str, settings: dict[str, Any]) -> None:
    frames, coder = FRAMES["dependent"], build(name)
    message = encode(coder, frames, **settings)
    assert torch.equal(decode(build(name), message, **settings), frames)
    if settings.get("learn", True):
        with pytest.raises(NotReproduced, match=type(coder).__name__):
            decode(build(name), message)
    else:
        assert_same_state(coder, build(name))


@pytest.mark.parametrize("name", CODERS)
def test_a_message_is_hardly_longer_than_the_log_probabilities(name: str) -> None:
    frames = random_frames(60, SHAPE, LEVELS)
    before, _ = build(name).observe(frames)
    bits = -float(before.sum()) / np.log(2)
    assert bits - 1 < 8 * len(encode(build(name), frames)) < 1.001 * bits + 64


def test_a_message_of_predictable_frames_is_hardly_longer_either() -> None:
    """With frequencies of 16 bits it would be."""
    frame = random_frames(1, (20, 20), 8)
    frozen, learned = CTS((20, 20), 8), CTS((20, 20), 8)
    for density in (frozen, learned):
        density.observe(frame.repeat(3000, 1, 1))
    some = frame.repeat(2000, 1, 1)
    bits = -2000 * float(learned.log_prob(frame)) / np.log(2)
    assert 8 * len(encode(frozen, some, learn=False)) < 1.001 * bits + 64


def test_whole_frames_in_machine_code_are_coded_as_pixel_by_pixel() -> None:
    class PixelByPixel(CTS):
        write_intervals = pop_frames = None  # type: ignore[assignment]

    frames = random_frames(30, (5, 6), 4)
    for size in (1, 7):
        fast, slow = CTS((5, 6), 4), PixelByPixel((5, 6), 4)
        message = encode(fast, frames, batch_size=size)
        assert encode(slow, frames, batch_size=size) == message
        assert torch.equal(decode(PixelByPixel((5, 6), 4), message, batch_size=size), frames)


@pytest.mark.parametrize("name", OTHERS)
def test_a_density_without_conditionals_is_refused(name: str) -> None:
    density = build(name)
    with pytest.raises(UsageError, match=f"{type(density).__name__} cannot code frames"):
        encode(density, FRAMES["one"])
    with pytest.raises(UsageError, match=f"{type(density).__name__} cannot code frames"):
        decode(density, b"\0" * 9)
    assert_same_state(density, build(name))


def test_some_densities_cannot_code() -> None:
    assert {"histogram", "cts", "pixel-cnn"} <= {*CODERS}
    assert "bound" in OTHERS


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        (random_frames(2, (4, 4)), "shape"),
        (torch.full((2, *SHAPE), LEVELS, dtype=torch.uint8), f"symbol {LEVELS}"),
    ],
)
def test_frames_of_another_shape_or_levels_are_refused(frames: Tensor, message: str) -> None:
    density = build("cts")
    with pytest.raises(UsageError, match=message):
        encode(density, frames)
    assert_same_state(density, build("cts"))


def test_a_batch_size_below_one_is_refused() -> None:
    with pytest.raises(UsageError, match="batch_size is 0; it must be 1 or more"):
        encode(build("cts"), FRAMES["one"], batch_size=0)


@pytest.mark.parametrize("factor", [float("nan"), -1.0, 2.0])
def test_conditionals_that_are_no_probabilities_are_refused(factor: float) -> None:
    class Diverged(Histogram):
        def conditional(self, x: Tensor, i: int, j: int) -> Tensor:
            return factor * super().conditional(x, i, j)

    with pytest.raises(NumericalError, match=r"Diverged gives the symbols of pixel \(0, 0\)"):
        encode(Diverged(SHAPE, LEVELS), FRAMES["one"])


@pytest.mark.parametrize("name", ["cts", "histogram"])
def test_no_changed_or_cut_message_is_decoded(name: str) -> None:
    frames = random_frames(20, SHAPE, LEVELS)
    message = encode(build(name), frames)
    prng = np.random.default_rng(0)
    changed = [message[:k] for k in (0, 1, 4, len(message) // 2, len(message) - 1)]
    changed.append(message + b"\0\0\0\0")
    for position in prng.integers(len(message), size=30):
        flipped = bytearray(message)
        flipped[position] ^= 1 << prng.integers(8)
        changed.append(bytes(flipped))
    for each in changed:
        with pytest.raises(NotReproduced, match="or the message is damaged"):
            decode(build(name), each)


@pytest.mark.parametrize("other", ["histogram", "cts"])
def test_another_density_does_not_decode(other: str) -> None:
    message = encode(build("pixel-cnn"), FRAMES["dependent"])
    with pytest.raises(NotReproduced):
        decode(build(other), message)


def test_a_network_of_other_weights_does_not_decode() -> None:
    config = DENSITY_EXAMPLES["pixel-cnn"]
    message = encode(config.build(shape=SHAPE, levels=LEVELS), FRAMES["dependent"])
    for density in (
        config.build(shape=SHAPE, levels=LEVELS, seed=1),
        replace(config, learning_rate=2e-3).build(shape=SHAPE, levels=LEVELS),  # type: ignore[call-arg]
    ):
        with pytest.raises(NotReproduced):
            decode(density, message)


def test_the_number_of_threads_is_one_while_coding_and_as_before_after_it() -> None:
    seen = []

    class Watched(Histogram):
        def conditional(self, x: Tensor, i: int, j: int) -> Tensor:
            seen.append(torch.get_num_threads())
            return super().conditional(x, i, j)

    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    encode(Watched(SHAPE, LEVELS), FRAMES["one"])
    assert torch.get_num_threads() == 2
    torch.set_num_threads(threads)
    assert {*seen} == {1}
