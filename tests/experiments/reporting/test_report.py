"""Reports: which runs are compared, verdicts computed by hand, and the pages that are written."""

import base64
import csv
import io
import json
import os
import re
import shutil
import subprocess
from dataclasses import asdict, replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import imageio.v3 as imageio
import numpy as np
import pytest
from scipy import stats

from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.bonuses.simhash import SimHashConfig
from reverie.envs.atari.games import human_normalized
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.roles import part_name
from reverie.experiments.reporting.atari_subsets import SUBSETS, fit_subset
from reverie.experiments.reporting.comparison import compare, raw_csv
from reverie.experiments.reporting.document import (
    Block,
    Chip,
    Paragraph,
    Table,
    to_html,
    write_markdown,
)
from reverie.experiments.reporting.published import published
from reverie.experiments.reporting.report import write_report
from reverie.experiments.reporting.run_results import curves_at, read_results
from reverie.experiments.runs.files import FORMAT
from reverie.experiments.runs.scores import Scores, read_scores
from reverie.experiments.verdicts.verdict_rule import Delta, VerdictRule, write_rule

DQN = {"class": "a:DQNConfig"}
NONE = {"class": "NoBonusConfig"}
SIMHASH = {"class": "SimHashConfig", "bits": 256, "scale": 0.01}
ATARI = {"class": "AtariConfig", "game": "pong", "protocol": {"name": "mfec"}}
ATARI_PROTOCOL = {"class": "AtariProtocol"}


def make_run(
    folder: Path,
    score: float,
    *,
    seed: int = 0,
    bonus: dict[str, Any] = NONE,
    env_name: str = "pong",
    protocol: str = "mfec",
    steps: int = 1000,
    env: dict[str, Any] = ATARI,
    other: float | None = None,
    agent: dict[str, Any] = DQN,
) -> Path:
    """Write a finished run: two evaluation episodes around its score, 300 training episodes."""
    (folder / "figures").mkdir(parents=True)
    config = {
        "format": FORMAT,
        "imports": [],
        "class": "Experiment",
        "agent": agent,
        "bonus": bonus,
        "env": env | {"game": env_name},
        "seed": seed,
        "total_timesteps": steps,
    }
    (folder / "config.json").write_text(json.dumps(config))
    scores = Scores(
        env_name, protocol, 0.005, 0, 2, (score - 1.0, score + 1.0), (7, 8), steps=steps,
        suite="atari" if env is ATARI or "protocol" in env else "",
    )  # fmt: skip
    (folder / "scores.json").write_text(json.dumps(scores.to_json()))
    if other is not None:
        under = replace(scores, protocol="machado", scores=(other,), lengths=(3,))
        (folder / "scores-machado.json").write_text(json.dumps(under.to_json()))
    rows = [{"step": i * steps // 300, "score": float(i % 3)} for i in range(1, 301)]
    (folder / "episodes.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "metrics.jsonl").write_text(json.dumps({"step": steps, "frames": 4 * steps}) + "\n")
    provenance = {"commit": "c0ffee" * 6, "modified": False, "torch": "2", "device": "cpu"}
    (folder / "provenance.json").write_text(json.dumps(provenance))
    return folder


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    """Two games, three seeds, with and without a bonus that helps in one of them."""
    for seed in range(3):
        for env_name, gain in (("pong", 10.0), ("qbert", (-1) ** seed * 100.0)):
            for name, bonus, more in (("none", NONE, 0.0), ("hash", SIMHASH, gain + seed - 1)):
                make_run(
                    tmp_path / f"runs/{name}-{env_name}-{seed}", 5 + seed / 10 + more,
                    seed=seed, bonus=bonus, env_name=env_name,
                )  # fmt: skip
    return tmp_path / "runs"


def test_verdicts_by_hand(runs: Path) -> None:
    (comparison,) = compare(read_results([runs])[0])
    assert comparison.labels == ["bonus none", "bonus simhash"]
    assert comparison.env_names == ["pong", "qbert"]
    assert (comparison.steps, comparison.frames, comparison.protocol) == (1000, 4000, "mfec")
    overall, pong, qbert = comparison.verdicts()
    assert (pong.env_name, pong.label, pong.pairs, pong.unit) == ("pong", "helps", 3, "points")
    assert pong.difference.estimate == pytest.approx(10)
    # Differences of 9, 10, 11: s = 1. Two of three comparisons differ: t(2) of 2/3 of 5%.
    t = stats.t.isf(0.05 * 2 / 3 / 2, 2)
    assert pong.difference.low == pytest.approx(10 - t / 3**0.5)
    assert (pong.improvement.estimate, pong.improvement.missing) == (1, "no variance")
    # Differences of 99, -100, 101: mean 33.3, s = 115.5.
    assert (qbert.label, qbert.pairs) == ("cannot tell", 3)
    assert qbert.difference.estimate == pytest.approx(100 / 3)
    assert qbert.difference.high == pytest.approx(100 / 3 + t * 115.473 / 3**0.5, rel=1e-4)
    assert qbert.improvement.estimate == pytest.approx(2 / 3)
    assert qbert.improvement.low < 0.5 < qbert.improvement.high
    # Over both, a point adds 1 / (human - random) of its game.
    expected = (10 / (14.6 + 20.7) + 100 / 3 / (13455 - 163.9)) / 2
    assert (overall.env_name, overall.unit) == ("all envs", "human-normalized")
    assert overall.difference.estimate == pytest.approx(expected)
    assert (overall.label, overall.pairs) == ("helps", 3)


def test_equal_differences_and_two_seeds_decide_nothing(tmp_path: Path) -> None:
    for seed in (1, 0, 2):
        make_run(tmp_path / f"a{seed}", 5 + seed / 10, seed=seed)
        make_run(tmp_path / f"b{seed}", 5 + seed / 10 - 0.001, seed=seed, bonus=SIMHASH)
    make_run(tmp_path / "alone", 9, seed=7, bonus=SIMHASH)
    for runs, missing in (([tmp_path], "equal differences"), ([*tmp_path.glob("?[01]")], "n = 2")):
        (verdict,) = compare(read_results(runs)[0])[0].verdicts()
        assert (verdict.label, verdict.pairs) == ("cannot tell", 3 if len(runs) == 1 else 2)
        n = verdict.pairs  # run i of the variant beats runs 0 to i - 1 of the baseline
        assert verdict.improvement.estimate == pytest.approx((n - 1) / 2 / n)
        page = write_report(runs, tmp_path / "report.html").with_suffix(".md").read_text()
        assert f"| **cannot tell** | -0.001 (no interval: {missing}) |" in page
        assert f"| bonus simhash | pong | {verdict.reason} |" in page
        assert ("bonus simhash in pong with seed 7" in page) == (len(runs) == 1)


def test_the_rule_of_a_grid_is_that_of_its_report(tmp_path: Path) -> None:
    """Another score or delta than the one that was fixed is reported with a warning."""
    for seed in range(5):
        make_run(tmp_path / f"grid/a{seed}", 10 + seed, seed=seed)
        make_run(tmp_path / f"grid/b{seed}", 20 + seed + seed % 2, seed=seed, bonus=SIMHASH)
    write_rule(tmp_path / "grid", VerdictRule.sequential(8, delta=Delta.parse("10%")))
    for folders in ([tmp_path / "grid"], [*tmp_path.glob("grid/[ab]?")], [tmp_path]):
        page = write_report(folders, tmp_path / "report.html").with_suffix(".md").read_text()
        assert "delta 10% of the baseline's mean" in page
        assert "analyzed after 4, 6, 8 seeds" in page
        assert "not controlled" not in page
        assert "| bonus simhash | pong | **helps** | +10.5 (" in page, "four of the five pairs"
    argv = ["report", str(tmp_path), "--score", "training-mean", "--delta", "0.5"]
    assert cli.main(argv) == 0
    page = (tmp_path / "report.md").read_text()
    assert "score training-mean, delta 0.5 points" in page
    assert "another rule, so that their false discoveries are not controlled" in page
    assert "| **cannot tell** | 0 (no interval: no difference seen) |" in page


def test_a_reference_is_reported_with_the_share_of_its_gain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PseudoCountConfig, "needs_privileged", True, raising=False)
    counts = {"class": "PseudoCountConfig"}
    noise = np.random.default_rng(0).normal(size=(3, 8))
    arms: list[tuple[float, dict[str, Any]]] = [(0.0, NONE), (4.0, SIMHASH), (8.0, counts)]
    for seed in range(8):
        for i, (gain, bonus) in enumerate(arms):
            score = gain + float(noise[i, seed])
            make_run(tmp_path / f"{i}{seed}", score, seed=seed, bonus=bonus)
    (comparison,) = compare(read_results([tmp_path])[0])
    (share,) = comparison.shares()
    assert (share.role, share.reference) == ("bonus", "bonus pseudo-count")
    assert 0 < share.share.low < share.share.estimate < share.share.high < 1
    page = write_report([tmp_path], tmp_path / "report.html").with_suffix(".md").read_text()
    assert f"| bonus | pong | bonus simhash | bonus pseudo-count | {share.means[0]:.3f} |" in page
    (path,) = (tmp_path / "report_files").glob("verdicts-*.svg")
    drawing = path.read_text()
    assert f"{share.share.estimate:.0%} of the reference's gain" in drawing


def test_the_longest_of_repeated_runs_counts(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 1, steps=1600)
    make_run(tmp_path / "b", 2, steps=1600)
    make_run(tmp_path / "c", 3, steps=1200)
    config = json.loads((tmp_path / "a/config.json").read_text()) | {"total_timesteps": 1595}
    (tmp_path / "a/config.json").write_text(json.dumps(config))
    results, warnings = read_results([tmp_path])
    assert [result.folder.name for result in results] == ["b"]
    assert [x.split()[0].rpartition("/")[2] for x in warnings if "is left out" in x] == ["a", "c"]
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "2.00 (1 seed)" in page


def test_an_env_that_is_called_pong_is_no_game_of_atari(tmp_path: Path) -> None:
    for name, bonus in (("a", NONE), ("b", SIMHASH)):
        for seed in range(3):
            env = {"class": "GymConfig", "id": "mine:pong-v0"}
            make_run(tmp_path / f"{name}{seed}", seed, seed=seed, bonus=bonus, env=env)
    results, _ = read_results([tmp_path])
    assert {result.scores.human_normalized for result in results} == {None}
    (comparison,) = compare(results)
    assert not comparison.has_human_scores
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "uman-normalized" not in page
    assert "Published scores" not in page


def test_each_part_of_a_grid_is_compared_over_the_choices_of_the_others(tmp_path: Path) -> None:
    """A bonus adds 10 alone and 14 with another gamma, which adds 1 alone and 5 with the bonus."""
    points = {(0, 0): 0.0, (1, 0): 10.0, (0, 1): 1.0, (1, 1): 15.0}
    for (with_bonus, other_gamma), score in points.items():
        for seed in range(3):
            agent = {"class": "a:DQNConfig", "gamma": 0.9 + 0.09 * other_gamma}
            folder = tmp_path / "runs" / f"{with_bonus}{other_gamma}{seed}"
            part = SIMHASH if with_bonus else NONE
            noise = with_bonus * seed + 2 * other_gamma * seed  # 0, 1, 2 and 0, 2, 4
            make_run(folder, score + noise, seed=seed, bonus=part, agent=agent)
    (comparison,) = compare(read_results([tmp_path / "runs"])[0], "000")
    assert len(comparison.verdicts()) == 3
    gamma, bonus = comparison.part_verdicts()
    assert (gamma.variant, bonus.variant) == ("agent.gamma 0.99", "bonus simhash")
    assert (gamma.pairs, bonus.pairs) == (3, 3), "the mean over the other part is of a seed"
    assert (gamma.difference.estimate, bonus.difference.estimate) == (5, 13)
    # Differences of 12, 13, 14: s = 1; of gamma 3, 5, 7. Both are told: t(2) of 5%.
    assert bonus.difference.low == pytest.approx(13 - 4.302653 / 3**0.5)
    assert (gamma.label, bonus.label) == ("helps", "helps")
    page = write_report([tmp_path / "runs"], tmp_path / "report.html", "000").read_text()
    assert "the choices of all other parts" in page


def test_runs_of_the_same_name_in_two_folders_are_all_reported(tmp_path: Path) -> None:
    for name, bonus in (("a", NONE), ("b", SIMHASH)):
        run = make_run(tmp_path / name / "s0", 1, bonus=bonus)
        (run / "figures").mkdir(exist_ok=True)
        imageio.imwrite(run / "figures" / "plan.png", np.zeros((4, 4, 3), np.uint8))
    write_report([tmp_path], tmp_path / "out" / "report.html")
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"a-s0-plan.png", "b-s0-plan.png"} <= written
    (configs,) = (tmp_path / "out").rglob("configs*.json")
    assert set(json.loads(configs.read_text())) == {"a/s0", "b/s0"}


def test_scores_of_other_checkpoints_are_reported_in_warnings(tmp_path: Path) -> None:
    """A run that ended early, and one trained further with older scores of another protocol."""
    short = make_run(tmp_path / "short", 1, steps=900)
    config = json.loads((short / "config.json").read_text()) | {"total_timesteps": 1000}
    (short / "config.json").write_text(json.dumps(config))
    older = make_run(tmp_path / "older", 1, seed=1, other=7)
    text = (older / "scores-machado.json").read_text().replace('"steps": 1000', '"steps": 300')
    (older / "scores-machado.json").write_text(text)
    with open(older / "episodes.jsonl", "a") as file:
        file.write('{"step": 1000, "score": NaN}\n{"step": 10')
    (older / "checkpoints").mkdir()
    (older / "checkpoints" / f"{2000:012d}.pt").touch()
    results, warnings = read_results([tmp_path])
    assert [result.other_scores for result in results] == [[], []]
    assert warnings == [
        "older was trained to step 2,000 after its evaluation at step 1,000; "
        "run `reverie evaluate` again.",
        "scores-machado.json of older is of step 300 instead of 1,000 and is left out.",
        "older/episodes.jsonl has 2 damaged lines; the learning curve is without them.",
        "short was evaluated at step 900 of its 1,000.",
    ]
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "config.json").write_text(json.dumps({"format": FORMAT, "data": ["d"]}))
    assert (
        "fit is a pretraining, which has no scores; it is left out." in read_results([tmp_path])[1]
    )


def test_runs_of_an_older_version_are_of_the_same_variant(tmp_path: Path) -> None:
    """Settings gained since have their defaults; of unknown classes they make variants."""
    for name, bonus in (("none", NONE), ("hash", {"class": "SimHashConfig"})):
        for seed in range(4):
            old = bonus if seed < 2 else asdict(SimHashConfig()) | bonus if name == "hash" else NONE
            make_run(tmp_path / f"{name}-{seed}", 5 + seed, seed=seed, bonus=old)
    (comparison,) = compare(read_results([tmp_path])[0])
    assert comparison.labels == ["bonus none", "bonus simhash"]
    assert [len(variant.results) for variant in comparison.variants] == [4, 4]
    make_run(tmp_path / "own", 5, bonus={"class": "mine:Bonus"})
    make_run(tmp_path / "own-new", 6, bonus={"class": "mine:Bonus", "scale": 1.0})
    (comparison,) = compare(read_results([tmp_path])[0])
    assert len({*comparison.labels}) == len(comparison.labels) == 4


def test_the_baseline_has_the_fewest_settings_or_is_named(runs: Path) -> None:
    results, _ = read_results([runs])
    (comparison,) = compare(results, "hash-pong-0")
    assert comparison.labels == ["bonus simhash", "bonus none"]
    assert comparison.verdicts()[1].label == "hurts"
    with pytest.raises(UsageError, match="no run 'nobody'"):
        compare(results, "nobody")


def test_a_single_seed_decides_nothing(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 1000, bonus=SIMHASH)
    (verdict,) = compare(read_results([tmp_path])[0])[0].verdicts()
    assert (verdict.label, verdict.pairs) == ("cannot tell", 1)
    assert "(no interval: n = 1)" in write_report([tmp_path], tmp_path / "report.html").read_text()


def test_stochastic_and_greedy_scores_are_never_compared(tmp_path: Path) -> None:
    """Each kind is reported by its flag, and the other is listed under its own name."""
    for name, bonus, drawn in (("a", NONE, 90.0), ("b", SIMHASH, 50.0)):
        folder = make_run(tmp_path / name, 20, bonus=bonus)
        scores = read_scores(folder / "scores.json")
        scores = replace(scores, scores=(drawn,), lengths=(7,), stochastic=True)
        (folder / "scores-stochastic.json").write_text(json.dumps(scores.to_json()))
    for stochastic, expected in ((False, 0.0), (True, -40.0)):
        (comparison,) = compare(read_results([tmp_path], stochastic=stochastic)[0])
        assert comparison.protocol == "mfec" + ", as in training" * stochastic
        assert comparison.verdicts()[0].difference.estimate == expected
        write_report([tmp_path], tmp_path / "report.html", stochastic=stochastic)
        page = (tmp_path / "report.md").read_text()
        beside = ["mfec", "mfec, as in training"][:: -1 if stochastic else 1]
        assert f"| env | variant | {' | '.join(beside)} |" in page
    (tmp_path / "b/scores-stochastic.json").unlink()
    results, warnings = read_results([tmp_path], stochastic=True)
    assert [result.scores.mean for result in results] == [90]
    assert "run `reverie evaluate --stochastic` on it" in warnings[0]


@pytest.mark.parametrize("change", [{"steps": 2000}, {"protocol": "machado"}])
def test_protocols_and_lengths_are_compared_separately(
    change: dict[str, Any], tmp_path: Path
) -> None:
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 1, bonus=SIMHASH, **change)
    assert len(compare(read_results([tmp_path])[0])) == 2
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "These runs differ in protocol or length and are compared separately" in page
    assert "Verdict (1 of 2)" in page
    assert "chip" not in page.partition("<main>")[2], "there are no verdicts across them"


def test_protocols_that_differ_in_presentation_make_variants(tmp_path: Path) -> None:
    """Four stacked frames against one, or life-loss, are compared; sticky actions are not."""
    mfec = PROTOCOLS["mfec"]
    four = replace(mfec, stack=4)
    kinds = {"one": mfec, "four": four, "lives": replace(four, life_loss=True)}
    kinds |= {"sticky": replace(four, sticky=0.25)}
    for name, protocol in kinds.items():
        env = ATARI | {"protocol": ATARI_PROTOCOL | asdict(protocol)}
        for seed in range(3):
            make_run(
                tmp_path / f"{name}{seed}", (9 + seed) * (name == "four") + seed / 10,
                seed=seed, env=env, protocol=protocol.label,
            )  # fmt: skip
    presentation, sticky = compare(read_results([tmp_path])[0], "one0")
    assert (presentation.protocol, sticky.protocol) == ("mfec", "mfec with sticky 0.25, stack 4")
    assert [(v.variant, v.label, v.pairs) for v in presentation.verdicts()] == [
        ("protocol.life_loss False, protocol.stack 4", "helps", 3),
        ("protocol.life_loss True, protocol.stack 4", "cannot tell", 3),
    ]
    page = write_report([tmp_path], tmp_path / "report.html").with_suffix(".md").read_text()
    for protocol in kinds.values():
        assert f"| {protocol.label.replace('_', chr(92) + '_')}, epsilon 0.005 |" in page
    assert "| protocol.stack | 4 | 4 | 1 |" in page, "the table of configs"
    same, *others = compare(read_results([*tmp_path.glob("four*")])[0])
    assert (same.protocol, others) == ("mfec with stack 4", [])


def test_a_run_without_a_finished_episode_has_no_curve(tmp_path: Path) -> None:
    (make_run(tmp_path / "run", 1.0) / "episodes.jsonl").write_text("")
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "No training episode has ended." in page
    assert "<figcaption>pong" not in page


def test_envs_of_the_same_name_are_named_by_their_settings(tmp_path: Path) -> None:
    env = {"class": "DeepSeaConfig", "size": 10}
    make_run(tmp_path / "a", 0, env_name="deep-sea", env=env)
    make_run(tmp_path / "b", 0, env_name="deep-sea", env=env | {"size": 14})
    comparison = compare(read_results([tmp_path])[0])[0]
    assert comparison.env_names == ["deep-sea (size 10)", "deep-sea (size 14)"]


def test_variants_are_named_by_the_settings_that_differ(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0)
    make_run(tmp_path / "b", 0, bonus=SIMHASH)
    make_run(tmp_path / "c", 0, bonus=SIMHASH | {"scale": 0.3})
    (comparison,) = compare(read_results([tmp_path])[0])
    assert comparison.labels == [
        "bonus none",
        "bonus simhash, bonus.scale 0.01",
        "bonus simhash, bonus.scale 0.3",
    ]
    assert part_name({"class": "SimHashConfig"}) == "simhash"
    assert part_name({"class": "elsewhere:OwnConfig"}) == "Own"
    assert comparison.variants[1].settings["bonus.bits"] == 256


def test_learning_curves_and_training_scores(tmp_path: Path) -> None:
    """Training scores go 1, 2, 0, ...: any 99 sum to 99, and 100 of them to 99 + 0, 1 or 2."""
    make_run(tmp_path / "a", 5, steps=300)
    ((result,), _) = read_results([tmp_path])
    steps, means = result.curve
    assert means[:4].tolist() == [1, 1.5, 1, 1]
    assert steps[0] == 1
    assert result.score("training-end") == pytest.approx(means[-1]) == pytest.approx(0.99)
    assert (result.score("evaluation"), result.score("training-mean")) == (5, 1)
    equal = np.stack([np.arange(150.0), np.r_[np.full(50, 0.1), np.full(100, 0.3)]])
    assert replace(result, episodes=equal).score("training-end") == np.float64(0.3)
    grid = curves_at([result], np.array([0.0, 1.0, 2.5, 300.0]))
    np.testing.assert_allclose(grid, [[np.nan, 1, 1.5, 0.99]])
    result = replace(result, episodes=result.episodes[:, :0])
    assert np.isnan(result.score("training-end"))
    assert np.isnan(result.score("training-mean"))


def test_links_and_odd_names_are_not_embedded(tmp_path: Path) -> None:
    run, secret = make_run(tmp_path / "run", 1.0), tmp_path / "secret.png"
    secret.write_bytes(b"SECRET")
    for part in ("figures", "videos"):
        (run / part).mkdir(exist_ok=True)
    (run / "figures" / "link.png").symlink_to(secret)
    os.mkfifo(run / "videos" / "pipe.mp4")
    (run / "figures" / "](http:) <b>.png").write_bytes(b"\x89PNG")
    page = write_report([run], tmp_path / "r.html").read_text()
    text = (tmp_path / "r.md").read_text()
    assert base64.b64encode(b"SECRET").decode() not in page
    assert "run-" in text
    assert not re.search(r"(?<!\\)\]\(http:", text)
    assert "<b>" not in page + text
    (tmp_path / "verdict_rule.json").write_text('{"delta": 1}')
    assert "The default rule is used" in write_report([run], tmp_path / "r.html").read_text()


def test_runs_that_cannot_be_reported_are_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    good = make_run(tmp_path / "good", 1.0)
    bad = make_run(tmp_path / "bad", 1.0, seed=1)
    for value in ("NaN", "Infinity", "1e999", '"much"'):
        text = (good / "scores.json").read_text().replace("2.0", value)
        (bad / "scores.json").write_text(text)
        results, warnings = read_results([tmp_path])
        assert [result.folder.name for result in results] == ["good"]
        sentence = (
            r"bad is left out: .*bad/scores\.json (cannot be read|has no scores|has the|has a )"
        )
        assert any(re.match(sentence, x) for x in warnings)
        assert "bad is left out" in capsys.readouterr().err
    changes: tuple[dict[str, Any], ...] = ({"epsilon": None}, {"steps": "many"}, {"lengths": []})
    for change in changes:
        scores = json.loads((good / "scores.json").read_text()) | change
        (bad / "scores.json").write_text(json.dumps(scores))
        with pytest.raises(UsageError, match=r"bad/scores\.json h.*`reverie evaluate .*again"):
            read_results([bad])
    (bad / "scores.json").unlink()
    results, warnings = read_results([tmp_path])
    assert [result.folder.name for result in results] == ["good"]
    assert warnings == ["bad has no scores and is left out; run `reverie evaluate` on it."]
    assert "bad has no scores" in write_report([tmp_path], tmp_path / "r.html").read_text()
    with pytest.raises(UsageError, match=r"bad has no scores.*No other run is left"):
        read_results([bad])
    shutil.copytree(good, tmp_path / "copy")
    assert any(
        "is the same experiment with the same seed" in x for x in read_results([tmp_path])[1]
    )
    with pytest.raises(UsageError, match="holds no run"):
        read_results([good / "figures"])
    with pytest.raises(UsageError, match="nowhere holds no run"):
        read_results([tmp_path / "nowhere"])
    (good / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="holds no object"):
        read_results([good])


class Tags(HTMLParser):
    """The start tags of a page."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


EVIL = "<script>alert('x')</script> | \"a\" & $\\frac{"


def test_text_of_runs_is_escaped_and_the_page_is_self_contained(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 0, env_name=EVIL)
    run = make_run(tmp_path / "b", 0, env_name=EVIL, bonus=SIMHASH | {"bits": EVIL}, other=3)
    make_run(tmp_path / "c", 0, env_name=EVIL, bonus=SIMHASH)
    (run / "videos").mkdir()
    imageio.imwrite(run / "figures" / "plan.png", np.zeros((4, 4, 3), np.uint8))
    video = np.zeros((4, 16, 16, 3), np.uint8)
    imageio.imwrite(run / "videos" / "evaluation.mp4", video, plugin="pyav", codec="libx264", fps=5)
    path = write_report([tmp_path], tmp_path / "out" / "report.html")
    page, markdown = path.read_text(), path.with_suffix(".md").read_text()
    tags = Tags(page).tags
    assert {"script", "link", "iframe"}.isdisjoint(tag for tag, _ in tags)
    assert all((x["src"] or "").startswith("data:") for _, x in tags if "src" in x)
    hrefs = [x["href"] or "" for tag, x in tags if tag == "a"]
    assert all(href.startswith(("#", "data:")) for href in hrefs)
    ids = {x["id"] for _, x in tags if "id" in x}
    assert {href[1:] for href in hrefs if href.startswith("#")} <= ids
    assert not re.search(r"https?:", re.sub(r"base64,[^\"]*", "", page))
    assert {"img", "video", "table"} <= {tag for tag, _ in tags}
    assert "&lt;script&gt;" in page
    assert "<script" not in markdown
    files = path.with_name("report_files")
    for link in re.findall(r"\]\(report_files/([^)]*)\)", markdown):
        assert (files / link).stat().st_size > 0
    assert {x.suffix for x in files.iterdir()} == {".svg", ".png", ".mp4", ".csv", ".json"}


def test_scores_of_cut_off_episodes_are_marked(tmp_path: Path) -> None:
    for name in ("a", "b"):
        make_run(tmp_path / name, 5, seed=int(name == "b"))
    assert "2 whole episodes" in write_report([tmp_path], tmp_path / "r.html").read_text()
    path = tmp_path / "a" / "scores.json"
    scores = replace(read_scores(path), truncated=(True, False), max_steps=7)
    path.write_text(json.dumps(scores.to_json()))
    text = write_report([tmp_path], tmp_path / "r.html").read_text()
    assert "<td>5.00!, 5.00</td>" in text
    assert "2 episodes that" in text
    assert "(!: some were cut off after --max-steps)" in text


def test_raw_scores_are_every_episode(tmp_path: Path) -> None:
    make_run(tmp_path / "a", 5, other=9)
    rows = list(csv.DictReader(io.StringIO(raw_csv(compare(read_results([tmp_path])[0])))))
    assert [(row["protocol"], float(row["score"]), row["length"]) for row in rows] == [
        ("mfec", 4, "7"), ("mfec", 6, "8"), ("machado", 9, "3"),
    ]  # fmt: skip
    assert {row["frames"] for row in rows} == {"4000"}


def test_a_document_has_the_same_text_in_both_formats(tmp_path: Path) -> None:
    blocks: list[Block] = [
        Paragraph("a < b"),
        Table(["x|y", "z"], [["1_2_", Chip("helps")]], "a note"),
    ]
    write_markdown(tmp_path / "d.md", "T*", blocks)
    text = (tmp_path / "d.md").read_text()
    assert text.splitlines() == [
        "# T\\*", "", "a &lt; b", "", "| x\\|y | z |", "| --- | --- |",
        "| 1\\_2\\_ | **helps** |", "", "a note",
    ]  # fmt: skip
    page = to_html("T*", blocks)
    assert "a &lt; b" in page
    assert '<span class="chip helps">helps</span>' in page


def test_the_median_of_57_games_is_estimated_from_five(tmp_path: Path) -> None:
    for seed in range(3):
        for game in SUBSETS["Atari-5"]:
            human = next(x for x in np.logspace(0, 6, 400) if (human_normalized(game, x) or 0) > 1)
            make_run(tmp_path / f"{game}-{seed}", human + seed, seed=seed, env_name=game)
    page = write_report([tmp_path], tmp_path / "report.html").with_suffix(".md").read_text()
    for name in SUBSETS:
        assert re.search(rf"\| {name} \| [01]\.\d+ \([\d.]+ to [\d.]+\) \| 1\d% \|", page)


def test_weights_of_subsets_are_those_of_the_published_scores() -> None:
    """Weights that were fitted to the same scores outside the package."""
    assert np.round(fit_subset("Atari-5").weights, 2).tolist() == [0.38, 0.07, 0.31, 0.12, 0.08]
    for name in SUBSETS:
        subset = fit_subset(name)
        zero, human = (np.full((2, len(subset.games), 3), x) for x in (0.0, 1.0))
        assert subset.median([*zero.swapaxes(0, 1)]).tolist() == [0, 0]
        assert 0.7 < subset.median([*human.swapaxes(0, 1)])[0] < 1.3
        assert 0.05 < subset.error < 0.2


def test_published_scores_have_a_source() -> None:
    rows = published()
    assert all(row.source and row.protocol and row.frames for row in rows)
    assert len({(row.game, row.method, row.source) for row in rows}) == len(rows)
    mfec = {row.game: row.score for row in rows if row.method == "MFEC" and row.frames == "10M"}
    assert (mfec["ms_pacman"], mfec["qbert"]) == (3802.7, 12500.4)
    assert {row.game for row in published({"pong"})} == {"pong"}
    drq = {row.game: row for row in rows if row.method == "DrQ(eps)"}
    assert len(drq) == 26
    assert drq["pong"].score == pytest.approx(-9.06, abs=0.01)
    assert "100 seeds" in drq["pong"].source


def test_a_browser_renders_the_report(runs: Path, tmp_path: Path) -> None:
    """Headless Chromium renders the page at 1280 x 800."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("Chromium is not installed (`apt-get install chromium`)")
    page, shot = write_report([runs], tmp_path / "report.html"), tmp_path / "shot.png"
    command = [browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    command += [f"--user-data-dir={tmp_path / 'profile'}", "--window-size=1280,800"]
    command += ["--virtual-time-budget=2000"]
    subprocess.run(
        [*command, f"--screenshot={shot}", page.as_uri()],
        check=True, capture_output=True, timeout=120,
    )  # fmt: skip
    picture = imageio.imread(shot)
    assert picture.shape[:2] == (800, 1280)
    channels = np.unique(picture[..., :3].reshape(-1, 3), axis=0)
    assert len(channels) > 100, "text, chips and the beginning of a curve"
    assert (picture[..., :3] == (217, 242, 225)).all(-1).sum() > 500, "the color of the chip helps"


def test_scores_under_other_protocols_are_listed_for_each_presentation(tmp_path: Path) -> None:
    for stack in (1, 4):
        protocol = replace(PROTOCOLS["mfec"], stack=stack)
        env = ATARI | {"protocol": ATARI_PROTOCOL | asdict(protocol)}
        make_run(tmp_path / f"{stack}", 10 * stack, env=env, protocol=protocol.label, other=stack)
    page = write_report([tmp_path], tmp_path / "report.html").with_suffix(".md").read_text()
    assert "| env | variant | mfec | machado |" in page
    assert "| pong | protocol.stack 1 | 10.0 (1 seed) | 1.00 (1 seed) |" in page
    assert "| pong | protocol.stack 4 | 40.0 (1 seed) | 4.00 (1 seed) |" in page


def test_a_run_is_evaluated_under_two_protocols(tmp_path: Path) -> None:
    argv = ["--total-timesteps", "32", "--num-envs", "2", "--agent.capacity", "500"]
    argv += ["--device", "cpu", "--random-play-seconds", "0", "--quiet"]
    argv += ["--folder", str(tmp_path / "run")]
    assert cli.main(["train", "mfec", "--game", "ms_pacman", *argv]) == 0
    protocols = "mfec,machado,+eval-epsilon=0"
    argv = [str(tmp_path / "run"), "--protocols", protocols, "--episodes", "2"]
    assert cli.main(["evaluate", *argv, "--device", "cpu", "--threads", "1"]) == 0
    own = json.loads((tmp_path / "run/scores.json").read_text())
    other = json.loads((tmp_path / "run/scores-machado.json").read_text())
    assert (own["protocol"], own["epsilon"], own["steps"]) == ("mfec", 0.005, 32)
    assert other["protocol"] == "machado with full_actions False, stack 1"
    assert other["epsilon"] == 0.001
    other = json.loads((tmp_path / "run/scores-+eval-epsilon=0.json").read_text())
    assert (other["protocol"], other["epsilon"]) == ("mfec with eval_epsilon 0.0", 0.0)
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "The same final checkpoints under each protocol" in page
    assert "<th>machado with full_actions False, stack 1</th>" in page
    assert "<th>mfec with eval_epsilon 0.0</th>" in page
    assert "Pritzel et al. 2017" in page, "published scores of the game"
