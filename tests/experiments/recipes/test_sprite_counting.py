"""Sprites whose number is known, and AIR that learns to count them."""

from pathlib import Path

import pytest
import torch

from reverie.experiments.recipes.recipes import RECIPES
from reverie.experiments.recipes.sprite_counting import SPRITE, SpriteCounting, sprites
from reverie.world_models.latents.air import AIRConfig

TINY = SpriteCounting(
    AIRConfig(size=2, hidden=32),
    learning_rate=3e-3,
    size=18,
    num_updates=120,
    frames=500,
    held_out=300,
    seeds=(0,),
)


def test_frames_hold_the_given_number_of_sprites() -> None:
    frames, counts = sprites(300, seed=0, size=20)
    background = frames[counts == 0][0]
    pixels = (frames != background).flatten(1).sum(1)
    assert torch.bincount(counts).min() > 70
    assert not pixels[counts == 0].any()
    for n in (1, 2):  # no shape has less than half of the pixels of its box
        assert pixels[counts == n].min() >= n * SPRITE**2 / 2
        assert pixels[counts == n].max() <= n * SPRITE**2
    again, _ = sprites(300, seed=0, size=20)
    assert torch.equal(again, frames)
    assert not torch.equal(sprites(300, seed=1, size=20)[0], frames)


def test_air_learns_to_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From frames alone; a constant number is right for a third of them."""
    *_, last = TINY.measure(tmp_path)
    assert [row["seed"] for row in last["rows"]] == [0]
    for row in last["rows"]:
        assert row["accuracy"] > 0.8
        assert min(row["accuracy_by_count"]) > 0.6
        assert row["processor_seconds"] > 0
    monkeypatch.setattr(SpriteCounting, "_row", lambda *_: pytest.fail("it is measured again"))
    assert list(TINY.measure(tmp_path))[-1] == last, "finished seeds are kept"


def test_the_recipe_counts_with_the_default_model() -> None:
    recipe = RECIPES["count-sprites"]
    assert isinstance(recipe, SpriteCounting)
    assert recipe.latent == AIRConfig()
    assert len(recipe.seeds) >= 3
