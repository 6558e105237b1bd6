"""Laws of the generative models: densities, representations, predictors and planners."""

from typing import Any

import torch
from torch import Tensor

from ...envs import prng
from ...envs.interface import Segment
from ...world_models.interface import (
    Density,
    DensityConfig,
    Planner,
    PlannerConfig,
    Predictor,
    PredictorConfig,
    Representation,
    RepresentationConfig,
)
from .interface import Laws
from .stored_states import restored, same, same_state

OBS_SHAPE, NUM_ACTIONS = (2, 16, 16), 3
SHAPE, LEVELS = (2, 2), 3


def density_laws(config: DensityConfig) -> Laws:
    """Yield the laws of a density, on frames so small that their probabilities can be summed."""
    noise = 0.3 if config.kind == "bound" else 1e-4
    pixels = [torch.arange(LEVELS, dtype=torch.uint8)] * (SHAPE[0] * SHAPE[1])
    every = torch.cartesian_prod(*pixels).view(-1, *SHAPE)
    frames = every[_integers(12, len(every))]

    def build(seed: int = 0) -> Any:
        return config.build(shape=SHAPE, levels=LEVELS, seed=seed)

    a, b, single, untouched = (build() for _ in range(4))
    yield "It has the methods of the protocol Density.", isinstance(a, Density)
    for when in ("before", "after"):
        total = float(a.log_prob(every).double().exp().sum())
        law = f"The probabilities of all frames sum to one {when} learning; here to {total:.4g}."
        yield law, abs(total - 1) < noise
        if when == "before":
            yield "log_prob makes no update.", same_state(a, untouched)
            before, after = a.observe(frames)
    pairs = [(single.log_prob(x), *single.observe(x), single.log_prob(x)) for x in frames.split(1)]
    own_before, x, y, own_after = (torch.cat(column) for column in zip(*pairs, strict=True))
    yield (
        "observe returns log_prob just before and just after.",
        (_close(own_before, x) and _close(own_after, y)),
    )
    yield (
        "A batch is learned frame by frame, in order.",
        (_close(before, x) and _close(after, y) and same_state(a, single)),
    )
    yield (
        "The log-probability of a frame does not depend on its batch.",
        _close(a.log_prob(frames), torch.cat([a.log_prob(x) for x in frames.split(1)])),
    )
    if config.kind == "exact":
        yield "A frame is more probable after it was learned.", bool((after > before).all())
    b.observe(frames)
    generator = torch.get_rng_state()
    samples = a.sample(30)
    yield (
        "sample(n) returns n frames of symbols, uint8.",
        (samples.shape == (30, *SHAPE) and samples.dtype == torch.uint8 and samples.max() < LEVELS),
    )
    yield "Equal seeds give equal samples.", torch.equal(samples, b.sample(30))
    yield "It draws from generators of its own.", torch.equal(generator, torch.get_rng_state())
    twin = restored(a, build(seed=1))
    equal = same(a.observe(frames), twin.observe(frames)) and same_state(a, twin)
    yield "A restored density continues exactly.", equal and same(a.sample(30), twin.sample(30))


def representation_laws(config: RepresentationConfig) -> Laws:
    """Yield the laws of a representation."""
    a, b, c = (config.build(obs_shape=OBS_SHAPE, seed=seed) for seed in (0, 0, 1))
    yield "It has the attributes of the protocol Representation.", isinstance(a, Representation)
    batch = moving_square(8, a.segment_length)
    for each in (a, b):
        metrics = each.update(batch)
        yield "Metrics are finite.", _finite(metrics)
    state, obs = a.state_dict(), moving_square(6, 0, seed=1).obs[:, 0]
    keys = a.encode(obs)
    yield "A key has dim numbers, float32.", keys.shape == (6, a.dim) and _is_float32(keys)
    yield (
        "encode makes no update.",
        torch.equal(keys, a.encode(obs)) and same(state, a.state_dict()),
    )
    yield "A key does not depend on its batch.", _close(a.encode(obs[2:4]), keys[2:4])
    yield "Equal seeds give equal representations.", torch.equal(keys, b.encode(obs))
    yield "A restored representation is equal.", torch.equal(keys, restored(a, c).encode(obs))


def predictor_laws(config: PredictorConfig) -> Laws:
    """Yield the laws of a predictor that starts from observations."""
    a, b, c = (
        config.build(obs_shape=OBS_SHAPE, num_actions=NUM_ACTIONS, seed=seed) for seed in (0, 0, 1)
    )
    yield "It has the attributes of the protocol Predictor.", isinstance(a, Predictor)
    yield (
        "It has the shape and the actions that it was built for.",
        ((*a.obs_shape, a.num_actions) == (*OBS_SHAPE, NUM_ACTIONS)),
    )
    for each in (a, b):
        yield "Metrics are finite.", _finite(each.update(moving_square(*each.batch_shape)))
    context = moving_square(5, a.context - 1, seed=1)
    action = torch.arange(5) % NUM_ACTIONS

    def dream(model: Predictor) -> Any:
        carry = model.start(context.obs, context.action, context.first)
        return carry, model.predict(carry, action)

    state = a.state_dict()
    carry, (x, next_carry) = dream(a)
    copied = {name: value.clone() for name, value in carry.items()}
    again, _ = a.predict(carry, action)
    yield (
        "predict changes neither the carry nor the state.",
        (same(copied, carry) and same(state, a.state_dict())),
    )
    yield (
        "A prediction is a function of the carry and the action.",
        same(_columns(x), _columns(again)),
    )
    yield "A carry keeps its names.", carry.keys() == next_carry.keys()
    yield (
        "A predicted observation is uint8 [B K H W].",
        (x.obs.shape == (5, *OBS_SHAPE) and x.obs.dtype == torch.uint8),
    )
    yield (
        "Its older frames are those of the observation before.",
        torch.equal(x.obs[:, 0], context.obs[:, -1, 1]),
    )
    yield (
        "Rewards are finite, float [B].",
        x.reward.shape == (5,) and bool(x.reward.isfinite().all()),
    )
    yield (
        "Discounts are in 0..1, [B].",
        x.discount.shape == (5,) and bool(((x.discount >= 0) & (x.discount <= 1)).all()),
    )
    for law, model in (
        ("Equal seeds give equal", b),
        ("A restored predictor makes the", restored(a, c)),
    ):
        yield f"{law} predictions.", same(_columns(x), _columns(dream(model)[1][0]))


def planner_laws(config: PlannerConfig) -> Laws:
    """Yield the laws of a planner that reads the features of an agent."""
    n, width = 8, 6
    a, b, c = (
        config.build(features=width, num_actions=NUM_ACTIONS, seed=seed) for seed in (0, 0, 1)
    )
    yield "It has the methods of the protocol Planner.", isinstance(a, Planner)
    twin = restored(a, c)
    rng, no = prng.initial_rng(0, prng.Purpose.TRAIN, n), torch.zeros(n, dtype=torch.bool)
    initial = a.initial(n)
    carry = {"action": torch.zeros(n, dtype=torch.int64), **initial, "rng": rng}
    features = torch.randn(6, n, width, generator=torch.Generator().manual_seed(0))
    for timestep, x in enumerate(features):
        first, copied = no | (timestep == 0), {name: value.clone() for name, value in carry.items()}
        context = a.context(carry, first)
        logits, next_carry, output = a.advance(x, carry, first)
        yield "advance does not change the given carry.", same(copied, carry)
        yield (
            "Logits are finite, [B A].",
            logits.shape == (n, NUM_ACTIONS) and _finite({"": logits}),
        )
        yield (
            "context is [B C] with C = context_size, and 0 of an empty plan.",
            (context.shape == (n, a.context_size) and not a.context(carry, ~no).any()),
        )
        yield (
            "kl is 0 or more, log_prob 0 or less, replan_prob in 0..1.",
            bool(
                ((output.kl >= 0) & (output.log_prob <= 0)).all()
                and ((output.replan_prob >= 0) & (output.replan_prob <= 1)).all()
            ),
        )
        kinds = [{k: (v.shape, v.dtype) for k, v in m.items()} for m in (initial, next_carry)]
        yield (
            "A carry keeps the names, shapes and dtypes of initial.",
            all(kinds[1].get(name, kind) == kind for name, kind in kinds[0].items()),
        )
        for law, other in (("Equal seeds give equal", b), ("A restored planner has equal", twin)):
            torch.manual_seed(timestep)  # draws depend on the carry alone
            own = other.advance(x, carry, first)
            yield (
                f"{law} outputs, drawn by the rng of the carry.",
                torch.equal(logits, own[0]) and same(next_carry, own[1]),
            )
        repeated = a.advance(x, carry, first, output.decision)[2]
        yield (
            "A decision that is given is repeated.",
            torch.equal(output.decision, repeated.decision),
        )
        fresh = a.advance(x, carry | initial, ~no)
        reset = a.advance(x, carry, ~no)
        yield "At first, the plan is that of initial.", torch.equal(fresh[0], reset[0])
        carry = carry | next_carry
        carry |= {"rng": prng.next_rng(carry["rng"]), "action": logits.argmax(1)}


def moving_square(batch: int, timesteps: int, seed: int = 0) -> Segment:
    """Return segments in which a bright square moves by the action, with its place as reward."""
    generator = torch.Generator().manual_seed(seed)
    action = torch.randint(NUM_ACTIONS, (batch, timesteps), generator=generator)
    begin = torch.randint(OBS_SHAPE[2] - 4, (batch, 1), generator=generator)
    place = torch.cat([begin, begin + (action - 1).cumsum(1)], 1).clamp(0, OBS_SHAPE[2] - 4)
    columns = torch.arange(OBS_SHAPE[2])
    inside = (columns >= place[..., None]) & (columns < place[..., None] + 4)  # [B T+1 W]
    frame = inside[:, :, None] & (torch.arange(OBS_SHAPE[1]) < 4)[:, None]
    frame = frame.to(torch.uint8) * 200
    obs = torch.stack([torch.cat([frame[:, :1], frame[:, :-1]], 1), frame], 2)
    reward, never = place[:, 1:] / 10, torch.zeros(batch, timesteps + 1, dtype=torch.bool)
    ones = torch.ones_like(reward)
    return Segment(action, obs, reward, 0 * ones, ones, first=never, last=never)


def _integers(n: int, below: int) -> Tensor:
    return torch.randint(below, (n,), generator=torch.Generator().manual_seed(0))


def _close(a: Tensor, b: Tensor) -> bool:
    return a.shape == b.shape and torch.allclose(a, b, rtol=1e-4, atol=1e-5)


def _is_float32(x: Tensor) -> bool:
    return x.dtype == torch.float32 and bool(x.isfinite().all())


def _finite(metrics: Any) -> bool:
    return all(bool(torch.as_tensor(x).isfinite().all()) for x in metrics.values())


def _columns(prediction: Any) -> list[Any]:
    return [prediction.obs, prediction.reward, prediction.discount, prediction.last]
