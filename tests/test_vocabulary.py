"""No retired word in code, documents or help texts: the field has a term for each concept."""

import contextlib
import re
import subprocess
from pathlib import Path

import pytest

from reverie.experiments.cli.main import main

ROOT = Path(__file__).parent.parent
SUFFIXES = {".py", ".md", ".toml", ".js", ".html", ".css", ".yaml", ".yml", ""}

RETIRED = re.compile(
    r"(?i:(?<![A-Za-z])(looks?|ticks?|dice|judges?|sittings?|lots|odds|lesson|asleep|waking|births?|"
    r"wishes|streams?|colours?|optimiser|normalise|neighbours?)(?![A-Za-z]))|"
    r"(?<=[a-z])(Looks?|Ticks?|Dice|Judges?|Sittings?|Streams?|Colours?|Neighbours?)(?![a-z])"
)
"""Whole words of any case, also within an identifier."""

ALLOWED: dict[str, str] = {
    "experiments/play/launch.py": "SOCK_STREAM",
    "experiments/play/server.py": "request.stream",  # Starlette's
    "experiments/evaluation/plan_drawings.py": "tick_params",  # matplotlib's
    "experiments/evaluation/video.py": "init_video_stream",  # PyAV's
    "docs/notebooks/renew.py": 'coalesce_streams|"stream"',  # Jupyter's
    "tests/world_models/coding/test_rans.py": "constriction|stream\\.",  # its module
    "tests/test_vocabulary.py": ".*",
}
"""Exceptions: a file, and what its lines with a retired word match."""

HELP = [
    [],
    *(["train", preset] for preset in ("mfec-vae", "dqn-pixelcnn", "strawe", "dyna")),
    ["pretrain", "predictor:recurrent"],
    *([command] for command in ("check", "compare", "compress", "decompress", "data")),
    *([command] for command in ("export", "imagine", "import", "runs")),
    *(["data", command] for command in ("list", "show", "convert", "replay")),
    *([command] for command in ("evaluate", "ablate", "sweep", "report", "collect", "list")),
    *([command] for command in ("reproduce", "verify", "bench", "doctor", "play", "gallery")),
]


def tracked() -> list[Path]:
    """Every text file of the repository but data."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    paths = [ROOT / name for name in listing.splitlines()]
    return [path for path in paths if path.suffix in SUFFIXES and path.is_file()]


def retired(path: Path) -> list[str]:
    name = str(path.relative_to(ROOT))
    allowed = re.compile(ALLOWED.get(name, r"(?!)"))
    return [
        f"{name}:{number}: {line.strip()}"
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if RETIRED.search(line) and not allowed.search(line)
    ]


def test_no_file_holds_a_retired_word() -> None:
    found = [line for path in tracked() for line in retired(path)]
    assert not found, "\n".join(found)


@pytest.mark.parametrize("argv", HELP, ids=" ".join)
def test_no_help_text_holds_a_retired_word(
    argv: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    with contextlib.suppress(SystemExit):
        main([*argv, "--help"])
    text = capsys.readouterr().out
    assert text
    assert not RETIRED.findall(text)


def test_exceptions_are_few() -> None:
    assert len(ALLOWED) <= 25


@pytest.mark.parametrize("word", ["look", "_look", "BatchedStream", "ticks", "Colour"])
def test_a_retired_word_is_found_within_identifiers(word: str) -> None:
    assert RETIRED.search(f"x = {word}(1)")


if __name__ == "__main__":
    import sys

    for path in tracked():
        if any(part in str(path) for part in sys.argv[1:]):
            print("\n".join(retired(path)))
