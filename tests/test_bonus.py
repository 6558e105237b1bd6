"""The laws of bonuses, over every one in the table; the published formulas by hand."""

import io
import math
from dataclasses import replace
from typing import Any

import pytest
import torch
from test_densities import assert_same_state
from torch import Tensor

from agents.bonus import Bonus
from agents.choices import BONUSES
from agents.density_bonus import PseudoCountConfig, SurpriseConfig
from agents.pseudo_counts import count_bonus, gain_count_bonus, gain_pseudo_count, pseudo_count
from agents.simhash import SimHash, SimHashConfig
from envs.errors import NumericalError, UsageError
from envs.interface import EnvSpec, Step, Transition
from world_models.density.histogram import Histogram
from world_models.density.symbols import area_sums, as_symbols, grey

SPEC = EnvSpec(4, 2, (1, 5, 6))
COUNTING = ["pseudo-count", "simhash"]
each_bonus = pytest.mark.parametrize("name", BONUSES)


def build(name: str, seed: int = 0) -> Bonus:
    return BONUSES[name]().build(SPEC, seed=seed)


def tick(frame: Tensor, last: list[bool] | None = None) -> Transition:
    """A transition to these frames; ``last`` marks the streams whose tick is a reset."""
    n = len(frame)
    zeros = torch.zeros(n)
    no = torch.zeros(n, dtype=torch.bool)
    reset = torch.tensor(last) if last else no
    step = Step(torch.zeros_like(frame), zeros, zeros + 1, no, reset, torch.zeros_like(frame))
    following = Step(frame, zeros, zeros + 1, reset, no, frame)
    return Transition(step, {}, torch.zeros(n, dtype=torch.int64), following, {}, zeros)


def frames(n: int = 4, seed: int = 0, size: tuple[int, int] = (5, 6)) -> Tensor:
    dice = torch.Generator().manual_seed(seed)
    return torch.randint(256, (n, 1, *size), generator=dice, dtype=torch.uint8)


@each_bonus
def test_it_plays_the_role(name: str) -> None:
    assert isinstance(build(name), Bonus)


@each_bonus
def test_reset_ticks_are_worth_nothing_and_teach_nothing(name: str) -> None:
    bonus, other, untouched = build(name), build(name), build(name)
    last = [True, False, True, False]
    garbage = frames(seed=1)
    garbage[1::2] = frames()[1::2]
    first = bonus(tick(frames(), last))
    assert first[::2].tolist() == [0, 0]
    assert torch.equal(first, other(tick(garbage, last)))
    assert_same_state(bonus, other)
    assert not untouched(tick(frames(), [True] * 4)).any()
    assert_same_state(untouched, build(name))


@each_bonus
def test_it_is_never_negative_and_always_a_number(name: str) -> None:
    bonus = build(name)
    for i in range(60):
        paid = bonus(tick(frames(seed=i % 7)))
        assert paid.dtype == torch.float32
        assert paid.isfinite().all()
        assert (paid >= 0).all()


@pytest.mark.parametrize("name", COUNTING)
def test_a_frame_seen_again_is_worth_less(name: str) -> None:
    bonus, frame = build(name), frames(1).expand(4, -1, -1, -1)
    paid = torch.cat([bonus(tick(frame)) for _ in range(100)])
    assert (paid.diff() < 0).all(), "in the order of the streams too"
    assert paid[-1] < paid[0] / 10, "about n^(-1/2)"
    assert bonus(tick(frames(seed=1)))[0] > 2 * paid[-1]


@each_bonus
def test_streams_are_seen_in_their_order(name: str) -> None:
    """A tick of four streams is four ticks of one."""
    together, apart = build(name), BONUSES[name]().build(replace(SPEC, num_envs=1))
    for i in range(5):
        paid = together(tick(frames(seed=i % 3)))
        singles = torch.cat([apart(tick(frame[None])) for frame in frames(seed=i % 3)])
        torch.testing.assert_close(paid, singles)
    assert_same_state(together, apart)


@each_bonus
def test_a_saved_bonus_continues_as_if_never_stopped(name: str) -> None:
    bonus, resumed = build(name), build(name)
    for i in range(5):
        bonus(tick(frames(seed=i)))
    file = io.BytesIO()
    torch.save(bonus.state_dict(), file)
    file.seek(0)
    resumed.load_state_dict(torch.load(file, weights_only=True))
    for i in range(10):
        assert torch.equal(bonus(tick(frames(seed=i))), resumed(tick(frames(seed=i))))
    assert_same_state(bonus, resumed)


@each_bonus
def test_one_seed_is_one_bonus(name: str) -> None:
    a, b = build(name, seed=3), build(name, seed=3)
    for i in range(5):
        assert torch.equal(a(tick(frames(seed=i))), b(tick(frames(seed=i))))


def test_pseudo_counts_by_hand() -> None:
    """Exact for rho = n/T and rho' = (n+1)/(T+1); and rho = 1/4, rho' = 1/2 give N = 1/2."""
    before = torch.tensor([1 / 10, 3 / 10, 0.25, 0.5, 0.5, 0.5, 1.0, 1e-300]).double().log()
    after = torch.tensor([2 / 11, 4 / 11, 0.5, 0.5, 0.25, 1.0, 1.0, 0.5]).double().log()
    before[-1] = -1e4  # so unlikely that rho itself is no float
    expected = torch.tensor([1, 3, 0.5, math.inf, math.inf, 0, math.inf, 0]).double()
    count = pseudo_count(before, after)
    torch.testing.assert_close(count, expected, rtol=1e-6, atol=1e-6)
    table = torch.tensor([1.01**-0.5, 3.01**-0.5, 0.51**-0.5, 0, 0, 10, 0, 10]).double()
    torch.testing.assert_close(count_bonus(count), table, rtol=1e-6, atol=1e-6)


def test_pseudo_counts_of_a_gain_by_hand() -> None:
    """With c = 0.1: gain 10 ln 2 at frame 1, and 20 ln 2 at frame 4, count as one visit."""
    gain = torch.tensor([10 * math.log(2), 20 * math.log(2), 10 * math.log(5), 0.0, -3.0, 1e9])
    frame = torch.tensor([1.0, 4.0, 1.0, 1.0, 9.0, 1.0])
    count = gain_pseudo_count(gain, frame)
    torch.testing.assert_close(count, torch.tensor([1, 1, 0.25, math.inf, math.inf, 0.0]))
    torch.testing.assert_close(gain_count_bonus(count), torch.tensor([1, 1, 2, 0, 0, 10.0]))


def test_both_forms_pay_as_published() -> None:
    """Against the density itself, asked frame by frame."""
    for form, scale in (("bellemare", 0.05), ("gain", 1.0)):
        config = PseudoCountConfig(form=form, levels=4)
        bonus, density = config.build(SPEC), config.density.build(shape=(5, 6), levels=4)
        number = 0
        for i in range(6):
            paid = bonus(tick(frames(seed=i % 2)))
            for frame, value in zip(frames(seed=i % 2), paid.tolist(), strict=True):
                number += 1
                before, after = (float(x) for x in density.observe(frame // 64))
                if form == "bellemare":
                    count = (1 - math.exp(after)) / (math.exp(after - before) - 1)
                    expected = scale * (count + 0.01) ** -0.5
                else:
                    expected = (math.exp(0.1 * number**-0.5 * (after - before)) - 1) ** 0.5
                    expected = scale * min(expected, 10)
                assert value == pytest.approx(expected, rel=1e-5)


def test_surprise_is_nats_a_pixel() -> None:
    """Before anything is learned every symbol of eight is as likely: ln 8 nats a pixel."""
    bonus = SurpriseConfig(scale=2.0).build(SPEC)
    assert float(bonus(tick(frames(1)))[0]) == pytest.approx(2 * math.log(8))


@pytest.mark.parametrize(
    ("size", "shape"),
    [((84, 84), (42, 42)), ((7, 5), (3, 4)), ((10, 160), (5, 42)), ((257, 263), (3, 2))],
)
def test_areas_are_averaged_exactly(size: tuple[int, int], shape: tuple[int, int]) -> None:
    """Brute force: every pixel is cut into equal tiles, as many as make the areas whole."""
    image = frames(2, size=size)[:, 0]
    total, area = area_sums(image, shape)
    tiles = image.repeat_interleave(shape[0], 1).repeat_interleave(shape[1], 2).double()
    expected = (
        tiles.unflatten(2, (shape[1], size[1])).unflatten(1, (shape[0], size[0])).mean((2, 4))
    )
    torch.testing.assert_close(total.double() / area, expected, rtol=1e-12, atol=0)
    if size == (84, 84):
        other = torch.nn.functional.interpolate(image[:, None].float(), shape, mode="area")[:, 0]
        assert torch.equal(total / area, other)


def test_symbols_are_cut_at_the_levels() -> None:
    for value in (0, 31, 32, 128, 255):
        image = torch.full((1, 1, 70, 50), value, dtype=torch.uint8)
        assert (as_symbols(image, (42, 42), 8) == value // 32).all()
    assert torch.equal(as_symbols(frames(), (5, 6), 256), frames()[:, 0]), "no resize, no loss"
    colours = torch.tensor([[255, 0, 0], [0, 255, 0], [0, 0, 255], [90, 90, 90]])
    assert grey(colours.to(torch.uint8)[:, :, None, None]).flatten().tolist() == [76, 150, 29, 90]


def test_codes_are_counted_as_a_dictionary_would() -> None:
    bonus = SimHashConfig().build(SPEC, seed=0)
    seen: dict[tuple[bool, ...], int] = {}
    dice = torch.Generator().manual_seed(0)
    for _ in range(50):
        batch = frames(4)[torch.randint(4, (4,), generator=dice)]
        batch[:, :, 0, 0] = torch.randint(2, (4, 1), generator=dice)
        expected = []
        for code in bonus.code(batch).tolist():
            seen[tuple(code)] = seen.get(tuple(code), 0) + 1
            expected.append(0.01 * seen[tuple(code)] ** -0.5)
        torch.testing.assert_close(bonus(tick(batch)), torch.tensor(expected))
    assert sorted(bonus.counts.values()) == sorted(seen.values())


def test_a_code_is_a_frames_own_and_likes_its_neighbours() -> None:
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


class Broken(Histogram):
    """Loses its numbers at the third call."""

    calls = 0

    def observe(self, x: Tensor) -> tuple[Tensor, Tensor]:
        self.calls += 1
        before, after = super().observe(x)
        return before, after * (math.nan if self.calls == 3 else 1)


@pytest.mark.parametrize("config", [PseudoCountConfig(), SurpriseConfig()])
def test_lost_numbers_are_named(config: Any) -> None:
    bonus = config.build(SPEC)
    bonus.density.density = Broken((5, 6), 8)
    for _ in range(2):
        bonus(tick(frames()))
    with pytest.raises(NumericalError, match=r"CTS density's log-probability after .* nan"):
        bonus(tick(frames()))


@pytest.mark.parametrize(
    ("name", "field", "value", "says"),
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
def test_bad_settings_are_refused_by_name(name: str, field: str, value: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        BONUSES[name](**{field: value})


def test_a_form_that_is_none_is_refused_by_name() -> None:
    config = PseudoCountConfig()
    object.__setattr__(config, "form", "bellmare")  # under test its annotation would refuse it
    with pytest.raises(UsageError, match=r"bonus\.form is bellmare; it must be bellemare or gain"):
        config.__post_init__()
