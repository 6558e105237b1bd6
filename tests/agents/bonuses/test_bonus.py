"""Tests of every bonus in the table, and of the published formulas by hand."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie.agents.bonuses.bonus import Bonus, BonusConfig
from reverie.agents.bonuses.density_bonus import PseudoCountConfig, SurpriseConfig
from reverie.agents.bonuses.pseudo_counts import (
    count_bonus,
    gain_count_bonus,
    gain_pseudo_count,
    pseudo_count,
)
from reverie.agents.bonuses.simhash import SimHash, SimHashConfig
from reverie.agents.dqn import DQNConfig
from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.interface import EnvSpec, TimeStep, Transition
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.registry import BONUSES
from reverie.world_models.density.histogram import Histogram, HistogramConfig
from reverie.world_models.density.quantization import area_sums, grayscale, quantize_frames

from sample_models import assert_same_state

SPEC = EnvSpec(4, 2, (1, 5, 6), privileged=tuple(f"pixel_{i}" for i in range(30)))
COUNTING = ["pseudo-count", "simhash", "true-counts"]
each_bonus = pytest.mark.parametrize("name", BONUSES)


def build(name: str, seed: int = 0) -> Bonus:
    return BONUSES[name]().example().build(SPEC, seed=seed)


def timestep(frame: Tensor, last: list[bool] | None = None) -> Transition:
    """Return a transition to these frames; where ``last`` is true, it is an autoreset.

    The true state is the frame.
    """
    n = len(frame)
    zeros = torch.zeros(n)
    false = torch.zeros(n, dtype=torch.bool)
    reset = torch.tensor(last) if last else false
    step = TimeStep(
        torch.zeros_like(frame), zeros.double(), zeros + 1, false, reset, torch.zeros_like(frame)
    )
    state = frame.flatten(1)
    next_step = TimeStep(frame, zeros.double(), zeros + 1, reset, false, frame, state)
    return Transition(step, {}, torch.zeros(n, dtype=torch.int64), {}, next_step, {}, zeros)


def frames(n: int = 4, seed: int = 0, size: tuple[int, int] = (5, 6)) -> Tensor:
    prng = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 1, *size), generator=prng, dtype=torch.uint8)


@each_bonus
def test_it_implements_the_protocol(name: str) -> None:
    assert isinstance(build(name), Bonus)


@each_bonus
def test_autoreset_timesteps_have_bonus_0_and_are_not_learned(name: str) -> None:
    bonus, other, untouched = build(name), build(name), build(name)
    last = [True, False, True, False]
    other_frames = frames(seed=1)
    other_frames[1::2] = frames()[1::2]
    first = bonus(timestep(frames(), last))
    assert first[::2].tolist() == [0, 0]
    assert torch.equal(first, other(timestep(other_frames, last)))
    assert_same_state(bonus, other)
    assert not untouched(timestep(frames(), [True] * 4)).any()
    assert_same_state(untouched, build(name))


@each_bonus
def test_it_is_finite_and_never_negative(name: str) -> None:
    bonus = build(name)
    for i in range(60):
        value = bonus(timestep(frames(seed=i % 7)))
        assert value.dtype == torch.float32
        assert value.isfinite().all()
        assert (value >= 0).all()


@pytest.mark.parametrize("name", COUNTING)
def test_the_bonus_of_a_frame_decays_with_its_visits(name: str) -> None:
    bonus, frame = build(name), frames(1).expand(4, -1, -1, -1)
    bonuses = torch.cat([bonus(timestep(frame)) for _ in range(100)])
    assert (bonuses.diff() < 0).all(), "in the order of the envs too"
    assert bonuses[-1] < bonuses[0] / 10, "about n^(-1/2)"
    assert bonus(timestep(frames(seed=1)))[0] > 2 * bonuses[-1]


@pytest.mark.parametrize("name", [name for name, x in BONUSES.items() if x.in_order])
def test_envs_are_observed_in_their_order(name: str) -> None:
    """A timestep of four envs equals four timesteps of one."""
    batched, single = build(name), BONUSES[name]().example().build(replace(SPEC, num_envs=1))
    for i in range(5):
        bonus = batched(timestep(frames(seed=i % 3)))
        expected = torch.cat([single(timestep(frame[None])) for frame in frames(seed=i % 3)])
        torch.testing.assert_close(bonus, expected)
    assert_same_state(batched, single)


@each_bonus
def test_a_restored_bonus_continues_exactly(name: str) -> None:
    bonus, resumed = build(name), build(name)
    for i in range(5):
        bonus(timestep(frames(seed=i)))
    file = io.BytesIO()
    torch.save(bonus.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for i in range(10):
        assert torch.equal(bonus(timestep(frames(seed=i))), resumed(timestep(frames(seed=i))))
    assert_same_state(bonus, resumed)


@each_bonus
def test_equal_seeds_give_equal_bonuses(name: str) -> None:
    a, b = build(name, seed=3), build(name, seed=3)
    for i in range(5):
        assert torch.equal(a(timestep(frames(seed=i))), b(timestep(frames(seed=i))))


def test_pseudo_counts_by_hand() -> None:
    """Exact for rho = n/T and rho' = (n+1)/(T+1); and rho = 1/4, rho' = 1/2 give N = 1/2."""
    before = torch.tensor([1 / 10, 3 / 10, 0.25, 0.5, 0.5, 0.5, 1.0, 1e-300]).double().log()
    after = torch.tensor([2 / 11, 4 / 11, 0.5, 0.5, 0.25, 1.0, 1.0, 0.5]).double().log()
    before[-1] = -1e4  # rho itself underflows
    expected = torch.tensor([1, 3, 0.5, math.inf, math.inf, 0, math.inf, 0]).double()
    count = pseudo_count(before, after)
    torch.testing.assert_close(count, expected, rtol=1e-6, atol=1e-6)
    expected = torch.tensor([1.01**-0.5, 3.01**-0.5, 0.51**-0.5, 0, 0, 10, 0, 10]).double()
    torch.testing.assert_close(count_bonus(count), expected, rtol=1e-6, atol=1e-6)


def test_pseudo_counts_of_a_gain_by_hand() -> None:
    """With c = 0.1, a gain of 10 ln 2 at frame 1 or 20 ln 2 at frame 4 is a count of 1."""
    gain = torch.tensor([10 * math.log(2), 20 * math.log(2), 10 * math.log(5), 0.0, -3.0, 1e9])
    frame = torch.tensor([1.0, 4.0, 1.0, 1.0, 9.0, 1.0])
    count = gain_pseudo_count(gain, frame)
    torch.testing.assert_close(count, torch.tensor([1, 1, 0.25, math.inf, math.inf, 0.0]))
    torch.testing.assert_close(gain_count_bonus(count), torch.tensor([1, 1, 2, 0, 0, 10.0]))


def test_both_forms_are_the_published_formulas() -> None:
    """Compared with the density itself, observed frame by frame."""
    configs = (
        PseudoCountConfig(form="bellemare", levels=4),
        PseudoCountConfig(form="gain", levels=4),
    )
    for config, scale in zip(configs, (0.05, 1.0), strict=True):
        bonus, density = config.build(SPEC), config.density.build(shape=(5, 6), levels=4)
        num_frames = 0
        for i in range(6):
            bonuses = bonus(timestep(frames(seed=i % 2)))
            for frame, value in zip(frames(seed=i % 2), bonuses.tolist(), strict=True):
                num_frames += 1
                before, after = (float(x) for x in density.observe(frame // 64))
                if config.form == "bellemare":
                    count = (1 - math.exp(after)) / (math.exp(after - before) - 1)
                    expected = scale * (count + 0.01) ** -0.5
                else:
                    expected = (math.exp(0.1 * num_frames**-0.5 * (after - before)) - 1) ** 0.5
                    expected = scale * min(expected, 10)
                assert value == pytest.approx(expected, rel=1e-5)


def test_surprise_is_in_nats_per_pixel() -> None:
    """Before the first update, eight symbols are equally likely: ln 8 nats per pixel."""
    bonus = SurpriseConfig(scale=2.0).build(SPEC)
    assert float(bonus(timestep(frames(1)))[0]) == pytest.approx(2 * math.log(8))


@pytest.mark.parametrize(
    ("size", "shape"),
    [((84, 84), (42, 42)), ((7, 5), (3, 4)), ((10, 160), (5, 42)), ((257, 263), (3, 2))],
)
def test_areas_are_averaged_exactly(size: tuple[int, int], shape: tuple[int, int]) -> None:
    """Compared with brute force on pixels that are repeated until areas are whole numbers."""
    image = frames(2, size=size)[:, 0]
    total, area = area_sums(image, shape)
    tiles = image.repeat_interleave(shape[0], 1).repeat_interleave(shape[1], 2).double()
    expected = tiles.view(2, shape[0], size[0], shape[1], size[1]).mean((2, 4))
    torch.testing.assert_close(total.double() / area, expected, rtol=1e-12, atol=0)
    if size == (84, 84):
        other = torch.nn.functional.interpolate(image[:, None].float(), shape, mode="area")[:, 0]
        assert torch.equal(total / area, other)


def test_frames_are_quantized_at_the_levels() -> None:
    for value in (0, 31, 32, 128, 255):
        image = torch.full((1, 1, 70, 50), value, dtype=torch.uint8)
        assert (quantize_frames(image, (42, 42), 8) == value // 32).all()
    assert torch.equal(quantize_frames(frames(), (5, 6), 256), frames()[:, 0]), (
        "lossless without resizing"
    )
    channels = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]])
    assert grayscale(channels.to(torch.uint8)[:, :, None, None]).flatten().tolist() == [
        76,
        150,
        29,
        90,
    ]


def test_codes_are_counted_like_in_a_dictionary() -> None:
    bonus = SimHashConfig().build(SPEC, seed=0)
    counts: dict[tuple[bool, ...], int] = {}
    prng = torch.Generator().manual_seed(0)
    for _ in range(50):
        batch = frames(4)[torch.randint(4, (4,), generator=prng)]
        batch[:, :, 0, 0] = torch.randint(2, (4, 1), generator=prng)
        expected = []
        for code in bonus.code(batch).tolist():
            counts[tuple(code)] = counts.get(tuple(code), 0) + 1
            expected.append(0.01 * counts[tuple(code)] ** -0.5)
        torch.testing.assert_close(bonus(timestep(batch)), torch.tensor(expected))
    assert sorted(bonus.counts.values()) == sorted(counts.values())


def test_similar_frames_have_similar_codes() -> None:
    spec = EnvSpec(8, 2, (1, 84, 84))
    bonus = SimHash(SimHashConfig(), spec)
    batch = frames(8, size=(84, 84))
    codes = bonus.code(batch)
    assert torch.equal(codes, torch.cat([bonus.code(frame[None]) for frame in batch]))
    near = batch.clone()
    near[:, :, :8, :8] = 0
    assert (bonus.code(near) != codes).float().mean() < 0.1
    assert 0.4 < (codes[0] != codes[1]).float().mean() < 0.6
    assert SimHashConfig(bits=64).build(spec).scale == pytest.approx(0.04)


def faint_frames(timesteps: int) -> list[Tensor]:
    """Return frames of one pixel of 1 at random places, which are equal once they are quantized."""
    generator = torch.Generator().manual_seed(0)
    places = torch.randint(30, (timesteps, 4, 1), generator=generator)
    return list(torch.zeros(timesteps, 4, 30).scatter(2, places, 1).byte().view(-1, 4, 1, 5, 6))


@pytest.mark.parametrize(
    ("config", "name", "flags"),
    [
        (PseudoCountConfig(HistogramConfig()), "PseudoCount", "bonus.levels 8"),
        (SurpriseConfig(HistogramConfig(), levels=2), "Surprise", "bonus.levels 2"),
        (SimHashConfig(bits=1, resolution=1), "SimHash", "bonus.bits 1 and bonus.resolution 1"),
    ],
)
def test_a_bonus_that_sees_a_constant_is_reported_once(
    config: BonusConfig, name: str, flags: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """After 1,000 frames, with the settings to change; not if only the first ones were equal."""
    bonus, faint = config.build(SPEC), faint_frames(300)
    for batch in faint[:249]:
        bonus(timestep(batch))
    assert capsys.readouterr().err == ""
    for batch in faint[249:]:
        bonus(timestep(batch))
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"The bonus {name} is the same for every frame: 1,000 in a row differ" in sentence
    assert flags in sentence
    assert "raise --bonus." in sentence

    bonus = config.build(SPEC)
    bonus(timestep(faint[0]))
    bonus(timestep(255 - faint[0]))
    for batch in faint:
        bonus(timestep(batch))
    assert capsys.readouterr().err == ""

    bonus = config.build(SPEC)
    for _ in range(300):
        bonus(timestep(faint[0][:1].expand(4, -1, -1, -1)))
    (sentence,) = capsys.readouterr().err.splitlines()
    assert f"The bonus {name} is the same for every frame: 1,000 in a row are equal" in sentence


def test_every_preset_of_prediction_gains_clips_their_sum_with_the_reward() -> None:
    """To [-1, 1], as Ostrovski et al. 2017 do; Bellemare et al. 2016 state no clip."""
    forms = {
        name: (preset.bonus.form, preset.agent.total_clip)
        for name, preset in PRESETS.items()
        if isinstance(preset.bonus, PseudoCountConfig) and isinstance(preset.agent, DQNConfig)
    }
    assert forms == {"dqn-cts": ("bellemare", None), "dqn-pixelcnn": ("gain", 1.0)}


class DivergingHistogram(Histogram):
    """Returns nan from the third call."""

    calls = 0

    def observe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        before, after = super().observe(x)
        return before, after * (math.nan if self.calls == 3 else 1)


@pytest.mark.parametrize("config", [PseudoCountConfig(), SurpriseConfig()])
def test_a_bonus_that_is_not_finite_names_its_density(config: Any) -> None:
    bonus = config.build(SPEC)
    bonus.density.density = DivergingHistogram((5, 6), 8)
    for _ in range(2):
        bonus(timestep(frames()))
    with pytest.raises(NumericalError, match=r"CTS density's log-probability after .* nan"):
        bonus(timestep(frames()))


@pytest.mark.parametrize(
    ("name", "field", "value", "message"),
    [
        ("pseudo-count", "resolution", 0, "bonus.resolution is 0; it must be 1 or more"),
        ("pseudo-count", "levels", 1, "bonus.levels is 1; it must be in 2..256"),
        ("pseudo-count", "levels", 257, "bonus.levels is 257"),
        ("pseudo-count", "scale", -1.0, "bonus.scale is -1.0; it must be 0 or more"),
        ("pseudo-count", "gain_factor", 0.0, "bonus.gain_factor is 0.0; it must be above 0"),
        ("surprise", "scale", -1.0, "bonus.scale is -1.0"),
        ("surprise", "resolution", -1, "bonus.resolution is -1"),
        ("simhash", "bits", 0, "bonus.bits is 0; it must be 1 or more"),
        ("simhash", "scale", -0.1, "bonus.scale is -0.1"),
        ("simhash", "resolution", 0, "bonus.resolution is 0"),
    ],
)
def test_invalid_settings_are_refused(name: str, field: str, value: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        BONUSES[name](**{field: value})


def test_an_unknown_form_is_refused() -> None:
    config = PseudoCountConfig()
    object.__setattr__(
        config, "form", "bellmare"
    )  # the tests' type checks refuse it in the constructor
    with pytest.raises(UsageError, match=r"bonus\.form is bellmare; it must be bellemare or gain"):
        config.__post_init__()
