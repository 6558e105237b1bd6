"""Export and import: what is shared acts and predicts bit for bit as the run does."""

import json
from collections.abc import Callable
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from reverie import Experiment, evaluate, load, train
from reverie.agents.bonuses.density_bonus import PseudoCountConfig
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.interface import AgentConfig
from reverie.agents.mpc import MPCConfig
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.datasets.collect import collect
from reverie.experiments.evaluation.trained_agent import load_trained
from reverie.experiments.play.setup import load_setup
from reverie.experiments.runs.files import read_json
from reverie.experiments.runs.run import Run, find_runs
from reverie.experiments.runs.state_checks import check_finite_state
from reverie.experiments.sessions.options import PretrainOptions
from reverie.experiments.sharing.exporting import export_run
from reverie.experiments.sharing.importing import import_run
from reverie.experiments.sharing.share_file import ShareFile, write_share_file
from reverie.experiments.sharing.shared_state import shared_state
from reverie.experiments.text.formatting import format_number
from reverie.experiments.training.densities import DensityPretraining
from reverie.experiments.training.predictors import PredictorPretraining, compare_predictors
from reverie.experiments.training.pretrain import Pretraining, load_model, pretrain
from reverie.experiments.training.representations import RepresentationPretraining
from reverie.world_models.density.cts import CTSConfig
from reverie.world_models.density.made import MADEConfig
from reverie.world_models.interface import DensityConfig
from reverie.world_models.latents.vae import VAEConfig
from reverie.world_models.representation.variational import VariationalConfig

from sample_agents import EXAMPLES, OPTIONS, TINY, equal

QUIET = PretrainOptions(device="cpu", threads=1, quiet=True)
LEARNED_KEY = MFECConfig(
    num_neighbors=2,
    representation=VariationalConfig(VAEConfig(size=4)),
    fit_after=40,
    fit_updates=5,
    fit_batch_size=4,
)
ATARI = AtariConfig("breakout", replace(PROTOCOLS["mfec"], frames_cap=200, height=44, width=44))


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def shared(run: Path | str, name: str = "imported", **options: Any) -> Path:
    """Export a run into a file, and import it."""
    file = Path(f"{name}.safetensors")
    write_share_file(file, *export_run(run, **options))
    import_run(file, Path(name))
    return Path(name)


def trained(agent: AgentConfig, **settings: Any) -> Experiment:
    defaults: dict[str, Any] = {"env": CatchConfig(), "total_timesteps": 600, "num_envs": 4}
    experiment = Experiment(agent, **{**defaults, **settings})
    train(experiment, "run", OPTIONS)
    return experiment


@pytest.mark.parametrize(
    ("agent", "settings"),
    [
        (EXAMPLES["ppo"], {}),
        (EXAMPLES["dqn"], {"bonus": PseudoCountConfig(CTSConfig())}),
        (EXAMPLES["nec"], {}),
        (LEARNED_KEY, {"env": ATARI, "total_timesteps": 500}),
    ],
    ids=["ppo", "dqn and counts", "nec", "mfec with learned keys on Atari"],
)
def test_an_imported_agent_scores_the_same(agent: AgentConfig, settings: dict[str, Any]) -> None:
    experiment = trained(agent, **settings)
    runs: list[Any] = [load_trained(run, device="cpu") for run in ("run", shared("run"))]
    assert replace(runs[1][0], init_from=None) == experiment
    assert runs[0][3] == runs[1][3] >= experiment.total_timesteps
    for part in (1, 2):
        assert equal(*(shared_state(run[part]) for run in runs))
    scores = [
        evaluate(run[1], experiment.env.eval_env, episodes=3, device="cpu", threads=1)
        for run in runs
    ]
    assert scores[0] == scores[1]


def test_a_run_starts_from_an_imported_one_and_does_not_resume_it(
    capsys: pytest.CaptureFixture[str],
) -> None:
    experiment = trained(EXAMPLES["dqn"])
    imported = shared("run")
    with pytest.raises(UsageError, match=r"imported was imported.*cannot be resumed.*--init-from"):
        train(replace(experiment, total_timesteps=900), imported, OPTIONS)
    run = train(replace(experiment, init_from=imported), "next", OPTIONS)
    assert run.finished
    assert not equal(*(shared_state(load(x, device="cpu")[1]) for x in ("next", "run")))
    assert cli.main(["runs", "."]) == 0
    assert "finished" in next(x for x in capsys.readouterr().out.splitlines() if "imported" in x)


@pytest.fixture
def data() -> Path:
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    return Path("data")


def check_model(job: Pretraining, outputs: Callable[[Any], Any]) -> Path:
    """Check that an imported model returns the same numbers, without the recording."""
    pretrain(job, "run", QUIET)
    _, model = load_model("run", device="cpu")
    imported = shared("run")
    again, copy = load_model(imported, device="cpu")
    assert replace(again, data=job.data) == job
    assert equal(outputs(model), outputs(copy))
    load_setup(imported, device="cpu").game.close()
    return imported


def test_an_imported_predictor_predicts_the_same_and_is_evaluated_on_given_data(
    data: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(PredictorPretraining, "finish", lambda *args: None)
    job = PredictorPretraining(
        data=(data,), predictor=TINY, stack=1, num_updates=4, batch_size=4, init_from=None
    )
    imported = check_model(job, lambda model: shared_state(model))
    with pytest.raises(UsageError, match=r"without its frames.*reverie import --data"):
        compare_predictors([imported], device="cpu", errors_only=True)
    import_run(Path("imported.safetensors"), Path("with-data"), (data,))
    tables = []
    for run in ("run", "with-data"):
        compare_predictors([Path(run)], num_segments=5, device="cpu", errors_only=True)
        result = json.dumps(read_json(Path(run, "evaluation.json")))
        tables.append(result.replace('"with-data"', '"run"'))
    assert tables[0] == tables[1]
    other = CatchConfig(rows=7)
    collect(RandomPolicy(3), other, "other", frames=80, num_envs=4)
    with pytest.raises(UsageError, match="--data other does not fit"):
        import_run(Path("imported.safetensors"), Path("wrong"), (Path("other"),))
    plan = MPCConfig(TINY, samples=4, horizon=2, model_replay_ratio=0.0)
    train(
        Experiment(plan, CatchConfig(), total_timesteps=40, num_envs=2, init_from=imported),
        "planner",
        OPTIONS,
    )
    from_planner = shared("planner", "planner-copy")
    assert load_trained(from_planner, device="cpu")[0].init_from == from_planner.resolve()


@pytest.mark.parametrize("density", [MADEConfig(hidden=8), CTSConfig()], ids=["made", "cts"])
def test_an_imported_density_gives_the_same_probabilities(
    data: Path, density: DensityConfig
) -> None:
    x = torch.randint(0, 3, (4, 10, 5), dtype=torch.uint8)
    job = DensityPretraining(data=(data,), density=density, levels=3, num_updates=3)
    imported = check_model(job, lambda model: model.log_prob(x))
    state = Run(imported).checkpoints.load()
    assert state is not None
    assert state["frames"] > 0
    assert (imported / "held_out.json").read_bytes() == Path("run/held_out.json").read_bytes()


def test_an_imported_representation_encodes_the_same(data: Path) -> None:
    x = torch.randint(0, 256, (3, 1, 10, 5), dtype=torch.uint8)
    model = VariationalConfig(VAEConfig(size=3))
    job = RepresentationPretraining(data=(data,), representation=model, num_updates=3)
    check_model(job, lambda model: model.encode(x))


def test_rounded_weights_halve_the_file_and_leave_the_scores_out() -> None:
    trained(EXAMPLES["ppo"])
    assert cli.main(["evaluate", "run", "--episodes", "2", "--device", "cpu"]) == 0
    exact, rounded = shared("run", "exact"), shared("run", "rounded", dtype="bf16")
    sizes = [Path(f"{x}.safetensors").stat().st_size for x in (exact, rounded)]
    weights = sum(x.nbytes for x in tensors_of(exact) if x.dtype == torch.float32)
    assert sizes[0] - sizes[1] == pytest.approx(weights / 2, rel=0.1)
    assert (exact / "scores.json").exists()
    assert not (rounded / "scores.json").exists()
    for a, b in zip(tensors_of(exact), tensors_of(rounded), strict=True):
        assert torch.equal(a.bfloat16(), b.bfloat16())
    assert cli.main(["evaluate", "rounded", "--episodes", "2", "--device", "cpu"]) == 0
    again = shared("rounded", "again", dtype="bf16")  # no number changes any more
    assert equal(*(shared_state(load(x, device="cpu")[1]) for x in (rounded, again)))
    assert (again / "scores.json").exists()


def tensors_of(run: Path) -> list[Tensor]:
    file = ShareFile(Path(f"{run.name}.safetensors"))
    return [file.read(name) for name in file.header]


def test_the_keys_visited_last_are_kept() -> None:
    config = MFECConfig(num_neighbors=2)
    trained(config, total_timesteps=2000)
    tables: Any = load("run", device="cpu")[1]
    capped: Any = load(shared("run", "capped", max_keys=5), device="cpu")[1]
    for action, size in enumerate(capped.tables.sizes):
        assert size == min(5, tables.tables.sizes[action])
        visits = tables.tables.last_visits[action, : tables.tables.sizes[action]]
        kept = capped.tables.last_visits[action, :size]
        assert set(kept.tolist()) <= set(visits.tolist())
        assert kept.min() >= visits.topk(size).values.min()
    rounded: Any = load(shared("run", "rounded", dtype="bf16"), device="cpu")[1]
    returns = [x.tables.state_dict()["returns"] for x in (rounded, tables)]
    assert equal(*returns)
    distances, _ = tables.tables.search(rounded.tables.keys[0, torch.arange(5)])
    assert distances[0].amin(0).max() < 1e-3 * distances[0].amax()
    trained_ppo = Experiment(EXAMPLES["ppo"], CatchConfig(), total_timesteps=100, num_envs=4)
    train(trained_ppo, "ppo", OPTIONS)
    with pytest.raises(UsageError, match="no tables of keys"):
        export_run("ppo", max_keys=5)


def test_a_folder_for_hugging_face_has_a_card_and_is_imported() -> None:
    yaml: Any = import_module("yaml")
    trained(EXAMPLES["ppo"])
    assert cli.main(["evaluate", "run", "--episodes", "5", "--device", "cpu"]) == 0
    argv = ["export", "run", "--hugging-face", "hf", "--license", "mit"]
    assert cli.main(argv) == 0
    card = Path("hf/README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "reverie"
    assert front["license"] == "mit"
    assert "catch" in front["tags"]
    (result,) = front["model-index"][0]["results"]
    mean = read_json(Path("run/scores.json"))["mean"]
    assert float(result["metrics"][0]["value"].partition(" ")[0]) == pytest.approx(mean, abs=0.01)
    assert f"| mean score | {format_number(mean)}" in card
    assert read_json(Path("hf/config.json"))["env_name"] == "catch"
    import_run(Path("hf"), Path("imported"))
    assert equal(*(shared_state(load(x, device="cpu")[1]) for x in ("run", "imported")))
    check_finite_state(Run("imported").checkpoints.load(), "state")
    assert find_runs(Path()) == [Path("imported"), Path("run")], "and hf is no run"
    assert cli.main(["check", "."]) == 0
    assert cli.main(argv) == 2
    assert cli.main([*argv, "file.safetensors"]) == 2
