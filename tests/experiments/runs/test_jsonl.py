"""Rows of .jsonl files: read one at a time, from the end, or as columns, they are the same."""

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reverie.experiments.runs import jsonl
from reverie.experiments.runs.run import Run

LONGEST = 40
LINES = st.one_of(
    st.builds('{{"step": {}, "score": {}}}'.format, st.integers(-1, 99), st.integers(-9, 9)),
    st.just('{"step": 3}'),
    st.text("{}\x00é ,", max_size=9),
    st.integers(LONGEST, 130).map(lambda n: '{"step": 1, "score": 2}'.ljust(n)),
)


@settings(max_examples=200, deadline=None)
@given(lines=st.lists(LINES, max_size=9), ended=st.booleans())
def test_rows_are_those_of_the_lines(
    lines: list[str], ended: bool, tmp_path_factory: pytest.TempPathFactory
) -> None:
    path = tmp_path_factory.mktemp("rows") / "episodes.jsonl"
    path.write_text("\n".join(lines) + "\n" * ended)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(jsonl, "MAX_LINE_BYTES", LONGEST)
        expected = [jsonl.parse_row(x, ("score",)) for x in jsonl.iterate_lines(path)]
        rows = [row for row in expected if row]
        assert jsonl.last_row(path, ("score",)) == (rows[-1] if rows else None)
        columns, num_lost = Run(path.parent).read_columns(path.name, "step", "score")
    assert num_lost == len(expected) - len(rows)
    assert columns.T.tolist() == [[row["step"], row["score"]] for row in rows]


def test_a_file_that_is_not_there_has_no_rows(tmp_path: Path) -> None:
    run = Run(tmp_path)
    assert run.last_line("metrics.jsonl") == {}
    columns, num_lost = run.read_columns("episodes.jsonl", "step", "score")
    assert (columns.shape, num_lost) == ((2, 0), 0)


def test_columns_take_no_memory_for_the_rest_of_the_rows(tmp_path: Path) -> None:
    """At most 40 bytes for each of two values, however long the lines are."""
    num_rows, rest = 5_000, '"x": "' + 500 * "-" + '"'
    with open(tmp_path / "episodes.jsonl", "w") as file:
        file.writelines(f'{{"step": {i}, "score": {-i}, {rest}}}\n' for i in range(num_rows))
    tracemalloc.start()
    columns, _ = Run(tmp_path).read_columns("episodes.jsonl", "step", "score")
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert np.array_equal(columns, [np.arange(num_rows), -np.arange(num_rows)])
    assert peak < 2 * 40 * num_rows + 100_000
