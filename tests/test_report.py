"""Reports by hand: what may stand side by side, what a verdict rests on, and what a reader sees."""

import csv
import io
import json
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

from envs.errors import UsageError
from envs.protocol import PROTOCOLS
from experiments import cli
from experiments.document import Chip, Paragraph, Table, to_html, write_markdown
from experiments.findings import compare, raw_csv
from experiments.published import published
from experiments.records import on_grid, read
from experiments.report import write_report
from experiments.variants import flatten, part_name

DQN = {"class": "a:DQNConfig"}
NONE = {"class": "agents.bonus:NoBonusConfig"}
SIMHASH = {"class": "agents.simhash:SimHashConfig", "bits": 256, "scale": 0.01}
ATARI = {"class": "envs.atari:AtariConfig", "game": "pong", "protocol": {"name": "mfec"}}


def made(
    folder: Path,
    score: float,
    *,
    seed: int = 0,
    bonus: dict[str, Any] = NONE,
    world: str = "pong",
    protocol: str = "mfec",
    steps: int = 1000,
    env: dict[str, Any] = ATARI,
    other: float | None = None,
    agent: dict[str, Any] = DQN,
) -> Path:
    """A finished run's folder: two evaluation episodes around its score, 300 of training."""
    (folder / "figures").mkdir(parents=True)
    config = {"class": "experiments.config:Experiment", "agent": agent}
    config |= {"bonus": bonus, "env": env | {"game": world}, "seed": seed, "steps": steps}
    (folder / "config.json").write_text(json.dumps(config))
    scores = {"world": world, "protocol": protocol, "epsilon": 0.005, "mean": score}
    scores |= {"scores": [score - 1, score + 1], "lengths": [7, 8], "steps": steps}
    (folder / "scores.json").write_text(json.dumps(scores))
    if other is not None:
        under = scores | {"protocol": "machado", "mean": other, "scores": [other]}
        (folder / "scores-machado.json").write_text(json.dumps(under | {"lengths": [3]}))
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
        for world, gain in (("pong", 10.0), ("qbert", (-1) ** seed * 100.0)):
            for name, bonus, more in (("none", NONE, 0.0), ("hash", SIMHASH, gain)):
                made(
                    tmp_path / f"runs/{name}-{world}-{seed}", 5 + seed / 10 + more,
                    seed=seed, bonus=bonus, world=world,
                )  # fmt: skip
    return tmp_path / "runs"


def test_verdicts_by_hand(runs: Path) -> None:
    (found,) = compare(read([runs])[0])
    assert list(found.labels.values()) == ["bonus none", "bonus simhash"]
    assert found.world_names == ["pong", "qbert"]
    assert (found.steps, found.frames, found.protocol) == (1000, 4000, "mfec")
    everywhere, pong, qbert = found.verdicts()
    assert (pong.world, pong.word, pong.pairs, pong.unit) == ("pong", "helps", 3, "points")
    assert pong.difference.estimate == pytest.approx(10)
    assert (pong.improvement.estimate, pong.improvement.low) == (1, 1)
    # Differences of 100, -100, 100: mean 33.3, s = 115.5, t(2) = 4.303.
    assert (qbert.word, qbert.pairs) == ("cannot tell", 3)
    assert qbert.difference.estimate == pytest.approx(100 / 3)
    assert qbert.difference.high == pytest.approx(100 / 3 + 4.302653 * 115.470054 / 3**0.5)
    assert qbert.improvement.estimate == pytest.approx(2 / 3)
    assert qbert.improvement.low < 0.5 < qbert.improvement.high
    # Over both, a point is worth 1 / (human - random) of its game.
    expected = (10 / (14.6 + 20.7) + 100 / 3 / (13455 - 163.9)) / 2
    assert (everywhere.world, everywhere.unit) == ("all worlds", "human-normalised")
    assert everywhere.difference.estimate == pytest.approx(expected)
    assert (everywhere.word, everywhere.pairs) == ("helps", 6)


def test_each_part_of_a_grid_is_judged_whatever_the_others_are(tmp_path: Path) -> None:
    """A bonus worth 10 alone and 14 with another gamma, which is worth 1 alone and 5 with it."""
    points = {(0, 0): 0.0, (1, 0): 10.0, (0, 1): 1.0, (1, 1): 15.0}
    for (bonus, gamma), score in points.items():
        for seed in range(2):
            agent = {"class": "a:DQNConfig", "gamma": 0.9 + 0.09 * gamma}
            folder = tmp_path / "runs" / f"{bonus}{gamma}{seed}"
            made(folder, score, seed=seed, bonus=SIMHASH if bonus else NONE, agent=agent)
    (found,) = compare(read([tmp_path / "runs"])[0], "000")
    assert len(found.verdicts()) == 3
    gamma, bonus = found.part_verdicts()
    assert (gamma.variant, bonus.variant) == ("agent.gamma 0.99", "bonus simhash")
    assert (gamma.pairs, bonus.pairs) == (4, 4)
    assert (gamma.difference.estimate, bonus.difference.estimate) == (3, 12)
    # Differences of 10, 10, 14, 14: s = 2.309, t(3) = 3.182; of gamma 1, 1, 5, 5.
    assert bonus.difference.low == pytest.approx(12 - 3.182446 * 2.309401 / 2)
    assert (gamma.word, bonus.word) == ("cannot tell", "helps")
    page = write_report([tmp_path / "runs"], tmp_path / "report.html", "000").read_text()
    assert "the choices of all other parts" in page


def test_runs_of_one_name_in_two_folders_are_all_there(tmp_path: Path) -> None:
    for name, bonus in (("a", NONE), ("b", SIMHASH)):
        run = made(tmp_path / name / "s0", 1, bonus=bonus)
        (run / "figures").mkdir(exist_ok=True)
        imageio.imwrite(run / "figures" / "plan.png", np.zeros((4, 4, 3), np.uint8))
    write_report([tmp_path], tmp_path / "out" / "report.html")
    written = {path.name for path in (tmp_path / "out").rglob("*") if path.is_file()}
    assert {"a-s0-plan.png", "b-s0-plan.png"} <= written
    (configs,) = (tmp_path / "out").rglob("configs*.json")
    assert set(json.loads(configs.read_text())) == {"a/s0", "b/s0"}


def test_scores_of_other_checkpoints_are_told_apart(tmp_path: Path) -> None:
    """One stopped before its end, one trained on since, one scored elsewhere long before."""
    short = made(tmp_path / "short", 1, steps=900)
    config = json.loads((short / "config.json").read_text()) | {"steps": 1000}
    (short / "config.json").write_text(json.dumps(config))
    older = made(tmp_path / "older", 1, seed=1, other=7)
    text = (older / "scores-machado.json").read_text().replace('"steps": 1000', '"steps": 300')
    (older / "scores-machado.json").write_text(text)
    with open(older / "episodes.jsonl", "a") as file:
        file.write('{"step": 1000, "score": NaN}\n{"step": 10')
    (older / "checkpoints").mkdir()
    (older / "checkpoints" / f"{2000:012d}.pt").touch()
    records, remarks = read([tmp_path])
    assert [record.others for record in records] == [[], []]
    assert remarks == [
        "older has been trained to step 2,000 since its scores of step 1,000; "
        "`reverie evaluate` makes newer ones.",
        "scores-machado.json of older is of step 300, not of 1,000, and is left out.",
        "older/episodes.jsonl has 2 damaged lines; its curve lacks them.",
        "short was evaluated at step 900 of its 1,000.",
    ]
    (tmp_path / "fit").mkdir()
    (tmp_path / "fit" / "config.json").write_text(json.dumps({"data": ["d"], "steps": 9}))
    assert "fit is a pretraining, which has no scores, and is left out." in read([tmp_path])[1]


def test_the_baseline_is_the_simplest_or_the_named(runs: Path) -> None:
    records, _ = read([runs])
    (found,) = compare(records, "hash-pong-0")
    assert list(found.labels.values()) == ["bonus simhash", "bonus none"]
    assert found.verdicts()[1].word == "hurts"
    with pytest.raises(UsageError, match="No run is called nobody"):
        compare(records, "nobody")


def test_one_seed_tells_nothing(tmp_path: Path) -> None:
    made(tmp_path / "a", 0)
    made(tmp_path / "b", 1000, bonus=SIMHASH)
    (verdict,) = compare(read([tmp_path])[0])[0].verdicts()
    assert (verdict.word, verdict.pairs) == ("cannot tell", 1)
    assert "(one seed)" in write_report([tmp_path], tmp_path / "report.html").read_text()


def test_scores_of_agents_that_explored_are_never_mixed_with_others(tmp_path: Path) -> None:
    """Each kind is reported where it is asked for, and the other stands beside it by name."""
    for name, bonus, drawn in (("a", NONE, 90.0), ("b", SIMHASH, 50.0)):
        folder = made(tmp_path / name, 20, bonus=bonus)
        scores = json.loads((folder / "scores.json").read_text())
        scores |= {"mean": drawn, "scores": [drawn], "lengths": [7], "explore": True}
        (folder / "scores-exploring.json").write_text(json.dumps(scores))
    for explore, expected in ((False, 0.0), (True, -40.0)):
        (found,) = compare(read([tmp_path], explore=explore)[0])
        assert found.protocol == "mfec" + ", as in training" * explore
        assert found.verdicts()[0].difference.estimate == expected
        write_report([tmp_path], tmp_path / "report.html", explore=explore)
        page = (tmp_path / "report.md").read_text()
        beside = ["mfec", "mfec, as in training"][:: -1 if explore else 1]
        assert f"| world | variant | {' | '.join(beside)} |" in page
    (tmp_path / "b/scores-exploring.json").unlink()
    records, remarks = read([tmp_path], explore=True)
    assert [record.score for record in records] == [90]
    assert "`reverie evaluate --explore` makes them" in remarks[0]


@pytest.mark.parametrize("change", [{"steps": 2000}, {"protocol": "machado"}])
def test_protocols_and_lengths_are_kept_apart_and_that_is_said(
    change: dict[str, Any], tmp_path: Path
) -> None:
    made(tmp_path / "a", 0)
    made(tmp_path / "b", 1, bonus=SIMHASH, **change)
    assert len(compare(read([tmp_path])[0])) == 2
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "These runs differ in protocol or length and are kept apart" in page
    assert "Verdict (1 of 2)" in page
    assert "chip" not in page.partition("<main>")[2], "nothing is judged across them"


def test_what_an_agent_is_shown_makes_variants_under_the_same_rules(tmp_path: Path) -> None:
    """Four frames in the key against one, or life-loss, can be judged; stickiness cannot."""
    mfec = PROTOCOLS["mfec"]
    four = replace(mfec, stack=4)
    kinds = {"one": mfec, "four": four, "lives": replace(four, life_loss=True)}
    kinds |= {"sticky": replace(four, sticky=0.25)}
    for name, protocol in kinds.items():
        env = ATARI | {"protocol": {"class": "envs.protocol:AtariProtocol"} | asdict(protocol)}
        for seed in range(3):
            made(
                tmp_path / f"{name}{seed}", 9 * (name == "four") + seed / 10,
                seed=seed, env=env, protocol=protocol.label,
            )  # fmt: skip
    shown, sticky = compare(read([tmp_path])[0], "one0")
    assert (shown.protocol, sticky.protocol) == ("mfec", "mfec with sticky 0.25, stack 4")
    assert [(v.variant, v.word, v.pairs) for v in shown.verdicts()] == [
        ("protocol.life_loss False, protocol.stack 4", "helps", 3),
        ("protocol.life_loss True, protocol.stack 4", "cannot tell", 3),
    ]
    page = write_report([tmp_path], tmp_path / "report.html").with_suffix(".md").read_text()
    for protocol in kinds.values():
        assert f"| {protocol.label.replace('_', chr(92) + '_')}, epsilon 0.005 |" in page
    assert "| protocol.stack | 4 | 4 | 1 |" in page, "what differs stands in the table of configs"
    same, *none = compare(read([*tmp_path.glob("four*")])[0])
    assert (same.protocol, none) == ("mfec with stack 4", [])


def test_a_run_too_short_for_an_episode_has_no_empty_curve(tmp_path: Path) -> None:
    (made(tmp_path / "run", 1.0) / "episodes.jsonl").write_text("")
    page = write_report([tmp_path], tmp_path / "report.html").read_text()
    assert "No episode of training ended." in page
    assert "<figcaption>pong" not in page


def test_worlds_of_one_title_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    env = {"class": "envs.deep_sea:DeepSeaConfig", "size": 10}
    made(tmp_path / "a", 0, world="deep-sea", env=env)
    made(tmp_path / "b", 0, world="deep-sea", env=env | {"size": 14})
    found = compare(read([tmp_path])[0])[0]
    assert found.world_names == ["deep-sea (size 10)", "deep-sea (size 14)"]


def test_variants_are_named_by_what_sets_them_apart(tmp_path: Path) -> None:
    made(tmp_path / "a", 0)
    made(tmp_path / "b", 0, bonus=SIMHASH)
    made(tmp_path / "c", 0, bonus=SIMHASH | {"scale": 0.3})
    (found,) = compare(read([tmp_path])[0])
    assert list(found.labels.values()) == [
        "bonus none",
        "bonus simhash, bonus.scale 0.01",
        "bonus simhash, bonus.scale 0.3",
    ]
    assert part_name("agents.simhash:SimHashConfig") == "simhash"
    assert part_name("elsewhere:OwnConfig") == "Own"
    assert flatten({"bonus": SIMHASH})["bonus.bits"] == 256


def test_curves_and_what_training_showed(tmp_path: Path) -> None:
    """Training scores go 1, 2, 0, ...: any 99 sum to 99, and 100 of them to 99 + 0, 1 or 2."""
    made(tmp_path / "a", 5, steps=300)
    ((record,), _) = read([tmp_path])
    steps, means = record.curve
    assert means[:4].tolist() == [1, 1.5, 1, 1]
    assert steps[0] == 1
    assert record.last_of_training == pytest.approx(means[-1]) == pytest.approx(0.99)
    assert record.best_of_training == (pytest.approx(1.01), 101)
    grid = on_grid([record], np.array([0.0, 1.0, 2.5, 300.0]))
    np.testing.assert_allclose(grid, [[np.nan, 1, 1.5, 0.99]])
    record.episodes[:] = record.episodes[:99]
    assert np.isnan(record.last_of_training)
    assert np.isnan(record.best_of_training[0])


def test_what_cannot_be_reported_gets_a_sentence(tmp_path: Path) -> None:
    good = made(tmp_path / "good", 1.0)
    bad = made(tmp_path / "bad", 1.0, seed=1)
    for value in ("NaN", "Infinity", '"much"'):
        text = (good / "scores.json").read_text().replace("2.0", value)
        (bad / "scores.json").write_text(text)
        with pytest.raises(UsageError, match=r"bad/scores\.json has the score .*no number"):
            read([tmp_path])
    for name, value in (("epsilon", None), ("steps", "many"), ("lengths", []), ("mean", 7)):
        scores = json.loads((good / "scores.json").read_text()) | {name: value}
        (bad / "scores.json").write_text(json.dumps(scores))
        with pytest.raises(UsageError, match=r"bad/scores\.json h.*`reverie evaluate .*anew"):
            read([tmp_path])
    (bad / "scores.json").unlink()
    records, remarks = read([tmp_path])
    assert [record.folder.name for record in records] == ["good"]
    assert remarks == ["bad has no scores and is left out; `reverie evaluate` makes them."]
    assert "bad has no scores" in write_report([tmp_path], tmp_path / "r.html").read_text()
    with pytest.raises(UsageError, match=r"bad has no scores.*No other run is left"):
        read([bad])
    shutil.copytree(good, tmp_path / "twin")
    with pytest.raises(UsageError, match="the same experiment with the same seed"):
        read([tmp_path])
    with pytest.raises(UsageError, match="holds no run"):
        read([good / "figures"])
    with pytest.raises(UsageError, match="There is no folder"):
        read([tmp_path / "nowhere"])
    (good / "config.json").write_text("[]")
    with pytest.raises(UsageError, match="holds no object"):
        read([good])


class Tags(HTMLParser):
    """What a page is made of."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))


EVIL = "<script>alert('x')</script> | \"a\" & $\\frac{"


def test_whatever_a_run_holds_is_escaped_and_nothing_is_fetched(tmp_path: Path) -> None:
    made(tmp_path / "a", 0, world=EVIL)
    run = made(tmp_path / "b", 0, world=EVIL, bonus=SIMHASH | {"bits": EVIL}, other=3)
    made(tmp_path / "c", 0, world=EVIL, bonus=SIMHASH)
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


def test_raw_scores_are_every_episode(tmp_path: Path) -> None:
    made(tmp_path / "a", 5, other=9)
    rows = list(csv.DictReader(io.StringIO(raw_csv(compare(read([tmp_path])[0])))))
    assert [(row["protocol"], float(row["score"]), row["length"]) for row in rows] == [
        ("mfec", 4, "7"), ("mfec", 6, "8"), ("machado", 9, "3"),
    ]  # fmt: skip
    assert {row["frames"] for row in rows} == {"4000"}


def test_a_document_is_the_same_in_both_forms(tmp_path: Path) -> None:
    blocks = [Paragraph("a < b"), Table(["x|y", "z"], [["1_2_", Chip("helps")]], "noted")]
    write_markdown(tmp_path / "d.md", "T*", blocks)
    text = (tmp_path / "d.md").read_text()
    assert text.splitlines() == [
        "# T\\*", "", "a &lt; b", "", "| x\\|y | z |", "| --- | --- |",
        "| 1\\_2\\_ | **helps** |", "", "noted",
    ]  # fmt: skip
    page = to_html("T*", blocks)
    assert "a &lt; b" in page
    assert '<span class="chip helps">helps</span>' in page


def test_published_scores_say_where_they_stand() -> None:
    rows = published()
    assert all(row.source and row.protocol and row.frames for row in rows)
    assert len({(row.game, row.method, row.source) for row in rows}) == len(rows)
    mfec = {row.game: row.score for row in rows if row.method == "MFEC" and row.frames == "10M"}
    assert (mfec["ms_pacman"], mfec["qbert"]) == (3802.7, 12500.4)
    assert {row.game for row in published({"pong"})} == {"pong"}


def test_a_browser_shows_the_report(runs: Path, tmp_path: Path) -> None:
    """Headless Chromium opens the page at 1280 x 800 and paints it."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("no Chromium is installed; `apt-get install chromium` brings it")
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
    colours = np.unique(picture[..., :3].reshape(-1, 3), axis=0)
    assert len(colours) > 100, "text, chips and the beginning of a curve"
    assert (picture[..., :3] == (217, 242, 225)).all(-1).sum() > 500, "the green of what helps"


def test_own_scores_stand_beside_others_whatever_agents_are_shown(tmp_path: Path) -> None:
    for stack in (1, 4):
        protocol = replace(PROTOCOLS["mfec"], stack=stack)
        env = ATARI | {"protocol": {"class": "envs.protocol:AtariProtocol"} | asdict(protocol)}
        made(tmp_path / f"{stack}", 10 * stack, env=env, protocol=protocol.label, other=stack)
    page = write_report([tmp_path], tmp_path / "report.html").with_suffix(".md").read_text()
    assert "| world | variant | mfec | machado |" in page
    assert "| pong | protocol.stack 1 | 10.0 | 1.00 |" in page
    assert "| pong | protocol.stack 4 | 40.0 | 4.00 |" in page


def test_a_run_under_two_protocols_stands_side_by_side(tmp_path: Path) -> None:
    words = ["--steps", "32", "--streams", "2", "--agent.capacity", "500", "--device", "cpu"]
    words += ["--bare-seconds", "0", "--quiet", "--folder", str(tmp_path / "run")]
    assert cli.main(["train", "episodic", "--game", "ms_pacman", *words]) == 0
    words = [str(tmp_path / "run"), "--protocols", "mfec,machado", "--episodes", "2"]
    assert cli.main(["evaluate", *words, "--device", "cpu", "--threads", "1"]) == 0
    own = json.loads((tmp_path / "run/scores.json").read_text())
    other = json.loads((tmp_path / "run/scores-machado.json").read_text())
    assert (own["protocol"], own["epsilon"], own["steps"]) == ("mfec", 0.005, 32)
    assert other["protocol"] == "machado with full_actions False, stack 1"
    assert other["epsilon"] == 0.001
    assert cli.main(["report", str(tmp_path), "--out", str(tmp_path / "r.html")]) == 0
    page = (tmp_path / "r.html").read_text()
    assert "The same final checkpoints under each protocol" in page
    assert "<th>machado with full_actions False, stack 1</th>" in page
    assert "Pritzel et al. 2017" in page, "published scores of the game"
