"""Tables of the documents: rebuilt from the results and compared with them."""

import json
import re
from pathlib import Path

import pytest

from reverie.envs.atari.games import HUMAN_RANDOM, all_games
from reverie.experiments.recipes.constant_action_benchmark import ConstantActions
from reverie.experiments.recipes.recipes import RECIPES
from reverie.experiments.recipes.training_recipe import TrainingRecipe
from reverie.experiments.reporting import committed as reporting_committed
from reverie.experiments.reporting.atari_subsets import SUBSETS
from reverie.experiments.reporting.committed import RESULTS, committed_results
from reverie.experiments.reporting.constant_actions import scoring_rules
from reverie.experiments.reproduce import grid_tables, score_tables, tables
from reverie.experiments.reproduce.markdown import Footnotes, markdown_table
from reverie.experiments.reproduce.reruns import RERUNS
from reverie.experiments.reproduce.tables import gallery_table, races_table, verify
from reverie.experiments.runs.scores import Scores
from reverie.experiments.verdicts.verdict_rule import VerdictRule


def test_a_table_that_differs_from_the_results_is_reported_and_rewritten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(tables, "CHECKOUT", tmp_path)
    monkeypatch.setattr(tables, "DOCUMENTS", ("current.md", "stale.md"))
    monkeypatch.setattr(tables, "figure_files", lambda: iter([("docs/a.svg", b"<svg/>")]))
    monkeypatch.setitem(tables.TABLES, "two", lambda: "| 2 |\n")
    text = "Before.\n<!-- table: two -->\n{}<!-- end -->\nAfter.\n"
    (tmp_path / "current.md").write_text(text.format("| 2 |\n"))
    (tmp_path / "stale.md").write_text(text.format("| 3 |\n"))
    assert verify() == 1
    assert capsys.readouterr().out.startswith("docs/a.svg, stale.md: ")
    assert verify(write=True) == 0
    assert (tmp_path / "docs" / "a.svg").read_bytes() == b"<svg/>"
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
    monkeypatch.setattr(reporting_committed, "RESULTS", tmp_path)
    assert races_table().splitlines()[2:] == [
        "| training dqn, pong | 160 | Stable-Baselines3 DQN | 80 | 2.00 |"
    ]


def test_a_gallery_has_a_row_for_every_density_with_the_sentence_of_one_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reporting_committed, "RESULTS", tmp_path)
    assert "not measured yet" in gallery_table()
    cells = {"bits/pixel": {"shown": "0.1 ± 0.0"}, "denoising": {"error": "It took long."}}
    models = {
        "cts": {"error": "", "cells": cells},
        "bad": {"error": "It broke.", "cells": {}},
    }
    game = {"about": "9 frames of pong", "bytes_per_frame": {"xz": 12.34}, "models": models}
    data = {
        "columns": ["bits/pixel", "surprise", "denoising"],
        "notes": ["bits/pixel: of frames"],
        "protocol": "One minute.",
        "command": "reverie gallery",
        "games": {"pong": game},
    }
    (tmp_path / "gallery").mkdir()
    (tmp_path / "gallery" / "a.json").write_text(json.dumps(data))
    lines = gallery_table().splitlines()
    assert lines[0] == "| game | density | bits/pixel | surprise | denoising |"
    assert lines[2:4] == [
        "| pong | cts | 0.1 ± 0.0 | - | It took long. |",
        "| pong | bad | It broke. | - | - |",
    ]
    assert "pong: 9 frames of pong; the same frames in bytes a frame: xz 12.3." in lines
    assert "One minute. (`reverie gallery`)" in lines


@pytest.mark.parametrize("name", tables.TABLES)
def test_every_table_can_be_built_from_the_committed_results(name: str) -> None:
    table, *notes = tables.TABLES[name]().split("\n\n")
    assert {line.count("|") for line in table.splitlines()} == {table.splitlines()[0].count("|")}
    assert len(table.splitlines()) > 2
    letters = set(re.findall(r"<sup>(\w)(?:, (\w))*</sup>", table))
    assert bool(letters) == any(note.startswith("- <sup>a</sup>") for note in notes)


def test_an_agent_with_all_games_of_a_subset_has_an_estimate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A player as good as humans in three games is estimated to be so in all; another lacks one."""
    monkeypatch.setattr(reporting_committed, "RESULTS", tmp_path)
    assert "not measured yet" in score_tables.suites_table()
    for preset, games in (("pqn", SUBSETS["Atari-3"]), ("mfec", SUBSETS["Atari-3"][:2])):
        for game in games:
            human = (HUMAN_RANDOM[game][1],) * 30
            evaluation = Scores(
                game, "nature", 0.05, 0, 9, human, (9,) * 30, suite="atari"
            ).to_json()
            runs = [{"evaluation": evaluation} for _ in range(3)]
            data = {"kind": "training", "preset": preset, "protocol": "nature", "steps": 10**6}
            data |= {"name": f"{game}-{preset}", "env_name": game, "runs": runs}
            (tmp_path / f"{game}-{preset}.json").write_text(json.dumps(data))
    (row,) = score_tables.suites_table().splitlines()[2:3]
    assert row.startswith("| pqn | nature | 1M | Atari-3 | 3 | ")
    assert 0.7 < float(row.split(" | ")[5].split()[0]) < 1.3
    assert "mfec" not in score_tables.suites_table()


def test_other_protocols_are_compared_by_agent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two variants with two agents each, whose scores differ by 1, 3, 2 and 2."""
    monkeypatch.setattr(reporting_committed, "RESULTS", tmp_path)
    runs = [
        {"variant": variant, "scores": [score, score + 2], "under": {"other": [score + 1 + gain]}}
        for variant, score, gain in (("a", 10, 1), ("b", 20, 2), ("a", 30, 3), ("b", 40, 2))
    ]
    data = {"name": "grid", "protocol": "own", "variants": ["a", "b"], "runs": runs}
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations" / "grid.json").write_text(json.dumps(data))
    lines = grid_tables.other_protocols_table().splitlines()[2:5]
    assert lines[0].startswith(
        "| grid | a | own | other | 21.0 | 23.0 | +2.00 (-10.7 to 14.7) | 2 |"
    )
    assert lines[2].startswith(
        "| grid | all | own | other | 26.0 | 28.0 | +2.00 (0.701 to 3.30) | 4 |"
    )


def test_a_grid_whose_runs_ended_no_episode_is_committed_as_undecided() -> None:
    runs = [
        {"env_name": "env", "variant": variant, "seed": seed, "scores": [1.0],
         "training": {"training-end": None if variant == "b" else 2.0}}
        for variant in "ab" for seed in range(3)
    ]  # fmt: skip
    rule = VerdictRule("training-end").to_json()
    data = {"variants": ["a", "b"], "games": {}, "rule": rule, "runs": runs}
    (verdict,) = grid_tables.grid_verdicts(json.loads(json.dumps(data)))
    assert verdict.reason == "A score of the variant is nan."


def score_rows() -> dict[str, list[str]]:
    """Return the cells of each row of the table of scores by the name of its recipe."""
    lines = [x for x in score_tables.scores_table().splitlines() if x.startswith("| ")][1:]
    cells = [line.strip("| ").split(" | ") for line in lines]
    return {row[-1].strip("`").split()[-1]: row for row in cells}


def test_a_grid_that_lacks_seeds_is_listed_as_not_finished(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = json.loads((RESULTS / "ablations" / "deep-sea-10.json").read_text())
    monkeypatch.setattr(reporting_committed, "RESULTS", tmp_path)
    (tmp_path / "ablations").mkdir()
    for seeds, word in ((12, "helps"), (3, "not finished")):
        runs = [run for run in data["runs"] if run["seed"] < seeds]
        path = tmp_path / "ablations" / "deep-sea-10.json"
        path.write_text(json.dumps(data | {"runs": runs}))
        rows = [row for row in grid_tables.ablations_table().splitlines() if "| deep-sea |" in row]
        assert len(rows) == 4
        assert all(f"| {word} |" in row for row in rows)
    assert "3 pairs; the first analysis takes 12" in rows[0]


def test_a_note_is_written_once_and_marks_its_rows() -> None:
    notes = Footnotes()
    about = {"x": ["one", "two"], "y": ["two"], "z": list[str]()}
    rows = [[notes.marked(name, texts)] for name, texts in about.items()]
    assert markdown_table("name", rows, notes.lines).splitlines() == [
        "| name |", "|---|", "| x <sup>a, b</sup> |", "| y <sup>b</sup> |", "| z |", "",
        "- <sup>a</sup> one", "- <sup>b</sup> two",
    ]  # fmt: skip
    assert "sup" not in markdown_table("name", [["z"]], Footnotes().lines)


def test_rows_made_before_a_fault_was_mended_are_marked() -> None:
    named = {path.stem for path in RESULTS.rglob("*.json")}
    assert RERUNS.keys() <= named
    rows = score_rows()
    for name, row in rows.items():
        assert ("<sup>" in row[1]) == (name in RERUNS)
    mazes = any(path.stem in RERUNS for path in RESULTS.glob("maze-*.json"))
    assert ("<sup>" in score_tables.mazes_table()) == mazes


def test_agents_with_a_bonus_are_scored_by_their_training() -> None:
    """DQN with CTS counts on Freeway: 0.69 and 0.78 in training, 21.5 and 0 in evaluation."""
    for recipe in RECIPES.values():
        if isinstance(recipe, TrainingRecipe):
            with_bonus = type(recipe.experiment.bonus).__name__ != "NoBonusConfig"
            assert recipe.training_score or not with_bonus
    row = score_rows()["freeway-dqn-cts"]
    assert row[4] == "0.735 (2 seeds), training"
    assert row[6:8] == ["21.5, 0", "0.690, 0.780"]


def test_rows_of_one_agent_and_protocol_show_the_settings_that_differ() -> None:
    rows = score_rows()
    assert len({tuple(row[:4]) for row in rows.values()}) == len(rows)
    assert rows["pong-ppo"][1] == "ppo, agent.anneal_steps 2,500,000"


def test_a_score_on_atari_has_a_constant_action_beside_it() -> None:
    rows = score_rows()
    wanted = RECIPES["constant-actions"]
    assert isinstance(wanted, ConstantActions)
    on_atari = [row for row in rows.values() if row[0] in all_games()]
    assert on_atari
    for row in on_atari:
        rules = scoring_rules(row[2].removesuffix(", as in training"))
        assert rules in wanted.protocols[row[0]], "the recipe covers every row"
    assert rows["freeway-dqn-cts"][8].startswith("21."), "a player that only walks up"
    (data,) = committed_results("constant-actions")
    played = {(row["env_name"], row["protocol"]): row for row in data["rows"]}
    assert all(len(row["scores"]) == 10 for row in played.values())
    assert len(played["freeway", "machado"]["trials"]) == 18
