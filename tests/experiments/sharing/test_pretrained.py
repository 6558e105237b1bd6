"""The pretrained runs of the package, and ``pretrained:NAME`` wherever a run is named."""

from contextlib import closing
from pathlib import Path

import pytest
import torch

from reverie import load, pretrained
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.serialization import read_job
from reverie.experiments.play.session import Session
from reverie.experiments.play.setup import load_setup
from reverie.experiments.runs.files import write_json
from reverie.experiments.sharing import importing
from reverie.experiments.sharing.importing import import_run
from reverie.experiments.sharing.model_card import model_card, result_rows
from reverie.experiments.sharing.pretrained import (
    FOLDER,
    describe_pretrained,
    expand_pretrained,
    pretrained_names,
)


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("name", pretrained_names())
def test_a_pretrained_run_is_small_and_its_card_is_that_of_its_file(name: str) -> None:
    about = describe_pretrained(name)
    assert about["bytes"] <= 8e6
    assert (FOLDER / f"{name}.md").read_text(encoding="utf-8") == model_card(about)
    assert result_rows(about)
    assert about["license"] == "mit"
    provenance = about["provenance"]
    assert provenance["commit"]
    assert not provenance["modified"]
    run = pretrained(name)
    assert run == Path("runs") / f"pretrained-{name}"
    before = sorted(run.rglob("*"))
    assert pretrained(name) == run
    assert sorted(run.rglob("*")) == before
    read_job(run)


def test_the_pretrained_runs_are_of_every_kind_and_small() -> None:
    abouts = [describe_pretrained(name) for name in pretrained_names()]
    assert {x["kind"] for x in abouts} >= {"agent", "predictor", "density"}
    assert sum(x["bytes"] for x in abouts) <= 20e6


def test_a_run_is_named_by_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["list", "pretrained"]) == 0
    listed = capsys.readouterr().out
    assert all(name in listed for name in pretrained_names())
    film = ["--video", "film.gif", "--timesteps", "3", "--device", "cpu"]
    assert cli.main(["play", "pretrained:freeway", *film]) == 0
    assert Path("film.gif").stat().st_size > 1000
    assert cli.main(["play", "pretrained:frewey", *film]) == 2
    assert "Did you mean freeway?" in capsys.readouterr().err
    argv = ["ppo", "--init-from=pretrained:freeway", "agent.planner:straw"]
    assert expand_pretrained(argv) == [
        "ppo",
        "--init-from=runs/pretrained-freeway",
        "agent.planner:straw",
    ]
    with pytest.raises(UsageError, match="There are"):
        pretrained("something else entirely")


def test_what_was_imported_is_not_taken_for_untrained() -> None:
    setup = load_setup(pretrained("freeway"), device="cpu")
    with closing(Session(setup)) as session:
        assert session.dream is not None
        assert not session.view.untrained


def test_a_folder_of_another_run_is_left_alone() -> None:
    other = Path("runs/pretrained-freeway")
    write_json(other / "config.json", {})
    with pytest.raises(UsageError, match="holds another run"):
        pretrained("freeway")
    assert [x.name for x in other.iterdir()] == ["config.json"]


def test_another_process_may_import_the_same_run_first(monkeypatch: pytest.MonkeyPatch) -> None:
    def import_as_second(path: Path, folder: Path) -> None:
        import_run(path, folder)
        import_run(path, folder)

    monkeypatch.setattr(importing, "import_run", import_as_second)
    read_job(pretrained("freeway-pixel-cnn"))
    monkeypatch.setattr(importing, "import_run", lambda *_: import_run(Path("no file"), Path("x")))
    with pytest.raises(UsageError, match="There is no file"):
        pretrained("freeway")


def test_the_agent_acts_by_what_it_remembers() -> None:
    _, agent = load(pretrained("ms_pacman-mfec"), device="cpu")
    tables = agent.tables  # type: ignore[attr-defined]
    assert tables.sizes == [2200] * 9
    values, exact = tables.estimate(tables.keys[3, torch.arange(4)], tables.digests[3, :4])
    assert exact[3].all()
    assert torch.equal(values[3], tables.returns[3, :4])
