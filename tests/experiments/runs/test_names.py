"""Names of run folders do not collide."""

from pathlib import Path

import pytest

from reverie.experiments.runs.names import unique_names


@pytest.mark.parametrize(
    ("folders", "taken", "names"),
    [
        ([], [], []),
        (["runs/a", "runs/b"], [], ["a", "b"]),
        (["runs/x/a", "runs/y/a", "runs/y/b"], [], ["x/a", "y/a", "y/b"]),
        (["runs/x/a", "runs/y/a", "other/x/a"], [], ["runs/x/a", "runs/y/a", "other/x/a"]),
        (["runs/copy-last", "runs/b"], ["copy-last"], ["runs/copy-last", "runs/b"]),
        (["runs/a", "./runs/../runs/a"], [], ["a", "a"]),
    ],
)
def test_names_are_the_shortest_ends_of_paths_that_differ(
    folders: list[str], taken: list[str], names: list[str]
) -> None:
    paths = [Path(folder) for folder in folders]
    assert [unique_names(paths, taken)[path] for path in paths] == names


def test_a_folder_named_by_its_last_part_alone_has_a_longer_name_where_that_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").mkdir()
    monkeypatch.chdir(tmp_path / "runs")
    names = unique_names([Path("copy-last")], taken=["copy-last"])
    assert names == {Path("copy-last"): "runs/copy-last"}
