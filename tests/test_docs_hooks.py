"""Links of the documentation's sources lead to pages of the site, and no page needs the network."""

import importlib.util
from pathlib import Path
from typing import Any, cast

import pytest
from mkdocs.exceptions import PluginError

SOURCE = Path(__file__).parent.parent / "docs" / "hooks.py"
SPEC = importlib.util.spec_from_file_location("documentation_hooks", SOURCE)
assert SPEC
assert SPEC.loader
hooks: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(hooks)


@pytest.mark.parametrize(
    ("page", "link", "expected"),
    [
        ("papers.md", "[dqn.py](../agents/dqn.py)", "[dqn.py](api/agents.dqn.md)"),
        ("howto/record.md", "[x](../../envs/atari/ram.py)", "[x](../api/envs.atari.ram.md)"),
        ("howto/record.md", "[x](../results.md)", "[x](../results.md)"),
        ("results.md", "[raw.json](../experiments/results/raw.json)", "`raw.json`"),
        ("results.md", "[scores](../experiments/results)", "scores"),
        ("results.md", "[x](https://example.org/a.py)", "[x](https://example.org/a.py)"),
        ("howto/play.md", "![a dream](../dream.gif)", "![a dream](../dream.gif)"),
    ],
)
def test_links_lead_to_pages_of_the_site(page: str, link: str, expected: str) -> None:
    assert hooks.redirect_links(link, page) == expected


def test_every_module_of_the_packages_has_a_page() -> None:
    names = {name for package in hooks.PACKAGES for name in hooks.modules(package)}
    assert {"agents.dqn", "agents.bonuses.simhash", "envs.catch", "world_models.interface"} <= names


def test_a_page_that_loads_a_file_of_another_site_is_refused() -> None:
    page = cast(Any, type("Page", (), {"file": type("File", (), {"src_uri": "a.md"})}))
    assert hooks.on_post_page('<a href="https://x.org">x</a>', page, None)
    with pytest.raises(PluginError, match=r"a\.md loads"):
        hooks.on_post_page('<script src="https://x.org/y.js"></script>', page, None)
