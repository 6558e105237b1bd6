"""The Fréchet distance of two sets of frames, in the features of a network with random weights.

The Fréchet inception distance (Heusel et al. 2017, section A.1) has the features of a network that
was trained on photographs. Frames of games are no photographs, so the features here are random ones
with a fixed seed: distances are comparable among themselves, and not with those of papers.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from ...envs.prng import seeded

FEATURES = "random features"
"""Name of the network, which is printed beside its distances."""
SEED, NUM_FEATURES, CHUNK = 0, 64, 64


@torch.no_grad()
def random_features(
    frames: UInt8[Tensor, "B C H W"], median: UInt8[Tensor, "C H W"]
) -> Float[Tensor, "B D"]:
    """Return features of the differences of frames from the median frame, 0 where there is none.

    Three convolutions with random weights, each with a stride of 2 and ReLU, and a mean over
    positions.
    """
    with seeded(SEED):
        layers: list[nn.Module] = []
        for inputs, outputs in ((frames.shape[1], 16), (16, 32), (32, NUM_FEATURES)):
            convolution = nn.Conv2d(inputs, outputs, 3, stride=2, padding=1, bias=False)
            nn.init.kaiming_normal_(convolution.weight)
            layers += [convolution, nn.ReLU()]
    network = nn.Sequential(*layers)
    parts = [
        network((chunk.float() - median.float()) / 255).mean((2, 3))
        for chunk in torch.split(frames, CHUNK)
    ]
    return torch.cat(parts)


def frechet_distance(x: Float[Tensor, "B D"], y: Float[Tensor, "M D"]) -> float:
    """Return the squared Fréchet distance of two Gaussians with the means and covariances of sets.

        |m_x - m_y|^2 + tr(S_x + S_y - 2 (S_x S_y)^(1/2))

    The trace of the root is the sum of the square roots of the eigenvalues of
    S_x^(1/2) S_y S_x^(1/2) (Dowson and Landau 1982). Few samples overestimate it.
    """
    x, y = x.double(), y.double()
    first, second = (torch.cov(z.T).reshape(z.shape[1], -1) for z in (x, y))
    values, axes = torch.linalg.eigh(first)
    root = axes * values.clamp(min=0).sqrt() @ axes.T
    overlap = torch.linalg.eigvalsh(root @ second @ root).clamp(min=0).sqrt().sum()
    distance = (x.mean(0) - y.mean(0)).square().sum() + first.trace() + second.trace()
    return max(0.0, float(distance - 2 * overlap))
