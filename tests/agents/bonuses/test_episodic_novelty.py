"""Episodic novelty by hand: the kernel, the memory of each env, and its end with the episode."""

from itertools import islice

import pytest
import torch

from reverie.agents.bonuses.episodic_novelty import (
    EpisodeKeys,
    EpisodicNovelty,
    EpisodicNoveltyConfig,
)
from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvSpec
from reverie.world_models.representation.true_state import TrueStateConfig
from reverie.world_models.representation.variational import VariationalConfig

SPEC = EnvSpec(2, 2, (1, 2, 3))


def built(**settings: float) -> EpisodicNovelty:
    return EpisodicNoveltyConfig(scale=1.0, **settings).build(SPEC)  # type: ignore[arg-type]


def test_the_kernel_by_hand() -> None:
    """The mean squared distance is 2 of the first frames, and 2.5 once the others are counted."""
    bonus = built(kernel_epsilon=0.5, cluster_distance=0.5, kernel_constant=0.25)
    inf = torch.inf
    # d = (max(0.5 - 0.5, 0), max(1.5 - 0.5, 0)), so the kernel is 1 and 1/3.
    first = bonus.novelty(torch.tensor([[1.0, 3.0], [inf, inf]]))
    assert first.tolist() == pytest.approx([1 / ((1 + 1 / 3) ** 0.5 + 0.25), 1 / 0.25])
    # 5 is twice the mean: d = 1.5, and the kernel is 1/4.
    second = bonus.novelty(torch.tensor([[5.0, inf], [1.0, inf]]))
    assert second.tolist() == pytest.approx([1 / (0.5 + 0.25), 1 / (1 + 0.25)])


def test_a_frame_too_similar_to_the_episode_pays_nothing() -> None:
    distances = torch.zeros(1, 10)
    assert built(max_similarity=3.0).novelty(distances).tolist() == [0.0]
    assert built(max_similarity=3.2).novelty(distances).tolist() == pytest.approx([10**-0.5], 1e-3)


def test_a_visited_state_pays_less_in_its_episode_and_as_a_new_one_in_the_next() -> None:
    """States are the true ones of Catch, whose ball falls: no state comes twice in an episode."""
    envs = BatchedEnv(CatchConfig().build(2), seed=0)
    bonus = EpisodicNoveltyConfig(TrueStateConfig(), num_neighbors=3).build(envs.spec)
    transitions = list(islice(interact(envs, RandomPolicy(3)), 40))
    assert sum(int(t.step.first.sum()) for t in transitions) > 4
    for t in transitions:
        new = bonus(t)
        assert torch.equal(new > 0, t.valid)
        if not t.step.first.any() and t.valid.all():
            assert (bonus(t) < new).all(), "the same state once more"
    begin = next(t for t in transitions if t.step.first.all())
    bonus.mean_distance.update = lambda distances: 1.0  # type: ignore[method-assign]
    first, again = bonus(begin), bonus(begin)
    assert torch.equal(first, again), "the memory was emptied"
    assert bonus.memory.sizes == [2, 2]


def test_an_env_remembers_its_own_newest_frames_alone() -> None:
    keys = EpisodeKeys(num_envs=3, dim=1, capacity=2)
    both, third = torch.tensor([0, 2]), torch.tensor([2])
    for x in (1.0, 5.0, 7.0):
        keys.append(both, torch.tensor([[x], [-x]]))
    keys.append(third, torch.tensor([[-9.0]]))
    assert keys.sizes == [2, 0, 2]
    zeros = torch.zeros(3, 1)
    found = keys.nearest(torch.arange(3), zeros, 2)
    assert found.tolist() == [[25.0, 49.0], [torch.inf] * 2, [49.0, 81.0]]
    keys.clear(third)
    assert keys.nearest(torch.arange(3), zeros, 2)[2].tolist() == [torch.inf] * 2


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_neighbors": 0}, "bonus.num_neighbors is 0; it must be 1 or more"),
        ({"capacity": 0}, "bonus.capacity is 0"),
        ({"kernel_epsilon": 0.0}, "bonus.kernel_epsilon is 0.0; it must be above 0"),
        ({"representation": VariationalConfig()}, "has to be trained, .* choose bonus.repr"),
    ],
)
def test_invalid_settings_are_refused(settings: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        EpisodicNoveltyConfig(**settings)  # type: ignore[arg-type]
