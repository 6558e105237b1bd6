"""Names of run folders do not collide."""

from pathlib import Path

import pytest

from reverie.experiments.runs.names import safe_name, unique_names


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


@pytest.mark.parametrize("name", ["..", ".", "../../x", "/etc/x", ".hidden", "", "x" * 300, "a\nb"])
def test_a_safe_name_is_one_part_of_a_path(name: str, tmp_path: Path) -> None:
    found = safe_name(name or "x")
    assert (tmp_path / found / "y").resolve().parent == tmp_path / found
    assert found != name
    assert safe_name("pong-s0_a=1.5.png") == "pong-s0_a=1.5.png"
