"""The published encoder and decoder, on frames of any size."""

import pytest
import torch

from reverie.world_models.latents.networks import Decoder, Encoder


def test_the_published_network_has_the_published_sizes() -> None:
    encoder, decoder = Encoder((1, 84, 84), 64), Decoder(32, (84, 84), 2)
    x, rows = torch.rand(1, 1, 84, 84), []
    for layer in encoder.features:
        x = layer(x)
        if isinstance(layer, torch.nn.Conv2d):
            rows.append(tuple(x.shape[1:]))
    assert rows == [(32, 41, 41), (32, 19, 19), (64, 8, 8), (64, 3, 3)]
    assert encoder.outputs.in_features == 512
    reverse = [x for x in decoder.layers if isinstance(x, torch.nn.ConvTranspose2d)]
    assert [layer.out_channels for layer in reverse] == [64, 64, 32, 32]
    assert [layer.kernel_size for layer in reverse] == [(4, 4), (5, 5), (5, 5), (4, 4)]
    assert decoder(torch.randn(3, 2, 32)).shape == (3, 2, 2, 84, 84)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (10, 5), (42, 42), (83, 85), (210, 160)])
def test_networks_support_frames_of_any_size(size: tuple[int, int]) -> None:
    assert Encoder((3, *size), 5)(torch.rand(2, 3, *size)).shape == (2, 5)
    assert Decoder(4, size, 6)(torch.randn(2, 4)).shape == (2, 6, *size)
