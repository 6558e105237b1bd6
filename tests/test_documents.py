"""Links of the documents lead to files, their text has no numbers, and the README is short."""

import re
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_relative_links_lead_to_files(document: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", document.read_text())
    links += re.findall(r'(?:src|srcset)="([^":]+)"', document.read_text())
    missing = [link for link in links if not (document.parent / link).exists()]
    assert not missing


def test_pictures_have_a_light_and_a_dark_version_that_differ_in_colors_alone() -> None:
    dark = sorted((ROOT / "docs" / "figures").glob("*-dark.svg"))
    assert [path.name.removesuffix("-dark.svg") for path in dark] == [
        "architecture", "learning-curves", "verdicts-by-role", "verdicts",
    ]  # fmt: skip
    for path in dark:
        without_colors = [
            re.sub("#[0-9a-f]{6}|[mp][0-9a-f]{10}", "", each.read_text())
            for each in (path, path.with_name(path.name.replace("dark", "light")))
        ]
        assert without_colors[0] == without_colors[1], "colors, and matplotlib's names of paths"
        assert path.stat().st_size < 150_000


def test_the_readme_has_at_most_1200_words() -> None:
    assert len((ROOT / "README.md").read_text().split()) <= 1200


GENERATED_OR_CODE = re.compile(
    r"<!-- table: .*?<!-- end -->|```.*?```|`[^`]*`|\]\([^)]*\)|^\| `\w+` \| [\d.]+ \|.*?$|"
    r"^    options: .*?$",
    re.DOTALL | re.MULTILINE,
)
"""Tables that `reverie verify` checks, code, targets of links, rows of protocols, and options."""
NUMBERS_THAT_ARE_NO_RESULTS = re.compile(
    "|".join(
        (
            r"\b(?:19|20)\d\d\b",  # a year
            r"\bsection \d(?:\.\d)?\b",
            r"^\d\.",  # an item of a list
            r"\bPython 3\.\d+\b",
            r"\b(?:A3C|D4RL|DreamerV3|HDF5|Stable-Baselines3|uint8|UTF-8|bfloat16|\w+\.mp4)\b",
            # Settings, of ours and of papers.
            r"\bepsilon is 1e-4\b",
            r"\b[\d,]+ (?:Adam updates|RMSProp updates on a million)\b",
            r"\b[\d,]+ (?:frames instead|frames of random play|frames and bootstraps)\b",
            r"\bdo not end within 300 timesteps\b",
            r"\bclipped at 2,000 nats\b",
            r"\bis about 20 pixels\b",
            r"\bcode of 512 numbers\b",
            r"\b(?:padded with 1|weight 0|contains 0|episode is 0)\b",
            r"\b64-dimensional\b",
            r"\bmazes of 3 x 3 rooms\b",
        )
    ),
    re.MULTILINE | re.IGNORECASE,
)


def typed_numbers(text: str) -> list[str]:
    """Return the lines of a document's text with numbers that may be results."""
    prose = NUMBERS_THAT_ARE_NO_RESULTS.sub("", GENERATED_OR_CODE.sub("", text))
    number = r"\d|\bpercent\b|\b(?:twenty|thirty|forty|fifty|hundred|thousand|million)\b"
    return [line for line in prose.splitlines() if re.search(number, line)]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_results_are_written_in_generated_tables_alone(document: Path) -> None:
    assert not typed_numbers(document.read_text())


@pytest.mark.parametrize(
    "text",
    [
        "Q*bert reaches 8,365.",
        "| Q*bert | 8,365 ± 731 |",
        "In 10 million frames",
        "slow down by less than 5%",
        "killed thirty times",
        "a share of 0.45",
        "by tens of percent",
        "2.4 times as fast",
    ],
)
def test_a_result_typed_into_the_text_is_found(text: str) -> None:
    assert typed_numbers(text)
    assert not typed_numbers(f"<!-- table: x -->\n{text}\n<!-- end -->")


def test_the_version_is_the_same_everywhere() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    version = project["version"]
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    (newest, *_) = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert newest == version
