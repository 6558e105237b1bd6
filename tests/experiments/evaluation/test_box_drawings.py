"""Boxes over images: their scale, their outlines, and their opacity."""

import numpy as np
import torch

from reverie.experiments.evaluation.box_drawings import (
    Boxes,
    boxes_of,
    draw_boxes,
    drawn_steps,
    step_images,
)
from reverie.world_models.latents.composition import Composition

WHOLE = np.array([0.0, 0.0, 1.0, 1.0], np.float32)


def test_boxes_are_fractions_of_the_composed_frame() -> None:
    edges = torch.tensor([[[0.0, 1.0, 10.0, 3.0], [5.0, -1.0, 20.0, 4.0]]])
    composition = Composition(torch.rand(1, 2, 3, 10, 4), edges, torch.tensor([[0.5, 1.0]]))
    first, second = boxes_of(composition), boxes_of(composition, 1)
    assert first is not None
    assert second is not None
    np.testing.assert_allclose(first.edges, [[0, 0.25, 1, 0.75]])
    np.testing.assert_allclose(second.edges, [[0.5, -0.25, 2, 1]])
    assert (first.presence[0], second.presence[0]) == (0.5, 1.0)
    assert boxes_of(Composition(composition.images, None, composition.presence)) is None


def test_the_shown_steps_are_of_the_newest_frame_of_a_stack() -> None:
    images = torch.tensor([0.0, 0.5, 2.0]).expand(4, 2, 3)[..., None, None].expand(4, 2, 3, 5, 5)
    steps = step_images(Composition(images, None, torch.ones(4, 2)))
    assert len(steps) == 4
    assert steps[0].shape == (5, 5)
    assert (steps[0] == 255).all(), "clamped to what is drawn"
    color = step_images(Composition(images, None, torch.ones(4, 2)), channels=3)[0]
    assert color[0, 0].tolist() == [0, 128, 255]


def test_the_last_of_the_drawn_steps_is_the_last_one_and_none_has_the_box_of_another() -> None:
    images = torch.linspace(0, 1, 9)[:, None, None, None].expand(9, 1, 10, 5)
    boxes = torch.tensor([0.0, 0.0, 10.0, 5.0]).expand(9, 1, 4)
    drawn = drawn_steps(Composition(images, boxes, torch.ones(9, 1)), most=4)
    assert [step for step, _ in drawn] == [0, 3, 5, 8]
    assert [image[5, 2, 0] for _, image in drawn] == [0, 96, 159, 255]
    assert len({tuple(image[0, 0].tolist()) for _, image in drawn}) == 4, "each has its color"
    plain = drawn_steps(Composition(images, None, torch.ones(9, 1)), most=20)
    assert len(plain) == 9
    assert (plain[-1][1] == 255).all()


def test_only_the_outline_within_the_image_is_drawn() -> None:
    image = np.full((12, 8), 100, np.uint8)
    drawn = draw_boxes(image, Boxes(WHOLE[None] / 2, np.ones(1)))
    changed = (drawn != 100).any(-1)
    outline = np.zeros((12, 8), bool)
    outline[:6, :4] = True
    outline[1:5, 1:3] = False
    assert np.array_equal(changed, outline)
    outside = draw_boxes(image, Boxes(WHOLE[None] + 2, np.ones(1)))
    assert (outside == 100).all()
    across = draw_boxes(image, Boxes(WHOLE[None] - 0.5, np.ones(1)))
    assert (across != 100).any(-1).sum() == 6 + 4 - 1, "the two edges that are inside"


def test_a_box_is_as_opaque_as_it_is_present_and_each_step_has_its_color() -> None:
    image = np.zeros((20, 20, 3), np.uint8)
    edges = np.stack([WHOLE, WHOLE * 0.5])
    full = draw_boxes(image, Boxes(edges, np.array([1.0, 1.0])))
    for presence in (0.0, 0.3, 1.0):
        drawn = draw_boxes(image, Boxes(edges, np.array([presence, 0.0])))
        np.testing.assert_allclose(drawn[-1, -1], presence * full[-1, -1].astype(float), atol=0.5)
    assert (full[-1, -1] != full[0, 0]).any(), "the second box covers the corner of the first"
    first = draw_boxes(image, Boxes(edges, np.ones(2)).of_step(0))
    assert np.array_equal(first[0, 0], full[-1, -1])


def test_a_larger_image_has_the_same_boxes_at_its_own_scale() -> None:
    boxes = Boxes(np.array([[0.25, 0.25, 0.75, 1.0]]), np.ones(1))
    small, large = (draw_boxes(np.zeros((n, n), np.uint8), boxes).any(-1) for n in (20, 200))
    for mask, size in ((small, 20), (large, 200)):
        rows, columns = np.nonzero(mask)
        assert (rows.min(), columns.min()) == (size // 4, size // 4)
        assert (rows.max() + 1, columns.max() + 1) == (size * 3 // 4, size)
