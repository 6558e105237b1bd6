"""Laws of predictors, over every one in the table, and the published networks layer by layer."""

import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from test_agents import equal
from torch import Tensor, nn

from envs.errors import UsageError
from envs.interface import Segment
from experiments.checkpoints import Checkpoints
from world_models.interface import Predictor, PredictorConfig
from world_models.prediction import PREDICTORS
from world_models.prediction.feedforward import FeedforwardConfig
from world_models.prediction.mlp import MLPPredictorConfig
from world_models.prediction.net import Imagined, Net
from world_models.prediction.networks import Transformation
from world_models.prediction.recurrent import RecurrentConfig
from world_models.prediction.stochastic import StochasticConfig

SHAPE, ACTIONS = (2, 24, 28), 3  # two grey frames

FAST: dict[str, Any] = {
    "horizons": (1, 2),
    "learning_rates": (1e-3, 1e-3),
    "batches": (8, 4),
    "updates": (2, 2),
}
EXAMPLES: dict[str, list[PredictorConfig]] = {
    "feedforward": [
        FeedforwardConfig(size="small", **FAST),
        FeedforwardConfig(size="tiny", **FAST),
        FeedforwardConfig(size="tiny", sees_action=False, **FAST),
    ],
    "small": [FeedforwardConfig(size="small", channels=8)],
    "recurrent": [
        RecurrentConfig(size="small", context=3, **FAST),
        RecurrentConfig(size="tiny", context=3, **FAST),
    ],
    "stochastic": [
        StochasticConfig(size="small", channels=8, latent=3, **FAST),
        StochasticConfig(size="tiny", latent=3, **FAST),
    ],
    "mlp": [MLPPredictorConfig(hidden=(16, 32, 32, 16), **FAST)],
}
"""Sizes a test has time for; a predictor without an entry is tested as it stands in the table."""


def instance(entry: Any) -> PredictorConfig:
    return entry() if isinstance(entry, type) else entry  # type: ignore[no-any-return]


CASES = [
    (name, config)
    for name, entry in PREDICTORS.items()
    for config in EXAMPLES.get(name, [instance(entry)])
]
each = pytest.mark.parametrize(
    "config",
    [config for _, config in CASES],
    ids=[name for name, _ in CASES],
)


def build(config: PredictorConfig, seed: int = 1, **changes: Any) -> Predictor:
    return config.build(**{"obs_shape": SHAPE, "num_actions": ACTIONS, "seed": seed, **changes})


def segment(batch: int, ticks: int, shape: tuple[int, int, int] = SHAPE, seed: int = 0) -> Segment:
    """A world in which a bright square steps by the action, and pays where it has come to."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.randint(ACTIONS, (batch, ticks), generator=generator)
    begin = torch.randint(4, shape[2] - 8, (batch, 1), generator=generator)
    place = torch.cat([begin, begin + (action - 1).cumsum(1)], 1).clamp(0, shape[2] - 4)
    columns = torch.arange(shape[2])
    inside = (columns >= place[..., None]) & (columns < place[..., None] + 4)  # [B T+1 W]
    frame = (inside[:, :, None, :] & (torch.arange(shape[1]) < 4)[:, None]).to(torch.uint8) * 200
    older = torch.cat([frame[:, :1], frame[:, :-1]], 1)
    obs = torch.stack([older, frame], 2) if shape[0] == 2 else frame[:, :, None]
    reward = place[:, 1:] / 10
    none = torch.zeros(batch, ticks + 1, dtype=torch.bool)
    return Segment(
        action=action, obs=obs, reward=reward, bonus=torch.zeros_like(reward),
        discount=(place[:, 1:] > 5).float(), first=none, last=none, memory={},
    )  # fmt: skip


@each
def test_laws_of_a_predictor(config: PredictorConfig) -> None:
    model = build(config)
    assert isinstance(model, Predictor)
    assert (model.obs_shape, model.num_actions, model.colours) == (SHAPE, ACTIONS, 1)
    context = segment(6, model.context - 1)
    state, action = model.start(context), torch.arange(6) % ACTIONS
    kept = {name: value.clone() for name, value in state.items()}
    assert all(len(value) == 6 for value in state.values())
    prediction, following = model.predict(state, action)
    assert prediction.obs.shape == (6, *SHAPE)
    assert prediction.obs.dtype == torch.uint8
    assert torch.equal(prediction.obs[:, :1], context.obs[:, -1, 1:]), "the stack moves on"
    assert ((prediction.discount >= 0) & (prediction.discount <= 1)).all()
    assert all(torch.equal(state[name], kept[name]) for name in kept), "predict changes no state"
    again, _ = model.predict(state, action)
    assert torch.equal(prediction.obs, again.obs), "a draw is a function of the state"
    assert set(following) == set(state)
    twin = build(config).predict(build(config).start(context), action)[0]
    assert torch.equal(prediction.obs, twin.obs), "one seed is one model"


@each
def test_it_learns_through_its_phases_and_what_it_learned_survives(
    config: PredictorConfig, tmp_path: Path
) -> None:
    a, b = build(config), build(config, seed=2)
    lessons = []
    for i in range(5):
        batch, ticks = a.lesson
        lessons.append((batch, ticks))
        metrics = a.update(segment(batch, ticks, seed=i))
        assert math.isfinite(float(metrics["loss"]))
    if config in EXAMPLES["feedforward"]:
        assert lessons == [(8, 1), (8, 1), (4, 2), (4, 2), (4, 2)]
    Checkpoints(tmp_path).save(0, a.state_dict())  # which keeps values, and no memory layout
    b.load_state_dict(Checkpoints(tmp_path).load() or {})
    assert equal(a.state_dict(), b.state_dict())
    batch, ticks = a.lesson
    assert a.lesson == b.lesson
    for model in (a, b):
        model.update(segment(batch, ticks, seed=9))
    assert equal(a.state_dict(), b.state_dict()), "and goes on as if never stopped"


@pytest.mark.parametrize("sees_action", [True, False])
def test_a_world_that_actions_move_is_learned_by_whoever_sees_them(sees_action: bool) -> None:
    """Squared error, reward and discount of one step; without the action no net can know."""
    config = FeedforwardConfig(
        size="small", channels=8, sees_action=sees_action, horizons=(1,),
        learning_rates=(3e-3,), batches=(32,), updates=(1,),
    )  # fmt: skip
    model = build(config)
    for i in range(100):
        model.update(segment(32, 1, seed=i))
    test = segment(200, 1, seed=1000)
    prediction, _ = model.predict(model.start(first_look(test)), test.action[:, 0])
    truth = test.obs[:, 1, -1:].float()
    error = (prediction.obs[:, -1:].float() - truth).square().mean()
    copy = (test.obs[:, 0, -1:].float() - truth).square().mean()
    assert (error < 0.3 * copy) == sees_action
    if sees_action:
        assert torch.corrcoef(torch.stack([prediction.reward, test.reward[:, 0]]))[0, 1] > 0.9
        assert float(prediction.discount[test.discount[:, 0] == 0].mean()) < 0.5


def first_look(piece: Segment) -> Segment:
    """Its first look alone, as a context."""
    nothing = torch.zeros(len(piece.obs), 0)
    return Segment(
        action=nothing.long(), obs=piece.obs[:, :1], reward=nothing, bonus=nothing,
        discount=nothing, first=piece.first[:, :1], last=piece.last[:, :1], memory={},
    )  # fmt: skip


def shapes_of(net: nn.Module, *inputs: Any) -> list[tuple[str, tuple[int, ...]]]:
    seen: list[tuple[str, tuple[int, ...]]] = []
    kinds = nn.Conv2d | nn.ConvTranspose2d | nn.Linear | nn.LSTMCell

    def note(module: nn.Module, _: Any, out: Any) -> None:
        out = out[0] if isinstance(out, tuple) else out
        seen.append((type(module).__name__, tuple(out.shape[1:])))

    for module in net.modules():
        if isinstance(module, kinds):
            module.register_forward_hook(note)
    with torch.no_grad():
        net.imagine(*inputs)  # type: ignore[operator]
    return seen


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


def test_the_published_networks_layer_by_layer() -> None:
    """57.2M parameters, 33.6M more with the LSTM; the last layer of each stack is linear."""
    action = torch.eye(18)[:1]
    model = FeedforwardConfig().build(obs_shape=(12, 210, 160), num_actions=18, colours=3)
    net, look = model.net, torch.zeros(1, 12, 210, 160)
    assert shapes_of(net, look, action, {}) == ENCODER + DECODER
    count = sum(p.numel() for p in net.parameters())
    assert round(count / 1e6, 1) == 57.2
    parts = [sum(p.numel() for p in part.parameters()) for part in net.children()]
    assert [round(part / 1e6, 1) for part in parts] == [24.3, 8.4, 24.5]
    encode, act = net.transformation.encode.weight, net.transformation.act.weight
    assert 0.99 < float(encode.detach().abs().max()) <= 1  # type: ignore[union-attr, operator]
    assert 0.099 < float(act.detach().abs().max()) <= 0.1  # type: ignore[union-attr, operator]

    recurrent = RecurrentConfig().build(obs_shape=(3, 210, 160), num_actions=18, colours=3)
    state = recurrent.net.initial(1, torch.device("cpu"))
    found = shapes_of(recurrent.net, look[:, :3], action, state)
    assert found == [*ENCODER, ("LSTMCell", (2048,)), *DECODER]
    more = sum(p.numel() for p in recurrent.net.parameters()) - count
    first = 9 * 64 * 64  # its first layer sees 3 channels, not 12
    assert round((more + first) / 1e6, 1) == 33.6
    assert recurrent.lesson == (4, 20), "21 frames, 11 of them seen before the first prediction"


def test_the_transformation_is_one_matrix_an_action() -> None:
    """W_dec diag(W_act a + b_a) W_enc: linear in the features for each action."""
    layer = Transformation(5, 3, 7)
    features = torch.randn(4, 5)
    for a in range(3):
        action = torch.eye(3)[a].expand(4, 3)
        factors = layer.act.weight[:, a] + layer.act.bias
        matrix = layer.decode.weight @ torch.diag(factors) @ layer.encode.weight
        bias = layer.decode.weight @ (factors * layer.encode.bias) + layer.decode.bias
        torch.testing.assert_close(layer(features, action), features @ matrix.T + bias)


class Brighter(Net):
    """Says that every pixel grows by a tenth of white."""

    def imagine(self, look: Tensor, action: Tensor, state: Any, target: Any = None) -> Imagined:
        return Imagined(look + 0.1, torch.zeros(len(look), 128), state)


def test_the_loss_of_three_steps_by_hand() -> None:
    """Half squared errors of the net's own predictions, over the steps before the episode's end."""
    config = FeedforwardConfig(
        size="tiny", horizons=(3,), learning_rates=(1e-3,), batches=(1,), updates=(1,)
    )
    model = config.build(obs_shape=(1, 1, 2), num_actions=ACTIONS)

    model.net = Brighter()
    black = torch.zeros(2, 4, 1, 1, 2, dtype=torch.uint8)
    last = torch.tensor([[False] * 4, [False, False, True, True]])
    nothing = torch.zeros(2, 3)
    piece = Segment(
        action=nothing.long(), obs=black, reward=nothing, bonus=nothing, discount=nothing + 1,
        first=torch.zeros_like(last), last=last, memory={},
    )  # fmt: skip
    _, metrics = model.loss(piece, 0)
    # Two pixels at 0.1, 0.2 and 0.3; the second row has ended before the third.
    frames = 2 * (2 * 0.01 + 2 * 0.04 + 0.09) / 5
    heads = math.log(2)  # the discount's, of a head that says nothing yet
    assert float(metrics["loss"]) == pytest.approx(frames / 2 + heads, rel=1e-5)
    assert float(metrics["squared_error"]) == pytest.approx(frames * 255**2 / 2, rel=1e-5)


def test_the_recurrent_net_remembers_what_a_look_does_not_show() -> None:
    config = EXAMPLES["recurrent"][1]
    model = build(config)
    context = segment(4, 2)
    other = replace(context, obs=torch.cat([255 - context.obs[:, :2], context.obs[:, 2:]], 1))
    states = model.start(context), model.start(other)
    assert torch.equal(states[0]["obs"], states[1]["obs"])
    assert not torch.equal(states[0]["cell"], states[1]["cell"])
    born = torch.zeros(4, 3, dtype=torch.bool)
    born[:, 2] = True
    reborn = [model.start(replace(piece, first=born)) for piece in (context, other)]
    assert torch.equal(reborn[0]["cell"], reborn[1]["cell"]), "not across an episode's beginning"


def coin_flips(count: int, seed: int) -> Segment:
    """A look of one kind, after which the frame is all dark or all bright, by chance alone."""
    generator = torch.Generator().manual_seed(seed)
    bright = torch.randint(2, (count,), generator=generator).to(torch.uint8) * 200
    obs = torch.full((count, 2, 1, 4, 4), 100, dtype=torch.uint8)
    obs[:, 1] = bright[:, None, None, None]
    nothing, never = torch.zeros(count, 1), torch.zeros(count, 2, dtype=torch.bool)
    return Segment(nothing.long(), obs, nothing, nothing, nothing + 1, never, never, {})


@pytest.mark.parametrize(("chance", "sees"), [(True, True), (True, False), (False, True)])
def test_only_a_latent_imagines_what_chance_decides(chance: bool, sees: bool) -> None:
    """The deterministic net imagines the mean grey that never comes; the stochastic one, coins,

    whether it sees the action, which says nothing here, or not.
    """
    fast: dict[str, Any] = {
        "size": "tiny", "horizons": (1,), "learning_rates": (3e-3,), "batches": (64,),
        "updates": (1,), "sees_action": sees,
    }  # fmt: skip
    config = StochasticConfig(latent=2, **fast) if chance else FeedforwardConfig(**fast)
    model = build(config, obs_shape=(1, 4, 4))
    for i in range(200):
        model.update(coin_flips(64, i))
    state = model.start(first_look(coin_flips(200, 1000)))
    prediction, _ = model.predict(state, torch.zeros(200, dtype=torch.int64))
    brightness = prediction.obs.float().mean((1, 2, 3))
    between = ((brightness > 50) & (brightness < 150)).float().mean()
    assert (between < 0.5) == chance
    if chance:
        assert 0.25 < float((brightness > 100).float().mean()) < 0.75
    else:
        assert between == 1


@pytest.mark.parametrize(
    ("act", "says"),
    [
        (lambda: build(FeedforwardConfig(size="small"), obs_shape=(1, 10, 5)), "choose a smaller"),
        (lambda: build(FeedforwardConfig(), obs_shape=(1, 40, 40)), "64 x 64 pixels or more"),
        (lambda: FeedforwardConfig(horizons=(1, 3)), "2 horizons, learning_rates, batches|2, 3"),
        (lambda: FeedforwardConfig(updates=(1, 0, 1)), "numbers above 0"),
        (lambda: RecurrentConfig(context=0), "predictor.context is 0; it must be 1 or more"),
        (lambda: MLPPredictorConfig(hidden=(4, 4, 0, 4)), "of widths of 1 or more"),
    ],
)
def test_what_cannot_be_built_is_refused(act: Any, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        act()


def test_unknown_actions_and_other_looks_are_refused_by_name() -> None:
    model = build(EXAMPLES["mlp"][0])
    state = model.start(segment(2, 0))
    with pytest.raises(UsageError, match="Action 3 was asked of a predictor that knows"):
        model.predict(state, torch.tensor([0, 3]))
    with pytest.raises(UsageError, match=r"of looks \(2, 24, 28\) was given \(1, 24, 28\)"):
        model.start(segment(2, 0, (1, 24, 28)))
    with pytest.raises(UsageError, match=r"of looks \(2, 24, 28\) was given \(1, 24, 28\)"):
        model.update(segment(2, 3, (1, 24, 28)))
