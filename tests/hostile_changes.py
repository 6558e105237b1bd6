"""Changes of files and folders by somebody who means harm, or by a bad disk."""

import gzip
import hashlib
import io
import json
import os
import random
import socket
import zipfile
import zlib
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch

from reverie.experiments.datasets.archive import CHUNK, MAGIC
from reverie.experiments.runs.checkpoints import DIGEST_SIZE
from reverie.experiments.sharing.share_file import ShareFile, write_share_file

VALUES: tuple[Any, ...] = (
    None, True, 0, -1, 1, 2**31, 2**63, 2**64, 10**30, 0.5, -0.5, 1e300, "", "x", "=1+1", "\0",
    "\ud800", "\x1b[31m", "../../other", "/etc/passwd", "<script>", "[a](b)", "x" * 10_000, [], {},
    [[]], [None], {"class": "x"}, {"class": []}, [1, 2], [-1, -1, -1], "antigravity:A",
)  # fmt: skip
TEXTS: tuple[bytes, ...] = (
    b"", b"[", b"[]", b"{}", b"null", b"NaN", b"\xff\xfe", b"[" * 100_000, b'{"a":' * 10_000,
    b'{"format":6,"format":6}', b"9" * 10_000, b"1e999", b"\0" * 100, b'"\\ud800"',
)  # fmt: skip
BOMB = gzip.compress(b"\0" * (1 << 28), 1)
"""A small file that becomes a large one."""

Change = Callable[[Path, random.Random], None]


def truncate(path: Path, rng: random.Random) -> None:
    os.truncate(path, rng.randrange(path.stat().st_size + 1))


def flip(path: Path, rng: random.Random) -> None:
    data = bytearray(path.read_bytes())
    for _ in range(min(len(data), rng.choice([1, 1, 8]))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    path.write_bytes(data)


def text(path: Path, rng: random.Random) -> None:
    path.write_bytes(rng.choice(TEXTS))


def hostile(value: Any, rng: random.Random) -> Any:
    """Return a value of which something is replaced, removed or of another kind."""
    if isinstance(value, dict | list | tuple) and value and rng.random() < 0.85:
        keys = [*value] if isinstance(value, dict) else range(len(value))
        key = rng.choice([*keys])
        copied: Any = [*value] if isinstance(value, tuple) else value.copy()
        if rng.random() < 0.1:
            del copied[key]
        else:
            copied[key] = hostile(value[key], rng)
        return copied
    if isinstance(value, torch.Tensor) and rng.random() < 0.8:
        return torch.from_numpy(hostile_array(value.numpy(), rng, torch_only=True))
    return rng.choice(VALUES)


def hostile_array(x: Any, rng: random.Random, *, torch_only: bool = False) -> Any:
    """Return an array of other values, another type or another shape."""
    types = ["f4", "f8", "i1", "i8", "?"] + ["u8", "U3", "c8", "O"] * (not torch_only)
    size = len(x) if x.ndim else 1
    changes: list[Callable[[], Any]] = [
        lambda: x.astype(rng.choice(types)),
        lambda: x.reshape(-1)[: rng.randrange(x.size + 1)],
        lambda: x[None], lambda: x[..., None], lambda: x.T, lambda: x.reshape(-1),
        lambda: x.reshape(x.shape[::-1]), lambda: np.zeros(()), lambda: np.concatenate([x, x]),
        lambda: np.full_like(x, 200), lambda: -x.astype("i8") - 1, lambda: x[::-1].copy(),
        lambda: np.full(x.shape, rng.choice([np.nan, np.inf, 1e300, -1.0])),
        lambda: rng.choice([np.zeros, np.ones])(x.shape, x.dtype), lambda: np.zeros((size, 0)),
    ]  # fmt: skip
    return np.ascontiguousarray(rng.choice(changes)())


def json_value(path: Path, rng: random.Random) -> None:
    path.write_text(json.dumps(hostile(json.loads(path.read_text()), rng)))


def json_line(path: Path, rng: random.Random) -> None:
    lines = path.read_text().splitlines() or ["{}"]
    i = rng.randrange(len(lines))
    lines[i] = json.dumps(hostile(json.loads(lines[i]), rng))
    path.write_text("\n".join(lines) + "\n")


def array(path: Path, rng: random.Random) -> None:
    """Change an array of an archive."""
    with np.load(path) as archive:
        arrays = dict(archive)
    name = rng.choice([*arrays])
    arrays[name] = hostile_array(arrays[name], rng)
    if rng.random() < 0.1:
        del arrays[name]
    if rng.random() < 0.1:  # an array whose header lies
        arrays = {k: v for k, v in arrays.items() if k != name}
        np.savez(path, **arrays)
        with zipfile.ZipFile(path, "a", zipfile.ZIP_DEFLATED) as file:
            lie = [b"\0" * 50_000_000, npy_header((10**9, 4, 4)), npy_header((6, 10**6, 10**6))]
            file.writestr(f"{name}.npy", rng.choice(lie))
    else:
        np.savez(path, **arrays)


def npy_header(shape: tuple[int, ...]) -> bytes:
    file = io.BytesIO()
    about = {"descr": "|u1", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(file, about)
    return file.getvalue()


def compressed_array(path: Path, rng: random.Random) -> None:
    """Change the array in a compressed file, or what its header says of it."""
    kind = rng.random()
    if kind < 0.1:
        path.write_bytes(BOMB)
        return
    if kind < 0.2:
        path.write_bytes(gzip.compress(npy_header((10**9, 84, 84)), 1) + BOMB)
        return
    with gzip.open(path) as file:
        x = np.load(io.BytesIO(file.read()))
    buffer = io.BytesIO()
    np.save(buffer, hostile_array(x, rng), allow_pickle=True)
    path.write_bytes(gzip.compress(buffer.getvalue(), 1))


def checkpoint(path: Path, rng: random.Random) -> None:
    """Change the state in a checkpoint, whose digest is right again."""
    body = torch.load(io.BytesIO(path.read_bytes()[DIGEST_SIZE:]), weights_only=True)
    file = io.BytesIO()
    torch.save(hostile(body, rng), file)
    path.write_bytes(hashlib.sha256(file.getvalue()).digest() + file.getvalue())


def share(path: Path, rng: random.Random) -> None:
    """Change the description or a tensor in an exported file, whose digest is right again."""
    file = ShareFile(path)
    about, tensors = file.about, {name: file.read(name) for name in file.header}
    if rng.random() < 0.6:
        about = hostile(about, rng)
    else:
        changed = hostile(tensors, rng)
        tensors = {k: x for k, x in changed.items() if isinstance(x, torch.Tensor)}
    write_share_file(path, about, tensors)


def coded(path: Path, rng: random.Random) -> None:
    """Change the header or a message of a coded file, whose checksums are right again."""
    data, chunks = path.read_bytes()[len(MAGIC) :], []
    while data:
        size, _ = CHUNK.unpack(data[: CHUNK.size])
        chunks.append(data[CHUNK.size : CHUNK.size + size])
        data = data[CHUNK.size + size :]
    kind = rng.random()
    if kind < 0.7:
        header = hostile(json.loads(zlib.decompress(chunks[0])), rng)
        chunks[0] = zlib.compress(json.dumps(header).encode())
    elif kind < 0.75:
        chunks[0] = BOMB
    elif kind < 0.9:
        message = bytearray(chunks[-1])
        message[rng.randrange(len(message))] ^= 1 << rng.randrange(8)
        chunks[-1] = bytes(message)
    else:
        chunks = rng.choice([chunks[:-1], [*chunks, chunks[-1]], chunks[::-1]])
    packed = (CHUNK.pack(len(x), zlib.crc32(x)) + x for x in chunks)
    path.write_bytes(MAGIC + b"".join(packed))


def hierarchical(path: Path, rng: random.Random) -> None:
    """Change an array, an attribute or a link of an HDF5 file."""
    outside = str(next(x for x in path.parents if (x / "outside").exists()) / "outside" / "secret")
    with h5py.File(path, "a") as file:
        names: list[str] = []
        file.visit(names.append)
        name = rng.choice(names)
        item = file[name]
        x = item[()] if isinstance(item, h5py.Dataset) else np.zeros((6, 1, 4, 4), np.uint8)
        if rng.random() < 0.3:
            holder = item if len(item.attrs) else file
            key = rng.choice([*holder.attrs, "x"])
            with suppress(TypeError, ValueError, OSError):
                holder.attrs[key] = rng.choice(VALUES)
            return
        del file[name]
        kind = rng.random()
        if kind < 0.5:
            with suppress(TypeError, ValueError, OSError):
                file[name] = hostile_array(x, rng) if isinstance(x, np.ndarray) else x
        elif kind < 0.6:
            links = [h5py.SoftLink(x) for x in ("/", f"/{name}", "/nowhere")]
            file[name] = rng.choice([h5py.ExternalLink(outside, "/x"), *links])
        elif kind < 0.7:
            file.create_dataset(name, (6,), "u1", external=[(outside, 0, 6)])
        elif kind < 0.8:
            shape = (rng.choice([10**7, 10**12]), *np.shape(x)[1:])
            file.create_dataset(name, shape, "u1", chunks=True, compression="gzip")
        elif kind < 0.9:
            file.create_group(name)
        else:
            file.create_dataset(name, data=np.array([b"x", b"yy"], "O"), dtype=h5py.string_dtype())


CHANGES: dict[str, Change] = {
    ".json": json_value, ".jsonl": json_line, ".npz": array, ".gz": compressed_array,
    ".pt": checkpoint, ".safetensors": share, ".reverie": coded, ".hdf5": hierarchical,
}  # fmt: skip
"""What is changed in a file that stays whole, by its suffix."""


def mutate(path: Path, rng: random.Random, outside: Path, part: Path, keep: list[Any]) -> str:
    """Change a file, and return what was done to it; ``keep`` is closed after the case."""
    if rng.random() < 0.25:
        kind, place = rng.choice([*PLACES.items()])
        data = path.read_bytes()
        path.unlink()
        keep += place(path, outside, data) or []
        return f"{path.name}: {kind}"
    if rng.random() < 0.1:  # whole, and of something else
        others = [x for x in part.rglob(f"*{path.suffix}") if x.is_file() and not x.is_symlink()]
        other = rng.choice(sorted(others))
        path.write_bytes(other.read_bytes())
        return f"{path.name}: as {other.relative_to(part)}"
    kinds: list[Change] = [truncate, flip, text]
    if path.suffix in CHANGES:
        kinds += [CHANGES[path.suffix]] * 6
    change = rng.choice(kinds)
    try:
        change(path, rng)
    except Exception:  # it is damaged already, or the change cannot be stored in it
        text(path, rng)
    return f"{path.name}: {change.__name__}"


def pipe(path: Path, outside: Path, data: bytes) -> list[Any]:
    """Make a pipe that holds data, and is never closed."""
    os.mkfifo(path)
    descriptor = os.open(path, os.O_RDWR | os.O_NONBLOCK)
    with suppress(BlockingIOError):
        os.write(descriptor, data)
    return [os.fdopen(descriptor, "wb", buffering=0)]


def listening(path: Path, outside: Path, data: bytes) -> list[Any]:
    server = socket.socket(socket.AF_UNIX)
    try:
        server.bind(f"/proc/self/fd/{os.open(path.parent, os.O_RDONLY)}/{path.name}")
    except OSError:  # a long name
        path.mkdir()
    return [server]


PLACES: dict[str, Callable[[Path, Path, bytes], list[Any] | None]] = {
    "link": lambda path, outside, data: path.symlink_to(outside / "secret"),
    "pipe": lambda path, outside, data: os.mkfifo(path),
    "pipe with data": pipe,
    "folder": lambda path, outside, data: path.mkdir(),
    "nothing": lambda path, outside, data: None,
    "link to a folder": lambda path, outside, data: path.symlink_to(outside),
    "link to itself": lambda path, outside, data: path.symlink_to(path),
    "link to a device": lambda path, outside, data: path.symlink_to("/dev/zero"),
    "socket": listening,
}
"""What may be in the place of a file, with what is to be closed at the end."""
