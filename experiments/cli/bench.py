"""``reverie bench [--flags]``."""

from ...envs.errors import UsageError
from ..bench import GROUPS, bench
from ..bench.session import BenchOptions, BenchSession, Row, row
from ..config.arguments import parse_flags
from ..play import benchmark as play_benchmark


def run(argv: list[str]) -> int:
    """Measure speed on this machine."""
    options = parse_flags(BenchOptions, argv, "reverie bench")
    groups = GROUPS | {"pages": measure_pages}
    if not any(options.only in group for group in groups):
        raise UsageError(
            f"There is no benchmark group '{options.only}'; the groups are {', '.join(groups)}."
        )
    bench(options, groups)
    return 0


def measure_pages(session: BenchSession) -> list[Row]:
    """Measure the page of `reverie play`."""
    return [row(*measured) for measured in play_benchmark.measure(session.console.print)]
