"""Names of run folders: readable, equal for equal experiments, and different for others."""

from dataclasses import replace
from pathlib import Path

import pytest

from reverie.experiments.config.descriptions import DESCRIPTIONS
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.config.run_names import MAX_LABEL, default_folder, repeated_folder
from reverie.experiments.sessions.command_line import parse_experiment

NAMES = {
    "mfec --seed 3": "mfec-ms_pacman-s3",
    "mfec --protocol machado --game qbert --env.protocol.stack 2": "mfec-qbert-s0-machado-stack=2",
    "mfec env:catch --num-envs 4": "mfec-catch-s0-num_envs=4",
    "dqn bonus:simhash --bonus.scale 0.3 --game pong": "dqn-pong-s0-simhash-scale=0.3",
    "dqn-cts bonus:none": "dqn-cts-ms_pacman-s0-bonus=none",
    "ppo agent:dyna agent.predictor:mlp agent.inner.network:mlp": (
        "ppo-ms_pacman-s0-agent=dyna-predictor=mlp-network=mlp"
    ),
    "mfec agent.representation:binary-vae --agent.representation.latent.size 8": (
        "mfec-ms_pacman-s0-binary-vae-size=8"
    ),
    "dqn-cts bonus.density:bound bonus.density.latent:binary-vae": (
        "dqn-cts-ms_pacman-s0-bound-binary-vae"
    ),
    "mfec env:gym --env.id corridor:Corridor-v0": "mfec-Corridor-v0-s0-id=corridor",
    "mfec env:gym --env.id other:Corridor-v0": "mfec-Corridor-v0-s0-id=other",
    "mfec env:gym --env.id Corridor-v0": "mfec-Corridor-v0-s0",
    "ppo --init-from runs/x": "ppo-ms_pacman-s0-init_from=x",
    "dyna --agent.inner.gamma 0.9": "dyna-ms_pacman-s0-gamma=0.9",
    "dyna --agent.horizon 9": "dyna-ms_pacman-s0-horizon=9",
    "mpc agent.predictor:small-mlp": "mpc-ms_pacman-s0-small-mlp",
}


def folder_of(args: str) -> Path:
    start, (experiment,), _ = parse_experiment(args.split())
    return start.folder(experiment)


@pytest.mark.parametrize("args", NAMES)
def test_a_folder_is_named_by_what_was_changed(args: str) -> None:
    assert folder_of(args) == Path("runs") / NAMES[args]
    assert folder_of(f"{args} --total-timesteps 5") == folder_of(args), "longer is the same run"


def test_names_that_would_not_tell_experiments_apart_have_a_fingerprint() -> None:
    first, second = (folder_of(f"ppo --init-from {x}/run").name for x in ("a", "b"))
    assert first != second
    assert first.startswith("ppo-ms_pacman-s0-init_from=run-")
    flags = " ".join(f"--agent.{x} 7" for x in ("num-steps", "update-epochs", "anneal-steps"))
    flags += " --agent.gamma 0.123456789 --agent.gae-lambda 0.123456789 --agent.bptt-length"
    first, second = (folder_of(f"ppo {flags} {x}").name for x in (3, 4))
    assert first != second
    assert len(first) < MAX_LABEL + 40


def test_every_preset_is_described_and_has_a_name_of_its_own() -> None:
    assert [*DESCRIPTIONS] == [*PRESETS]
    for name, about in DESCRIPTIONS.items():
        assert default_folder(name, PRESETS[name]).name.startswith(f"{name}-")
        assert about.text.endswith(".")
        assert any(character.isdigit() for character in about.authors), "a year"


def test_a_run_that_is_repeated_has_a_folder_beside_it() -> None:
    base = Experiment(seed=1)
    again = Path("runs/mfec-ms_pacman-s1-again")
    assert repeated_folder(Path("runs/mfec-ms_pacman-s1"), base, base) == again
    other = replace(base, seed=2, num_envs=4)
    folder = repeated_folder(Path("runs/mfec-ms_pacman-s1-dim=2"), base, other)
    assert folder == Path("runs/mfec-ms_pacman-s2-dim=2-num_envs=4")
    assert repeated_folder(Path("x/first"), base, other).name == "first-ms_pacman-s2-num_envs=4"
