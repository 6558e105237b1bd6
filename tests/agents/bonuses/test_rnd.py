"""RND: equal to CleanRL's computation, and novel where the predictor was not trained."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from reverie.agents.bonuses.rnd import RND, RNDConfig
from reverie.agents.bonuses.running_moments import RunningMoments
from reverie.agents.networks import ImpalaConfig, MLPConfig, NetworkConfig, SmallConvConfig
from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.interface import EnvSpec

SMALL = EnvSpec(4, 2, (1, 8, 8))
ALL = torch.ones(4, dtype=torch.bool)


def frames(n: int, seed: int = 0, size: int = 8) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 1, size, size), generator=generator, dtype=torch.uint8)


def cleanrl_networks() -> tuple[nn.Sequential, nn.Sequential]:
    """The predictor and the target of CleanRL's RNDModel."""

    def convolutions() -> list[nn.Module]:
        return [
            nn.Conv2d(1, 32, 8, stride=4), nn.LeakyReLU(),
            nn.Conv2d(32, 64, 4, stride=2), nn.LeakyReLU(),
            nn.Conv2d(64, 64, 3, stride=1), nn.LeakyReLU(),
            nn.Flatten(), nn.Linear(7 * 7 * 64, 512),
        ]  # fmt: skip

    head = [nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 512)]
    return nn.Sequential(*convolutions(), *head), nn.Sequential(*convolutions())


class GymRunningMeanStd:
    """The running moments of Gym's wrappers, which CleanRL uses."""

    def __init__(self, shape: tuple[int, ...]) -> None:
        self.mean, self.var, self.count = np.zeros(shape), np.ones(shape), 1e-4

    def update(self, x: Any) -> None:
        delta, total = x.mean(0) - self.mean, self.count + len(x)
        m2 = self.var * self.count + x.var(0) * len(x)
        m2 = m2 + np.square(delta) * self.count * len(x) / total
        self.mean = self.mean + delta * len(x) / total
        self.var, self.count = m2 / total, total


def test_the_bonus_is_that_of_cleanrl() -> None:
    """With the same weights: whitening, error and the deviation of discounted sums in time."""
    spec = EnvSpec(3, 2, (4, 84, 84))
    bonus = RNDConfig(initial_frames=0, update_every=10**6, scale=0.5).build(spec, seed=2)
    predictor, target = cleanrl_networks()
    predictor.load_state_dict(bonus.predictor.state_dict())
    target.load_state_dict(bonus.target.state_dict())
    obs_rms, reward_rms = GymRunningMeanStd((1, 84, 84)), GymRunningMeanStd(())
    sums = np.zeros(3)
    for i in range(5):
        batch = frames(3, i, 84)
        batch[:, :, :40] = 0  # pixels that never change
        actual = bonus.observe(batch, torch.ones(3, dtype=torch.bool))
        obs_rms.update(batch.numpy())
        scaled = (batch - torch.from_numpy(obs_rms.mean)) / torch.sqrt(
            torch.from_numpy(obs_rms.var)
        )
        x = scaled.clip(-5, 5).float()
        curiosity = ((target(x) - predictor(x)).pow(2).sum(1) / 2).detach().numpy()
        sums = sums * 0.99 + curiosity
        reward_rms.update(sums)
        expected = torch.from_numpy(0.5 * curiosity / np.sqrt(reward_rms.var)).float()
        torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-6)


def test_the_error_of_learned_frames_falls_tenfold_and_that_of_others_stays() -> None:
    bonus = RNDConfig(initial_frames=8, update_every=32, learning_rate=1e-3).build(SMALL)
    learned, other = frames(4), frames(4, seed=1)
    bonus.observe(learned, ALL)
    bonus.observe(other, ALL)
    before = bonus.error(other)
    paid = [float(bonus.observe(learned, ALL).mean()) for _ in range(300)]
    bonus.pixels.update(other)  # they were seen last
    assert paid[-1] < paid[0] / 10
    assert (bonus.error(learned) < bonus.error(other) / 10).all()
    assert (bonus.error(other) > before / 2).all()


def test_the_first_frames_are_measured_alone() -> None:
    bonus = RNDConfig(initial_frames=12, update_every=4).build(SMALL)
    weights = [x.clone() for x in bonus.predictor.parameters()]
    for i in range(3):
        assert not bonus.observe(frames(4, i), ALL).any()
    assert all(
        torch.equal(*pair) for pair in zip(weights, bonus.predictor.parameters(), strict=True)
    )
    assert (bonus.observe(frames(4, 3), ALL) > 0).all()
    assert not torch.equal(weights[0], next(bonus.predictor.parameters()))


def test_sums_of_errors_are_those_of_the_valid_envs() -> None:
    bonus = RNDConfig(int_gamma=0.5).build(SMALL)
    first = frames(4)
    bonus.observe(first, ALL)
    sums, some = bonus.sums.clone(), torch.tensor([True, False, False, True])
    bonus.observe(first[some], some)
    expected = torch.where(some, 0.5 * sums, sums)
    expected[some] += bonus.error(first[some])
    torch.testing.assert_close(bonus.sums, expected)


@pytest.fixture
def counts(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The number of frames of each update of a bonus, and 0 for each error without one."""
    counts: list[int] = []
    outputs = RND._outputs

    def counted(self: RND, x: torch.Tensor) -> Any:
        counts.append(len(x) if torch.is_grad_enabled() else 0)
        return outputs(self, x)

    monkeypatch.setattr(RND, "_outputs", counted)
    return counts


def test_the_share_of_frames_that_is_learned(counts: list[int]) -> None:
    bonus = RNDConfig(initial_frames=0, update_every=1_000, update_epochs=2).build(SMALL)
    for i in range(250):
        bonus.observe(frames(4, i), ALL)
    assert sum(counts) == pytest.approx(2 * 0.25 * 1_000, rel=0.1)
    assert sum(x > 0 for x in counts) == 8


def test_minibatches_are_as_many_as_set_where_frames_are_not_a_multiple(counts: list[int]) -> None:
    config = RNDConfig(initial_frames=0, update_every=9, update_epochs=1, update_proportion=1.0)
    config.build(EnvSpec(9, 2, (1, 8, 8))).observe(frames(9), torch.ones(9, dtype=torch.bool))
    assert sorted(x for x in counts if x) == [2, 2, 2, 3]


def test_an_example_keeps_the_settings_that_cost_no_time() -> None:
    config = RNDConfig(scale=3.0, int_gamma=0.9)
    assert (config.example().scale, config.example().int_gamma) == (3.0, 0.9)


def test_moments_of_batches_are_those_of_all_rows() -> None:
    moments, rows = RunningMoments((2,)), torch.randn(50, 2) * 3 + 5
    for batch in rows.split([1, 9, 40]):
        moments.update(batch)
    torch.testing.assert_close(moments.mean.float(), rows.mean(0), rtol=1e-4, atol=1e-4)
    torch.testing.assert_close(moments.std.float(), rows.std(0, correction=0), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("network", [MLPConfig(), SmallConvConfig(), ImpalaConfig((4,), 16)])
def test_any_network_can_be_distilled(network: NetworkConfig) -> None:
    bonus = RNDConfig(network=network, initial_frames=0, update_every=4).build(SMALL)
    assert (bonus.observe(frames(4), ALL) > 0).all()
    assert not isinstance(bonus.target[-1], nn.ReLU)


def test_an_error_that_is_not_finite_is_reported() -> None:
    bonus = RNDConfig().build(SMALL)
    nn.init.constant_(bonus.predictor[-1].bias, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(NumericalError, match="prediction error of RND is nan"):
        bonus.observe(frames(4), ALL)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": -1.0}, "bonus.scale is -1.0; it must be 0 or more"),
        ({"int_gamma": 1.0}, "bonus.int_gamma is 1.0; it must be below 1"),
        ({"update_every": 0}, "bonus.update_every is 0; it must be 1 or more"),
        ({"update_proportion": 1.5}, "bonus.update_proportion is 1.5; it must be in 0..1"),
        ({"learning_rate": 0.0}, "bonus.learning_rate is 0.0; it must be above 0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        RNDConfig(**settings)
