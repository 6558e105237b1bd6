"""Episodic control: the contents of its tables, and the fits of its representation."""

import copy
from collections import Counter
from dataclasses import replace
from itertools import compress, islice, pairwise

import pytest
import torch

from reverie.agents.episodic.mfec import MFEC, MFECConfig
from reverie.agents.loop import interact
from reverie.agents.policies import (
    argmax_with_random_ties,
    epsilon_greedy,
    epsilon_greedy_with_random_ties,
)
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.catch import CatchConfig
from reverie.envs.digest import frame_digest
from reverie.envs.errors import UsageError
from reverie.envs.interface import Metrics, Segment
from reverie.world_models.latents.interface import LatentConfig
from reverie.world_models.latents.semi_vae import SemiVAEConfig
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.representation.variational import VariationalConfig
from reverie.world_models.state import without_buffers

from sample_agents import equal
from sample_envs import ScriptedEnv


def test_tables_hold_the_best_return_to_go_of_each_state_and_action() -> None:
    """Episodes of three observations with rewards 1, 2, 4, and hence returns 7, 6, 4."""
    envs = BatchedEnv(ScriptedEnv(2))
    agent = MFECConfig(num_neighbors=1).build(envs.spec, seed=0)
    assert isinstance(agent, MFEC)
    for t in islice(interact(envs, agent), 40):
        agent.learn(t)
    obs = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2).contiguous()
    values, exact = agent.tables.estimate(agent.representation.encode(obs), frame_digest(obs))
    assert exact.all()
    assert torch.equal(values, torch.tensor([[7.0, 6.0, 4.0]] * 2))
    assert agent.tables.sizes == [3, 3], "the observation at an autoreset (3) is not stored"


def test_returns_are_discounted_by_gamma() -> None:
    envs = BatchedEnv(ScriptedEnv(2))
    agent = MFECConfig(num_neighbors=1, gamma=0.5).build(envs.spec, seed=0)
    assert isinstance(agent, MFEC)
    for t in islice(interact(envs, agent), 40):
        agent.learn(t)
    obs = torch.zeros(1, 1, 2, 2, dtype=torch.uint8)
    values, _ = agent.tables.estimate(agent.representation.encode(obs), frame_digest(obs))
    assert values[:, 0].tolist() == [1 + 0.5 * 2 + 0.25 * 4] * 2


def stored(agent: MFEC) -> list[tuple[int, float, list[float]]]:
    """Return the entries of the tables, as action, return and key."""
    return sorted(
        (action, value, key)
        for action, size in enumerate(agent.tables.sizes)
        for value, key in zip(
            agent.tables.returns[action, :size].tolist(),
            agent.tables.keys[action, :size].tolist(),
            strict=True,
        )
    )


def test_unfinished_episodes_are_bootstrapped_and_replaced_by_their_returns() -> None:
    """What is stored of an episode that has ended is the same as without bootstrapping."""
    config = MFECConfig(num_neighbors=3, gamma=0.5, update="append", epsilon=1.0)
    spec = catch().spec
    whole, parts = (replace(config, bootstrap_every=x).build(spec, seed=0) for x in (0, 3))
    assert isinstance(whole, MFEC)
    assert isinstance(parts, MFEC)
    num_ends = num_unfinished = 0
    for t in islice(interact(catch(), parts), 60):
        whole.learn(t)
        parts.learn(t)
        if bool(t.next_step.last.all()):
            assert stored(parts) == stored(whole)
            num_ends += 1
        num_unfinished += stored(parts) != stored(whole)
    assert num_ends == 6
    assert num_unfinished > 20


def test_a_state_keeps_the_returns_of_k_visits() -> None:
    envs = BatchedEnv(ScriptedEnv(2))
    agent = MFECConfig(num_neighbors=3, update="append", epsilon=1.0).build(envs.spec, seed=0)
    assert isinstance(agent, MFEC)
    for t in islice(interact(envs, agent), 200):
        agent.learn(t)
    assert agent.tables.sizes == [9, 9], "of three states"
    assert len(set(agent.tables.digests[0, :9].tolist())) == 9


def test_no_visit_is_lost_while_its_state_has_free_places() -> None:
    agent = MFECConfig(num_neighbors=8, update="append", epsilon=1.0).build(catch().spec, seed=0)
    assert isinstance(agent, MFEC)
    counts: Counter[tuple[int, int]] = Counter()
    for t in islice(interact(catch(), agent), 399):
        agent.learn(t)
        visits = zip(frame_digest(t.step.obs).tolist(), t.action.tolist(), strict=True)
        counts.update(compress(visits, t.valid.tolist()))
    assert t.next_step.last.all(), "all episodes are stored"
    assert sum(agent.tables.sizes) == sum(min(n, 8) for n in counts.values())
    assert max(counts.values()) > 8


def test_an_unfinished_episode_has_the_value_of_its_newest_state() -> None:
    config = MFECConfig(num_neighbors=1, gamma=0.5, update="append", bootstrap_every=2)
    envs = BatchedEnv(ScriptedEnv(2))
    agent = config.build(envs.spec, seed=0)
    assert isinstance(agent, MFEC)
    for t in islice(interact(envs, agent), 42):
        agent.learn(t)
    # The reset, a timestep, and the newest, whose state is followed by the rewards 2 and 4.
    assert agent.episodes.length(0) == 3
    assert float(t.extras["value"][0]) == 2 + 0.5 * 4
    episode = agent.episodes.rows(0)
    row = agent.tables.digests[int(episode["action"][1])] == episode["digest"][1]
    assert agent.tables.returns[int(episode["action"][1])][row].tolist() == [1 + 0.5 * 4]


@pytest.mark.parametrize("store", [False, True])
def test_returns_are_stored_when_a_life_is_lost(store: bool) -> None:
    """A life is lost at the second timestep of each episode of three."""
    envs = BatchedEnv(ScriptedEnv(2))
    config = MFECConfig(num_neighbors=1, store_at_lost_life=store, epsilon=1.0)
    agent = config.build(envs.spec, seed=0)
    assert isinstance(agent, MFEC)
    sizes = []
    for timestep, t in enumerate(islice(interact(envs, agent), 80)):
        if timestep % 4 == 1:
            t = replace(t, next_step=replace(t.next_step, discount=torch.zeros(2)))
        agent.learn(t)
        sizes.append(sum(agent.tables.sizes))
    assert (sizes[1] > 0) == store
    obs = torch.arange(3, dtype=torch.uint8)[:, None, None, None].expand(3, 1, 2, 2).contiguous()
    values, exact = agent.tables.estimate(agent.representation.encode(obs), frame_digest(obs))
    assert exact.all()
    assert values[0].tolist() == [3.0, 2.0, 4.0], "returns end with a life"


@pytest.mark.parametrize("bootstrap_every", [0, 3])
def test_epsilon_decreases_with_the_agent_steps(bootstrap_every: int) -> None:
    """Also where unfinished episodes are stored again and again."""
    config = MFECConfig(
        update="append", bootstrap_every=bootstrap_every,
        epsilon=0.1, exploration_steps=100, initial_epsilon=0.5,
    )  # fmt: skip
    agent, resumed = (config.build(catch().spec, seed=0) for _ in range(2))
    assert isinstance(agent, MFEC)
    assert isinstance(resumed, MFEC)
    assert agent.epsilon == 0.5
    for t in islice(interact(catch(), agent), 15):
        agent.learn(t)
    assert agent.epsilon == pytest.approx(0.5 - 0.4 * 60 / 100)
    resumed.load_state_dict(agent.state_dict())
    assert resumed.epsilon == agent.epsilon
    for t in islice(interact(catch(), agent), 10):
        agent.learn(t)
    assert agent.epsilon == pytest.approx(0.1)
    assert MFECConfig(epsilon=0.1).build(catch().spec).epsilon == 0.1


def test_actions_with_distant_neighbors_are_explored_during_training_alone() -> None:
    config = MFECConfig(num_neighbors=2, epsilon=0.0, distance_bonus=5.0)
    agent = config.build(catch().spec, seed=0)
    assert isinstance(agent, MFEC)
    step = catch().reset()
    key = agent.representation.encode(step.obs)
    for action, (distance, value) in enumerate([(1.0, 3.0), (9.0, 2.0), (1.0, 0.0)]):
        keys = torch.cat([key + distance, key - distance])
        returns = torch.full((8,), value)
        agent.tables.update(action, keys, torch.arange(8), returns)
    carry = agent.initial(4)
    assert agent.act(step, carry).action.tolist() == [1] * 4
    assert agent.act(step, carry, explore=False).action.tolist() == [0] * 4


CONFIG = MFECConfig(
    num_neighbors=1,
    representation=VariationalConfig(VAEConfig(size=2)),
    fit_after=40,
    fit_updates=30,
    fit_batch_size=8,
    refit_every=60,
)


def test_keys_are_fitted_after_random_play_and_recomputed_by_later_fits() -> None:
    envs = catch()
    agent = CONFIG.build(envs.spec, seed=0)
    assert isinstance(agent, MFEC)
    fitted_at, keys = [], []
    for timestep, t in enumerate(islice(interact(envs, agent), 85), 1):
        was_fitted = agent.fitter.fitted
        agent.learn(t)
        if agent.fitter.fitted and not was_fitted:
            fitted_at.append(timestep)
            assert agent.tables.sizes == [0, 0, 0], "nothing is stored before there are keys"
        keys.append(agent.representation.encode(gray_observations()))
    # 10 timesteps of 4 envs fill the buffer; from the 10th on, 4 updates each make 30.
    assert 17 <= fitted_at[0] <= 20
    changes = [i + 1 for i in range(1, len(keys)) if not torch.equal(keys[i], keys[i - 1])]
    assert changes[0] == fitted_at[0], "keys change when a fit ends, and not during it"
    # 60 agent steps until a fit and 30 updates in it: 15 + 7 timesteps, and autoresets.
    assert len(changes) == 3
    assert all(20 <= b - a <= 35 for a, b in pairwise(changes))
    for action, size in enumerate(agent.tables.sizes):
        obs = agent.tables.observations[action, :size]
        digests = agent.tables.digests[action, :size]
        assert torch.equal(frame_digest(obs), digests)
        stored = agent.tables.keys[action, :size]
        torch.testing.assert_close(stored, agent.representation.encode(obs))


def test_the_key_of_a_pending_timestep_is_recomputed_after_a_later_fit() -> None:
    """With --pipeline 2, the next actions are chosen before the agent learns."""
    agent = CONFIG.build(catch().spec, seed=0)
    for t in islice(interact(catch(), agent, sync_every=128), 200):
        agent.learn(t)
        for action, size in enumerate(agent.tables.sizes):
            keys = (
                agent.representation.encode(agent.tables.observations[action, :size])
                if size
                else None
            )
            if keys is not None:
                torch.testing.assert_close(agent.tables.keys[action, :size], keys)
    assert sum(agent.tables.sizes) > 50


@pytest.mark.parametrize("latent", [VAEConfig(size=2), SemiVAEConfig(size=2, horizon=3)])
def test_an_agent_with_later_fits_resumes_exactly(latent: LatentConfig) -> None:
    config = replace(CONFIG, representation=VariationalConfig(latent))
    agents = [config.build(catch().spec, seed=0) for _ in range(2)]
    loop = interact(catch(), agents[0])
    for t in islice(loop, 53):
        agents[0].learn(t)
    agents[1].load_state_dict(copy.deepcopy(agents[0].state_dict()))
    for t in islice(loop, 60):
        for agent in agents:
            agent.learn(t)
    assert equal(agents[0].state_dict(), agents[1].state_dict())


@pytest.mark.parametrize("timesteps", [13, 40])
@pytest.mark.parametrize("latent", [VAEConfig(size=2), SemiVAEConfig(size=2, horizon=3)])
def test_a_state_without_frames_is_fitted_to_new_ones_alone(
    timesteps: int, latent: LatentConfig
) -> None:
    """It is taken in the first fit, and between two fits."""
    config = replace(CONFIG, representation=VariationalConfig(latent))
    agent, other = (config.build(catch().spec, seed=0) for _ in range(2))
    for t in islice(interact(catch(), agent), timesteps):
        agent.learn(t)
    other.load_state_dict(without_buffers(agent, agent.state_dict()))
    other.fitter.buffer.frames.fill_(7)  # as in memory that was never written
    update, seen = other.fitter.trained.update, []

    def recorded(segment: Segment) -> Metrics:
        seen.append(segment.obs)
        return update(segment)

    other.fitter.trained.update = recorded  # type: ignore[method-assign]
    for t in islice(interact(catch(), other), 30):
        other.learn(t)
    assert len(seen) >= 30
    assert not (torch.cat(seen) == 7).any()


def test_fitting_to_equal_frames_is_refused() -> None:
    agent = CONFIG.build(catch().spec, seed=0)

    def play() -> None:
        for t in islice(interact(catch(), agent), 30):
            step = replace(t.step, obs=torch.zeros_like(t.step.obs))
            agent.learn(replace(t, step=step))

    with pytest.raises(UsageError, match=r"all the same; raise --agent\.fit-after"):
        play()


def catch() -> BatchedEnv:
    return BatchedEnv(CatchConfig().build(4), seed=0)


def gray_observations() -> torch.Tensor:
    return torch.full((4, 1, 10, 5), 100, dtype=torch.uint8)


def test_ties_are_broken_uniformly_by_the_rng_of_each_env() -> None:
    values = torch.tensor([[1.0, 3.0, 3.0, 0.0]]).expand(4000, 4)
    actions = argmax_with_random_ties(values, prng.initial_rng(0, prng.Purpose.TRAIN, 4000))
    counts = torch.bincount(actions, minlength=4).tolist()
    assert counts[0] == counts[3] == 0
    assert abs(counts[1] - 2000) < 200
    untried = torch.full((4000, 3), torch.inf)
    actions = argmax_with_random_ties(untried, prng.initial_rng(1, prng.Purpose.TRAIN, 4000))
    assert torch.bincount(actions, minlength=3).min() > 1200


def test_epsilon_greedy_draws_per_env() -> None:
    greedy = torch.zeros(20_000, dtype=torch.int64)
    actions = epsilon_greedy(greedy, prng.initial_rng(0, prng.Purpose.TRAIN, 20_000), 4, 0.2)
    frequencies = torch.bincount(actions, minlength=4) / 20_000
    for frequency, expected in zip(frequencies.tolist(), [0.85, 0.05, 0.05, 0.05], strict=True):
        assert abs(frequency - expected) < 0.01


def test_digests_of_frames_are_equal_for_equal_frames_only() -> None:
    generator = torch.Generator().manual_seed(0)
    obs = torch.randint(256, (4, 3, 7, 9), dtype=torch.uint8, generator=generator)
    assert torch.equal(frame_digest(obs), frame_digest(obs.clone()))
    assert torch.equal(frame_digest(obs[1:2]), frame_digest(obs)[1:2])
    flat = obs[0].flatten()
    digests = {int(frame_digest(obs[:1]))}
    for pixel in range(flat.numel()):  # every single-pixel change, and equal changes of two pixels
        for amount in (1, 128, 255):
            changed = flat.clone()
            changed[pixel] += amount
            digests.add(int(frame_digest(changed.view(1, 3, 7, 9))))
            changed[pixel - 8] -= amount
            digests.add(int(frame_digest(changed.view(1, 3, 7, 9))))
    assert len(digests) == 1 + 2 * 3 * flat.numel()


@pytest.mark.parametrize(
    "wrong",
    [
        {"num_neighbors": 0},
        {"capacity": 5},
        {"epsilon": 1.5},
        {"gamma": -0.1},
        {"fit_updates": 0},
        {"refit_every": -1},
        {"update_rate": 2.0},
        {"bootstrap_every": 3},
    ],
)
def test_invalid_settings_are_refused(wrong: dict[str, float]) -> None:
    with pytest.raises(UsageError, match=f"agent.{next(iter(wrong))}"):
        MFECConfig(**wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize("epsilon", [0.0, 0.3, 1.0])
def test_draws_made_together_are_those_made_apart(epsilon: float) -> None:
    rng = prng.initial_rng(0, prng.Purpose.TRAIN, 500)
    values = torch.randint(3, (500, 5), generator=torch.Generator().manual_seed(0)).float()
    greedy = argmax_with_random_ties(values, rng)
    apart = epsilon_greedy(greedy, rng, 5, epsilon)
    assert torch.equal(epsilon_greedy_with_random_ties(values, rng, epsilon), apart)
