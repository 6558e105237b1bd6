"""What is added to the pages of MkDocs: every module's API, every command's help, links to source.

Links in the repository's Markdown lead to its files, so that they work there; a link to a module
leads to the module's page here, and a link to another file outside ``docs/`` becomes its name.
"""

import io
import json
import os
import posixpath
import re
from base64 import b64decode
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout, suppress
from pathlib import Path
from textwrap import dedent

import griffe
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parent.parent
WIDTH = 80
"""Columns of the help texts."""
PACKAGES = ("agents", "envs", "world_models")


def modules(package: str) -> Iterator[str]:
    """Yield the names of a package's modules, those of subpackages after it."""
    folder = ROOT / package.replace(".", "/")
    for path in sorted(folder.glob("*.py")):
        if path.stem != "__init__":
            yield f"{package}.{path.stem}"
    for path in sorted(folder.glob("*/__init__.py")):
        yield from modules(f"{package}.{path.parent.name}")


def on_config(config: MkDocsConfig) -> None:
    """Add the pages of the API to the navigation, before the results."""
    assert config.nav is not None
    sections = [{x: [f"api/{name}.md" for name in modules(x)]} for x in PACKAGES]
    index = next(i for i, entry in enumerate(config.nav) if "Results" in entry)
    config.nav.insert(index, {"API": [{"reverie": "api/reverie.md"}, *sections]})


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Generate a page per module, which a search lists after the written pages."""
    for name in (name for package in PACKAGES for name in modules(package)):
        title = name.partition(".")[2]
        text = f"---\ntitle: {title}\nsearch: {{boost: 0.5}}\n---\n\n::: reverie.{name}\n"
        files.append(File.generated(config, f"api/{name}.md", content=text))
    for path in sorted((ROOT / "docs" / "notebooks").glob("*.ipynb")):
        for name, content in notebook_files(path):
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def notebook_files(path: Path) -> Iterator[tuple[str, str | bytes]]:
    """Yield the page of a notebook, with its outputs as they are stored, and its pictures."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    page = []
    for i, cell in enumerate(cells):
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            page.append(source)
            continue
        page.append(f"```{'sh' if source.startswith('!') else 'python'}\n{source}\n```")
        for j, output in enumerate(cell["outputs"]):
            data = {kind: "".join(text) for kind, text in output.get("data", {}).items()}
            if "text" in output:
                page.append(fenced("".join(output["text"])))
            elif "image/png" in data:
                yield (name := f"{path.stem}-{i}-{j}.png"), b64decode(data["image/png"])
                page.append(f"![output of the code above]({name})")
            elif "text/markdown" in data:
                page.append(data["text/markdown"])
            elif "text/plain" in data:
                page.append(fenced(data["text/plain"]))
    download = f"[Download this page as a notebook]({path.name}): the outputs are those of one run."
    page.insert(1, f"{download}\n")
    yield f"{path.stem}.md", "\n\n".join(page)


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Insert the help texts where ``<!-- help -->`` stands, and direct the links to source."""
    if "<!-- help -->" in markdown:
        markdown = markdown.replace("<!-- help -->", "\n\n".join(help_sections()))
    return redirect_links(markdown, page.file.src_uri)


def on_post_page(output: str, page: Page, config: MkDocsConfig) -> str:
    """Name source files from the root; refuse a page that needs the network when it is read."""
    if found := re.search(r'<(?:script|img|link|iframe)\b[^>]*="https?://[^"]*"', output):
        raise PluginError(f"{page.file.src_uri} loads a file of another site: {found[0]}>")
    return output.replace(".typing/reverie/", "")


def redirect_links(markdown: str, page: str) -> str:
    """Replace a page's links out of ``docs/``: by one to the module's page, or by their text."""
    folder = posixpath.dirname(f"docs/{page}")

    def redirected(link: re.Match[str]) -> str:
        text, path = link[1], posixpath.normpath(f"{folder}/{link[2]}")
        if path.startswith("docs/"):
            return link[0]
        if not path.endswith(".py") or path.partition("/")[0] not in PACKAGES:
            return f"`{text}`" if "." in text else text
        name = path.removesuffix(".py").replace("/", ".")
        return f"[{text}]({posixpath.relpath(f'docs/api/{name}.md', folder)})"

    return re.sub(r"(?<!!)\[([^\]]*)\]\(([^)#:]+)\)", redirected, markdown)


def help_sections() -> Iterator[str]:
    """Yield a heading and the help of every command, and folded that of its presets or parts."""
    from reverie.experiments.cli.main import COMMANDS
    from reverie.experiments.config.presets import PRESETS
    from reverie.world_models.density import DENSITIES
    from reverie.world_models.prediction import PREDICTORS
    from reverie.world_models.representation import REPRESENTATIONS

    parts = {
        "train": [*PRESETS],
        "pretrain": [
            *(f"density:{name}" for name in DENSITIES),
            *(f"predictor:{name}" for name, x in PREDICTORS.items() if x.trainable),
            *(f"representation:{name}" for name in REPRESENTATIONS),
        ],
    }
    for command in COMMANDS:
        yield f"## reverie {command}\n\n{fenced(help_text(command))}"
        for part in parts.get(command, ()):
            text = fenced(help_text(command, part)).replace("\n", "\n    ")
            yield f'??? note "reverie {command} {part} --help"\n\n    {text}'


def help_text(*argv: str) -> str:
    """Return what ``reverie ARGV --help`` prints in a terminal of ``WIDTH`` columns."""
    from reverie.experiments.cli.main import main

    os.environ["COLUMNS"] = str(WIDTH)
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), suppress(SystemExit):
        main([*argv, "--help"])
    if not out.getvalue().strip():
        raise ValueError(f"`reverie {' '.join(argv)} --help` prints nothing: {err.getvalue()}")
    return out.getvalue()


def fenced(text: str) -> str:
    """Return a text as a block of code, without the spaces at the ends of its lines."""
    lines = (line.rstrip() for line in text.strip("\n").splitlines())
    return "``` { .text .no-copy }\n" + "\n".join(lines) + "\n```"


class Examples(griffe.Extension):
    """Makes the code of docstrings, which follows ``::``, highlighted blocks of Python."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: object) -> None:
        """Rewrite the docstring of a module, class, function or attribute."""
        if obj.docstring:
            code = r"::\n\n((?:(?: {4}.*)?(?:\n|\Z))+)"
            obj.docstring.value = re.sub(code, highlighted, obj.docstring.value)


def highlighted(match: re.Match[str]) -> str:
    """Return indented code as a fenced block."""
    return f":\n\n```python\n{dedent(match[1]).strip()}\n```\n\n"
