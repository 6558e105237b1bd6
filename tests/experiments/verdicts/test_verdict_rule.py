"""The rule of verdicts: its texts, and that a grid's folder keeps the first one."""

from pathlib import Path
from typing import Any

import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.verdicts.verdict_rule import Delta, VerdictRule, read_rule, write_rule


def test_delta_is_a_share_or_points() -> None:
    assert Delta.parse(" 25%") == Delta(0.25, relative=True)
    assert Delta.parse("0.5") == Delta(0.5, relative=False)
    assert Delta.parse("1e-3").amount == 1e-3
    for text in ("12.5%", "3", "0.001"):
        assert str(Delta.parse(text)) == text
    for text in ("", "%", "many", "-1", "0", "0%", "100%", "1.2.3", "inf", "nan%"):
        with pytest.raises(UsageError, match="--delta is"):
            Delta.parse(text)


@pytest.mark.parametrize("most", [1, 2, 3, 4, 5, 12, 40, 1000])
def test_sequential_designs_end_at_their_largest_number(most: int) -> None:
    analyses = VerdictRule.sequential(most).analyses
    assert analyses[-1] == most
    assert analyses[0] == min(4, most)
    assert len(analyses) <= 30


def test_analyses_are_reached_and_follow() -> None:
    rule = VerdictRule(analyses=(4, 6, 8))
    assert (rule.reached(3), rule.reached(6), rule.reached(99)) == ((), (4, 6), (4, 6, 8))
    assert (rule.following(3), rule.following(4), rule.following(8)) == (4, 6, None)
    assert VerdictRule().reached(5) == (5,)
    assert VerdictRule().reached(0) == ()
    assert (rule.max_seeds, VerdictRule().max_seeds) == (8, None)


@pytest.mark.parametrize(
    ("settings", "culprit"),
    [
        ({"analyses": (4, 4)}, "analyses"),
        ({"analyses": (0, 4)}, "analyses"),
        ({"alpha": 0.0}, "alpha"),
        ({"power": 1.0}, "power"),
    ],
)
def test_settings_that_make_no_rule_are_refused(settings: dict[str, Any], culprit: str) -> None:
    with pytest.raises(UsageError, match=culprit):
        VerdictRule(**settings)


def test_a_folder_keeps_its_first_rule(tmp_path: Path) -> None:
    rule = VerdictRule.sequential(40, score="training-mean", delta=Delta.parse("0.5"))
    assert read_rule(tmp_path) is None
    write_rule(tmp_path, rule)
    write_rule(tmp_path, rule)
    assert read_rule(tmp_path) == rule
    with pytest.raises(UsageError, match=r"delta 0\.5 points.*choose another --folder"):
        write_rule(tmp_path, VerdictRule())
    assert read_rule(tmp_path) == rule
    (tmp_path / "verdict_rule.json").write_text('{"alpha": 0.05}')
    with pytest.raises(UsageError, match="cannot be read"):
        read_rule(tmp_path)
