"""A network of several seeds computes the bits of each seed's own, forwards and backwards.

Some sizes are those at which a batched product, or one of unaligned rows, rounds otherwise.
"""

import copy
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reverie.agents.seeds_together.gradient_steps import GradientSteps
from reverie.agents.seeds_together.seed_layers import ActiveSeeds, network_of_seeds
from reverie.envs.errors import UsageError

SEEDS = 3
NETWORKS = {
    "mlp": (lambda: nn.Sequential(nn.Linear(25, 50), nn.ReLU(), nn.Linear(50, 3)), (25,)),
    "wide": (lambda: nn.Sequential(nn.Linear(507, 64), nn.ReLU(), nn.Linear(64, 1)), (507,)),
    "norm": (lambda: nn.Sequential(nn.Linear(7, 5), nn.LayerNorm(5), nn.ReLU()), (7,)),
    "convolution": (
        lambda: nn.Sequential(nn.Conv2d(5, 7, 3), nn.ReLU(), nn.Flatten(), nn.Linear(448, 6)),
        (5, 10, 10),
    ),
}


def networks_of(name: str) -> list[nn.Module]:
    torch.manual_seed(0)
    build: Any = NETWORKS[name][0]
    return [build() for _ in range(SEEDS)]


@pytest.mark.parametrize("rows", [1, 2, 8, 32])
@pytest.mark.parametrize("name", NETWORKS)
def test_outputs_and_gradients_are_those_of_each_seed(name: str, rows: int) -> None:
    alone, together = networks_of(name), networks_of(name)
    joint = network_of_seeds(together, ActiveSeeds(SEEDS))
    x = torch.randn(SEEDS, rows, *NETWORKS[name][1])
    outputs = [network(own.clone()) for network, own in zip(alone, x, strict=True)]
    y = joint(x.flatten(0, 1))
    assert torch.equal(y, torch.cat(outputs))
    with torch.no_grad():
        assert torch.equal(joint(x.flatten(0, 1)), y)
    weight = torch.randn_like(outputs[0])
    (y.unflatten(0, (SEEDS, rows)) * weight).sum().backward()
    for own in outputs:
        (own * weight).sum().backward()
    assert gradients(together) == gradients(alone)


def gradients(networks: list[nn.Module]) -> list[list[float]]:
    return [x.grad.flatten().tolist() for net in networks for x in net.parameters()]  # type: ignore[union-attr]


def test_some_of_the_seeds_alone_map_a_batch() -> None:
    networks, active = networks_of("mlp"), ActiveSeeds(SEEDS)
    joint, x = network_of_seeds(networks, active), torch.randn(2, 4, 25)
    active.positions = [0, 2]
    expected = torch.cat([networks[0](x[0]), networks[2](x[1])])
    assert torch.equal(joint(x.flatten(0, 1)), expected)


def test_a_layer_that_mixes_rows_is_refused() -> None:
    networks: list[nn.Module] = [nn.Sequential(nn.BatchNorm1d(4)) for _ in range(2)]
    with pytest.raises(UsageError, match="has a BatchNorm1d; train its seeds one by one"):
        network_of_seeds(networks, ActiveSeeds(2))


def test_a_gradient_step_is_that_of_each_seed() -> None:
    """Norms below and above the limit, and a seed without a gradient in a step."""
    alone = networks_of("mlp")
    together = copy.deepcopy(alone)
    optimizers = [
        [torch.optim.Adam(x.parameters(), lr=0.01, eps=1e-5, fused=True) for x in networks]
        for networks in (alone, together)
    ]
    joint, x = GradientSteps(optimizers[1]), torch.randn(SEEDS, 4, 25)
    for scales in ([0.01, 1.0, 30.0], [1.0, 0.0, 2.0], [1.0, 1.0, 1.0]):
        active = [i for i, scale in enumerate(scales) if scale]
        for i in active:
            optimizers[0][i].zero_grad()
            (alone[i](x[i]).sum() * scales[i]).backward()
            nn.utils.clip_grad_norm_(alone[i].parameters(), 0.5)
            optimizers[0][i].step()
        joint.backward(torch.stack([together[i](x[i]).sum() * scales[i] for i in active]))
        joint.step(0.5)
    joint.share()
    for a, b, own, shared in zip(alone, together, *optimizers, strict=True):
        assert all(map(torch.equal, a.parameters(), b.parameters()))
        moments: list[list[Tensor]] = [
            [x for state in each.state_dict()["state"].values() for x in state.values()]
            for each in (own, shared)
        ]
        assert moments[0]
        assert all(map(torch.equal, *moments))
