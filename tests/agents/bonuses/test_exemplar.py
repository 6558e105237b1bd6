"""Exemplar models: the density that a classifier implies, and its optimum by enumeration."""

from typing import Any

import pytest
import torch
from scipy.stats import spearmanr
from torch import Tensor

from reverie.agents.bonuses.exemplar import Exemplar, ExemplarConfig, PastFrames
from reverie.envs import prng
from reverie.envs.errors import NumericalError, UsageError
from reverie.envs.interface import EnvSpec

SPEC = EnvSpec(8, 2, (1, 4, 4))
STATES = (255 * torch.eye(16)).to(torch.uint8).view(16, 1, 4, 4)
"""Frames with one pixel on."""


def test_the_density_of_states_has_the_order_of_their_frequencies() -> None:
    generator = torch.Generator().manual_seed(1)
    frequency = torch.randperm(16, generator=generator).add(1).double() ** 1.5
    frequency /= frequency.sum()
    model = ExemplarConfig().build(SPEC)
    for _ in range(800):
        model.observe(STATES[torch.multinomial(frequency, 8, True, generator=generator)])
    log_density = model.log_density(STATES)
    assert spearmanr(log_density.numpy(), frequency.numpy()).statistic >= 0.8
    assert 0.5 < float(log_density.exp().sum()) < 2


class Classifier(torch.nn.Module):
    """Gives every frame beside itself a logit of half the index of its pixel."""

    def code(self, frames: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        index = frames.flatten(1).argmax(1, keepdim=True).float()
        return index, index

    def logit(self, exemplar: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        return (exemplar + code)[:, 0] / 4


def with_classifier(**settings: Any) -> Exemplar:
    model = ExemplarConfig(update_ratio=1e-6, **settings).build(SPEC)
    model.network = Classifier()  # type: ignore[assignment]
    return model


def test_the_bonus_of_a_classifier_by_hand() -> None:
    """The logit of D is 2 at pixel 4: D = 1 / (1 + exp(-2)), and p = (1 - D) / D = exp(-2)."""
    d = 1 / (1 + torch.tensor(-2.0).exp())
    density = (1 - d) / d
    surprise = with_classifier(scale=0.5).observe(STATES[[4, 0]])
    torch.testing.assert_close(surprise, torch.stack([-0.5 * density.log(), torch.tensor(0.0)]))
    count = with_classifier(form="count", scale=0.5).observe(STATES[[4, 0]])
    n = torch.stack([2 * density, torch.tensor(2.0)])
    torch.testing.assert_close(count, 0.5 * (n + 0.01) ** -0.5)
    assert ExemplarConfig().build(SPEC).scale == 0.01
    assert ExemplarConfig(form="count").build(SPEC).scale == 0.05


def test_a_frame_that_was_never_seen_does_not_count_as_frequent() -> None:
    """Its estimated density is below that of the most frequent states."""
    generator = torch.Generator().manual_seed(0)
    model = ExemplarConfig().build(SPEC)
    for _ in range(150):
        model.observe(STATES[torch.randint(12, (8,), generator=generator)])
    log_density = model.log_density(STATES)
    assert log_density[12:].mean() < log_density[:12].mean()


def test_past_frames_are_the_newest_ones() -> None:
    past = PastFrames(5, (1, 4, 4))
    for batch in STATES.split([3, 1, 3, 9]):
        past.append(batch)
        assert len(past) == min(past.count, 5)
        end = past.count
        assert torch.equal(past.newest(2), STATES[:end].flip(0)[:2])
        stored = past.at(torch.arange(len(past)) / len(past) + 1e-3)
        assert {int(x.argmax()) for x in stored} == set(range(max(0, end - 5), end))
    assert len(past.newest(9)) == 5


def test_there_is_an_update_for_every_share_of_the_frames(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[tuple[int, int]] = []
    monkeypatch.setattr(Exemplar, "_update", lambda self, *args: calls.append(args))
    model = ExemplarConfig(update_ratio=0.25, batch_size=4).build(SPEC)
    for n in (3, 3, 8):
        model.observe(STATES[:n])
    assert calls == [(1, 4), (2, 8), (3, 8)]


def test_the_noise_of_codes_does_not_depend_on_which_frames_are_drawn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: dict[str, list[Tensor]] = {"uniform": [], "normal": []}
    for name, numbers in drawn.items():
        draw = getattr(prng, name)

        def keep(*args: Any, draw: Any = draw, numbers: Any = numbers) -> Any:
            result = draw(*args)
            if args[2] != prng.Purpose.LATENT or draw.__name__ == "normal":
                numbers.append(result[0, :8])
            return result

        monkeypatch.setattr(prng, name, keep)
    model = ExemplarConfig(update_ratio=1.0, batch_size=8).build(SPEC)
    for _ in range(16):
        model.observe(STATES)
    choice, noise = (torch.cat(numbers) for numbers in drawn.values())
    assert len(choice) == len(noise) > 500
    assert abs(float(torch.corrcoef(torch.stack([choice, noise]))[0, 1])) < 0.2


def test_a_bonus_that_is_not_finite_is_reported() -> None:
    model = ExemplarConfig().build(SPEC)
    torch.nn.init.constant_(model.network.head[-1].bias, torch.nan)  # type: ignore[arg-type]
    with pytest.raises(NumericalError, match="bonus of the exemplar model is nan"):
        model.observe(STATES)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"scale": -1.0}, "bonus.scale is -1.0; it must be 0 or more"),
        ({"kl_coef": -1.0}, "bonus.kl_coef is -1.0"),
        ({"code": 0}, "bonus.code is 0; it must be 1 or more"),
        ({"buffer_size": 0}, "bonus.buffer_size is 0"),
        ({"update_ratio": 0.0}, "bonus.update_ratio is 0.0; it must be above 0"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        ExemplarConfig(**settings)
