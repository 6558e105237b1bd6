"""The columns of latent-variable models in the gallery, on frames of Catch."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from composing_latent import ComposingConfig

from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.ram import RAM
from reverie.envs.catch import CatchConfig
from reverie.experiments.config.registry import TABLES
from reverie.experiments.datasets.collect import collect
from reverie.experiments.evaluation.linear_probe import POSITION, PositionData
from reverie.experiments.gallery import latent_columns
from reverie.experiments.gallery.columns import COLUMNS
from reverie.experiments.gallery.gallery_options import Sizes
from reverie.experiments.gallery.latent_columns import (
    REFINED,
    active,
    amortization,
    is_latent,
    probe,
    reconstruction,
)
from reverie.experiments.gallery.subject import Subject
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.training.densities import DensityPretraining
from reverie.experiments.training.pretrain import pretrain
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.density.histogram import HistogramConfig
from reverie.world_models.density.orderless import OrderlessConfig
from reverie.world_models.inference.refine import amortization_gap
from reverie.world_models.latents.binary_vae import BinaryVAEConfig
from reverie.world_models.latents.interface import LatentConfig
from reverie.world_models.latents.vae import GaussianVAE, VAEConfig


def subject_of(latent: LatentConfig) -> Subject:
    """A density that was trained by two updates."""
    density = BoundConfig(latent=latent, samples=2)
    job = DensityPretraining(data=(Path("data"),), density=density, num_updates=2)
    folder = Path(type(latent).__name__)
    pretrain(job, folder, PretrainOptions(device="cpu", quiet=True))
    return Subject(job, folder, Sizes(held_out=20))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(TABLES[LatentConfig], "composing", ComposingConfig)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=200, num_envs=4)


def test_latent_variable_models_of_frames_alone_fill_the_columns() -> None:
    shape: dict[str, Any] = {"shape": (4, 4), "levels": 2}
    assert is_latent(BoundConfig(latent=VAEConfig(size=2)).build(**shape))
    assert not is_latent(HistogramConfig().build(**shape))
    assert not is_latent(OrderlessConfig().example().build(**shape)), "its codes are orders"
    needing = [column.name for column in COLUMNS if column.needs is is_latent]
    assert needing == ["active units", "probe", "amortization gap", "reconstruction"]


def test_units_are_active_if_their_means_differ_between_frames() -> None:
    subject = subject_of(VAEConfig(size=3))
    density = subject.density()
    subject.density = lambda: density  # type: ignore[method-assign]
    model = density.net
    with torch.no_grad():
        model.encoder.skip.weight.zero_()
        model.encoder.outputs.weight.zero_()
        model.encoder.skip.weight[1] = 100 * torch.randn(50)
        model.encoder.skip.weight[4] = 100 * torch.randn(50)  # a standard deviation
    cell = active(subject)
    assert cell.shown == "1 of 3"
    assert cell.numbers == {"active": 1, "latents": 3}


def test_the_amortization_gap_is_that_of_the_frames_in_time_and_of_refinable_models() -> None:
    subject = subject_of(VAEConfig(size=2))
    subject.deadline = 0.0
    cell, model = amortization(subject), subject.density().net
    gaps = amortization_gap(model, model.prepare(subject.held_out[:REFINED]))
    assert cell is not None
    assert cell.numbers["nats"] == pytest.approx(float(gaps.mean()))
    assert cell.shown.endswith(f"(of {REFINED} frames)")
    assert amortization(subject_of(BinaryVAEConfig(size=2))) is None


@pytest.mark.parametrize("latent", [VAEConfig(size=2), ComposingConfig(size=2)])
def test_the_error_is_that_of_the_reconstruction_by_the_mean_code(latent: VAEConfig) -> None:
    subject = subject_of(latent)
    cell, model = reconstruction(subject), subject.density().net
    x = subject.held_out
    with torch.no_grad():
        codes = model.key(model.prepare(x))[:, :2]
        error = (model.image(codes) - x / 7).square().mean().sqrt()
    assert cell.numbers["rmse"] == pytest.approx(255 * float(error), rel=1e-5)
    (frames,) = cell.pictures.values()
    assert frames.shape == ((2 if isinstance(latent, ComposingConfig) else 1), 10, 5, 3)


def test_positions_are_probed_where_the_true_state_has_them(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Keys of pixels predict their sum; constant keys predict nothing."""

    class PixelKeys(GaussianVAE):
        scale = 1.0

        def key(self, x: Any) -> Any:
            return self.scale * x.flatten(1).float()

    subject, net = (
        subject_of(VAEConfig(size=2)),
        PixelKeys(VAEConfig().pixels((3, 3), 8), VAEConfig(size=2)),
    )
    subject.density = lambda: SimpleNamespace(net=net)  # type: ignore[method-assign]
    subject.quantizer = lambda obs: obs[:, 0]  # type: ignore[assignment]
    frames = torch.randint(0, 8, (400, 1, 3, 3), dtype=torch.uint8)
    sums = torch.stack([frames[:, 0, 0].sum(1), frames[:, 0, 1].sum(1)], 1)
    data = PositionData(frames, sums.float(), torch.arange(8).repeat(50))
    assert probe(subject) is None
    monkeypatch.setitem(RAM, "catch", dict.fromkeys(POSITION, 0))
    monkeypatch.setattr(latent_columns, "record_positions", lambda env, count: data)
    exact, net.scale = probe(subject), 0.0
    constant = probe(subject)
    assert exact is not None
    assert constant is not None
    assert exact.shown == "1.00, 1.00"
    assert constant.numbers["x"] <= 0
