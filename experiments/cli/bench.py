"""``reverie bench [--flags]``."""

import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec

from ..bench import GROUPS, bench
from ..bench.session import BenchOptions, BenchSession, Row, row
from ..config.arguments import parse_flags
from ..play.launch import REQUIRED_MODULES


def run(argv: list[str]) -> int:
    """Measure speed on this machine."""
    options = parse_flags(BenchOptions, argv, "reverie bench")
    groups = GROUPS | {"pages": measure_pages}
    failed = [measured for measured in bench(options, groups) if "error" in measured]
    for failure in failed:
        print(f"reverie: {failure['name']} failed: {failure['error']}", file=sys.stderr)
    return 1 if failed else 0


def measure_pages(session: BenchSession) -> Iterator[Row]:
    """Measure the page of `reverie play`; without a browser report why, and yield no rows."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if not browser or not all(map(find_spec, ("playwright", *REQUIRED_MODULES))):
        message = "The page is not measured: it needs Chromium and the extras play and dev."
        print(message)
        return iter(())
    from .page_rates import measure  # imports the packages of the extras

    return (row(*measured) for measured in measure(browser))
