"""Baselines and metrics of representations: factor analysis, linear probes, pretraining."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from reverie import Experiment, TrainOptions, train
from reverie.agents.episodic.mfec import MFECConfig
from reverie.agents.policies import RandomPolicy
from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS
from reverie.envs.atari.replica import ReplicaEmulator
from reverie.envs.catch import CatchConfig
from reverie.envs.errors import UsageError
from reverie.experiments.cli import main as cli
from reverie.experiments.config.presets import PRESETS
from reverie.experiments.datasets.collect import collect
from reverie.experiments.datasets.dataset import Recording
from reverie.experiments.evaluation.factor_analysis import FactorAnalysis
from reverie.experiments.evaluation.linear_probe import (
    PLAYER_ADDRESSES,
    linear_probe,
    record_positions,
    ridge_predict,
)
from reverie.experiments.training.pretrain import PretrainOptions, pretrain
from reverie.experiments.training.representations import RepresentationPretraining
from reverie.world_models.inference.bounds import draw_weights
from reverie.world_models.representation.projection import ProjectionConfig
from reverie.world_models.representation.vae import GaussianVAE, VAEConfig

PLAIN = replace(PROTOCOLS["mfec"], noops=0)
QUIET = PretrainOptions(device="cpu", threads=1, log_every=10, quiet=True)


def test_factor_analysis_recovers_the_gaussian_of_the_data() -> None:
    torch.manual_seed(0)
    loading, mean = torch.randn(6, 2), torch.randn(6)
    noise = torch.tensor([0.3, 0.5, 0.4, 0.6, 0.3, 0.5])
    x = torch.randn(20_000, 2) @ loading.T + mean + torch.randn(20_000, 6) * noise
    model = FactorAnalysis(x, 2, floor=0.05, iterations=300)
    covariance = model.loading @ model.loading.T + model.noise.diag()
    truth = loading @ loading.T + noise.square().diag()
    assert float((covariance - truth).abs().max()) < 0.1
    exact = MultivariateNormal(model.mean, covariance).log_prob(x[:50])  # type: ignore[no-untyped-call]
    torch.testing.assert_close(model.log_prob(x[:50]), exact, rtol=1e-4, atol=1e-3)
    # The posterior means equal the regression of the latents on the data.
    centered = x[:50] - model.mean
    expected = torch.linalg.solve(covariance, centered.T).T @ model.loading
    torch.testing.assert_close(model.encode(x[:50]), expected, rtol=1e-3, atol=1e-3)


def test_factor_analysis_has_a_least_standard_deviation() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 1) @ torch.randn(1, 4)  # without noise
    assert float(FactorAnalysis(x, 1, floor=0.05).noise.min()) == pytest.approx(0.05**2)


def test_a_vae_holds_factor_analysis_and_its_exact_posterior_as_a_special_case() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 3) @ torch.rand(3, 36) / 3 + 0.03 * torch.randn(400, 36)
    linear = FactorAnalysis(x, 2, floor=0.04)
    # A rotation of the latents that makes the posterior diagonal; p(x) stays the same.
    _, scale, rotation = torch.linalg.svd(linear.loading / linear.noise.sqrt()[:, None])
    loading = linear.loading @ rotation.T
    variance = 1 / (1 + scale.square())
    vae = GaussianVAE((1, 6, 6), latent=2, min_std=0.01)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        log_std = (linear.noise - 0.01**2).log() / 2
        vae.decoder.bias.copy_(torch.stack([linear.mean, log_std]).view(2, 6, 6))
        vae.decoder.loading[:, :36] = loading.T
        vae.encoder.mean.copy_(linear.mean.view(1, 6, 6))
        weight = loading / linear.noise[:, None] * variance  # of a pixel in a posterior mean
        vae.encoder.skip.weight[:2] = weight.T * math.sqrt(36)
        vae.encoder.outputs.bias[2:] = 8 * ((variance.log() / 2 + 1) / 8).atanh()
    frames = x[:5].view(5, 1, 6, 6)
    torch.testing.assert_close(vae.posterior(frames).mean, linear.encode(x[:5]) @ rotation.T)
    log_weights = draw_weights(vae, frames, 4).log_weights()  # each weight then equals p(x)
    expected = linear.log_prob(x[:5]).expand(4, 5)
    torch.testing.assert_close(log_weights, expected, rtol=1e-4, atol=1e-3)


def test_ridge_regression_predicts_linear_functions_and_no_noise() -> None:
    torch.manual_seed(0)
    x, x_test = torch.randn(2000, 5) * 7 + 3, torch.randn(100, 5) * 7 + 3
    weights = torch.randn(5, 2)
    torch.testing.assert_close(
        ridge_predict(x, x @ weights + 2, x_test), x_test @ weights + 2, rtol=2e-2, atol=0.1
    )
    noise = ridge_predict(x, torch.randn(2000, 2), x_test)
    assert float(noise.abs().mean()) < 0.1


@pytest.mark.parametrize(
    ("game", "moves"),
    [
        ("ms_pacman", [("RIGHT", 0, 1), ("LEFT", 0, -1)]),
        ("frostbite", [("RIGHT", 0, 1), ("LEFT", 0, -1), ("DOWN", 1, 1)]),
    ],
)
def test_the_players_position_follows_the_actions(
    game: str, moves: list[tuple[str, int, int]]
) -> None:
    """In the real game each address changes in the direction of the action."""
    from ale_py import Action

    replica = ReplicaEmulator(game, PLAIN)
    for _ in range(90 if game == "ms_pacman" else 20):  # until the player can move
        replica.step(0)
    for name, axis, sign in moves:
        action = replica.actions.index(int(getattr(Action, name).value))
        positions = []
        for _ in range(12):
            replica.step(action)
            positions.append([int(replica.ram[i]) for i in PLAYER_ADDRESSES[game]])
        moved = sign * np.diff(np.array(positions), axis=0)[:, axis]
        assert moved.sum() >= 8, (name, positions)
        assert axis == 1 or (moved >= 0).all(), (name, positions)  # a jump down starts upward


@pytest.mark.parametrize(
    ("game", "color"), [("ms_pacman", (210, 164, 74)), ("qbert", (181, 83, 40))]
)
def test_the_players_position_is_where_it_is_drawn(game: str, color: tuple[int, int, int]) -> None:
    replica, generator = ReplicaEmulator(game, PLAIN), torch.Generator().manual_seed(0)
    drawn_positions, ram_positions = [], []
    action = 0
    for timestep in range(400):
        if timestep % 8 == 0:
            action = int(torch.randint(len(replica.actions), (), generator=generator))
        replica.step(action)
        rows, columns = (replica.screen[:172] == color).all(-1).nonzero()
        if len(rows) > 20:
            drawn_positions.append((columns.mean(), rows.mean()))
            ram_positions.append([int(replica.ram[i]) for i in PLAYER_ADDRESSES[game]])
    for axis in range(2):
        drawn, in_ram = np.array(drawn_positions)[:, axis], np.array(ram_positions)[:, axis]
        assert np.corrcoef(drawn, in_ram)[0, 1] > 0.97


def test_a_linear_probe_is_tested_on_other_envs() -> None:
    data = record_positions(AtariConfig("frostbite", PLAIN), 60, num_envs=4)
    assert data.obs.shape == (240, 1, 84, 84)
    assert data.position.shape == (240, 2)
    # All observations fit in one batch of 256, so the features are the positions themselves.
    score = linear_probe(lambda obs: data.position[: len(obs)], data)
    assert score["mean"] > 0.999
    with pytest.raises(UsageError, match="choose one of ms_pacman, frostbite, qbert"):
        record_positions(AtariConfig("pong", PLAIN), 1)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, num_envs=4)
    return "data"


def test_pretraining_writes_bounds_a_figure_and_the_start_of_an_agent(recording: str) -> None:
    config = VAEConfig(latent=4)
    job = RepresentationPretraining(
        data=(recording,), representation=config, num_updates=20, batch_size=16
    )
    run = pretrain(job, "fit", QUIET)
    bounds = json.loads((run.folder / "held_out.json").read_text())
    assert bounds["iwae"] > bounds["elbo"]
    assert bounds["gap"] == pytest.approx(bounds["iwae"] - bounds["elbo"], rel=1e-3)
    assert 0 <= bounds["active_units"] <= bounds["latents"] == 4
    assert (run.folder / "figures" / "representation.png").stat().st_size > 5000
    rows = run.read_lines("metrics.jsonl")
    assert rows[-1]["eval/elbo"] > rows[0]["eval/elbo"]

    options = TrainOptions(
        device="cpu", threads=1, random_play_seconds=0, quiet=True, log_every=100
    )
    agent = MFECConfig(representation=config, pretrained=str(run.folder))
    experiment = Experiment(agent, CatchConfig(), total_timesteps=1000, num_envs=4)
    steps = [row["step"] for row in train(experiment, "run", options).read_lines("metrics.jsonl")]
    assert steps[0] == 500, "the 400 frames of the recording count as agent steps"
    assert steps[-1] == 1000
    with pytest.raises(UsageError, match="400 were spent on pretraining"):
        train(replace(experiment, total_timesteps=300), "short", options)
    with pytest.raises(UsageError, match=r"give both the same agent\.representation settings"):
        train(
            replace(experiment, agent=replace(agent, representation=VAEConfig())), "other", options
        )
    with pytest.raises(UsageError, match="not a pretrained representation"):
        train(replace(experiment, agent=replace(agent, pretrained="nowhere")), "none", options)


def test_untrainable_representations_and_recordings_are_refused(
    recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="projection has no parameters to train"):
        pretrain(
            RepresentationPretraining(data=(recording,), representation=ProjectionConfig()),
            "fit",
            QUIET,
        )
    with pytest.raises(UsageError, match="Name a recording"):
        pretrain(RepresentationPretraining(), "fit", QUIET)
    monkeypatch.setattr(
        Recording, "frames", lambda _, rows: torch.zeros(len(rows), 1, 10, 5, dtype=torch.uint8)
    )
    with pytest.raises(UsageError, match="all equal"):
        pretrain(RepresentationPretraining(data=(recording,)), "constant", QUIET)


def test_presets_of_every_representation() -> None:
    classes = {n: type(PRESETS[n].agent.representation).__name__ for n in PRESETS if "mfec" in n}  # type: ignore[attr-defined]
    assert classes["mfec"] == "ProjectionConfig"
    assert classes["mfec-vae"] == classes["mfec-beta-vae"] == "VAEConfig"
    assert classes["mfec-binary-vae"] == "BinaryVAEConfig"


def test_pretraining_a_representation_from_the_command_line(
    recording: str, capsys: pytest.CaptureFixture[str]
) -> None:
    argv = ["pretrain", "representation:binary-vae", "--data", recording, "--num-updates", "2"]
    argv += ["--representation.samples", "2", "--batch-size", "8"]
    argv += ["--device", "cpu", "--threads", "1", "--folder", "fit"]
    assert cli.main(argv) == 0
    assert "2 updates" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "mfec-vae", "--agent.fit-updates", "0"])
    assert "agent.fit_updates is 0" in capsys.readouterr().err
