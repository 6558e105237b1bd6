"""Tables of the documents: rebuilt from the results, and missed where they differ."""

import json
from pathlib import Path

import pytest

from envs.errors import UsageError
from experiments import tables
from experiments.tables import races_table, table, verify


def test_a_table_that_the_results_do_not_give_is_said_and_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "ROOT", tmp_path)
    monkeypatch.setattr(tables, "DOCUMENTS", ("kept.md", "stale.md"))
    monkeypatch.setitem(tables.TABLES, "two", lambda: "| 2 |\n")
    text = "Before.\n<!-- table: two -->\n{}<!-- end -->\nAfter.\n"
    (tmp_path / "kept.md").write_text(text.format("| 2 |\n"))
    (tmp_path / "stale.md").write_text(text.format("| 3 |\n"))
    assert verify() == 1
    assert capsys.readouterr().out.startswith("stale.md: ")
    assert verify(write=True) == 0
    assert (tmp_path / "stale.md").read_text() == text.format("| 2 |\n")
    assert verify() == 0
    with pytest.raises(UsageError, match="'three'"):
        table("three")


def test_races_are_of_our_training_beside_a_library_and_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def sitting(ours: float) -> dict[str, list[dict[str, object]]]:
        other = {"name": "Stable-Baselines3 DQN, pong", "steps_per_second": 80, "ratios": {}}
        ratios = {"Stable-Baselines3 DQN": ours / 80, "bare emulator": 0.1}
        mine = {"name": "training dqn, pong", "steps_per_second": ours, "ratios": ratios}
        return {"rows": [mine, other, {"name": "a table", "seconds": 1.0}]}

    (tmp_path / "bench").mkdir()
    (tmp_path / "bench" / "cpu.json").write_text(json.dumps([sitting(100), sitting(160)]))
    monkeypatch.setattr(tables, "RESULTS", tmp_path)
    assert races_table().splitlines()[2:] == [
        "| training dqn, pong | 160 | Stable-Baselines3 DQN | 80 | 2.00 |"
    ]
