"""What frames are to densities and hashes: gray levels, or of planes the highest that is on."""

import torch

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.envs.interface import EnvSpec
from reverie.experiments.evaluation.screen import frame_to_image
from reverie.world_models.density.quantization import FrameQuantizer, highest_planes

PLANES = EnvSpec(1, 2, (4, 3, 2), channels=4, planes=True)


def frame_of_planes() -> torch.Tensor:
    """Return a frame whose highest planes are [[0, 4], [1, 2], [0, 0]], counted from 1."""
    frame = torch.zeros(1, 4, 3, 2, dtype=torch.uint8)
    for plane, row, column in [(3, 0, 1), (1, 0, 1), (0, 1, 0), (0, 1, 1), (1, 1, 1)]:
        frame[0, plane, row, column] = 255
    return frame


def test_a_symbol_of_planes_is_the_highest_that_is_on() -> None:
    quantizer = FrameQuantizer(PLANES, resolution=42, levels=8)
    assert (quantizer.shape, quantizer.levels) == ((3, 2), 5)
    symbols = quantizer(frame_of_planes())
    assert symbols.tolist() == [[[0, 4], [1, 2], [0, 0]]]
    assert quantizer.gray(symbols).tolist() == [[[0, 255], [63, 127], [0, 0]]]


def test_a_coarser_pixel_has_the_highest_plane_of_its_area() -> None:
    assert highest_planes(frame_of_planes(), (1, 2)).tolist() == [[[1, 4]]]
    assert FrameQuantizer(PLANES, resolution=1, levels=8)(frame_of_planes()).tolist() == [[[4]]]


def test_other_frames_have_the_levels_asked_for() -> None:
    quantizer = FrameQuantizer(EnvSpec(1, 2, (3, 3, 2), channels=3), resolution=2, levels=8)
    assert (quantizer.shape, quantizer.levels) == ((2, 2), 8)
    assert quantizer(torch.full((1, 3, 3, 2), 255, dtype=torch.uint8)).flatten().tolist() == [7] * 4


def test_bonuses_tell_planes_apart_whose_gray_would_be_equal() -> None:
    """Two frames with one pixel each, in the lowest and in the second plane."""
    frames = torch.zeros(2, 4, 3, 2, dtype=torch.uint8)
    frames[0, 0, 1, 1] = frames[1, 1, 1, 1] = 255
    counts = PseudoCountConfig().build(PLANES)
    first, second, again = (float(counts.observe(frames[i : i + 1])) for i in (0, 1, 0))
    assert again < first
    assert again < second
    assert counts.density.density.levels == 5  # type: ignore[attr-defined]
    code = SimHashConfig(bits=256).build(PLANES).code(frames)
    assert (code[0] != code[1]).any()


def test_planes_are_shown_in_colors() -> None:
    image = frame_to_image(frame_of_planes()[0])
    assert image.shape == (3, 2, 3)
    assert not image[0, 0].any()
    assert len({tuple(color) for color in image.reshape(-1, 3).tolist()}) == 4
