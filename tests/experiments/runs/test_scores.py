"""Scores: what is printed and stored, and which envs are games of Atari."""

from dataclasses import replace

import pytest

from reverie.envs.atari.atari import AtariConfig
from reverie.envs.atari.protocol import PROTOCOLS, AtariProtocol
from reverie.envs.catch import CatchConfig
from reverie.experiments.evaluation.evaluate import random_play
from reverie.experiments.reporting.constant_actions import scoring_rules
from reverie.experiments.runs.scores import Scores

PONG = Scores("pong", "mfec", 0.005, 0, 3, (1.0, 2.0, 4.0), (5, 5, 5), suite="atari")


def with_scores(*scores: float) -> Scores:
    return replace(PONG, scores=scores, lengths=(5,) * len(scores))


def test_an_error_has_three_episodes_that_differ() -> None:
    assert PONG.standard_error == pytest.approx((7 / 9) ** 0.5)
    assert "mean 2.33 ± 0.882" in str(PONG)
    assert "(± standard error over episodes)" in str(PONG)
    for scores in (with_scores(3.0), with_scores(3.0, 4.0), with_scores(*[3.0] * 9)):
        assert scores.standard_error is None
        assert "±" not in str(scores)
        assert scores.to_json()["standard_error"] is None


def test_only_a_game_of_atari_has_human_normalized_scores() -> None:
    assert PONG.human_normalized is not None
    own = replace(PONG, suite="")
    assert (own.human_normalized, own.game) == (None, "")
    assert "human" not in str(own)
    assert own.to_json()["human_random_table"] is None
    assert Scores.from_json(own.to_json()) == own
    assert (AtariConfig("pong").suite, CatchConfig().suite) == ("atari", "")
    assert random_play(CatchConfig(), episodes=1).suite == ""


@pytest.mark.parametrize(
    ("protocol", "suite"), [("mfec with stack 4", "atari"), ("nature", "atari"), ("own", "")]
)
def test_scores_that_were_stored_without_a_suite_have_that_of_their_protocol(
    protocol: str, suite: str
) -> None:
    data = replace(PONG, protocol=protocol).to_json()
    del data["suite"]
    assert Scores.from_json(data).suite == suite


@pytest.mark.parametrize("score", [float("nan"), float("inf"), float("-inf")])
def test_stored_scores_are_finite(score: float) -> None:
    with pytest.raises(ValueError, match="a score that is not finite"):
        Scores.from_json(with_scores(1.0, score).to_json())


@pytest.mark.parametrize("protocol", PROTOCOLS.values(), ids=lambda protocol: protocol.name)
def test_the_rules_of_a_label_are_those_of_its_protocol(protocol: AtariProtocol) -> None:
    for changed in (
        protocol,
        replace(protocol, stack=2),
        replace(protocol, life_loss=not protocol.life_loss, noops=7),
        replace(protocol, sticky=0.5, width=9),
    ):
        assert scoring_rules(changed.label) == changed.scoring_rules.label
