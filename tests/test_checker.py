"""The shapes of calls are enforced, also after many calls of a function."""

import pytest
import torch
from jaxtyping import TypeCheckError

from reverie.agents.losses import normalize_advantages


def test_wrong_shapes_are_refused_within_a_sample_of_calls() -> None:
    for _ in range(400):
        normalize_advantages(torch.zeros(3, 1), torch.ones(3, 1) / 3)
    with pytest.raises(TypeCheckError):
        _call_often(torch.zeros(3, 1), torch.zeros(3, 2))


def _call_often(x: torch.Tensor, weight: torch.Tensor) -> None:
    for _ in range(40):
        normalize_advantages(x, weight)
