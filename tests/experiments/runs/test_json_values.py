"""JSON from elsewhere is read within limits."""

import json
import os
import zlib
from pathlib import Path

import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.runs.files import read_json
from reverie.experiments.runs.json_values import MAX_BYTES, MAX_DEPTH, parse_compressed, parse_json
from reverie.experiments.runs.jsonl import parse_row

REFUSED = {
    "[" * (MAX_DEPTH + 2) + "]" * (MAX_DEPTH + 2): "nested deeper",
    "[" * 100_000: "nested deeper|Expecting",
    '{"a": 1, "a": 2}': "the same name twice",
    "NaN": "the number NaN",
    "-Infinity": "the number -Infinity",
    "1e999": "too large",
    str(2**64): "an integer of 65 bits",
    "9" * 10_000: "limit|bits",
    json.dumps("\ud800"): r"U\+D800",
    json.dumps("a\0"): r"U\+0000",
    "": "Expecting",
}


@pytest.mark.parametrize("text", REFUSED, ids=lambda text: text[:12])
def test_what_exceeds_the_limits_is_refused(text: str) -> None:
    for form in (text, text.encode()):
        with pytest.raises(ValueError, match=REFUSED[text]):
            parse_json(form)


def test_what_is_usual_is_read() -> None:
    value = {"a": [1, -0.5, 2**63, None, True, "é \udc80"], "b": {"c": {}}}
    assert parse_json(json.dumps(value)) == value
    assert parse_compressed(zlib.compress(json.dumps(value).encode())) == value


def test_compressed_json_is_bounded() -> None:
    bomb = zlib.compress(b" " * (MAX_BYTES + 2))
    assert len(bomb) < 20_000
    for data, reason in ((bomb, "more than 16"), (bomb[:99], "cut off"), (b"no zlib", "header")):
        with pytest.raises(ValueError, match=reason):
            parse_compressed(data)


@pytest.mark.parametrize("kind", ["link", "pipe", "folder", "large", "latin"])
def test_only_small_regular_files_of_text_are_read(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    match kind:
        case "link":
            (tmp_path / "other").write_text("{}")
            path.symlink_to(tmp_path / "other")
        case "pipe":
            os.mkfifo(path)
        case "folder":
            path.mkdir()
        case "large":
            path.touch()
            os.truncate(path, MAX_BYTES + 1)
        case "latin":
            path.write_bytes('{"a": "é"}'.encode("latin1"))
    with pytest.raises(UsageError, match=r"x\.json cannot be read"):
        read_json(path)


@pytest.mark.parametrize("step", ["-1", "0.5", "true", "null", '"1"', str(2**53 + 1)])
def test_a_row_has_a_whole_step(step: str) -> None:
    assert parse_row(f'{{"step": {step}, "score": 1}}'.encode(), ("score",)) is None
    assert parse_row(b'{"step": 0, "score": 1}', ("score",))
    for score in ("1e300", "true", "null"):
        assert parse_row(f'{{"step": 1, "score": {score}}}'.encode(), ("score",)) is None
