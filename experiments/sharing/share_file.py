"""One file of tensors: safetensors, with a description and a checksum in its metadata.

A file may come from anywhere: its header is bounded before it is parsed, and nothing of it is
unpickled or run. A file that is cut, changed or of another kind is refused in one sentence.
"""

import hashlib
import os
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from torch import Tensor

from ...envs.errors import UsageError
from ..runs.files import to_json, write_file
from ..runs.json_values import parse_json

SUFFIX = ".safetensors"
MAX_HEADER = 1 << 24
"""Largest number of bytes of a header."""
KEY, CHECKSUM = "reverie", "sha256"
"""Names in the metadata of the description, as JSON, and of the digest of all that is beside it."""
LENGTH = struct.Struct("<Q")
"""Number of bytes of the header, with which a file begins."""

Header = dict[str, tuple[str, list[int]]]
"""Dtype and shape of each tensor by name."""


def write_share_file(path: Path, about: dict[str, Any], tensors: dict[str, Tensor]) -> None:
    """Create or replace a file atomically; raises UsageError if the description is too large."""
    from safetensors.torch import save

    text = to_json(about)
    if len(text) > MAX_HEADER // 2:
        raise UsageError(
            f"The settings and plain values of this run take {len(text):,} characters, and a file "
            f"holds {MAX_HEADER // 2:,}, so the run cannot be exported; copy its folder instead."
        )
    tensors = {name: tensors[name].detach().cpu().contiguous() for name in sorted(tensors)}
    metadata = {"format": "pt", KEY: text, CHECKSUM: _checksum(text, tensors.items())}
    write_file(path, save(tensors, metadata))


def read_description(path: Path) -> dict[str, Any]:
    """Return the description in a file's header; no tensor is read, and no checksum compared.

    Raises UsageError for a file that `reverie export` did not write.
    """
    try:
        with open(path, "rb") as file:
            size = os.fstat(file.fileno()).st_size
            (length,) = LENGTH.unpack(file.read(LENGTH.size))
            if not 0 < length <= min(MAX_HEADER, size - LENGTH.size):
                raise ValueError(f"a header of {length:,} bytes in {size:,}")
            header = parse_json(file.read(length))
            about = parse_json(header["__metadata__"][KEY])
    except OSError as error:
        raise UsageError(f"{path} cannot be read ({error.strerror}); name another file.") from error
    except (ValueError, LookupError, TypeError, struct.error) as error:
        raise UsageError(
            f"{path} is no file of `reverie export`, or it is damaged; export the run again, or "
            "copy the file again."
        ) from error
    if not isinstance(about, dict):
        raise UsageError(f"{path} is no file of `reverie export`: its description is no object.")
    return about


class ShareFile:
    """A file that `reverie export` wrote, of which every byte has been checked.

    Raises UsageError, before anything is allocated, for a foreign or damaged file.
    """

    def __init__(self, path: Path) -> None:
        from safetensors import SafetensorError, safe_open

        self.path, self.about = path, read_description(path)
        try:
            self._file: Any = safe_open(path, framework="pt")
            metadata: dict[str, str] = self._file.metadata()
            names = sorted(self._file.keys())
            parts = {name: self._file.get_slice(name) for name in names}
            self.header: Header = {
                name: (part.get_dtype(), list(part.get_shape())) for name, part in parts.items()
            }
            found = _checksum(metadata[KEY], ((name, self.read(name)) for name in names))
        except (SafetensorError, OSError, LookupError, TypeError, ValueError) as error:
            raise UsageError(
                f"{path} is damaged ({error}); copy it again from where it came."
            ) from error
        if metadata != {"format": "pt", KEY: metadata[KEY], CHECKSUM: found}:
            raise UsageError(
                f"{path} is damaged: its checksum is not that of its content; copy it again from "
                "where it came."
            )
        self.checksum = found

    def read(self, name: str) -> Tensor:
        """Return a tensor."""
        tensor: Tensor = self._file.get_tensor(name)
        return tensor


def _checksum(text: str, tensors: Iterable[tuple[str, Tensor]]) -> str:
    """Return the SHA-256 of the description and of the tensors with their names and kinds."""
    import torch

    digest = hashlib.sha256(text.encode(errors="surrogateescape"))
    for name, tensor in tensors:
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)};".encode())
        array: Any = tensor.reshape(-1).view(torch.uint8).numpy()
        digest.update(array)
    return digest.hexdigest()
