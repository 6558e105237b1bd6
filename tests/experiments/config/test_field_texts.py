"""Texts for the terminal: every flag has one, and every part is described."""

from dataclasses import fields, is_dataclass

import pytest

from reverie.experiments.ablation.ablate_options import AblateOptions
from reverie.experiments.bench.session import BenchOptions
from reverie.experiments.cli.collect import CollectOptions
from reverie.experiments.cli.data import ConvertOptions, ListOptions, ReplayOptions, ShowOptions
from reverie.experiments.cli.evaluate import EvaluateOptions
from reverie.experiments.cli.report import ReportOptions
from reverie.experiments.cli.reproduce import ReproduceOptions
from reverie.experiments.config.experiment import Experiment
from reverie.experiments.config.field_texts import field_texts, first_sentence, part_text
from reverie.experiments.config.registry import TABLES
from reverie.experiments.play.launch import PlayOptions
from reverie.experiments.sessions.options import PretrainOptions, TrainOptions
from reverie.experiments.training.imagined_env import ImaginationConfig
from reverie.experiments.training.predictors import PredictorPretraining
from reverie.experiments.training.representations import RepresentationPretraining

OPTIONS = (
    AblateOptions, BenchOptions, CollectOptions, EvaluateOptions, ReportOptions, ReproduceOptions,
    PlayOptions, PretrainOptions, TrainOptions, Experiment, PredictorPretraining,
    RepresentationPretraining, ImaginationConfig, ConvertOptions, ListOptions, ReplayOptions,
    ShowOptions,
)  # fmt: skip


@pytest.mark.parametrize("kind", OPTIONS, ids=lambda kind: kind.__name__)
def test_every_flag_has_a_text(kind: type) -> None:
    """Those of the parts of agents, envs and world models are tested with their docstrings."""
    texts = field_texts(kind)
    for field in fields(kind):
        if not is_dataclass(field.default):
            assert texts.get(field.name), f"{kind.__name__}.{field.name} has no text"
            assert "`" not in texts[field.name]
            assert "  " not in texts[field.name]


def test_every_part_is_described_in_one_sentence() -> None:
    for table in TABLES.values():
        for name, entry in table.items():
            text = part_text(entry)
            assert text.endswith("."), name
            assert len(text) > 10, name


def test_a_first_sentence_keeps_its_authors() -> None:
    assert first_sentence("A net (Mnih et al. 2015). More.") == "A net (Mnih et al. 2015)."
    assert first_sentence("PPO; steps are summed.") == "PPO."
