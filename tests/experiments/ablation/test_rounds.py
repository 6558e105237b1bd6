"""Seeds are added while they can still decide, under a rule that is fixed before the first run."""

import re
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from fake_runs import FakeExecutor, finish

from reverie.envs.atari.games import human_normalized
from reverie.experiments.ablation import ablate as ablate_module
from reverie.experiments.ablation import design
from reverie.experiments.ablation.ablate_options import AblateOptions
from reverie.experiments.ablation.design import describe_design
from reverie.experiments.ablation.grid import make_grid
from reverie.experiments.ablation.grid_tasks import (
    make_tasks,
    of_first_seeds,
    seeds_together,
    tasks_of,
)
from reverie.experiments.ablation.rounds import Rounds
from reverie.experiments.ablation.saved_scores import whole_seeds
from reverie.experiments.cli import main as cli
from reverie.experiments.evaluation.run_evaluation import Evaluation
from reverie.experiments.reporting.comparison import compare
from reverie.experiments.reporting.run_results import read_results
from reverie.experiments.runs.files import read_json, write_json
from reverie.experiments.training.task import Task
from reverie.experiments.verdicts.verdict import ALL_ENVS
from reverie.experiments.verdicts.verdict_rule import Delta, VerdictRule

GRID = make_grid("dqn env:catch,deep-sea bonus:none,simhash,surprise agent.network:mlp".split())
Score = Callable[[Task], float | None]


def options(folder: Path, **settings: object) -> AblateOptions:
    kept = {"until": "decided", "max_seeds": 14, "evaluation": Evaluation(episodes=1)}
    return AblateOptions(folder=str(folder), **(kept | settings))  # type: ignore[arg-type]


def cell_name(task: Task) -> str:
    bonus = type(task.experiment.bonus).__name__.removesuffix("Config")
    return f"{task.experiment.env.env_name} {bonus}"


def score(task: Task) -> float:
    """SimHash helps in Catch, and surprise adds noise in DeepSea that nothing can be told from."""
    name = cell_name(task)
    rng = np.random.default_rng([1, task.experiment.seed, *name.encode()])
    if name == "catch SimHash":
        return 5 + 0.1 * rng.normal()
    spread = 2.0 if name == "deep-sea Surprise" else 0.1
    return 1 + spread * rng.normal()


def run(folder: Path, score: Score, **settings: object) -> tuple[list[Task], Counter[str]]:
    """Run a grid, and return the tasks that failed and the number of seeds of each cell."""
    chosen = options(folder, **settings)
    tasks, executor = make_tasks(GRID, chosen), FakeExecutor(score)
    rounds = Rounds(tasks, chosen.rule)
    for unfinished in rounds:
        assert [*executor.execute(unfinished)]
    return rounds.failed, Counter(cell_name(task) for task in tasks if task.scores)


def test_decided_variants_get_no_further_seeds_and_their_baseline_goes_on(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    failed, seeds = run(tmp_path, score)
    output = capsys.readouterr().out
    assert not failed
    assert seeds["catch SimHash"] == 4, "a large effect is told at once"
    assert seeds["deep-sea Surprise"] == seeds["deep-sea NoBonus"] == 14, "noise tells nothing"
    assert seeds["catch NoBonus"] == seeds["catch Surprise"] < 14, "nothing is left in Catch"
    assert seeds["deep-sea SimHash"] < 14
    assert "After 4 seeds, bonus simhash in catch: helps" in output
    assert "in deep-sea: no difference" in output
    assert "Verdicts by the evaluation score: 1 helps, 2 no difference, 1 cannot tell." in output


def test_seeds_are_added_until_all_envs_together_are_decided(tmp_path: Path) -> None:
    """It helps in one game and hurts in the other, by almost as much when human-normalized."""
    grid = make_grid(["ppo", "bonus:none,simhash", "--games", "pong,freeway"])
    effect = {"pong": 0.8, "freeway": -0.55}

    def human(task: Task) -> float:
        env, name = task.experiment.env.env_name, type(task.experiment.bonus).__name__
        rng = np.random.default_rng([task.experiment.seed, *env.encode(), *name.encode()])
        share = 1 + 0.2 * rng.normal() + effect[env] * (name == "SimHashConfig")
        low, high = human_normalized(env, 0.0), human_normalized(env, 1.0)
        assert low is not None
        assert high is not None
        return (share - low) / (high - low)

    chosen = options(tmp_path)
    tasks, executor = make_tasks(grid, chosen), FakeExecutor(human)
    for unfinished in Rounds(tasks, chosen.rule):
        assert [*executor.execute(unfinished)]
    results, _ = read_results([task.folder for task in tasks if task.scores])
    (comparison,) = compare(results, tasks[0].folder.name, chosen.rule)
    verdicts = {x.env_name: x for x in comparison.verdicts()}
    assert (verdicts["pong"].label, verdicts["freeway"].label) == ("helps", "hurts")
    together = verdicts[ALL_ENVS]
    assert together.decided
    assert together.pairs > max(verdicts["pong"].pairs, verdicts["freeway"].pairs)


def test_a_grid_that_ends_anywhere_continues_to_the_same_runs(tmp_path: Path) -> None:
    _, whole = run(tmp_path / "whole", score)
    budget = iter(range(1000))

    def interrupted(task: Task) -> float:
        if next(budget) % 17 == 16:
            raise KeyboardInterrupt
        return score(task)

    sessions = 0
    while True:
        sessions += 1
        try:
            _, seeds = run(tmp_path / "parts", interrupted)
            break
        except KeyboardInterrupt:
            pass
    assert sessions > 2
    assert seeds == whole
    names = [{x.name for x in (tmp_path / kind).iterdir()} for kind in ("whole", "parts")]
    assert names[0] == names[1]


def test_a_failed_cell_gets_no_further_seeds_and_is_retried(tmp_path: Path) -> None:
    def failing(task: Task) -> float | None:
        failed = cell_name(task) == "deep-sea Surprise" and task.experiment.seed == 5
        return None if failed else score(task)

    _, whole = run(tmp_path / "whole", score)
    failed, seeds = run(tmp_path / "run", failing)
    assert [(cell_name(x), x.experiment.seed) for x in failed] == [("deep-sea Surprise", 5)]
    assert seeds["deep-sea Surprise"] == 5
    assert seeds["catch Surprise"] == whole["catch Surprise"]
    failed, seeds = run(tmp_path / "run", score)
    assert not failed
    assert seeds == whole


def test_variants_without_a_baseline_get_no_further_seeds(tmp_path: Path) -> None:
    def failing(task: Task) -> float | None:
        return None if cell_name(task) == "deep-sea NoBonus" else score(task)

    failed, seeds = run(tmp_path, failing)
    assert {cell_name(x) for x in failed} == {"deep-sea NoBonus"}
    assert seeds["deep-sea Surprise"] == seeds["deep-sea SimHash"] == 4
    assert seeds["catch Surprise"] > 4


def test_a_number_of_seeds_is_analyzed_once(tmp_path: Path) -> None:
    _, seeds = run(tmp_path, score, until="seeds", seeds=5)
    assert {*seeds.values()} == {5}
    assert options(tmp_path, until="seeds", seeds=5).rule == VerdictRule(analyses=(5,))


def test_a_grid_is_repeated_with_other_seeds(tmp_path: Path) -> None:
    _, seeds = run(tmp_path, score, until="seeds", seeds=3, first_seed=100)
    assert {*seeds.values()} == {3}
    tasks = make_tasks(GRID, AblateOptions(seeds=3, first_seed=100))
    assert {task.experiment.seed for task in tasks} == {100, 101, 102}
    assert {task.experiment.seed for task in of_first_seeds(tasks, 2)} == {100, 101}


def test_seeds_of_one_cell_train_together_in_each_round() -> None:
    tasks = make_tasks(GRID, AblateOptions(seeds=5))
    work = seeds_together(tasks, 2)
    assert sorted(len(tasks_of(each)) for each in work) == [1] * 6 + [2] * 12
    assert [*map(cell_name, tasks)] == [*map(cell_name, tasks[:6])] * 5
    for each in work:
        assert len({cell_name(task) for task in tasks_of(each)}) == 1
    assert {task for each in work for task in tasks_of(each)} == {*tasks}
    assert {task.options.seeds_together for task in tasks} == {1}


ARGS = "ablate dqn env:catch,deep-sea bonus:none,simhash,surprise agent.network:mlp --no-video "
ARGS += "--episodes 1"


@pytest.fixture
def ablate(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[str], tuple[int, str]]:
    """Return the status and the output of a grid of fake runs with more arguments."""
    monkeypatch.setattr(ablate_module, "make_executor", lambda options: FakeExecutor(score))

    def call(args: str) -> tuple[int, str]:
        try:
            status = cli.main([*ARGS.split(), "--folder", str(tmp_path / "grid"), *args.split()])
        except SystemExit as exit:  # of a flag that cannot be parsed
            status = int(exit.code or 0)
        printed = capsys.readouterr()
        return status, " ".join((printed.out + printed.err).split())

    return call


def test_the_rule_of_a_grid_stays_that_of_its_first_command(
    ablate: Callable[[str], tuple[int, str]],
) -> None:
    status, output = ablate("--seeds 4")
    assert status == 0
    rule = "score evaluation, delta 25% of the baseline's mean"
    assert output.index(rule) < output.index("[1/24]"), "the rule is printed before any run"
    assert ablate("--seeds 4")[0] == 0
    for other in ("--seeds 6", "--seeds 4 --delta 0.5", "--until decided --max-seeds 4 --delta 10%",
                  "--seeds 4 --score training-end"):  # fmt: skip
        status, output = ablate(other)
        assert status == 2
        assert "choose another --folder" in output
        assert "[1/" not in output


def test_failed_cells_are_named_beside_the_report_of_the_others(
    ablate: Callable[[str], tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(failed: str) -> None:
        executor = FakeExecutor(lambda x: None if failed in cell_name(x) else score(x))
        monkeypatch.setattr(ablate_module, "make_executor", lambda options: executor)

    fail("")  # all of them
    status, output = ablate("--seeds 3")
    assert status == 1
    assert "There is no report, because no run of the baseline is finished." in output
    fail("deep-sea Surprise")
    status, output = ablate("--seeds 3")
    assert status == 1
    text = " ".join(output.split())
    assert "3 runs failed, of env:deep-sea bonus:surprise agent.network:mlp in deep-sea;" in text
    assert (tmp_path / "grid" / "report.md").exists()
    fail("none of them")
    status, output = ablate("--seeds 3")
    assert status == 0
    assert "[3/3]" in output


def test_parts_of_a_grid_on_two_machines_are_saved_as_the_whole(
    ablate: Callable[[str], tuple[int, str]], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ablate_module, "RESULTS", tmp_path)
    saved = ablate_module.ablations_file("bonuses")
    saved.parent.mkdir()
    assert ablate("--seeds 3 --save bonuses")[0] == 0
    whole = read_json(saved)
    assert len(whole["runs"]) == 18
    saved.unlink()
    command = whole["command"]
    for part, made in (("2", 0), ("0-1", 3)):
        shutil.rmtree(tmp_path / "grid")
        assert ablate(f"--seeds 3 --save bonuses --only-seeds {part}")[0] == 0
        assert whole_seeds(saved, command, 6) >= {*range(made)}
    assert read_json(saved) == whole
    assert whole_seeds(saved, f"{command} --delta 50%", 6) == set()
    status, output = ablate("--seeds 4 --save bonuses --only-seeds 3")
    assert status == 2
    assert "cannot be added; choose another --save" in output
    other = whole | {"runs": [run | {"variant": "of another version"} for run in whole["runs"]]}
    write_json(saved, other)
    status, output = ablate("--seeds 3 --save bonuses --only-seeds 2")
    assert status == 2
    assert "has other variants than these runs" in output
    assert read_json(saved) == other


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ("--until decided --seeds 4", "--seeds has no meaning with --until decided"),
        ("--max-seeds 4", "--max-seeds has no meaning with --until seeds"),
        ("--delta 25percent", "--delta is '25percent'"),
        ("--delta 0", "--delta is 0"),
        ("--only-seeds 2,3", "--only-seeds is '2,3'"),
        ("--only-seeds 3-1", "--only-seeds is '3-1'"),
        ("--only-seeds 2-3", "the grid has the seeds 0-2"),
        ("--until decided --only-seeds 2", "chooses the seeds by the scores"),
        ("--seeds-together 2 --precision bf16", "choose --precision fp32"),
        ("--dry-run --steps-per-second 9 --pilot nowhere", "nowhere holds no run"),
    ],
)
def test_what_a_grid_refuses(
    ablate: Callable[[str], tuple[int, str]], args: str, message: str, tmp_path: Path
) -> None:
    status, output = ablate(args)
    assert status == 2
    assert message in output
    assert not (tmp_path / "grid").exists()


def test_agents_that_cannot_train_together_are_refused_before_any_run(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = "ablate mfec env:catch agent:mfec,mfec+gamma=0.9 --seeds-together 2"
    assert cli.main([*args.split(), "--folder", str(tmp_path / "grid")]) == 2
    assert "Several seeds of MFEC cannot learn together" in capsys.readouterr().err
    assert not (tmp_path / "grid").exists()


def test_one_choice_in_every_env_is_nothing_to_decide(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    args = ["ablate", "dqn", "env:catch,deep-sea", "--until", "decided", "--folder", str(tmp_path)]
    assert cli.main(args) == 2
    assert "--until decided needs choices to decide between" in capsys.readouterr().err


def test_a_dry_run_says_what_the_grid_can_tell_from_a_pilot(
    ablate: Callable[[str], tuple[int, str]], tmp_path: Path
) -> None:
    dry = "--dry-run --steps-per-second 500 --until decided --max-seeds 14"
    status, output = ablate(dry)
    assert status == 0, output
    assert "with 2 at a time" in output or "at a time" in output
    assert "for 4 seeds of every cell" in output
    command = re.search(r"reverie (ablate .* --folder runs/pilot)", output)
    assert command
    argv = command[1].split()
    assert argv[:5] == ["ablate", "dqn", "env:catch,deep-sea", "bonus:none", "agent.network:mlp"]
    assert "--until" not in argv
    path = tmp_path / "grid.yaml"
    path.write_text("until: decided\nmax_seeds: 14\n")
    status, output = ablate(f"{dry.partition(' --until')[0]} --config {path}")
    assert status == 0, output
    command = re.search(r"reverie (ablate .* --folder runs/pilot)", output)
    assert command
    assert cli.main([*command[1].split(), "--dry-run", "--steps-per-second", "500"]) == 0
    (tmp_path / "grid").mkdir(exist_ok=True)
    pilot = make_tasks(
        make_grid("dqn env:catch,deep-sea bonus:none agent.network:mlp".split()),
        AblateOptions(seeds=5, folder=str(tmp_path / "pilot"), evaluation=Evaluation(episodes=1)),
    )
    for task in pilot:
        finish(task, score(task))
    status, output = ablate(f"{dry} --pilot {tmp_path / 'pilot'}")
    assert status == 0
    assert output.count("5 runs of the baseline") == 2
    assert "14 seeds tell a difference of" in output
    assert "is within reach" in output
    assert ablate(f"{dry} --pilot {tmp_path / 'pilot'} --agent.gamma 0.5")[0] == 2


def power_of(effect: float, deviation: float, seeds: int, level: float) -> float:
    """The share of simulated comparisons whose paired t test finds an effect."""
    from scipy.stats import ttest_rel

    rng = np.random.default_rng(1)
    baseline = rng.normal(size=(4000, seeds)) * deviation
    variant = rng.normal(size=(4000, seeds)) * deviation + effect
    return float((ttest_rel(variant, baseline, axis=1).pvalue < level).mean())


def test_the_smallest_effect_has_the_power_that_is_promised() -> None:
    scores = [1.0, 1.2, 0.8, 1.1, 0.9]
    for comparisons in (1, 4):
        text = describe_design(scores, VerdictRule(analyses=(12,)), comparisons)
        found = re.search(r"12 seeds tell a difference of ([\d.]+)", text)
        assert found
        power = power_of(float(found[1]), float(np.std(scores, ddof=1)), 12, 0.05 / comparisons)
        assert power == pytest.approx(0.8, abs=0.025)


@pytest.mark.parametrize(("games", "comparisons"), [("pong", 2), ("pong,qbert", 6)])
def test_a_design_has_as_many_comparisons_as_the_table(
    games: str, comparisons: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid, counts = make_grid("dqn bonus:none,simhash,surprise".split(), games), list[int]()
    chosen = options(tmp_path, until="seeds", seeds=3)
    tasks = make_tasks(grid, chosen)
    for task in tasks:
        finish(task, score(task))

    def described(scores: object, rule: object, comparisons: int) -> str:
        counts.append(comparisons)
        return ""

    monkeypatch.setattr(design, "describe_design", described)
    design.print_design(grid, tasks, chosen)
    (comparison,) = compare(read_results([tmp_path])[0])
    assert {*counts} == {comparisons} == {len(comparison.verdicts())}


@pytest.mark.parametrize(
    ("scores", "delta", "text"),
    [
        ([1.0, 1.0, 1.0], "25%", "equal scores"),
        ([1.0, 2.0, float("nan")], "25%", "a score is not finite"),
        ([-1.0, 0.0, 1.0], "25%", "give --delta NUMBER"),
        ([-1.0, 0.0, 1.0], "4", "is within reach"),
        ([1.0, 2.0, 3.0], "1%", "is out of reach: it takes about"),
    ],
)
def test_what_a_pilot_cannot_say_is_said(scores: list[float], delta: str, text: str) -> None:
    rule = VerdictRule(delta=Delta.parse(delta), analyses=(12,))
    assert text in describe_design(scores, rule, 1)
    few = describe_design([1.0, 2.0, 3.0], VerdictRule(analyses=(2,)), 1)
    assert few.endswith("Fewer than 3 seeds tell no difference of means.")


def test_games_of_other_suites_are_cells_too() -> None:
    pytest.importorskip("minatar", reason="minatar is not installed; `pip install minatar`")
    grid = make_grid("dqn-minatar bonus:none,simhash".split(), "breakout,asterix")
    names = [cell.env.env_name for cell in grid.cells]
    assert names == ["minatar-breakout"] * 2 + ["minatar-asterix"] * 2


def test_settings_of_an_env_are_envs_of_their_own(tmp_path: Path) -> None:
    grid = make_grid(
        "dqn env:deep-sea+size=10,deep-sea+size=20,catch bonus:none,simhash "
        "agent.network:mlp".split()
    )
    tasks = make_tasks(grid, options(tmp_path, until="seeds", seeds=3))
    for task in tasks:
        finish(task, 1.0)
    (comparison,) = compare(read_results([tmp_path])[0])
    assert comparison.env_names == ["catch", "deep-sea (size 10)", "deep-sea (size 20)"]
    assert len({task.folder for task in tasks}) == 18
    assert [x.pairs for x in comparison.verdicts()] == [3, 3, 3]
