"""Configs are decoded from registered classes alone, in any process, and import nothing foreign."""

import contextlib
import json
import shlex
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import forked_commands
import pytest

from reverie import register
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.config import registry
from reverie.experiments.config.experiment import Experiment, Job
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.registry import TABLES, public_name
from reverie.experiments.config.roles import entry_config, part_name
from reverie.experiments.config.serialization import (
    decode,
    encode,
    open_run,
    read_job,
    require_imports,
)
from reverie.experiments.runs.files import FORMAT
from reverie.experiments.runs.run import Run
from reverie.experiments.training.imagined_env import ImaginationConfig
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.world_models.interface import RepresentationConfig
from reverie.world_models.prediction import PREDICTORS
from reverie.world_models.representation import REPRESENTATIONS

EXAMPLES = Path(__file__).parents[3] / "examples"


@pytest.fixture(autouse=True)
def tables(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Undo registrations."""
    before = {base: dict(table) for base, table in TABLES.items()}
    yield
    for base, table in TABLES.items():
        table.clear()
        table.update(before[base])


@dataclass(frozen=True)
class Inner:
    size: int = 3


@dataclass(frozen=True)
class OwnConfig(RepresentationConfig):
    """A part of a user, with settings of its own."""

    inner: Inner = Inner()
    path: Path | None = None


NAME = f"{OwnConfig.__module__}:OwnConfig"


@pytest.mark.parametrize(
    "config", [MazeConfig(), ImaginationConfig(Path("/runs/x"))], ids=lambda config: config.env_name
)
def test_a_registered_class_is_decoded_whatever_was_imported_before(
    config: EnvConfig, tmp_path: Path
) -> None:
    code = (
        "import json, sys; from reverie.envs.interface import EnvConfig; "
        "from reverie.experiments.config.serialization import decode, encode; "
        "data = json.loads(sys.argv[1]); assert encode(decode(EnvConfig, data)) == data"
    )
    command = [sys.executable, "-c", code, json.dumps(encode(config))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_names_of_classes_are_short_and_unique() -> None:
    entries = [Experiment, *(entry for table in TABLES.values() for entry in table.values())]
    classes = {registry.class_name(entry) for entry in entries}
    classes = {name for name in classes if ":" not in name}
    assert encode(PRESETS["mfec"])["agent"]["class"] == "MFECConfig"
    assert {"Experiment", "AtariProtocol", "ImaginationConfig", "PredictorPretraining"} <= {
        *classes
    }
    assert not [name for name in classes if "." in name or name.startswith("reverie")]


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    data = json.loads(json.dumps(encode(PRESETS[name])))
    assert decode(Experiment, data) == PRESETS[name]


def test_a_foreign_module_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text("raise SystemExit('imported')")
    (tmp_path / "reverie_like.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("foreign", "reverie_like"):
        with pytest.raises(UsageError, match=f"not registered; add --import {module}"):
            decode(EnvConfig, {"class": f"{module}:EnvConfig"})
    for name in ("EnvConfig", "PathLike", "reverie.envs.catch", 3, ["CatchConfig"], None):
        with pytest.raises(UsageError, match="has no such class"):
            decode(EnvConfig, {"class": name})
    with pytest.raises(UsageError, match="DQNConfig is no env"):
        decode(EnvConfig, {"class": "DQNConfig"})


def test_a_part_is_stored_and_loaded_once_it_is_registered() -> None:
    """A subclass that was merely imported is not loaded."""
    with pytest.raises(UsageError, match=rf"{NAME} is not registered; decorate it with @reverie"):
        encode(OwnConfig())
    data = {"class": NAME, "inner": {"class": f"{OwnConfig.__module__}:Inner", "size": 4}}
    with pytest.raises(UsageError, match=rf"{NAME} is not registered; decorate it with @reverie"):
        decode(RepresentationConfig, data)
    assert register("users")(OwnConfig) is OwnConfig
    assert decode(RepresentationConfig, data) == OwnConfig(Inner(4))
    assert encode(OwnConfig(Inner(4))) == data | {"path": None}
    assert part_name({"class": NAME}) == "users"


ENTRIES = [(name, entry) for table in TABLES.values() for name, entry in table.items()]


@pytest.mark.parametrize(("name", "entry"), ENTRIES, ids=[name for name, _ in ENTRIES])
def test_every_part_has_its_name_as_a_config_and_as_it_is_stored(name: str, entry: Any) -> None:
    part = entry_config(entry)
    assert part_name(part) == name
    if not isinstance(part, Job):
        assert part_name(json.loads(json.dumps(encode(part)))) == name


def test_a_part_with_another_setting_is_named_by_the_entry_most_like_it() -> None:
    tiny = entry_config(PREDICTORS["tiny"])
    assert part_name(replace(tiny, hidden_channels=8)) == "tiny"
    vae = entry_config(REPRESENTATIONS["vae"])
    assert part_name(encode(replace(vae, beta=7.0))) == "vae"


def test_a_registration_is_refused_in_one_sentence() -> None:
    with pytest.raises(
        UsageError, match="'vae', which is the representation VariationalConfig; choose"
    ):
        register("vae")(OwnConfig)
    with pytest.raises(UsageError, match="Inner cannot be registered as 'in'; it must be a frozen"):
        register("in")(Inner)

    class NoDataclass(OwnConfig):
        pass

    with pytest.raises(UsageError, match="it must be a frozen dataclass"):
        register("no")(NoDataclass)

    @dataclass(frozen=True)
    class UnknownTypeConfig(OwnConfig):
        setting: "Unknown" = None  # type: ignore[name-defined]  # noqa: F821

    with pytest.raises(UsageError, match=r"\(name 'Unknown' is not defined\); import it above"):
        register("unknown")(UnknownTypeConfig)


def test_two_classes_of_one_name_are_refused() -> None:
    def make() -> Any:
        @dataclass(frozen=True)
        class TwinConfig(RepresentationConfig):
            pass

        return TwinConfig

    register("first")(make())
    again = register("first")(make())  # as if its module were executed again
    assert REPRESENTATIONS["first"] is again
    register("second")(make())
    with pytest.raises(UsageError, match=r"Two registered classes are named .*TwinConfig"):
        decode(RepresentationConfig, {"class": registry.class_name(again)})


def test_a_wrong_value_is_refused_when_it_is_stored() -> None:
    """A string would be decoded as a path relative to the folder."""
    register("users")(OwnConfig)
    with pytest.raises(UsageError, match=f"config of {NAME} has a wrong path"):
        encode(OwnConfig(path="data"))  # type: ignore[arg-type]


def test_paths_are_relative_to_the_folder_that_stores_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    job = PredictorPretraining(data=(Path("data/a"), tmp_path / "b"))
    data = encode(job, Path("runs/model"))
    assert data["data"] == ["../../data/a", "../../b"]
    assert data == encode(replace(job, data=(tmp_path / "data/a", Path("b"))), tmp_path / "runs/x")
    monkeypatch.chdir("/")
    decoded = decode(Job, data, tmp_path / "moved" / "model")
    assert isinstance(decoded, PredictorPretraining)
    assert decoded.data == (tmp_path / "data/a", tmp_path / "b")
    assert encode(ImaginationConfig(), tmp_path)["run"] is None
    assert decode(EnvConfig, encode(ImaginationConfig(Path("/x")), tmp_path), tmp_path) == (
        ImaginationConfig(Path("/x"))
    )


def write_run(folder: Path, **change: Any) -> Path:
    config = {"imports": []} | encode(Experiment(env=CatchConfig()), folder)
    Run.open(folder, config).begin(config, 0, {"modified": False})
    data = json.loads((folder / "config.json").read_text())
    assert data["format"] == FORMAT
    data = {name: value for name, value in (data | change).items() if value is not None}
    (folder / "config.json").write_text(json.dumps(data))
    return folder


@pytest.mark.parametrize(
    ("found", "version"), [(FORMAT + 1, f"format {FORMAT + 1}"), (None, "an older format")]
)
def test_a_config_of_another_format_is_refused(
    found: int | None, version: str, tmp_path: Path
) -> None:
    folder = write_run(tmp_path / "run", format=found)
    message = (
        rf"run/config.json has {version}, and this version of reverie reads format {FORMAT}; use "
        r"the commit that its provenance names, or train again in another folder\."
    )
    with pytest.raises(UsageError, match=message):
        read_job(folder)
    with pytest.raises(UsageError, match=message):
        Run.open(folder, encode(Experiment(env=CatchConfig())))


def test_a_run_of_a_config_that_lacked_a_setting_continues_with_its_default(
    tmp_path: Path,
) -> None:
    job = Experiment(env=CatchConfig())
    folder = write_run(tmp_path / "run")
    path = folder / "config.json"
    data = json.loads(path.read_text())
    del data["env"]["rows"], data["agent"], data["seed"]
    path.write_text(json.dumps(data))
    assert open_run(folder, job, ()).folder == folder
    with pytest.raises(UsageError, match=r"\(env.rows: 10, not 9; seed: 0, not 1\)"):
        open_run(folder, replace(job, env=CatchConfig(rows=9), seed=1), ())


def test_modules_of_a_run_are_named_and_not_imported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "own_part.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    folder = write_run(tmp_path / "run", imports=["own_part", "json", "own_part2"])
    with pytest.raises(UsageError, match="add --import own_part --import own_part2"):
        read_job(folder)
    assert read_job(write_run(tmp_path / "other", imports=["json"])) == Experiment(
        env=CatchConfig()
    )
    for wrong in ("json", [3], {"json": 1}):
        with pytest.raises(UsageError, match="they must be names of modules"):
            require_imports(folder, wrong)


def test_parts_of_a_script_are_named_after_its_file(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules["__main__"], "__spec__", None)
    monkeypatch.setattr(sys.modules["__main__"], "__file__", "/x/own_part.py", raising=False)
    assert public_name("__main__") == public_name("__mp_main__") == "own_part"
    monkeypatch.setattr(OwnConfig, "__module__", "__main__")
    assert registry.class_name(OwnConfig) == "own_part:OwnConfig"
    require_imports(Path("run"), ["own_part"])


def test_a_part_of_the_users_from_training_to_collection(tmp_path: Path) -> None:
    """The commands that read the run need the module, and say how to import it.

    After the training, in forked processes.
    """
    quiet = "--device cpu --threads 1 --random-play-seconds 0 --quiet --num-envs 4".split()
    train = [*"train mfec agent.representation:rows env:catch --total-timesteps 80".split(), *quiet]
    flags = ["--import", "own_representation"]

    def command(*args: str) -> tuple[int, str]:
        outcome = forked_commands.run(shlex.join(args), partial(contextlib.chdir, EXAMPLES))
        return outcome.status, outcome.output + outcome.errors

    run, data = str(tmp_path / "run"), str(tmp_path / "data")
    assert command(*train, "--folder", run)[0] == 2
    done = subprocess.run(
        [sys.executable, "-m", "reverie.experiments.cli.main", *train, *flags, "--folder", run],
        cwd=EXAMPLES,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    assert config["imports"] == ["own_representation"]
    assert config["agent"]["representation"]["class"] == "own_representation:RowSumsConfig"
    collect = ("collect", run, "--frames", "80", "--num-envs", "4", "--folder", data)
    for args in (("evaluate", run, "--episodes", "2"), ("play", run), collect):
        status, output = command(*args)
        assert status == 2
        assert output.endswith("not imported; add --import own_representation.\n")
    for args in (("evaluate", run, "--episodes", "2"), collect):
        status, output = command(*args, *flags)
        assert status == 0, output
    assert json.loads((tmp_path / "data" / "manifest.json").read_text())["imports"] == []
    status, output = command(
        *"collect random env:gym --env.id Corridor-v0 --import own_env --frames 80".split(),
        "--folder",
        str(tmp_path / "gym"),
    )
    assert status == 0, output
    manifest = json.loads((tmp_path / "gym" / "manifest.json").read_text())
    assert manifest["imports"] == ["own_env"]
    fit = "pretrain predictor:mlp --num-updates 1 --data".split()
    assert "add --import own_env." in command(*fit, str(tmp_path / "gym"))[1]
