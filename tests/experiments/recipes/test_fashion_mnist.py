"""Densities of Fashion-MNIST: how images are read and binarized, and that a result is kept."""

import gzip
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from reverie.envs.errors import UsageError
from reverie.experiments.recipes import fashion_mnist
from reverie.experiments.recipes.fashion_mnist import FashionMNIST, binarize, read_images
from reverie.world_models.density.made import MADE, MADEConfig

RECIPE = FashionMNIST({"made": MADEConfig(hidden=8)}, minutes=0.005, batch_size=4)


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """A folder with 12 images of each split in the format of MNIST, a row of white each."""
    for split in ("train", "t10k"):
        pixels = np.zeros((12, 28, 28), np.uint8)
        pixels[np.arange(12), np.arange(12)] = 255
        header = np.array([2051, 12, 28, 28], ">i4").tobytes()
        path = tmp_path / f"{split}-images-idx3-ubyte.gz"
        path.write_bytes(gzip.compress(header + pixels.tobytes()))
    return tmp_path


def test_images_are_read_in_order(images: Path) -> None:
    x = read_images(images, "train")
    assert x.shape == (12, 28, 28)
    assert (x.sum((1, 2)) == 28 * 255).all()
    assert (x.amax(2).argmax(1) == torch.arange(12)).all()


def test_missing_images_are_refused_with_the_package_that_has_them(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="apt-get install dataset-fashion-mnist"):
        read_images(tmp_path, "train")


def test_a_pixel_is_one_as_often_as_it_is_bright() -> None:
    images = torch.tensor([0, 51, 255], dtype=torch.uint8).expand(4000, 1, 3)
    x = binarize(images, seed=0)
    assert x.dtype == torch.uint8
    mean = x.double().mean((0, 1))
    assert mean[0] == 0
    assert mean[2] == 1
    assert abs(float(mean[1]) - 0.2) < 4 * (0.2 * 0.8 / 4000) ** 0.5
    torch.testing.assert_close(binarize(images, seed=0), x)
    assert not torch.equal(binarize(images, seed=1), x)


@pytest.mark.parametrize(("binarization", "kinds"), [("dynamic", 2), ("static", 1)])
def test_static_images_are_drawn_once(
    images: Path, monkeypatch: pytest.MonkeyPatch, binarization: str, kinds: int
) -> None:
    gray = torch.full((4, 28, 28), 128, dtype=torch.uint8)
    monkeypatch.setattr(fashion_mnist, "read_images", lambda folder, split: gray)
    seen = []

    def watch(density: MADE, x: torch.Tensor) -> None:
        seen.append(tuple(x.flatten(1).sum(1).sort().values.tolist()))

    monkeypatch.setattr(MADE, "update", watch)
    replace(RECIPE, binarization=binarization).train(MADEConfig(hidden=8))  # type: ignore[arg-type]
    assert len(seen) >= 2
    assert len(set(seen[:2])) == kinds


def test_a_finished_density_is_not_trained_again(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = replace(RECIPE, images=images)
    (result,) = recipe.measure(tmp_path)
    (row,) = result["rows"]
    assert (row["density"], row["kind"], row["test_images"]) == ("made", "exact", 12)
    assert row["epochs"] == pytest.approx(row["updates"] * 4 / 12)
    monkeypatch.setattr(FashionMNIST, "train", lambda *args: 1 / 0)
    assert [*recipe.measure(tmp_path)] == [result]
