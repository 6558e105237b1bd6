"""Precision as an argument: what is built with it, and the copies of networks for inference."""

from typing import Any

import pytest
import torch

from reverie.agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from reverie.agents.dyna import DynaConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.ppo import PPOConfig
from reverie.envs.interface import EnvSpec
from reverie.world_models.density.bound import BoundConfig
from reverie.world_models.density.pixelcnn import PixelCNNConfig
from reverie.world_models.latents.binary_vae import AutoregressiveBernoulli
from reverie.world_models.latents.places import Places
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.precision import FLOAT32, InferenceCopy, Precision
from reverie.world_models.prediction.feedforward import FeedforwardConfig
from reverie.world_models.representation.contrastive import ContrastiveConfig
from reverie.world_models.representation.variational import VariationalConfig

from sample_models import still_segment

SPEC, BF16 = EnvSpec(2, 3, (1, 40, 40)), Precision("bf16")


def built(config: Any) -> Any:
    return config.build(SPEC, seed=0, precision=BF16)


def test_it_reaches_the_networks_of_agents_and_of_their_parts() -> None:
    assert built(PPOConfig()).network.trunk.precision == BF16
    mfec = MFECConfig(representation=VariationalConfig(VAEConfig(size=4)))
    assert built(mfec).representation.precision == BF16
    dyna = built(DynaConfig(predictor=FeedforwardConfig(size="tiny")))
    assert dyna.simulator.predictor.precision == BF16
    assert dyna.inner.q_network.trunk.precision == BF16


@pytest.mark.parametrize("bonus", [PseudoCountConfig, SurpriseConfig])
@pytest.mark.parametrize("density", [PixelCNNConfig(maps=4), BoundConfig(latent=VAEConfig(size=4))])
def test_it_reaches_the_density_of_a_bonus(bonus: Any, density: Any) -> None:
    """Which scores frames in float32 on a CPU, where its small kernels are slow in bfloat16."""
    asked: list[torch.device] = []

    class Spy(Precision):
        def for_small_kernels(self, device: torch.device) -> Precision:
            asked.append(device)
            return super().for_small_kernels(device)

    config = bonus(density=density, resolution=6)
    model = config.build(SPEC, seed=0, precision=Spy("bf16")).density.density
    assert asked == [torch.device("cpu")]
    assert model.precision.name == "fp32"
    assert BF16.for_small_kernels(torch.device("cuda")) == BF16


def contrastive_scores() -> torch.Tensor:
    model = ContrastiveConfig(dim=8, lag=1).task((1, 6, 6))
    model.encode = lambda obs: obs.flatten(1)[:, :8] / 8  # type: ignore[method-assign]
    return model.loss(still_segment(torch.arange(4 * 36).view(4, 1, 6, 6).byte(), 1))[0]


def binary_log_probs() -> torch.Tensor:
    codes = AutoregressiveBernoulli(torch.randn(5, 16), 2 * torch.randn(16, 16))
    return codes.log_prob(torch.randint(2, (5, 16)).float())


def attended_places() -> torch.Tensor:
    return Places(2, (9, 9)).attend(torch.rand(5, 1, 9, 9))


@pytest.mark.parametrize("compute", [contrastive_scores, binary_log_probs, attended_places])
def test_scores_and_log_probabilities_are_float32_in_any_precision(compute: Any) -> None:
    found = []
    for precision in (BF16, FLOAT32):
        torch.manual_seed(0)
        with torch.no_grad(), precision.autocast(torch.device("cpu")):
            found.append(compute())
    assert found[0].dtype == torch.float32
    assert torch.equal(*found)


def test_a_copy_for_inference_rounds_weights_as_autocast_does() -> None:
    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.Linear(8, 8), torch.nn.ReLU(), torch.nn.Linear(8, 4))
    copy, x = InferenceCopy(network, BF16), torch.randn(5, 8)
    for _ in range(2):
        with torch.no_grad(), BF16.autocast(torch.device("cpu")):
            assert torch.equal(copy.network(x), network(x))
        with torch.no_grad():
            next(network.parameters()).add_(0.1)
        copy.refresh()
    assert InferenceCopy(network, FLOAT32).network is network
