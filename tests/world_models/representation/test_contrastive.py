"""InfoNCE against the mutual information of Gaussians, and what contrastive codes hold."""

import math
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from reverie.envs.interface import Segment
from reverie.world_models.representation.contrastive import (
    Contrastive,
    ContrastiveConfig,
    info_nce,
)

from sample_models import still_segment

CORRELATION, SIZE, BATCH = 0.8, 2, 256
INFORMATION = -SIZE / 2 * math.log(1 - CORRELATION**2)
"""Of the pair, in nats."""


def pair() -> tuple[Tensor, Tensor]:
    """Return two Gaussians whose coordinates are correlated."""
    x, noise = torch.randn(2, BATCH, SIZE)
    return x, CORRELATION * x + math.sqrt(1 - CORRELATION**2) * noise


def log_ratio(x: Tensor, y: Tensor) -> Tensor:
    """Return log p(y | x) / p(y) of every x (rows) with every y (columns)."""
    residual = y[None] - CORRELATION * x[:, None]
    return INFORMATION + (
        y.square()[None] / 2 - residual.square() / (2 * (1 - CORRELATION**2))
    ).sum(2)


def test_the_exact_log_ratio_has_the_mutual_information() -> None:
    torch.manual_seed(0)
    estimates = [info_nce(log_ratio(*pair())).mean() for _ in range(100)]
    assert float(torch.stack(estimates).mean()) == pytest.approx(INFORMATION, rel=0.03)
    assert torch.allclose(info_nce(torch.zeros(5, 5)), torch.zeros(5)), "equal scores tell nothing"
    assert torch.allclose(info_nce(1e4 * torch.eye(5)), torch.tensor(5.0).log().expand(5))


def test_a_trained_critic_has_the_mutual_information_and_the_log_ratio() -> None:
    torch.manual_seed(0)
    f, g = (nn.Sequential(nn.Linear(SIZE, 64), nn.ReLU(), nn.Linear(64, 16)) for _ in range(2))
    optimizer = torch.optim.Adam([*f.parameters(), *g.parameters()])

    def scores(x: Tensor, y: Tensor) -> Tensor:
        found: Tensor = f(x) @ g(y).T
        return found

    for i in range(200):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - i / 200)
        optimizer.zero_grad()
        (-info_nce(scores(*pair())).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        information = torch.stack([info_nce(scores(*pair())).mean() for _ in range(100)]).mean()
        assert float(information) == pytest.approx(INFORMATION, rel=0.05)
        x, y = pair()
        inside = ((x.abs() < 1.5).all(1), (y.abs() < 1.5).all(1))
        found, exact = (s[inside[0]][:, inside[1]] for s in (scores(x, y), log_ratio(x, y)))
    error = (found - found.mean(1, keepdim=True)) - (exact - exact.mean(1, keepdim=True))
    assert float(error.square().mean()) < 0.05 * float(exact.var(1).mean()), "up to c(x)"


def random_obs(batch: int, count: int, shape: tuple[int, int, int] = (1, 6, 6)) -> Tensor:
    return torch.randint(256, (batch, count, *shape), dtype=torch.uint8)


def test_a_pair_ends_where_its_episode_does() -> None:
    torch.manual_seed(0)
    model = ContrastiveConfig(dim=4, lag=3).task((1, 6, 6))
    last = torch.tensor([[0, 0, 0, 0], [0, 1, 1, 1], [0, 0, 1, 1], [0, 0, 0, 1]]).bool()
    obs = random_obs(4, 4)
    segment = replace(still_segment(obs[:, 0], 3), obs=obs, last=last)
    loss, metrics = model.loss(segment)
    later = torch.stack([obs[0, 3], obs[1, 1], obs[2, 2], obs[3, 3]])
    scores = model.critic(model.encode(obs[:, 0])) @ model.encode(later).T
    torch.testing.assert_close(loss, -info_nce(scores).mean())
    torch.testing.assert_close(metrics["mutual_information"], -loss.detach())


def with_noise(generator: torch.Generator, batch: int) -> tuple[Segment, Tensor, Tensor]:
    """Return segments whose frames have a column that lasts and one that is drawn anew."""
    lasting, drawn = torch.rand(2, batch, 2, generator=generator)
    again = torch.rand(batch, 2, generator=generator)
    obs = torch.zeros(batch, 2, 1, 6, 6)
    obs[:, :, 0, :, 0:2] = lasting[:, None, None]
    obs[:, 0, 0, :, 4:6] = drawn[:, None]
    obs[:, 1, 0, :, 4:6] = again[:, None]
    obs = (255 * obs).to(torch.uint8)
    return replace(still_segment(obs[:, 0], 1), obs=obs), lasting, drawn


def test_codes_hold_what_lasts_more_than_what_is_drawn_anew() -> None:
    model = ContrastiveConfig(dim=2, lag=1).build(obs_shape=(1, 6, 6))
    assert isinstance(model.task, Contrastive)
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        model.update(with_noise(generator, 32)[0])
    segment, lasting, drawn = with_noise(generator, 1000)
    code = model.encode(segment.obs[:, 0])
    features = torch.cat([code, code.square(), torch.ones(1000, 1)], 1)

    def explained(target: Tensor) -> float:
        residual = target - features @ torch.linalg.lstsq(features, target).solution
        return float(1 - residual.var(0).mean() / target.var(0).mean())

    assert explained(lasting) > 0.9
    assert explained(drawn) < 0.1
