"""Normalizing flows as posteriors: log-determinants, inverses, and the gap that they close."""

from functools import partial
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.distributions import Distribution, Independent, Normal

from reverie.world_models.inference.bounds import ELBO, LatentVariableModel, bound
from reverie.world_models.latents.posteriors import (
    FLOWS,
    AutoregressiveNet,
    Flow,
    FlowPosterior,
    InverseAutoregressiveFlow,
    PlanarFlow,
    PosteriorName,
)
from reverie.world_models.latents.vae import VAEConfig

FRAMES, SAMPLES = 4, 3


def build(name: PosteriorName, size: int, steps: int = 5, scale: float = 0.2) -> Flow:
    torch.manual_seed(0)
    flow = FLOWS[name](size, steps)
    for parameter in flow.parameters():
        parameter.data += scale * torch.randn_like(parameter)
    return flow.double()


def normal(*shape: int, seed: int = 1) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed)).double()


def posterior(name: PosteriorName, size: int, frames: int = FRAMES) -> FlowPosterior:
    flow = build(name, size, steps=3, scale=0.1)
    mean, log_std = normal(frames, size), 0.3 * normal(frames, size, seed=2)
    gaussian = Independent(Normal(mean, log_std.exp()), 1)
    return FlowPosterior(gaussian, flow, 0.5 * normal(frames, flow.num_params, seed=3))


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_log_determinant_is_that_of_the_jacobian(name: PosteriorName, size: int) -> None:
    flow, z = build(name, size), normal(FRAMES, size)
    params = normal(FRAMES, flow.num_params, seed=2)
    _, log_det = flow(z, params)
    for i in range(FRAMES):
        of_one = partial(lambda p, z: flow(z[None], p)[0][0], params[i : i + 1])
        jacobian: Tensor = torch.autograd.functional.jacobian(of_one, z[i])
        expected = torch.linalg.slogdet(jacobian)
        assert float(expected.sign) == 1
        torch.testing.assert_close(log_det[i], expected.logabsdet)


@pytest.mark.parametrize("name", FLOWS)
@pytest.mark.parametrize("size", [1, 2, 5])
def test_the_inverse_returns_the_codes_and_has_the_gradient_of_fixed_codes(
    name: PosteriorName, size: int
) -> None:
    flow, first = build(name, size), normal(SAMPLES, FRAMES, size)
    params = normal(FRAMES, flow.num_params, seed=2).requires_grad_()
    z, log_det = (x.detach() for x in flow(first, params))
    found, found_log_det = flow.inverse(z, params)
    torch.testing.assert_close(found, first, rtol=0, atol=1e-9)
    torch.testing.assert_close(found_log_det, log_det, rtol=0, atol=1e-9)
    assert torch.autograd.gradcheck(lambda p: flow.inverse(z, p), params, fast_mode=True)


@pytest.mark.parametrize("name", FLOWS)
def test_the_log_probability_of_samples_is_the_one_they_are_drawn_with(name: PosteriorName) -> None:
    q = posterior(name, 3)
    torch.manual_seed(0)
    z, log_prob = q.rsample_and_log_prob(torch.Size([SAMPLES]))
    assert z.shape == (SAMPLES, FRAMES, 3)
    torch.testing.assert_close(q.log_prob(z), log_prob)
    torch.manual_seed(0)
    assert torch.equal(q.sample(torch.Size([SAMPLES])), z.detach())
    assert not q.sample().requires_grad


@pytest.mark.parametrize("name", FLOWS)
@torch.no_grad()
def test_a_density_has_mass_one(name: PosteriorName) -> None:
    q, axis = posterior(name, 2, frames=1), torch.linspace(-12, 12, 120, dtype=torch.float64)
    log_prob = q.log_prob(torch.cartesian_prod(axis, axis)[:, None])
    assert float(log_prob.exp().sum() * (axis[1] - axis[0]) ** 2) == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize("name", FLOWS)
def test_a_new_flow_is_the_identity_where_the_encoder_gives_zeros(name: PosteriorName) -> None:
    flow, z = build(name, 4, scale=0), normal(SAMPLES, FRAMES, 4)
    mapped, log_det = flow(z, torch.zeros(FRAMES, flow.num_params).double())
    torch.testing.assert_close(mapped, z)
    torch.testing.assert_close(log_det, torch.zeros_like(log_det))


def test_any_numbers_of_the_encoder_make_an_invertible_planar_step() -> None:
    flow = PlanarFlow(2, 1).double()
    z, params = normal(2000, 2), 30 * normal(2000, flow.num_params, seed=2)
    params[:1000, :2] = -params[:1000, 2:4]  # u opposite to w: beyond the constraint
    mapped, log_det = flow(z, params)
    assert mapped.isfinite().all()
    assert log_det.isfinite().all()
    (u, w, _), *_ = flow._steps(params)
    assert ((u * w).sum(1) > -1 - 1e-9).all()


def test_an_autoregressive_step_reads_latents_of_lower_rank_alone() -> None:
    flow = build("iaf", 5, steps=2)
    assert isinstance(flow, InverseAutoregressiveFlow)
    z, params = normal(5), normal(1, flow.num_params, seed=2)
    for net, reverse in zip(flow.nets, (False, True), strict=True):
        for output in range(2):
            of_one = partial(lambda net, k, z: net(z[None], params)[k][0], net, output)
            jacobian: Tensor = torch.autograd.functional.jacobian(of_one, z)
            lower = jacobian.flip(0, 1) if reverse else jacobian
            assert (lower.triu() == 0).all()
            assert (lower.tril(-1)[1:].abs().sum(1) > 0).all()


def test_an_autoregressive_step_reads_all_of_more_latents_than_hidden_units() -> None:
    net = AutoregressiveNet(torch.arange(200), 4)
    reads = net.writes[:200].float() @ net.reads.float()
    assert torch.equal(reads > 0, torch.ones(200, 200).tril(-1) > 0)


class Banana(torch.nn.Module, LatentVariableModel):
    """z ~ N(0, I) in two dimensions, x | z ~ N(z_2 - z_1^2, 0.3^2): p(z | x) is a parabola."""

    def __init__(self, name: PosteriorName) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.flow = None if name == "gaussian" else FLOWS[name](2, 4)
        self.params = torch.nn.Parameter(0.1 * torch.randn(1, 4))
        of_flow = 0 if self.flow is None else self.flow.num_params
        self.of_flow = torch.nn.Parameter(0.1 * torch.randn(1, of_flow))

    def prior(self) -> Distribution:
        return Independent(Normal(torch.zeros(2), 1.0), 1)

    def posterior(self, x: Tensor) -> Distribution:
        mean, log_std = self.params.chunk(2, 1)
        gaussian = Independent(Normal(mean, log_std.exp()), 1)
        return gaussian if self.flow is None else FlowPosterior(gaussian, self.flow, self.of_flow)

    def likelihood(self, z: Tensor) -> Distribution:
        return Normal(z[..., 1] - z[..., 0].square(), 0.3)

    def gap(self, x: Tensor) -> float:
        """Fit the posterior; return the evidence, by quadrature, minus the ELBO."""
        groups: list[dict[str, Any]] = [{"params": [self.params, self.of_flow], "lr": 3e-2}]
        if self.flow is not None:
            groups.append({"params": [*self.flow.parameters()], "lr": 3e-3})
        optimizer = torch.optim.Adam(groups)
        for _ in range(300):
            optimizer.zero_grad()
            value = bound(self.weigh(x, 32, pathwise=True).log_weights(), ELBO).mean()
            (-value).backward()
            optimizer.step()
        axis = torch.linspace(-6, 6, 400)
        z = torch.cartesian_prod(axis, axis)
        log_joint = self.likelihood(z).log_prob(x) + self.prior().log_prob(z)
        evidence = log_joint.logsumexp(0) + 2 * (axis[1] - axis[0]).log()
        with torch.no_grad():
            return float(evidence - bound(self.weigh(x, 10_000).log_weights(), ELBO).mean())


def test_flows_close_the_gap_of_a_curved_posterior() -> None:
    x = torch.tensor([0.0])
    gaussian, planar, iaf = (Banana(name).gap(x) for name in ("gaussian", "planar", "iaf"))
    assert gaussian > 0.3
    assert -0.02 < iaf < gaussian / 2
    assert -0.02 < planar < 0.8 * gaussian


@torch.no_grad()
def test_a_key_holds_the_mapped_mean_and_the_log_standard_deviation() -> None:
    torch.manual_seed(0)
    for posterior in FLOWS:
        model = VAEConfig(size=3, posterior=posterior).build((6, 6), 4)
        x = model.prepare(torch.randint(4, (2, 6, 6), dtype=torch.uint8))
        params = model.posterior_params(x)
        key = model.key(x)
        assert key.shape == (2, 6)
        assert torch.equal(key[:, :3], model.codes(params, torch.zeros(1, 1, 3))[0])
        assert torch.equal(key[:, 3:], params[:, 3:6])
