"""Randomness as a counter: a draw is a pure function of a key, never of the batch around it.

A policy carries one key a stream in ``memory["dice"]`` and rolls it once a tick, so unrolling a
segment again from its first memory regenerates every draw. The mixing function is splitmix64
(Steele, Lea & Flood 2014, "Fast splittable pseudorandom number generators"), in wrapping 64-bit
integers, so it is the same on every device.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Purpose = Literal["train", "eval", "collect", "build", "replay", "dream"]
_PURPOSES: dict[Purpose, int] = {
    "train": 1, "eval": 2, "collect": 3, "build": 4, "replay": 5, "dream": 6
}  # fmt: skip


def _signed(x: int) -> int:
    return x - (1 << 64) if x >= 1 << 63 else x


GOLDEN = _signed(0x9E3779B97F4A7C15)
_MIX1, _MIX2, _LANE = (
    _signed(0xBF58476D1CE4E5B9),
    _signed(0x94D049BB133111EB),
    _signed(0xD6E8FEB86659FD93),
)


def _shift(x: Int64[Tensor, "*s"], by: int) -> Int64[Tensor, "*s"]:
    """Logical right shift: torch's own is arithmetic."""
    return (x >> by) & ((1 << (64 - by)) - 1)


def splitmix64(x: Int64[Tensor, "*s"]) -> Int64[Tensor, "*s"]:
    """The 64-bit mixer: a bijection in which every input bit stirs every output bit."""
    z = x + GOLDEN
    z = (z ^ _shift(z, 30)) * _MIX1
    z = (z ^ _shift(z, 27)) * _MIX2
    return z ^ _shift(z, 31)


def _stream_keys(seed: int, purpose: Purpose, streams: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    root = splitmix64(torch.tensor(_signed(seed % (1 << 64))))
    return splitmix64(splitmix64(root ^ _PURPOSES[purpose]) ^ streams)


def keys(seed: int, purpose: Purpose, n: int) -> Int64[Tensor, " N"]:
    """Fresh dice for ``n`` streams of a run, unrelated to any neighbour's."""
    return _stream_keys(seed, purpose, torch.arange(n))


def env_seeds(
    seed: int, purpose: Purpose, number: Int64[Tensor, " N"], start: int = 0
) -> Int64[Tensor, " N"]:
    """Emulator seeds below 2^31 for streams from ``start``, each at its ``number``-th seeding."""
    streams = torch.arange(start, start + number.shape[0])
    return _shift(splitmix64(_stream_keys(seed, purpose, streams) + number * GOLDEN), 33)


def roll(key: Int64[Tensor, " N"]) -> Int64[Tensor, " N"]:
    """The next tick's key."""
    return splitmix64(key ^ _LANE)


def bits(key: Int64[Tensor, " N"], count: int, lane: int = 0) -> Int64[Tensor, "N {count}"]:
    """``count`` 64-bit draws a stream; different lanes of one key are independent draws."""
    place = torch.arange(1, count + 1, device=key.device) * GOLDEN
    return splitmix64((key + _signed(lane * _LANE % (1 << 64)))[:, None] + place)


def uniform(key: Int64[Tensor, " N"], count: int, lane: int = 0) -> Float[Tensor, "N {count}"]:
    """``count`` draws a stream from [0, 1), float32."""
    return _shift(bits(key, count, lane), 40).to(torch.float32) * 2.0**-24


def normal(key: Int64[Tensor, " N"], count: int, lane: int = 0) -> Float[Tensor, "N {count}"]:
    """``count`` draws a stream from N(0, 1), by the inverse of its distribution function."""
    # In float32 the greatest of them would be rounded to 1, and its draw infinite.
    middle = uniform(key, count, lane).double() + 2.0**-25
    draws: Tensor = torch.special.ndtri(middle)
    return draws.float()


def integers(key: Int64[Tensor, " N"], high: int, lane: int = 0) -> Int64[Tensor, " N"]:
    """One draw a stream from 0..high-1 (bias below high / 2^63)."""
    return _shift(bits(key, 1, lane)[:, 0], 1) % high


def fold(seed: int, number: int) -> int:
    """The seed of the ``number``-th draw of a run, below 2^63."""
    root = splitmix64(torch.tensor(_signed(seed % (1 << 64))))
    return int(_shift(splitmix64(root + torch.tensor(number) * GOLDEN), 1))


@contextmanager
def seeded(seed: int, device: torch.device | str = "cpu") -> Iterator[None]:
    """What torch draws inside comes from ``seed`` alone; its generators are left as they were."""
    device = torch.device(device)
    on_gpu = device.type == "cuda"
    with torch.random.fork_rng(devices=[device] if on_gpu else []):
        torch.default_generator.manual_seed(seed)
        if on_gpu:
            with torch.cuda.device(device):
                torch.cuda.manual_seed(seed)
        yield


def categorical(
    logits: Float[Tensor, "N C"], key: Int64[Tensor, " N"], lane: int = 0
) -> Int64[Tensor, " N"]:
    """A draw of each row's softmax: the best after Gumbel noise, of one draw a category."""
    lots = uniform(key, logits.shape[1], lane).clamp_(min=2.0**-25)
    return (logits - (-lots.log()).log()).argmax(1)
