"""The grids behind the verdicts: each has a baseline, models and a privileged reference."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from reverie.envs.errors import UsageError
from reverie.experiments.ablation import ablate as ablation_module
from reverie.experiments.ablation.ablate_options import AblateOptions
from reverie.experiments.ablation.evidence_grids import EVIDENCE
from reverie.experiments.ablation.grid import make_grid
from reverie.experiments.cli import ablate, reproduce
from reverie.experiments.config.arguments import parse_known_flags
from reverie.experiments.config.roles import references


@pytest.mark.parametrize("name", EVIDENCE)
def test_a_grid_compares_models_with_their_absence_and_with_the_true_state(name: str) -> None:
    options, argv = parse_known_flags(AblateOptions, [*EVIDENCE[name].argv], "reverie ablate")
    grid = make_grid(argv, options.games)
    baseline, *others = ([*references(cell)] for cell in grid.cells)
    assert not baseline
    referenced = EVIDENCE[name].referenced
    assert any(others) == referenced, "a reference"
    assert others.count([]) >= 2, "models"
    assert options.rule.analyses[-1] >= (10 if referenced else 5)
    assert EVIDENCE[name].cost.startswith(f"{options.seeds * len(grid.cells)} x ")


def test_all_evidence_is_made_by_one_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[list[str]] = []

    def run(argv: list[str]) -> int:
        made.append(argv)
        return 0

    monkeypatch.setattr(ablate, "run", run)
    monkeypatch.setattr(ablation_module, "RESULTS", tmp_path)
    assert reproduce.run(["evidence", "--folder", "runs/x"]) == 0
    for (name, evidence), argv in zip(EVIDENCE.items(), made, strict=True):
        assert argv == [*evidence.argv, "--folder", f"runs/x/{name}", "--save", name]


def test_seeds_are_added_only_to_results_that_have_some() -> None:
    with pytest.raises(UsageError, match="--seeds is 2, and probes is measured as a whole"):
        reproduce.run(["variational-mdp", "probes", "--seeds", "2"])


def test_a_grid_without_its_module_is_listed() -> None:
    """So that a list of the other grids needs no extra."""
    grid = EVIDENCE["minigrid-bonuses"]
    argv = tuple("nowhere" if word == "minigrid" else word for word in grid.argv)
    assert replace(grid, argv=argv).cost == "needs nowhere"


def test_a_grid_that_lacks_seeds_is_continued(tmp_path: Path) -> None:
    grid, path = EVIDENCE["variational-mdp"], tmp_path / "grid.json"
    command = shlex.join(["reverie", "ablate", *grid.argv])
    assert grid.lacking(path) == []
    assert grid.lacking(path, 4) == ["--only-seeds", "0-3"]
    runs = [{"seed": seed, "variant": x, "env_name": "maze"} for seed in range(3) for x in "abcd"]
    path.write_text(json.dumps({"command": command, "runs": runs[:-1]}))
    assert grid.seeds(path) == (2, range(12))
    assert grid.lacking(path) == ["--only-seeds", "2-11"]
    assert grid.lacking(path, 4) == ["--only-seeds", "2-5"]
    path.write_text(json.dumps({"command": f"{command} --delta 50%", "runs": runs}))
    assert grid.lacking(path) == []
