"""Neural episodic control: targets, what is written and replaced, and gradients."""

from collections.abc import Callable
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch import Tensor, nn

from reverie.agents.episodic import key_storage
from reverie.agents.episodic.nec import NEC, NECConfig
from reverie.agents.episodic.neural_dictionary import (
    NeuralDictionary,
    RMSprop,
    _rms_step,
    lookup,
)
from reverie.agents.loop import interact
from reverie.agents.networks import MLPConfig
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import Transition

from sample_envs import ScriptedEnv

CONFIG = NECConfig(
    network=MLPConfig((16,)),
    key_size=4,
    num_neighbors=3,
    n_step=4,
    gamma=0.5,
    exploration_steps=200,
    buffer_size=1_000,
    learning_starts=10**9,
    learning_rate=1e-3,
)


def catch() -> BatchedEnv:
    return BatchedEnv(CatchConfig(rows=8, columns=3).build(2), seed=0)


def by_hand(play: list[Transition], env: int, gamma: float, n: int) -> list[float]:
    """Return the N-step targets of an env's ended episodes, by their definition."""
    targets = []
    ends = [i for i, t in enumerate(play) if t.step.last[env]]
    for i in (i for i in range(ends[-1]) if i not in ends):
        last = min(i + n, next(end for end in ends if end > i))
        target, factor = 0.0, 1.0
        for t in play[i:last]:
            target += factor * float(t.next_step.reward[env])
            factor *= gamma * float(t.next_step.discount[env])
        targets.append(target + factor * float(play[last].extras["value"][env]))
    return targets


@pytest.mark.parametrize("n_step", [1, 3, 100])
@pytest.mark.parametrize("envs", [catch, lambda: BatchedEnv(ScriptedEnv(2))])
def test_targets_are_n_rewards_and_the_greatest_value_after_them(
    n_step: int, envs: Callable[[], BatchedEnv], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Episodes are written whole, or in parts; they end by death or, of an odd env, by time-out."""
    agent = replace(CONFIG, n_step=n_step).build(envs().spec, seed=0)
    written: list[list[float]] = [[], []]
    write = NEC._write

    def record(agent: NEC, env: int, count: int) -> None:
        write(agent, env, count)
        end = agent.replay.count
        written[env] += agent.replay.target[end - count : end].tolist()

    monkeypatch.setattr(NEC, "_write", record)
    play = []
    for t in islice(interact(envs(), agent), 100):
        agent.learn(t)
        play.append(t)
    for env in range(2):
        expected = by_hand(play, env, 0.5, n_step)
        assert len(expected) > 60
        assert written[env][: len(expected)] == pytest.approx(expected, abs=1e-5)


def test_a_stored_value_moves_by_alpha_to_each_target_and_the_key_is_the_newest() -> None:
    tables = NeuralDictionary(2, 3, capacity=10, num_neighbors=2, update_rate=0.25)
    tables.update(1, torch.zeros(3, 3), torch.tensor([5, 6, 5]), torch.tensor([8.0, 1.0, 4.0]))
    values = dict(zip(tables.digests[1, :2].tolist(), tables.returns[1, :2].tolist(), strict=True))
    assert values == {5: 7.0, 6: 1.0}, "8 + (4 - 8) / 4"
    tables.update(1, torch.ones(2, 3), torch.tensor([5, 5]), torch.tensor([3.0, 2.0]))
    row = int((tables.digests[1, :2] == 5).nonzero())
    assert float(tables.returns[1, row]) == 5.0, "7 -> 6 -> 5"
    assert torch.equal(tables.keys[1, torch.tensor([row])], torch.ones(1, 3))
    assert tables.sizes == [0, 2]


def test_the_least_recently_used_key_is_replaced() -> None:
    """A key is used when it is a neighbor of a state in which the agent acts."""
    tables = NeuralDictionary(1, 1, capacity=4, num_neighbors=2, update_rate=0.1)
    keys = torch.tensor([[0.0], [1.0], [10.0], [11.0]])
    tables.update(0, keys, torch.arange(4), torch.zeros(4))
    _, neighbors = tables.values(torch.tensor([[0.4]]))
    assert sorted(neighbors.flatten().tolist()) == [0, 1]
    tables.mark_used(neighbors.permute(2, 0, 1))
    tables.update(0, torch.tensor([[50.0]]), torch.tensor([4]), torch.zeros(1))
    assert sorted(tables.digests[0].tolist()[:4]) == [0, 1, 3, 4], "2 was written before 3"
    assert tables.sizes == [4]


def test_values_are_kernel_weighted_means_of_the_keys_there_are() -> None:
    tables = NeuralDictionary(3, 1, capacity=10, num_neighbors=2, update_rate=0.1)
    tables.update(
        0, torch.tensor([[0.0], [3.0], [9.0]]), torch.arange(3), torch.tensor([1.0, 5, 9])
    )
    tables.update(2, torch.tensor([[4.0]]), torch.arange(1), torch.tensor([7.0]))
    values, _ = tables.values(torch.tensor([[1.0]]))
    near, far = 1 / 1.001, 1 / 4.001
    assert values[:, 0].tolist() == pytest.approx([(near + 5 * far) / (near + far), 0.0, 7.0])


def test_a_sampled_state_is_no_neighbor_of_itself() -> None:
    tables = NeuralDictionary(2, 4, capacity=50, num_neighbors=5, update_rate=0.1)
    keys, digests = torch.randn(20, 4, generator=torch.Generator().manual_seed(0)), torch.arange(20)
    for one in range(2):
        tables.update(one, keys, digests, torch.arange(20.0) + 100 * one)
    action = torch.arange(20) % 2
    found = tables.neighbors(keys, action, digests)
    assert bool((found.known.sum(1) == 5).all())
    for i in range(20):
        entry = found.entry[i][found.known[i]]
        assert bool((found.action[entry] == action[i]).all())
        stored = tables.digests[action[i], found.index[entry]].tolist()
        nearest = (keys - keys[i]).square().sum(1).argsort()[1:6].tolist()
        assert stored == nearest, "the nearest ones but itself"
        assert torch.equal(found.keys[entry], tables.keys[int(action[i]), found.index[entry]])
        assert found.values[entry].tolist() == [x + 100 * int(action[i]) for x in nearest]
    others = tables.neighbors(keys, action, digests + 1000)
    assert bool((others.known.sum(1) == 5).all())
    assert others.index[others.entry[:, 0]].tolist() == list(range(20)), "else it is its nearest"


def test_gradients_of_network_keys_and_values_are_finite_differences_and_not_zero() -> None:
    """Of the squared error, in float64; two lookups share an entry, and one misses a neighbor."""
    generator = torch.Generator().manual_seed(0)
    network = nn.Sequential(nn.Linear(5, 6), nn.Tanh(), nn.Linear(6, 3)).double()
    inputs = torch.randn(2, 5, generator=generator, dtype=torch.float64)
    keys = torch.randn(5, 3, generator=generator, dtype=torch.float64)
    values = torch.randn(5, generator=generator, dtype=torch.float64)
    entry = torch.tensor([[0, 1, 2], [2, 3, 4]])
    known = torch.tensor([[True, True, True], [True, True, False]])
    target = torch.tensor([1.0, -2.0], dtype=torch.float64)
    leaves = [*network.parameters(), keys.requires_grad_(), values.requires_grad_()]

    def loss() -> Tensor:
        q_value = lookup(network(inputs), keys[entry], values[entry], known)
        return (q_value - target).square().mean()

    gradients = torch.autograd.grad(loss(), leaves)
    for leaf, gradient in zip(leaves, gradients, strict=True):
        numeric = torch.zeros_like(leaf)
        with torch.no_grad():
            for i in range(leaf.numel()):
                flat = leaf.view(-1)
                flat[i] += 1e-6
                above = loss()
                flat[i] -= 2e-6
                numeric.view(-1)[i] = (above - loss()) / 2e-6
                flat[i] += 1e-6
        torch.testing.assert_close(gradient, numeric, rtol=1e-5, atol=1e-7)
        assert float(gradient.abs().max()) > 1e-4
    assert gradients[-2][4].tolist() == [0, 0, 0], "of the neighbor that is not known"


def test_an_update_moves_the_network_keys_and_values_down_the_error() -> None:
    agent = replace(CONFIG, learning_rate=1e-2, update_rate=0.0, batch_size=64).build(
        catch().spec, seed=0
    )
    for t in islice(interact(catch(), agent), 100):
        agent.learn(t)
    agent.replay.target[:100] += 3.0  # targets that the stored values do not have
    before = agent.state_dict()
    keys = agent.tables.keys[0, : agent.tables.sizes[0]].clone()
    values = agent.tables.returns[0, : agent.tables.sizes[0]].clone()
    losses = [float(agent.update()[0]) for _ in range(60)]
    assert sum(losses[-10:]) < 0.7 * sum(losses[:10])
    size = agent.tables.sizes[0]
    assert float((agent.tables.keys[0, :size] - keys).abs().max()) > 1e-3
    assert float((agent.tables.returns[0, :size] - values).abs().max()) > 1e-3
    for name, weights in agent.network.state_dict().items():
        assert not torch.equal(weights, before["network"][name])
    assert torch.equal(agent.tables.digests[0, :size], before["tables"]["digests"][0])


def test_keys_in_halves_are_moved_as_whole_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of large tables, the upper and the lower bits are stored apart."""
    monkeypatch.setattr(key_storage, "native_bfloat16", lambda: True)
    generator = torch.Generator().manual_seed(0)
    keys, targets = torch.randn(2, 30, 4, generator=generator)
    moved = []
    for min_split_keys in (1, 10**9):
        monkeypatch.setattr(key_storage, "MIN_SPLIT_KEYS", min_split_keys)
        tables = NeuralDictionary(2, 4, capacity=50, num_neighbors=5, update_rate=0.1)
        for action in range(2):
            tables.update(action, keys, torch.arange(30), targets[:, action])
        assert bool(tables.keys.halves) == (min_split_keys == 1)
        found = tables.neighbors(keys, torch.arange(30) % 2, torch.arange(30))
        q_value = lookup(keys, found.keys[found.entry], found.values[found.entry], found.known)
        (q_value - targets[:, 2]).square().mean().backward()
        tables.descend(found, 0.1)
        moved.append(torch.stack([tables.keys[action, torch.arange(30)] for action in range(2)]))
        assert float((moved[-1] - keys).abs().max()) > 0.01
    torch.testing.assert_close(*moved)


def test_a_full_buffer_keeps_the_newest_states() -> None:
    agent = replace(CONFIG, buffer_size=50).build(catch().spec, seed=0)
    all_digests = []
    for t in islice(interact(catch(), agent), 90):
        agent.learn(t)
        all_digests += [
            int(x) for x, valid in zip(t.extras["digest"], t.valid, strict=True) if valid
        ]
    assert len(agent.replay) == 50
    assert agent.replay.count > 100
    newest = set(all_digests[-80:])
    assert set(agent.replay.digest.tolist()) <= newest
    sampled = agent.replay.sample(400, torch.device("cpu"))
    assert len(set(sampled.digest.tolist())) == len(set(agent.replay.digest.tolist()))


@pytest.mark.parametrize(
    "wrong", [{"n_step": 0}, {"capacity": 5}, {"update_rate": 1.5}, {"learning_rate": 0.0}]
)
def test_invalid_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(wrong))}"):
        NECConfig(**wrong)  # type: ignore[arg-type]


def test_epsilon_is_inside_the_root_for_the_network_as_for_keys_and_values() -> None:
    """By hand: v = 0.05 g^2, then 0.95 v + 0.05 g^2; a step is 0.1 g / sqrt(v + 0.01)."""
    x = torch.nn.Parameter(torch.tensor([1.0, 1.0]))
    optimizer = RMSprop([x], lr=0.1)
    gradient, v, expected = torch.tensor([2.0, 0.001]), torch.zeros(2), torch.ones(2)
    for _ in range(2):
        x.grad = gradient.clone()
        optimizer.step()
        v = 0.95 * v + 0.05 * gradient**2
        expected -= 0.1 * gradient / (v + 0.01).sqrt()
    assert torch.allclose(x.detach(), expected, atol=1e-6)

    squares, where = torch.zeros(1, 4), (torch.tensor([0]), torch.tensor([2]))
    step = _rms_step(squares, where, torch.tensor([[2.0, 0.001]]))
    mean_square = 0.05 * (2.0**2 + 0.001**2) / 2
    assert torch.allclose(step, torch.tensor([[2.0, 0.001]]) / (mean_square + 0.01) ** 0.5)
