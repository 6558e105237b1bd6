"""Tables of the documents: rebuilt from the results and compared with them."""

import json
from pathlib import Path

import pytest

from reverie.experiments.reproduce import tables
from reverie.experiments.reproduce.tables import races_table, verify


def test_a_table_that_differs_from_the_results_is_reported_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "CHECKOUT", tmp_path)
    monkeypatch.setattr(tables, "DOCUMENTS", ("current.md", "stale.md"))
    monkeypatch.setitem(tables.TABLES, "two", lambda: "| 2 |\n")
    text = "Before.\n<!-- table: two -->\n{}<!-- end -->\nAfter.\n"
    (tmp_path / "current.md").write_text(text.format("| 2 |\n"))
    (tmp_path / "stale.md").write_text(text.format("| 3 |\n"))
    assert verify() == 1
    assert capsys.readouterr().out.startswith("stale.md: ")
    assert verify(write=True) == 0
    assert (tmp_path / "stale.md").read_text() == text.format("| 2 |\n")
    assert verify() == 0


def test_races_are_the_newest_of_our_training_and_a_library(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def session(ours: float) -> dict[str, list[dict[str, object]]]:
        other = {"name": "Stable-Baselines3 DQN, pong", "steps_per_second": 80, "ratios": {}}
        ratios = {"Stable-Baselines3 DQN": ours / 80, "bare emulator": 0.1}
        own = {"name": "training dqn, pong", "steps_per_second": ours, "ratios": ratios}
        return {"rows": [own, other, {"name": "a table", "seconds": 1.0}]}

    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "cpu.json").write_text(json.dumps([session(100), session(160)]))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert races_table().splitlines()[2:] == [
        "| training dqn, pong | 160 | Stable-Baselines3 DQN | 80 | 2.00 |"
    ]


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_can_be_built_from_the_committed_results(name: str) -> None:
    header, rule, *rows = tables.TABLES[name]().splitlines()
    assert header.count("|") == rule.count("|")
    assert rows
