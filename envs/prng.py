"""Counter-based random numbers: a draw is a pure function of a key and a purpose.

A policy carries one key per environment in ``carry["rng"]`` and advances it with ``next_rng`` once
per timestep. A draw does not depend on the rest of the batch, and unrolling a segment again from
its first carry repeats every draw.

Example::

    from reverie.envs.prng import Purpose, initial_rng, next_rng, randint

    rng = initial_rng(seed=0, purpose=Purpose.TRAIN, n=8)
    action = randint(rng, 4, Purpose.ACTION)  # in 0..3, one per key
    rng = next_rng(rng)

The mixing function is splitmix64 (Steele, Lea & Flood 2014, "Fast splittable pseudorandom number
generators") in wrapping 64-bit integers, so draws are the same on every device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from enum import IntEnum
from functools import lru_cache

import torch
from jaxtyping import Float, Int64
from torch import Tensor


class Purpose(IntEnum):
    """What random numbers are for; numbers of different purposes are independent.

    The lower byte of a value is hashed together with the key or the seed. The upper byte only keeps
    apart purposes of different kinds of keys, for which equal lower bytes do not matter.
    """

    # Draws from the key of an env, in the carry of its policy.
    EXPLORE = 0x00
    """Whether an epsilon-greedy agent takes a random action."""
    ACTION = 0x01
    """A random action, or one of a softmax."""
    TIE_BREAK = 0x02
    """The choice among actions of equal value."""
    EVAL_EXPLORE = 0x03
    """As EXPLORE, of an evaluation protocol around the agent."""
    EVAL_ACTION = 0x04
    """As ACTION, of an evaluation protocol around the agent."""
    HEAD = 0x05
    """The head, or the quantile, of an ensemble of Q-values that acts in an episode."""
    RETURN = 0x06
    """The cell that Go-Explore returns to."""
    PLACE = 0x07
    """Which of the k entries of a state and action a new one replaces."""
    REPLAN = 0x08
    """Whether STRAW replans."""
    PLAN_NOISE = 0x09
    """The latent code of STRAWe's plan."""
    PLAN = 0x0A
    """FiGAR's number of repetitions; iteration i of MPC draws its candidates with PLAN + i."""

    # Draws from the key of an imagined env.
    DREAM_START = 0x100
    """The state in which a dream starts."""
    DREAM_END = 0x101
    """Whether a dream terminates."""
    LATENT = 0x200
    """The latents of a stochastic predictor, from the key in its own carry."""
    CHANCE = 0x201
    """The chance of the env that is stepped as a predictor, from the key in its own carry."""
    MEMBER = 0x202
    """The member of an ensemble of predictors that predicts a step, from the key in its carry."""
    NOISE_LEVEL = 0x203
    """The noise level at which a diffusion model learns a frame."""
    OBS_NOISE = 0x204
    """The noise of the observations from which a diffusion model learns."""
    SAMPLE = 0x300
    """Rows of a replay buffer or a rollout, and the order of minibatches."""

    # First keys of a policy and seeds of emulators, from the seed of a run.
    TRAIN = 0x401
    EVAL = 0x402
    COLLECT = 0x403
    BUILD = 0x404
    REPLAY = 0x405
    DREAM = 0x406
    VALIDATION = 0x407
    """Evaluation during training, apart from that of the trained agent."""
    SETTING = 0x40A
    """A setting of a trial of a sweep, from the seed of the sweep."""

    # Keys of transitions and of updates, from the seed of a run, and the draws from them.
    TRANSITION = 0x408
    DISTILL = 0x409
    MASK = 0x500
    """Which heads learn from a transition."""
    NOISE = 0x501
    """The noise of the heads' targets of a transition."""
    SHIFT = 0x502
    """The random shifts of a transition's images in an update."""


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


GOLDEN_GAMMA = _signed(0x9E3779B97F4A7C15)
"""Increment of splitmix64's counter: the odd integer closest to 2^64 over the golden ratio."""
_MIX1, _MIX2, _PURPOSE_GAMMA = (
    _signed(0xBF58476D1CE4E5B9),
    _signed(0x94D049BB133111EB),
    _signed(0xD6E8FEB86659FD93),
)


def _shift(x: Int64[Tensor, "*s"], by: int) -> Int64[Tensor, "*s"]:
    """Shift right logically (torch shifts arithmetically)."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def splitmix64(x: Int64[Tensor, "*s"]) -> Int64[Tensor, "*s"]:
    """Mix 64 bits: a bijection in which every output bit depends on every input bit."""
    z = x + GOLDEN_GAMMA
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def keys(seed: int, purpose: Purpose, index: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Return the key of each index (of an env, of a transition); a pure function of the three."""
    root = splitmix64(torch.tensor(_signed(seed % (1 << 64))))
    return splitmix64(splitmix64(root ^ (purpose & 0xFF)) ^ index)


def initial_rng(seed: int, purpose: Purpose, n: int) -> Int64[Tensor, " N"]:
    """Return the first keys of ``n`` environments; keys of different seeds are unrelated."""
    return keys(seed, purpose, torch.arange(n))


def env_seeds(
    seed: int, purpose: Purpose, seed_index: Int64[Tensor, " N"], first_env: int = 0
) -> Int64[Tensor, " N"]:
    """Return emulator seeds below 2^31 for the N environments from ``first_env`` on.

    ``seed_index`` counts how often each environment was seeded before.
    """
    env = torch.arange(first_env, first_env + seed_index.shape[0])
    return _shift(splitmix64(keys(seed, purpose, env) + seed_index * GOLDEN_GAMMA), 33)


def next_rng(rng: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """Return the keys of the next timestep."""
    return splitmix64(rng ^ _PURPOSE_GAMMA)


def bits(rng: Int64[Tensor, " N"], count: int, purpose: int = 0) -> Int64[Tensor, "N {count}"]:
    """Draw ``count`` 64-bit integers per key."""
    return splitmix64(rng[:, None] + _offset(purpose, count, rng.device))


def _offset(purpose: int, count: int, device: torch.device) -> Int64[Tensor, " {count}"]:
    index = torch.arange(1, count + 1, device=device) * GOLDEN_GAMMA
    return index + _signed((purpose & 0xFF) * _PURPOSE_GAMMA % (1 << 64))


def bits_together(
    rng: Int64[Tensor, " N"], *draws: tuple[Purpose, int]
) -> tuple[Int64[Tensor, "N _"], ...]:
    """Draw as ``bits`` does for each purpose and count, in one pass over all of them."""
    mixed = splitmix64(rng[:, None] + _offsets(draws, rng.device))
    return torch.split(mixed, [count for _, count in draws], 1)


@lru_cache
def _offsets(draws: tuple[tuple[Purpose, int], ...], device: torch.device) -> Int64[Tensor, " C"]:
    """Return what ``bits`` adds to a key for each number."""
    return torch.cat([_offset(*draw, device) for draw in draws])


def uniform(rng: Int64[Tensor, " N"], count: int, purpose: int = 0) -> Float[Tensor, "N {count}"]:
    """Draw ``count`` numbers per key uniformly from [0, 1), float32."""
    return to_uniform(bits(rng, count, purpose))


def to_uniform(bits: Int64[Tensor, "*s"]) -> Float[Tensor, "*s"]:
    """Return uniform numbers in [0, 1), float32, from random integers of 64 bits."""
    return _shift(bits, 40).to(torch.float32) * 2.0**-24


def normal(rng: Int64[Tensor, " N"], count: int, purpose: int = 0) -> Float[Tensor, "N {count}"]:
    """Draw ``count`` numbers per key from N(0, 1) by its inverse distribution function, float32."""
    # In float32 the greatest of them would be rounded to 1, and its draw infinite.
    middle = uniform(rng, count, purpose).double() + 2.0**-25
    draws: Tensor = torch.special.ndtri(middle)
    return draws.float()


def randint(
    rng: Int64[Tensor, " N"], high: int | Int64[Tensor, " N"], purpose: int = 0
) -> Int64[Tensor, " N"]:
    """Draw one integer per key from 0..high-1 (bias below high / 2^63)."""
    return to_randint(bits(rng, 1, purpose)[:, 0], high)


def to_randint(bits: Int64[Tensor, "*s"], high: int | Int64[Tensor, "*s"]) -> Int64[Tensor, "*s"]:
    """Return integers in 0..high-1 from random integers of 64 bits."""
    return _shift(bits, 1) % high


def categorical(
    logits: Float[Tensor, "N C"], rng: Int64[Tensor, " N"], purpose: int = 0
) -> Int64[Tensor, " N"]:
    """Draw one category per row from the softmax of ``logits`` (Gumbel-max).

        argmax_i (logits_i - log(-log u_i))

    The u_i are uniform, so the second term is Gumbel noise.
    """
    uniforms = uniform(rng, logits.shape[1], purpose).clamp_(min=2.0**-25)
    return (logits - (-uniforms.log()).log()).argmax(1)


def fold_in(seed: int, data: int) -> int:
    """Return a seed below 2^63 that is a function of ``seed`` and the integer ``data``."""
    root = splitmix64(torch.tensor(_signed(seed % (1 << 64))))
    return int(_shift(splitmix64(root + torch.tensor(data) * GOLDEN_GAMMA), 1))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """Seed torch's generators within the context, and restore their states afterwards."""
    device = torch.device(device)
    devices = [] if device.type == "cpu" else [device]
    with torch.random.fork_rng(devices, device_type=device.type):
        torch.default_generator.manual_seed(seed)
        for gpu in devices:
            with torch.get_device_module(gpu).device(gpu):
                torch.get_device_module(gpu).manual_seed(seed)
        yield
