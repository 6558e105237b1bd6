"""BiGAN: its discriminator against the log ratio of Gaussians, its gradients and its codes."""

import torch
from torch import Tensor
from torch.distributions import Normal

from reverie.envs.interface import Segment
from reverie.envs.prng import seeded
from reverie.world_models.representation.bigan import BiGAN, BiGANConfig, Discriminator, log_loss
from reverie.world_models.representation.self_supervised import SelfSupervised

SPREAD = 0.8
CORRELATION = 0.6
"""Of frame and code for the encoder, and minus that for the generator, whose margins are equal."""


def joint(n: int) -> tuple[Tensor, Tensor]:
    """Return n pairs of x and its code, then n of what a code generates and the code."""
    x, z, noise, other = torch.randn(4, n, 1)
    code, frame = CORRELATION * x + SPREAD * noise, -CORRELATION * z + SPREAD * other
    return torch.cat([x, frame])[:, :, None, None], torch.cat([code, z])


def log_ratio(x: Tensor, z: Tensor) -> Tensor:
    """Return log q(x, z) / p(x, z)."""
    prior, x = Normal(0.0, 1.0), x[:, :, 0, 0]
    log_q = prior.log_prob(x) + Normal(CORRELATION * x, SPREAD).log_prob(z)
    log_p = prior.log_prob(z) + Normal(-CORRELATION * z, SPREAD).log_prob(x)
    ratio: Tensor = (log_q - log_p)[:, 0]
    return ratio


def test_the_best_discriminator_is_the_log_ratio_of_the_joint_distributions() -> None:
    torch.manual_seed(0)
    discriminator = Discriminator((1, 1, 1), 1, hidden=32)
    optimizer = torch.optim.Adam(discriminator.parameters())
    for i in range(400):
        optimizer.param_groups[0]["lr"] = 5e-3 * (1 - i / 400)
        optimizer.zero_grad()
        log_loss(*discriminator(*joint(256)).chunk(2)).backward()
        optimizer.step()
    x, z = joint(2000)
    inside = (x[:, 0, 0, 0].abs() < 2) & (z[:, 0].abs() < 2)
    exact = log_ratio(x, z)[inside]
    with torch.no_grad():
        error = discriminator(x, z)[inside] - exact
    assert float(error.square().mean()) < 0.08 * float(exact.var())


def bars(n: int, seed: int) -> tuple[Segment, Tensor]:
    """Return frames with a bright column, and which it is."""
    column = torch.randint(6, (n,), generator=torch.Generator().manual_seed(seed))
    obs = torch.full((n, 1, 6, 6), 20, dtype=torch.uint8)
    obs[torch.arange(n), 0, :, column] = 220
    return Segment.of_observations(obs), column


def test_each_network_has_the_gradient_of_its_own_loss() -> None:
    config = BiGANConfig(dim=3)
    with seeded(0):
        task = config.task((1, 6, 6))
    x = task.pixels(bars(8, 0)[0].obs[:, 0])
    task.initialize_from(x)
    loss: dict[str, Tensor] = {}
    with seeded(1):
        found = gradients(task, task.loss(bars(8, 0)[0])[0])
    with seeded(1):
        code = task.encoder(x)
        z = torch.randn_like(code)
        frame = x.clone().requires_grad_()
        real, fake = task.discriminator(frame, code), task.discriminator(task.generate(z), z)
    slopes = torch.autograd.grad(real.sum(), (frame, code), create_graph=True)
    slope = torch.cat([x.flatten(1) for x in slopes], 1).square().sum(1).mean()
    loss["discriminator"] = log_loss(real, fake) + config.penalty / 2 * slope
    loss["encoder"] = loss["generator"] = log_loss(fake, real)
    for name, of_network in loss.items():
        expected = gradients(task, of_network)
        for key in expected:
            if key.startswith(name):
                torch.testing.assert_close(found[key], expected[key], rtol=1e-4, atol=1e-6)


def gradients(task: BiGAN, loss: Tensor) -> dict[str, Tensor]:
    names, weights = zip(*task.named_parameters(), strict=True)
    found = torch.autograd.grad(
        loss, weights, retain_graph=True, allow_unused=True, materialize_grads=True
    )
    return dict(zip(names, found, strict=True))


def test_the_encoder_inverts_the_generator() -> None:
    model = BiGANConfig(dim=4).build(obs_shape=(1, 6, 6))
    assert isinstance(model, SelfSupervised)
    assert isinstance(model.task, BiGAN)
    for i in range(200):
        model.update(bars(32, 10 + i)[0])
    segment, column = bars(500, 1)
    with torch.no_grad():
        found = model.task.generate(model.encode(segment.obs[:, 0])).mean((1, 2)).argmax(1)
    assert float((found == column).float().mean()) > 0.5, "chance is a sixth"
