"""Files are complete or absent, and text in them is UTF-8 and valid JSON."""

import ast
import json
import math
import os
import threading
from pathlib import Path

import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.runs.files import (
    FORMAT,
    check_format,
    remove_partial_files,
    replacing,
    to_json,
    write_file,
    write_json,
)


def test_a_failed_write_keeps_the_file_and_leaves_nothing(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    write_file(path, "before")

    def write_half() -> None:
        with replacing(path) as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]
    write_json(path, {"a": [1]})
    assert path.read_text() == '{\n "a": [\n  1\n ]\n}\n'
    assert path.stat().st_mode & 0o777 == 0o666 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_writers_of_one_file_do_not_disturb_each_other(tmp_path: Path) -> None:
    """Each has a temporary file of its own; the last one to finish wins."""
    path = tmp_path / "file"
    with replacing(path) as first:
        first.write(b"first")
        with replacing(path) as second:
            second.write(b"second")
        assert path.read_bytes() == b"second"
    assert path.read_bytes() == b"first"
    texts = [f"{i}" * 100_000 for i in range(8)]
    threads = [threading.Thread(target=write_file, args=(path, text)) for text in texts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert path.read_text() in texts
    assert list(tmp_path.iterdir()) == [path]


def test_partial_files_of_killed_processes_are_removed(tmp_path: Path) -> None:
    (tmp_path / f"config.json.{'7' * 32}.tmp").touch()
    write_file(tmp_path / "config.json", "{}")
    remove_partial_files(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


def test_another_format_is_refused() -> None:
    check_format(Path("file"), FORMAT, "record it again")
    wrong: tuple[object, ...] = (None, FORMAT - 1, str(FORMAT), True, {})
    for found in wrong:
        with pytest.raises(UsageError, match=r"^file has .* or record it again\.$"):
            check_format(Path("file"), found, "record it again")


def test_numbers_that_are_no_json_become_null() -> None:
    data = {"a": [1.5, math.nan, (math.inf,)], "b": -math.inf, "c": "NaN"}
    assert json.loads(to_json(data)) == {"a": [1.5, None, [None]], "b": None, "c": "NaN"}


def calls() -> list[tuple[str, ast.Call]]:
    """Every call in the package, with the name of its file."""
    root = Path(__file__).parents[3]
    return [
        (path.relative_to(root).as_posix(), node)
        for part in ("agents", "envs", "experiments", "world_models")
        for path in sorted((root / part).rglob("*.py"))
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.Call)
    ]


def test_one_function_writes_json() -> None:
    dumps = {
        name for name, call in calls() if ast.unparse(call.func) in ("json.dumps", "json.dump")
    }
    assert dumps == {"experiments/runs/files.py"}


def test_text_files_have_an_explicit_encoding() -> None:
    """By default it is the locale's, in which a name or a sign may not exist."""
    for name, call in calls():
        function = ast.unparse(call.func).rpartition(".")[2]
        encoded = any(keyword.arg == "encoding" for keyword in call.keywords)
        modes = [x.value for x in call.args if isinstance(x, ast.Constant)]
        if function in ("read_text", "write_text") or ast.unparse(call.func) == "open":
            assert encoded or {"ab", "rb", "wb", "xb"} & {*modes}, f"{name}:{call.lineno}"
