"""Tests that every predictor must pass, and the published networks layer by layer."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.batched_env import BatchedEnv, spec_of
from reverie.envs.errors import UsageError
from reverie.envs.interface import Segment
from reverie.experiments.runs.checkpoints import Checkpoints
from reverie.world_models.interface import Predictor, PredictorConfig, SnapshotPredictor
from reverie.world_models.prediction import PREDICTORS
from reverie.world_models.prediction.diffusion import TINY_DIFFUSION, DiffusionConfig
from reverie.world_models.prediction.encoder_decoder import Transformation
from reverie.world_models.prediction.ensemble import EnsembleConfig
from reverie.world_models.prediction.feedforward import FeedforwardConfig
from reverie.world_models.prediction.frame_network import FrameNetwork, FrameOutput
from reverie.world_models.prediction.latent_dreams import LatentPredictor
from reverie.world_models.prediction.mlp import MLPPredictorConfig
from reverie.world_models.prediction.recurrent import RecurrentConfig
from reverie.world_models.prediction.rssm import SMALL_RSSM, RSSMConfig
from reverie.world_models.prediction.stochastic import StochasticConfig, StochasticNetwork

from sample_agents import equal
from sample_models import NUM_ACTIONS, OBS_SHAPE, coin_flips, first_context, segment, start

FAST: dict[str, Any] = {
    "horizons": (1, 2),
    "learning_rates": (1e-3, 1e-3),
    "batch_sizes": (8, 4),
    "updates": (2, 2),
}
EXAMPLES: dict[str, list[PredictorConfig]] = {
    "feedforward": [
        FeedforwardConfig(size="small", **FAST),
        FeedforwardConfig(size="tiny", adversarial=0.1, **FAST),
        FeedforwardConfig(size="tiny", action_conditional=False, **FAST),
    ],
    "small": [FeedforwardConfig(size="small", hidden_channels=8)],
    "recurrent": [
        RecurrentConfig(size="small", context=3, **FAST),
        RecurrentConfig(size="tiny", context=3, **FAST),
    ],
    "stochastic": [
        StochasticConfig(size="small", hidden_channels=8, latent=3, **FAST),
        StochasticConfig(size="tiny", latent=3, **FAST),
    ],
    "mlp": [
        MLPPredictorConfig(hidden=(16, 32, 32, 16), **FAST),
        MLPPredictorConfig(
            hidden=(16, 32, 32, 16), reward_head="two-hot", motion_weight=3.0, **FAST
        ),
    ],
    "ensemble": [
        EnsembleConfig(FeedforwardConfig(size="tiny", **FAST), max_disagreement=1e-6),
        EnsembleConfig(StochasticConfig(size="tiny", latent=3, **FAST), members=2),
        EnsembleConfig(RecurrentConfig(size="tiny", context=3, **FAST), members=2),
    ],
    "diffusion": [
        DiffusionConfig(size="small", **FAST),
        DiffusionConfig(size="tiny", conditioning_noise=0.1, adversarial=0.1, **FAST),
    ],
    "tiny-diffusion": [replace(TINY_DIFFUSION, batch_sizes=(4, 2, 2))],
    "rssm": [RSSMConfig(deter=16, units=16, classes=4, segment_length=2, batch_size=2)],
    "small-rssm": [replace(SMALL_RSSM, segment_length=4, batch_size=4)],
}
"""Sizes that train within a test; a predictor without an entry is tested with its defaults."""


def instance(entry: Any) -> PredictorConfig:
    return entry() if isinstance(entry, type) else entry  # type: ignore[no-any-return]


CASES = [
    (name, config)
    for name, entry in PREDICTORS.items()
    for config in EXAMPLES.get(name, [instance(entry)])
]
each_config = pytest.mark.parametrize(
    "config",
    [config for _, config in CASES],
    ids=[name for name, _ in CASES],
)
TRAINABLE = [(name, config) for name, config in CASES if config.trainable]
each_trainable_config = pytest.mark.parametrize(
    "config",
    [config for _, config in TRAINABLE],
    ids=[name for name, _ in TRAINABLE],
)
FREEWAY = AtariConfig(
    "freeway", replace(PROTOCOLS["machado"], full_actions=False, stack=2, height=24, width=28)
)
"""An env with the observations and actions of the segments, sticky, which offers snapshots."""


def build(config: PredictorConfig, seed: int = 1, **changes: Any) -> Predictor:
    if config.needs_snapshots:
        return config.build_for(spec_of(FREEWAY, snapshots=True), seed=seed)
    return config.build(
        **{"obs_shape": OBS_SHAPE, "num_actions": NUM_ACTIONS, "seed": seed, **changes}
    )


def context_of(model: Predictor) -> Segment:
    """Six contexts to start from, of Freeway if the predictor needs its snapshots."""
    context = segment(6, model.context - 1)
    if not isinstance(model, SnapshotPredictor):
        return context
    envs = BatchedEnv(FREEWAY.build(6, threads=1), seed=1, snapshots=True)
    envs.reset()
    for _ in range(3):
        step = envs.step(torch.ones(6, dtype=torch.int64))
    envs.close()
    assert step.snapshot is not None
    return replace(context, obs=step.obs[:, None], snapshot=step.snapshot[:, None])


@each_config
def test_start_and_predict(config: PredictorConfig) -> None:
    model = build(config)
    assert isinstance(model, Predictor)
    assert isinstance(model, LatentPredictor) == config.has_latents
    assert (model.obs_shape, model.num_actions, model.channels) == (OBS_SHAPE, NUM_ACTIONS, 1)
    context = context_of(model)
    carry, action = start(model, context), torch.arange(6) % NUM_ACTIONS
    before = {name: value.clone() for name, value in carry.items()}
    assert all(len(value) == 6 for value in carry.values())
    prediction, next_carry = model.predict(carry, action)
    assert prediction.obs.shape == (6, *OBS_SHAPE)
    assert prediction.obs.dtype == torch.uint8
    assert torch.equal(prediction.obs[:, :1], context.obs[:, -1, 1:]), "the stack moves on"
    assert ((prediction.discount >= 0) & (prediction.discount <= 1)).all()
    assert all(torch.equal(carry[name], before[name]) for name in before), "carry is unchanged"
    again, _ = model.predict(carry, action)
    assert torch.equal(prediction.obs, again.obs), "a draw is a function of the carry"
    assert set(next_carry) == set(carry)
    same_seed = build(config).predict(start(build(config), context), action)[0]
    assert torch.equal(prediction.obs, same_seed.obs), "weights are a function of the seed"


@each_trainable_config
def test_it_trains_through_its_phases_and_continues_from_a_checkpoint(
    config: PredictorConfig, tmp_path: Path
) -> None:
    a, b = build(config), build(config, seed=2)
    shapes = []
    for i in range(5):
        batch, timesteps = a.batch_shape
        shapes.append((batch, timesteps))
        metrics = a.update(segment(batch, timesteps, seed=i))
        assert math.isfinite(float(metrics["loss"]))
    if config in EXAMPLES["feedforward"]:
        assert shapes == [(8, 1), (8, 1), (4, 2), (4, 2), (4, 2)]
    Checkpoints(tmp_path).save(0, a.state_dict())  # which keeps no memory layout
    b.load_state_dict(Checkpoints(tmp_path).load() or {})
    assert equal(a.state_dict(), b.state_dict())
    batch, timesteps = a.batch_shape
    assert a.batch_shape == b.batch_shape
    for model in (a, b):
        model.update(segment(batch, timesteps, seed=9))
    assert equal(a.state_dict(), b.state_dict())


@pytest.mark.parametrize("action_conditional", [True, False])
def test_only_an_action_conditional_predictor_learns_the_effect_of_actions(
    action_conditional: bool,
) -> None:
    """Squared error, reward and discount of one step."""
    config = FeedforwardConfig(
        size="small", hidden_channels=8, action_conditional=action_conditional, horizons=(1,),
        learning_rates=(3e-3,), batch_sizes=(32,), updates=(1,),
    )  # fmt: skip
    model = build(config)
    for i in range(100):
        model.update(segment(32, 1, seed=i))
    test = segment(200, 1, seed=1000)
    prediction, _ = model.predict(start(model, first_context(test)), test.action[:, 0])
    truth = test.obs[:, 1, -1:].float()
    error = (prediction.obs[:, -1:].float() - truth).square().mean()
    copy = (test.obs[:, 0, -1:].float() - truth).square().mean()
    assert (error < 0.3 * copy) == action_conditional
    if action_conditional:
        assert torch.corrcoef(torch.stack([prediction.reward, test.reward[:, 0]]))[0, 1] > 0.9
        assert float(prediction.discount[test.discount[:, 0] == 0].mean()) < 0.5


def output_shapes(network: nn.Module, *inputs: Any) -> list[tuple[str, tuple[int, ...]]]:
    """The layers in the order in which they run, with the shapes of their outputs."""
    shapes: list[tuple[str, tuple[int, ...]]] = []
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.LSTMCell

    def hook(module: nn.Module, _: Any, output: Any) -> None:
        output = output[0] if isinstance(output, tuple) else output
        shapes.append((type(module).__name__, tuple(output.shape[1:])))

    for module in network.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(hook)
    with torch.no_grad():
        network(*inputs)
    return shapes


ENCODER = [
    ("Conv2d", (64, 102, 78)),
    ("Conv2d", (128, 50, 38)),
    ("Conv2d", (128, 24, 18)),
    ("Conv2d", (128, 11, 8)),
    ("Linear", (2048,)),
]
DECODER = [
    ("Linear", (2048,)),
    ("Linear", (2048,)),
    ("Linear", (2048,)),
    ("Linear", (11264,)),
    ("ConvTranspose2d", (128, 24, 18)),
    ("ConvTranspose2d", (128, 50, 38)),
    ("ConvTranspose2d", (128, 102, 78)),
    ("ConvTranspose2d", (3, 210, 160)),
]


def num_parameters(module: nn.Module) -> int:
    return sum(p.numel() for p in module.parameters())


def test_the_published_networks_layer_by_layer() -> None:
    """57.2M parameters, 33.6M more with the LSTM; the last layer of each stack is linear."""
    action = torch.eye(18)[:1]
    model = FeedforwardConfig().build(obs_shape=(12, 210, 160), num_actions=18, channels=3)
    network, obs = model.network, torch.zeros(1, 12, 210, 160)
    assert output_shapes(network, obs, action, {}) == ENCODER + DECODER
    assert round(num_parameters(network) / 1e6, 1) == 57.2
    parts = [num_parameters(part) for part in network.children()]
    assert [round(part / 1e6, 1) for part in parts] == [24.3, 8.4, 24.5]
    transformation = network.transformation
    assert isinstance(transformation, Transformation)
    encode, act = transformation.encode.weight, transformation.act.weight
    assert 0.99 < float(encode.detach().abs().max()) <= 1
    assert 0.099 < float(act.detach().abs().max()) <= 0.1

    recurrent = RecurrentConfig().build(obs_shape=(3, 210, 160), num_actions=18, channels=3)
    carry = recurrent.network.initial(1, torch.device("cpu"))
    shapes = output_shapes(recurrent.network, obs[:, :3], action, carry)
    assert shapes == [*ENCODER, ("LSTMCell", (2048,)), *DECODER]
    more = num_parameters(recurrent.network) - num_parameters(network)
    first = 9 * 64 * 64  # its first layer has 3 input channels instead of 12
    assert round((more + first) / 1e6, 1) == 33.6
    assert recurrent.batch_shape == (4, 20), "21 frames, 11 of them before the first prediction"


def test_the_transformation_is_one_matrix_per_action() -> None:
    """W_dec diag(W_act a + b_a) W_enc: linear in the features for each action."""
    layer = Transformation(5, 3, 7)
    features = torch.randn(4, 5)
    for a in range(3):
        action = torch.eye(3)[a].expand(4, 3)
        factors = layer.act.weight[:, a] + layer.act.bias
        matrix = layer.decode.weight @ torch.diag(factors) @ layer.encode.weight
        bias = layer.decode.weight @ (factors * layer.encode.bias) + layer.decode.bias
        torch.testing.assert_close(layer(features, action), features @ matrix.T + bias)


class Brighter(FrameNetwork):
    """Predicts that every pixel grows by a tenth of white."""

    def forward(self, obs: Tensor, action: Tensor, carry: Any, target: Any = None) -> FrameOutput:
        return FrameOutput(obs + 0.1, torch.zeros(len(obs), 128), carry)


def test_the_loss_of_three_steps_by_hand() -> None:
    """Half the squared errors of its own predictions, over the steps before the episode's end."""
    config = FeedforwardConfig(
        size="tiny", horizons=(3,), learning_rates=(1e-3,), batch_sizes=(1,), updates=(1,)
    )
    model = config.build(obs_shape=(1, 1, 2), num_actions=NUM_ACTIONS)

    model.network = Brighter()
    black = torch.zeros(2, 4, 1, 1, 2, dtype=torch.uint8)
    last = torch.tensor([[False] * 4, [False, False, True, True]])
    zeros = torch.zeros(2, 3)
    segment = Segment(
        action=zeros.long(), obs=black, reward=zeros, bonus=zeros, discount=zeros + 1,
        first=torch.zeros_like(last), last=last,
    )  # fmt: skip
    _, metrics = model.loss(segment, 0)
    model.config = replace(config, motion_weight=9.0)
    assert model.loss(segment, 0)[1] == metrics, "where nothing moves, no pixel weighs more"
    # Two pixels at 0.1, 0.2 and 0.3; the second row has ended before the third.
    frames = 2 * (2 * 0.01 + 2 * 0.04 + 0.09) / 5
    heads = math.log(2)  # of the discount, whose logit is 0
    assert float(metrics["loss"]) == pytest.approx(frames / 2 + heads, rel=1e-5)
    assert float(metrics["squared_error"]) == pytest.approx(frames * 255**2 / 2, rel=1e-5)


def test_the_loss_weighs_pixels_that_change() -> None:
    """Of two pixels, the second is bright, and it changes or not; the weights are 1 and 4."""
    config = FeedforwardConfig(
        size="tiny", horizons=(1,), learning_rates=(1e-3,), batch_sizes=(1,), updates=(1,)
    )
    losses = []
    for changing in (0, 1):
        for weight in (0.0, 3.0):
            model = replace(config, motion_weight=weight).build(obs_shape=(1, 1, 2), num_actions=3)
            model.network = Brighter()
            obs = torch.zeros(1, 2, 1, 1, 2, dtype=torch.uint8)
            obs[:, 1, ..., 1] = 255
            obs[:, 0, ..., 1] = 255 if not changing else 0
            zeros, never = torch.zeros(1, 1), torch.zeros(1, 2, dtype=torch.bool)
            segment = Segment(zeros.long(), obs, zeros, zeros, zeros + 1, never, never)
            losses.append(float(model.loss(segment, 0)[0].detach()) - math.log(2))
    still, still_weighted, moving, moving_weighted = losses
    assert still == still_weighted == pytest.approx((0.01 + 0.01) / 2, rel=1e-4)
    assert moving == pytest.approx((0.01 + 0.81) / 2, rel=1e-4)
    assert moving_weighted == pytest.approx((0.4 * 0.01 + 1.6 * 0.81) / 2, rel=1e-4)


def test_the_recurrent_state_depends_on_earlier_frames_of_the_episode() -> None:
    config = EXAMPLES["recurrent"][1]
    model = build(config)
    context = segment(4, 2)
    other = replace(context, obs=torch.cat([255 - context.obs[:, :2], context.obs[:, 2:]], 1))
    carries = start(model, context), start(model, other)
    assert torch.equal(carries[0]["obs"], carries[1]["obs"])
    assert not torch.equal(carries[0]["cell"], carries[1]["cell"])
    first = torch.zeros(4, 3, dtype=torch.bool)
    first[:, 2] = True
    restarted = [start(model, replace(segment, first=first)) for segment in (context, other)]
    assert torch.equal(restarted[0]["cell"], restarted[1]["cell"]), "the state is reset at first"


@pytest.mark.parametrize(
    ("stochastic", "action_conditional"), [(True, True), (True, False), (False, True)]
)
def test_only_a_latent_predicts_random_frames(stochastic: bool, action_conditional: bool) -> None:
    """The deterministic network predicts the mean gray; the stochastic one dark or bright frames,

    with or without the action, which has no effect here.
    """
    fast: dict[str, Any] = {
        "size": "tiny", "horizons": (1,), "learning_rates": (3e-3,), "batch_sizes": (64,),
        "updates": (1,), "action_conditional": action_conditional,
    }  # fmt: skip
    config = StochasticConfig(latent=2, **fast) if stochastic else FeedforwardConfig(**fast)
    model = build(config, obs_shape=(1, 4, 4))
    for i in range(200):
        model.update(coin_flips(64, i))
    carry = start(model, first_context(coin_flips(200, 1000)))
    prediction, _ = model.predict(carry, torch.zeros(200, dtype=torch.int64))
    brightness = prediction.obs.float().mean((1, 2, 3))
    gray = ((brightness > 50) & (brightness < 150)).float().mean()
    assert (gray < 0.5) == stochastic
    if stochastic:
        assert 0.25 < float((brightness > 100).float().mean()) < 0.75
    else:
        assert gray == 1


def test_the_posterior_encoder_reads_the_stack_and_the_next_frame() -> None:
    model = StochasticConfig(size="tiny", latent=2).build(
        obs_shape=(6, 4, 4), num_actions=NUM_ACTIONS, channels=3
    )
    assert isinstance(model.network, StochasticNetwork)
    assert model.network.posterior_encoder.shapes[0] == (9, 4, 4)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (
            lambda: build(FeedforwardConfig(size="small"), obs_shape=(1, 10, 5)),
            "choose predictor:tiny or",
        ),
        (lambda: build(FeedforwardConfig(), obs_shape=(1, 40, 40)), "64 x 64 pixels or more"),
        (lambda: FeedforwardConfig(horizons=(1, 3)), "have 2, 3, 3, 3 entries"),
        (lambda: FeedforwardConfig(updates=(1, 0, 1)), "every entry must be above 0"),
        (lambda: FeedforwardConfig(adversarial=-1.0), "predictor.adversarial is -1.0"),
        (lambda: RecurrentConfig(context=0), "predictor.context is 0; it must be 1 or more"),
        (lambda: FeedforwardConfig(motion_weight=-1.0), "predictor.motion_weight is -1.0"),
        (lambda: MLPPredictorConfig(hidden=(4, 4, 0, 4)), "of widths of 1 or more"),
        (lambda: RSSMConfig(classes=1), "predictor.classes is 1; it must be 2 or more"),
        (lambda: RSSMConfig(uniform_mix=0.0), "predictor.uniform_mix is 0.0; it must be above 0"),
        (lambda: RSSMConfig(uniform_mix=1.0), "predictor.uniform_mix is 1.0; it must be below 1"),
        (lambda: RecurrentConfig(learning_rates=(math.nan,) * 3), "must be above 0 and finite"),
        (lambda: build(RSSMConfig(), obs_shape=(1, 10, 5)), "16 x 16 pixels or more"),
    ],
)
def test_invalid_settings_are_refused(make: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()


def test_actions_out_of_range_and_other_shapes_are_refused() -> None:
    model = build(EXAMPLES["mlp"][0])
    carry = start(model, segment(2, 0))
    with pytest.raises(UsageError, match=r"got action 3, and its actions are 0..2"):
        model.predict(carry, torch.tensor([0, 3]))
    with pytest.raises(UsageError, match=r"shape \(2, 24, 28\) and got \(1, 24, 28\)"):
        start(model, segment(2, 0, (1, 24, 28)))
    with pytest.raises(UsageError, match=r"shape \(2, 24, 28\) and got \(1, 24, 28\)"):
        model.update(segment(2, 3, (1, 24, 28)))


@pytest.mark.parametrize("name", ["feedforward", "rssm"])
def test_the_mean_frame_is_that_of_frames_within_episodes(name: str) -> None:
    model = build(EXAMPLES[name][0])
    shape = (2, 4, *OBS_SHAPE)
    obs = torch.full(shape, 51, dtype=torch.uint8)
    obs[:, 2:] = 255  # after the end
    last = torch.tensor([[False, True, True, True]] * 2)
    zeros = torch.zeros(2, 3)
    model.update(Segment(zeros.long(), obs, zeros, zeros, zeros, torch.zeros_like(last), last))
    mean = model.mean_frame.value  # type: ignore[attr-defined]
    torch.testing.assert_close(mean, torch.full_like(mean, 0.2))
