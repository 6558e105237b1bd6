"""Figures of the committed results: what they say, and that their bytes can be compared."""

import re

import pytest

from reverie.experiments.reporting.committed import committed
from reverie.experiments.reporting.figures import svg
from reverie.experiments.reproduce.grid_tables import grid_verdicts, unfinished
from reverie.experiments.reproduce.reruns import RERUNS
from reverie.experiments.reproduce.result_figures import ROLES, _differing, figure_files


@pytest.fixture(scope="module")
def figures() -> dict[str, bytes]:
    return dict(figure_files())


def texts(figure: bytes) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", figure.decode(), re.DOTALL)


def test_equal_results_give_equal_bytes(figures: dict[str, bytes]) -> None:
    assert dict(figure_files()) == figures
    assert not any(b"<dc:date>" in data for data in figures.values())


def test_curves_name_role_protocol_baselines_and_the_number_of_seeds(
    figures: dict[str, bytes],
) -> None:
    found = texts(figures["docs/figures/learning-curves-light.svg"])
    for words in ("count: freeway", "protocol machado", "dqn, 2 seeds", "agent steps", "score"):
        assert words in found
    assert "random play 0, best constant action 21.0 (up)" in found
    assert "protocol 3 x 3 rooms, 0.2 loops, train" in found, "the curves are of training"
    for names in ROLES.values():
        for name in names:
            marked = any(x.startswith(f"{name.split('-', 1)[1]}*, ") for x in found)
            assert not marked or name in RERUNS
    assert "dqn-cts*, 2 seeds" in found, "made before a fault was mended"


def test_every_verdict_has_its_difference_its_pairs_and_its_word(
    figures: dict[str, bytes],
) -> None:
    found = texts(figures["docs/figures/verdicts-dark.svg"])
    verdicts = [
        verdict
        for data in committed("ablations/*.json")
        for verdict in grid_verdicts(data)
        if not unfinished(verdict, data)
    ]
    labels = [f"{verdict.text}, n = {verdict.pairs}" for verdict in verdicts]
    found_labels = [x.partition(":")[0] for x in found if ", n = " in x]
    assert sorted(found_labels) == sorted(labels)
    assert "epsilon 0.05*" in found
    assert "cannot tell, n = 3: +1,077 (-2,940 to 5,094)" in found


def test_a_contrast_is_the_settings_that_differ() -> None:
    assert _differing("bonus simhash", "bonus none") == {"bonus": "simhash"}
    variant, baseline = "agent.gamma 0.99, agent.epsilon 0.1", "agent.gamma 1.0, agent.epsilon 0.1"
    assert _differing(variant, baseline) == {"gamma": "0.99"}


def test_svg_shortens_coordinates_but_no_text() -> None:
    from matplotlib.figure import Figure

    figure = Figure()
    figure.text(0.123456789, 0.5, "rate 0.00025")
    data = svg(figure)
    assert b">rate 0.00025</text>" in data
    assert not re.search(rb"\.\d{3}", data.replace(b"0.00025", b""))
