"""What representations are measured against and by: factor analysis, probes, pretraining."""

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.distributions import MultivariateNormal

from agents.episodic import EpisodicConfig
from agents.policies import RandomPolicy
from envs.atari import AtariConfig
from envs.catch import CatchConfig
from envs.errors import UsageError
from envs.protocol import PROTOCOLS
from envs.shadow import Shadow
from experiments import Experiment, TrainOptions, cli, train
from experiments.collect import collect
from experiments.factor_analysis import FactorAnalysis
from experiments.presets import PRESETS
from experiments.pretraining import PretrainOptions, pretrain
from experiments.probe import PLAYER, linear_fit, play, probe
from experiments.recording import Recording
from experiments.representations import RepresentationPretraining
from world_models.inference.bounds import draw_weights
from world_models.representation.projection import ProjectionConfig
from world_models.representation.vae import GaussianVAE, VAEConfig

PLAIN = replace(PROTOCOLS["mfec"], noops=0)
QUIET = PretrainOptions(device="cpu", threads=1, log_every=10, quiet=True)


def test_factor_analysis_finds_the_gaussian_that_made_the_data() -> None:
    torch.manual_seed(0)
    loading, mean = torch.randn(6, 2), torch.randn(6)
    noise = torch.tensor([0.3, 0.5, 0.4, 0.6, 0.3, 0.5])
    x = torch.randn(20_000, 2) @ loading.T + mean + torch.randn(20_000, 6) * noise
    model = FactorAnalysis(x, 2, floor=0.05, iterations=300)
    found = model.loading @ model.loading.T + model.noise.diag()
    truth = loading @ loading.T + noise.square().diag()
    assert float((found - truth).abs().max()) < 0.1
    exact = MultivariateNormal(model.mean, found).log_prob(x[:50])
    torch.testing.assert_close(model.log_prob(x[:50]), exact, rtol=1e-4, atol=1e-3)
    # The posterior's means are what regression of the codes on the data would say.
    centred = x[:50] - model.mean
    expected = torch.linalg.solve(found, centred.T).T @ model.loading
    torch.testing.assert_close(model.encode(x[:50]), expected, rtol=1e-3, atol=1e-3)


def test_factor_analysis_floors_its_deviations() -> None:
    torch.manual_seed(0)
    x = torch.randn(500, 1) @ torch.randn(1, 4)  # no noise at all
    assert float(FactorAnalysis(x, 1, floor=0.05).noise.min()) == pytest.approx(0.05**2)


def test_a_vae_holds_factor_analysis_and_its_exact_posterior_as_a_special_case() -> None:
    torch.manual_seed(0)
    x = torch.rand(400, 3) @ torch.rand(3, 36) / 3 + 0.03 * torch.randn(400, 36)
    linear = FactorAnalysis(x, 2, floor=0.04)
    # Turned so that the posterior is diagonal, which leaves p(x) as it is.
    _, scale, turn = torch.linalg.svd(linear.loading / linear.noise.sqrt()[:, None])
    loading = linear.loading @ turn.T
    variance = 1 / (1 + scale.square())
    vae = GaussianVAE((1, 6, 6), latent=2, floor=0.01)
    with torch.no_grad():
        for parameter in vae.parameters():
            parameter.zero_()
        spread = (linear.noise - 0.01**2).log() / 2
        vae.decoder.background.copy_(torch.stack([linear.mean, spread]).view(2, 6, 6))
        vae.decoder.loading[:, :36] = loading.T
        vae.encoder.mean.copy_(linear.mean.view(1, 6, 6))
        reading = loading / linear.noise[:, None] * variance  # of a pixel, in a code's mean
        vae.encoder.pixels.weight[:2] = reading.T * math.sqrt(36)
        vae.encoder.outputs.bias[2:] = 8 * ((variance.log() / 2 + 1) / 8).atanh()
    frames = x[:5].view(5, 1, 6, 6)
    torch.testing.assert_close(vae.posterior(frames).mean, linear.encode(x[:5]) @ turn.T)
    log_weights = draw_weights(vae, frames, 4).log()  # each code's weight is then the evidence
    expected = linear.log_prob(x[:5]).expand(4, 5)
    torch.testing.assert_close(log_weights, expected, rtol=1e-4, atol=1e-3)


def test_a_linear_probe_reads_what_is_linear_and_nothing_else() -> None:
    torch.manual_seed(0)
    x, elsewhere = torch.randn(2000, 5) * 7 + 3, torch.randn(100, 5) * 7 + 3
    weights = torch.randn(5, 2)
    torch.testing.assert_close(
        linear_fit(x, x @ weights + 2, elsewhere), elsewhere @ weights + 2, rtol=2e-2, atol=0.1
    )
    noise = linear_fit(x, torch.randn(2000, 2), elsewhere)
    assert float(noise.abs().mean()) < 0.1


@pytest.mark.parametrize(
    ("game", "moves"),
    [
        ("ms_pacman", [("RIGHT", 0, 1), ("LEFT", 0, -1)]),
        ("frostbite", [("RIGHT", 0, 1), ("LEFT", 0, -1), ("DOWN", 1, 1)]),
    ],
)
def test_the_players_place_moves_as_it_is_told(
    game: str, moves: list[tuple[str, int, int]]
) -> None:
    """By playing: each address follows the joystick, in the direction it was pushed."""
    from ale_py import Action

    shadow = Shadow(game, PLAIN)
    for _ in range(90 if game == "ms_pacman" else 20):  # until the game lets the player move
        shadow.step(0)
    for name, axis, sign in moves:
        action = shadow.actions.index(int(Action[name].value))
        places = []
        for _ in range(12):
            shadow.step(action)
            places.append([int(shadow.ram[i]) for i in PLAYER[game]])
        moved = sign * np.diff(np.array(places), axis=0)[:, axis]
        assert moved.sum() >= 8, (name, places)
        assert axis == 1 or (moved >= 0).all(), (name, places)  # a leap down begins upwards


@pytest.mark.parametrize(
    ("game", "colour"), [("ms_pacman", (210, 164, 74)), ("qbert", (181, 83, 40))]
)
def test_the_players_place_is_where_it_is_drawn(game: str, colour: tuple[int, int, int]) -> None:
    shadow, policy = Shadow(game, PLAIN), torch.Generator().manual_seed(0)
    seen, said = [], []
    action = 0
    for tick in range(400):
        if tick % 8 == 0:
            action = int(torch.randint(len(shadow.actions), (), generator=policy))
        shadow.step(action)
        rows, columns = (shadow.screen[:172] == colour).all(-1).nonzero()
        if len(rows) > 20:
            seen.append((columns.mean(), rows.mean()))
            said.append([int(shadow.ram[i]) for i in PLAYER[game]])
    for axis in range(2):
        drawn, told = np.array(seen)[:, axis], np.array(said)[:, axis]
        assert np.corrcoef(drawn, told)[0, 1] > 0.97


def test_a_probe_of_real_play_is_judged_on_other_streams() -> None:
    places = play(AtariConfig("frostbite", PLAIN), 60, streams=4)
    assert places.looks.shape == (240, 1, 84, 84)
    assert places.position.shape == (240, 2)
    told = probe(lambda looks: places.position[: len(looks)], places)  # in batches of 256: all
    assert told["mean"] > 0.999
    with pytest.raises(UsageError, match="it is in ms_pacman, frostbite, qbert"):
        play(AtariConfig("pong", PLAIN), 1)


@pytest.fixture
def recording(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.chdir(tmp_path)
    collect(RandomPolicy(3), CatchConfig(), "data", frames=400, streams=4)
    return "data"


def test_pretraining_leaves_bounds_a_figure_and_what_an_agent_starts_from(recording: str) -> None:
    config = VAEConfig(latent=4)
    job = RepresentationPretraining(data=(recording,), representation=config, steps=20, batch=16)
    run = pretrain(job, "fit", QUIET)
    bounds = json.loads((run.folder / "held_out.json").read_text())
    assert bounds["iwae"] > bounds["elbo"]
    assert bounds["gap"] == pytest.approx(bounds["iwae"] - bounds["elbo"], rel=1e-3)
    assert 0 <= bounds["active_units"] <= bounds["latents"] == 4
    assert (run.folder / "figures" / "representation.png").stat().st_size > 5000
    rows = run.read_lines("metrics.jsonl")
    assert rows[-1]["held-out/elbo"] > rows[0]["held-out/elbo"]

    quiet = TrainOptions(device="cpu", threads=1, bare_seconds=0, quiet=True, log_every=100)
    agent = EpisodicConfig(representation=config, pretrained=str(run.folder))
    spent = Experiment(agent, CatchConfig(), steps=1000, streams=4)
    steps = [row["step"] for row in train(spent, "run", quiet).read_lines("metrics.jsonl")]
    assert steps[0] == 500, "400 frames were spent before the first tick"
    assert steps[-1] == 1000
    with pytest.raises(UsageError, match="400 were spent on pretraining"):
        train(replace(spent, steps=300), "short", quiet)
    with pytest.raises(UsageError, match="give both the same settings"):
        train(replace(spent, agent=replace(agent, representation=VAEConfig())), "other", quiet)
    with pytest.raises(UsageError, match="no pretrained representation"):
        train(replace(spent, agent=replace(agent, pretrained="nowhere")), "none", quiet)


def test_nothing_to_learn_and_nothing_to_learn_from_are_said(
    recording: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UsageError, match="projection has nothing to learn"):
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
    with pytest.raises(UsageError, match="all the same"):
        pretrain(RepresentationPretraining(data=(recording,)), "still", QUIET)


def test_presets_of_every_representation() -> None:
    kinds = {n: type(PRESETS[n].agent.representation).__name__ for n in PRESETS if "episodic" in n}  # type: ignore[attr-defined]
    assert kinds["episodic"] == "ProjectionConfig"
    assert kinds["episodic-vae"] == kinds["episodic-beta-vae"] == "VAEConfig"
    assert kinds["episodic-binary-vae"] == "BinaryVAEConfig"


def test_the_command_line_knows_them(recording: str, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["pretrain", "representation:binary-vae", "--data", recording, "--steps", "2"]
    few = ["--representation.samples", "2", "--batch", "8", "--device", "cpu", "--threads", "1"]
    assert cli.main([*words, *few, "--folder", "fit"]) == 0
    assert "2 gradient steps" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="2"):
        cli.main(["train", "episodic-vae", "--agent.fit-steps", "0"])
    assert "agent.fit_steps is 0" in capsys.readouterr().err
