"""The recurrent state-space model: its loss by hand, what its prior knows, and Catch predicted."""

import math
from dataclasses import replace
from itertools import islice

import pytest
import torch
from torch.distributions import Categorical, kl_divergence

from reverie.agents.loop import interact
from reverie.agents.policies import RandomPolicy
from reverie.agents.replay import Replay
from reverie.envs import prng
from reverie.envs.batched_env import BatchedEnv
from reverie.envs.interface import Segment
from reverie.world_models.precision import Precision
from reverie.world_models.prediction.heads import TwoHot
from reverie.world_models.prediction.imagination import Imagination
from reverie.world_models.prediction.latent_dreams import LatentDreams, filtered_states
from reverie.world_models.prediction.rssm import RSSM, SMALL_RSSM, TINY_RSSM, RSSMConfig
from reverie.world_models.prediction.rssm_network import categorical_kl, sample_classes

from sample_agents import SMALL_CATCH
from sample_models import NUM_ACTIONS, OBS_SHAPE, segment, start

CONFIG = replace(TINY_RSSM, deter=12, units=16, groups=3, classes=4, context=3, batch_size=4)


def build(**changes: object) -> RSSM:
    config = replace(CONFIG, **changes)  # type: ignore[arg-type]
    return config.build(obs_shape=OBS_SHAPE, num_actions=NUM_ACTIONS, seed=1)


def test_the_loss_of_a_network_of_zeros_by_hand() -> None:
    """Prior and posterior are uniform, so that each KL divergence counts as the free nats."""
    model = build(free_nats=0.7, dyn_coef=0.5, rep_coef=0.1, pixel_std=0.5)
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.zero_()
    shape = (2, 4, *OBS_SHAPE)
    obs = torch.zeros(shape, dtype=torch.uint8)
    obs[0, 1:, -1, 0, 0] = 255  # one white pixel in three frames of the first segment
    last = torch.tensor([[False] * 4, [False, False, True, True]])
    zeros = torch.zeros(2, 3)
    data = Segment(zeros.long(), obs, zeros, zeros, zeros + 1, torch.zeros_like(last), last)
    model.mean_frame.fitted = True
    loss, metrics = model.loss(data)
    # Of seven observations: the second segment has ended before its last.
    pixels, nats, heads = 3 / 7 / (2 * 0.25), 0.6 * 0.7, math.log(2 * TwoHot.num_outputs)
    assert float(loss.detach()) == pytest.approx(pixels + nats + heads, rel=1e-5)
    assert float(metrics["kl"]) == pytest.approx(0, abs=1e-6)
    assert float(metrics["squared_error"]) == pytest.approx(3 / 7 * 255**2 / (24 * 28), rel=1e-5)


def test_the_kl_divergence_is_that_of_torch_summed_over_the_variables() -> None:
    q, p = torch.randn(2, 5, 3, 4).softmax(3)
    expected = kl_divergence(Categorical(probs=q), Categorical(probs=p)).sum(1)
    torch.testing.assert_close(categorical_kl(q, p), expected)


@pytest.mark.parametrize(("free_nats", "trains"), [(0.0, True), (100.0, False)])
def test_the_prior_learns_from_nats_that_are_not_free(free_nats: float, trains: bool) -> None:
    model = build(free_nats=free_nats)
    loss, _ = model.loss(segment(4, 5))
    loss.backward()
    gradients = [x.grad for x in model.network.prior_layers.parameters()]
    assert all((x is not None and bool(x.any())) == trains for x in gradients)


def test_one_percent_of_the_distribution_is_uniform() -> None:
    model = build(uniform_mix=0.01)
    with torch.no_grad():
        model.network.prior_layers[1].bias[0] = 1e4
    probs = model.network.prior(torch.zeros(1, 12))[0, 0]
    torch.testing.assert_close(probs, torch.tensor([0.9925, 0.0025, 0.0025, 0.0025]))


def test_classes_are_drawn_with_their_probabilities_from_the_key_of_a_row() -> None:
    probs = torch.tensor([[0.7, 0.2, 0.1], [0.0, 0.5, 0.5]]).expand(20_000, 2, 3)
    rng = prng.initial_rng(0, prng.Purpose.DREAM, 20_000)
    classes = sample_classes(probs, rng).view(-1, 2, 3)
    assert torch.equal(classes.sum(2), torch.ones(20_000, 2))
    assert (classes.mean(0) - probs[0]).abs().max() < 4 * 0.5 / 20_000**0.5
    rows = torch.tensor([7, 3])
    assert torch.equal(sample_classes(probs[rows], rng[rows]).view(-1, 2, 3), classes[rows])


def test_the_gradient_of_a_draw_is_that_of_its_probabilities() -> None:
    """Straight through, from what is decoded to the encoder: without the terms of the KL too."""
    model = build(dyn_coef=0.0, rep_coef=0.0)
    loss, _ = model.loss(segment(4, 1))
    loss.backward()
    gradient = model.network.encoder.hidden[0].weight.grad
    assert gradient is not None
    assert gradient.any()


def test_the_deterministic_state_and_the_prior_do_not_know_the_newest_frame() -> None:
    model, data = build(), segment(4, 3)
    obs = data.obs.clone()
    obs[:, -1] = 255 - obs[:, -1]
    a, b = (filtered_states(model, x, data.action, data.first) for x in (data.obs, obs))
    assert torch.equal(a[-1]["deter"], b[-1]["deter"])
    assert not torch.equal(a[-1]["latent"], b[-1]["latent"])
    for x, y in zip(a[:-1], b[:-1], strict=True):
        assert torch.equal(x["latent"], y["latent"])


def test_a_state_is_reset_at_the_first_observation_of_an_episode() -> None:
    """Neither earlier observations nor the action before it count; later actions do."""
    model, data = build(), segment(4, 2)
    first = data.first.clone()
    first[:, 1] = True
    other = replace(data, obs=torch.cat([255 - data.obs[:, :1], data.obs[:, 1:]], 1), first=first)
    other.action[:, 0] = (other.action[:, 0] + 1) % NUM_ACTIONS
    carries = [start(model, x) for x in (other, replace(data, first=first))]
    alone = filtered_states(model, data.obs[:, 1:], data.action[:, 1:], first[:, 1:])[-1]
    for name in ("deter", "latent"):
        assert torch.equal(carries[0][name], carries[1][name])
        assert torch.equal(carries[0][name], alone[name])
    changed = replace(data, action=(data.action + 1) % NUM_ACTIONS)
    assert not torch.equal(start(model, changed)["deter"], start(model, data)["deter"])


def test_features_are_the_state_as_bytes() -> None:
    model = build()
    carry = start(model, segment(6, 2))
    deter, latent = model.features(carry)[:, 0, 0].float().split((12, 12), 1)
    assert (deter / 127.5 - 1 - carry["deter"]).abs().max() <= 0.5 / 127.5 + 1e-6
    assert torch.equal(latent / 255, carry["latent"])
    extremes = {"deter": torch.tensor([[-1.0, 1.0]]), "latent": torch.tensor([[0.0, 1.0]])}
    assert model.features(extremes).flatten().tolist() == [0, 255, 0, 255]


def test_latent_dreams_are_those_of_frames_without_the_frames() -> None:
    """Equal keys and states have equal rewards and states; a dream starts at every state."""
    model, context = build(), segment(5, 2)
    for i in range(3):
        model.update(segment(4, 6, seed=i))
    dreams = LatentDreams(model)
    latent, frames = (start(x, context) for x in (dreams, model))
    assert len(latent["obs"]) == 15
    states = filtered_states(model, context.obs, context.action, context.first)
    assert torch.equal(latent["latent"], torch.cat([x["latent"] for x in states]))
    latent = {name: x[-5:] for name, x in latent.items()} | {"rng": frames["rng"]}
    for action in torch.randint(NUM_ACTIONS, (4, 5)):
        a, latent = dreams.predict(latent, action)
        b, frames = model.predict(frames, action)
        assert torch.equal(a.reward, b.reward)
        assert torch.equal(a.discount, b.discount)
        assert torch.equal(a.obs, model.features(frames))
    encoded = dreams.encode(context)
    assert torch.equal(encoded.obs[:, 1], model.features(states[1]))


@pytest.mark.parametrize("latent", [False, True])
def test_equal_seeds_are_equal_dreams_and_others_differ(latent: bool) -> None:
    model = build(uniform_mix=0.5)
    predictor = LatentDreams(model) if latent else model
    env = Imagination(predictor, segment(5, 2), 4, horizon=9, tensors=True)
    action, dreams = torch.zeros(4, dtype=torch.int64), []
    for seed in (1, 1, 2):
        env.reset(seed=seed)
        steps = [env.step(action) for _ in range(4)]
        dreams.append(torch.stack([x[0] for x in steps]))
    assert torch.equal(dreams[0], dreams[1])
    assert not torch.equal(dreams[0], dreams[2])


def test_bfloat16_is_near_float32() -> None:
    models = [
        CONFIG.build(obs_shape=OBS_SHAPE, num_actions=3, precision=Precision(name))
        for name in ("fp32", "bf16")
    ]
    losses = [float(x.update(segment(4, 6))["loss"]) for x in models]
    assert losses[1] == pytest.approx(losses[0], rel=0.05)
    carry = start(models[1], segment(4, 2))
    prediction, next_carry = models[1].predict(carry, torch.zeros(4, dtype=torch.int64))
    assert next_carry["deter"].dtype == torch.float32
    assert prediction.reward.dtype == torch.float32


def catch_replay(timesteps: int, seed: int) -> Replay:
    envs = BatchedEnv(SMALL_CATCH.build(8), seed=seed)
    replay = Replay(envs.spec, capacity=10_000, gamma=1.0, monte_carlo=False, seed=seed)
    for t in islice(interact(envs, RandomPolicy(3, seed)), timesteps):
        replay.append(t, t.next_step.reward)
    return replay


def test_catch_is_predicted_from_one_observation() -> None:
    """All frames of four steps, and the reward of the catch."""
    config = replace(TINY_RSSM, units=64, deter=64, segment_length=4, context=1)
    model = config.build(obs_shape=(1, 6, 3), num_actions=3, seed=0)
    replay = catch_replay(200, seed=0)
    for _ in range(450):
        model.update(replay.sample_segments(*model.batch_shape))
    test = catch_replay(100, seed=1).sample_segments(200, 4)
    whole = ~test.last[:, :-1].any(1)
    carry, correct = start(model, segment_start(test)), whole.clone()
    for t in range(4):
        prediction, carry = model.predict(carry, test.action[:, t])
        same = (prediction.obs > 127) == (test.obs[:, t + 1] > 127)
        correct &= same.flatten(1).all(1)
    assert whole.sum() > 50
    assert float(correct[whole].float().mean()) > 0.8
    error = (prediction.reward - test.reward[:, 3]).abs()[whole]
    assert float((error < 0.3).float().mean()) > 0.8


def segment_start(data: Segment) -> Segment:
    while data.action.shape[1]:
        data = data.without_last_timestep()
    return data


def test_the_published_loss_has_the_sum_of_squared_errors_without_a_half() -> None:
    assert 2 * RSSMConfig().pixel_std ** 2 == pytest.approx(1)
    assert SMALL_RSSM.pixel_std == 1
