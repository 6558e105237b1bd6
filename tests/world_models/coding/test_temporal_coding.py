"""Laws of densities that are given the frames before, and of coding by them."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from reverie.envs.errors import UsageError
from reverie.world_models.coding import decode, encode
from reverie.world_models.coding.prequential import NotReproduced
from reverie.world_models.density.capabilities import TemporalDensity, TemporalDensityConfig
from reverie.world_models.density.cts import TemporalCTS

from sample_models import DENSITY_EXAMPLES, assert_same_state, random_frames

TEMPORAL = [
    name for name, config in DENSITY_EXAMPLES.items() if isinstance(config, TemporalDensityConfig)
]
pytestmark = pytest.mark.parametrize("name", TEMPORAL)


def build(name: str, shape: tuple[int, int] = (3, 4), levels: int = 3) -> TemporalDensity:
    config = DENSITY_EXAMPLES[name]
    assert isinstance(config, TemporalDensityConfig)
    return config.build_temporal(shape=shape, levels=levels)


def video(n: int, seed: int = 0) -> Tensor:
    """Return frames that change only every fifth time."""
    return random_frames(-(-n // 5), (3, 4), seed=seed).repeat_interleave(5, 0)[:n]


def pasts(density: TemporalDensity) -> list[Tensor]:
    shape = (density.num_past, *density.shape)
    prng = torch.Generator().manual_seed(1)
    return [torch.randint(density.levels, shape, generator=prng).byte() for _ in range(3)]


def test_probabilities_given_any_past_sum_to_one(name: str) -> None:
    density = build(name, (2, 2))
    frames = torch.cartesian_prod(*[torch.arange(3, dtype=torch.uint8)] * 4).view(-1, 2, 2)
    for past in pasts(density):
        density.given(past).observe(random_frames(20))
    found = torch.stack([density.given(past).log_prob(frames).exp() for past in pasts(density)])
    torch.testing.assert_close(found.sum(1), torch.ones(3).double())
    assert not torch.allclose(found[0], found[1])


def test_conditionals_given_a_past_multiply_to_the_frame(name: str) -> None:
    density, frames = build(name), random_frames(6, (3, 4))
    for past in pasts(density):
        density.given(past).observe(random_frames(20, (3, 4), seed=1))
    given = density.given(past)
    log_probs = given.pixel_log_probs(frames)
    torch.testing.assert_close(log_probs.sum((1, 2)), given.log_prob(frames))
    for i, j in np.ndindex(3, 4):
        probs = given.conditional(frames, i, j)
        found = probs.gather(1, frames[:, i, j, None].long()).log()[:, 0]
        torch.testing.assert_close(found, log_probs[:, i, j])
        unknown = frames.clone()  # a pixel and all later ones are not read
        unknown[:, i, j:] = unknown[:, i + 1 :] = 2
        assert torch.equal(given.conditional(unknown, i, j), probs)


def test_it_shares_what_it_learns_given_any_past(name: str) -> None:
    density, untouched = build(name), build(name)
    density.given(pasts(density)[0])
    assert_same_state(density, untouched)
    one, other = (density.given(past) for past in pasts(density)[:2])
    frame = random_frames(1, (3, 4))
    first = other.log_prob(frame)
    one.observe(frame.repeat(30, 1, 1))
    assert float(other.log_prob(frame)) > float(first) + 1
    assert_same_state(one, density)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"batch_size": 5},
        {"learn": False},
        {"num_envs": 3},
        {"num_envs": 2, "batch_size": 3},
        {"num_envs": 3, "batch_size": 8},
    ],
)
def test_frames_come_back(name: str, settings: dict[str, Any]) -> None:
    for frames in (video(40), random_frames(12, (3, 4)), torch.zeros(0, 3, 4, dtype=torch.uint8)):
        coder, decoder = build(name), build(name)
        message = encode(coder, frames, **settings)
        assert torch.equal(decode(decoder, message, **settings), frames)
        assert_same_state(coder, decoder)
    for other in ({"num_envs": 4}, {"batch_size": 2}) * settings.get("learn", True):
        with pytest.raises(NotReproduced):
            decode(build(name), encode(build(name), video(40), **settings), **settings | other)


def test_a_message_is_hardly_longer_than_the_log_probabilities_given_the_past(name: str) -> None:
    frames, density = video(60), build(name)
    padded = torch.cat([torch.zeros(density.num_past, 3, 4, dtype=torch.uint8), frames])
    nats = 0.0
    for k, frame in enumerate(frames):
        before, _ = density.given(padded[k : k + density.num_past]).observe(frame[None])
        nats -= float(before)
    bits = nats / np.log(2)
    assert bits - 1 < 8 * len(encode(build(name), frames)) < 1.001 * bits + 64


def test_a_video_is_shorter_given_the_frames_before_it(name: str) -> None:
    frames = video(300)
    single = len(encode(DENSITY_EXAMPLES[name].build(shape=(3, 4), levels=3), frames))
    alternating = torch.stack([frames, video(300, seed=1)], 1).flatten(0, 1)
    one, both, mixed = (
        len(encode(build(name), x, num_envs=n))
        for x, n in ((frames, 1), (alternating, 2), (alternating, 1))
    )
    assert one < 0.8 * single
    assert both < 0.8 * mixed


def test_a_frame_of_a_batch_is_coded_given_the_frames_before_of_its_env(name: str) -> None:
    alternating = torch.stack([video(60), video(60, seed=1), video(60, seed=2)], 1).flatten(0, 1)
    density = build(name)
    encode(density, alternating, num_envs=3)
    one = encode(density, alternating, num_envs=3, learn=False)
    for size in (2, 3):  # every frame before is of an earlier batch
        message = encode(density, alternating, num_envs=3, learn=False, batch_size=size)
        assert message == one


def test_whole_frames_in_machine_code_are_coded_as_pixel_by_pixel(name: str) -> None:
    density = build(name)
    if not isinstance(density, TemporalCTS):
        return

    class PixelByPixel(TemporalCTS):
        write_intervals = pop_frames = None  # type: ignore[assignment]

    frames = video(30)
    for size in (1, 7):
        message = encode(build(name), frames, batch_size=size)
        assert encode(PixelByPixel((3, 4), 3), frames, batch_size=size) == message
        assert torch.equal(decode(PixelByPixel((3, 4), 3), message, batch_size=size), frames)


def test_a_number_of_envs_below_one_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match="num_envs is 0; it must be 1 or more"):
        encode(build(name), video(3), num_envs=0)


def test_a_past_of_another_length_or_shape_or_levels_is_refused(name: str) -> None:
    density = build(name)
    (past, *_) = pasts(density)
    for wrong, message in (
        (past[1:], f"has {len(past) - 1} frames; give the {len(past)} before"),
        (past[..., 1:], "shape"),
        (past + 3, "symbol"),
    ):
        with pytest.raises(UsageError, match=message):
            density.given(wrong)
