"""Configs are decoded in a process that has imported nothing else, and import nothing foreign."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

from reverie.envs.errors import UsageError
from reverie.envs.interface import EnvConfig
from reverie.envs.maze import MazeConfig
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.runs.serialization import decode, encode
from reverie.experiments.training.imagined_env import ImaginationConfig


@pytest.mark.parametrize("config", [MazeConfig(), ImaginationConfig("runs/x")], ids=repr)
def test_a_stored_class_of_the_package_is_imported(config: EnvConfig, tmp_path: Path) -> None:
    code = (
        "import json, sys; from reverie.envs.interface import EnvConfig; "
        "from reverie.experiments.runs.serialization import decode, encode; "
        "data = json.loads(sys.argv[1]); assert encode(decode(EnvConfig, data)) == data"
    )
    command = [sys.executable, "-c", code, json.dumps(encode(config))]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_a_foreign_module_is_not_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "foreign.py").write_text("raise SystemExit('imported')")
    (tmp_path / "reverie_like.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(tmp_path))
    for module in ("foreign", "reverie_like", "reverie"):
        with pytest.raises(UsageError, match="--import my_module"):
            decode(EnvConfig, {"class": f"{module}:EnvConfig"})


@pytest.mark.parametrize("name", PRESETS)
def test_presets_survive_json(name: str) -> None:
    data = json.loads(json.dumps(encode(PRESETS[name])))
    assert decode(Experiment, data) == PRESETS[name]
