"""The layout of the code: imports point one way, and names tell where things are."""

import ast
import subprocess
import sys
import tomllib
from collections import defaultdict
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TOP = ("envs", "world_models", "agents", "experiments")

ORDER = (
    ("envs", "experiments.text"),
    ("world_models",),
    ("agents", "experiments.runs"),
    ("experiments.config", "experiments.dreams", "experiments.verdicts"),
    (
        "experiments.datasets",
        "experiments.evaluation",
        "experiments.reporting",
        "experiments.sessions",
    ),
    (
        "experiments.integrity",
        "experiments.interchange",
        "experiments.laws",
        "experiments.training",
    ),
    ("experiments.inspectors", "experiments.sharing"),
    (
        "experiments.ablation",
        "experiments.bench",
        "experiments.doctor",
        "experiments.gallery",
        "experiments.play",
        "experiments.recipes",
    ),
    ("experiments.reproduce", "experiments.sweeps"),
    ("experiments.cli",),
)
"""Packages by level; a package imports packages of lower levels and itself."""

SHARED_NAMES = {
    "__init__",
    "interface",  # protocols and config bases of a package
    "networks",  # layers of a package's models
    "session",  # state of one session of a tool
    # A command, and the package that carries it out.
    *("ablate", "bench", "collect", "doctor", "evaluate", "gallery", "imagine", "play"),
    *("pretrain", "report", "reproduce", "train"),
}
"""Names that several files may have, because they hold the same concept."""


def sources() -> list[Path]:
    return [path for top in TOP for path in sorted((ROOT / top).rglob("*.py"))]


def name_of(path: Path) -> str:
    """The dotted name of a source file below ``reverie``."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@cache
def modules() -> dict[str, Path]:
    return {name_of(path): path for path in sources()}


@cache
def imports() -> dict[str, set[str]]:
    """The modules that each module imports, also within functions, but not for types alone."""
    return {name: set(_imported(name, path)) for name, path in modules().items()}


def _imported(name: str, path: Path) -> list[str]:
    package = name.split(".") if path.stem == "__init__" else name.split(".")[:-1]
    found = []
    for node in _nodes(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            absolute = [alias.name for alias in node.names if alias.name.startswith("reverie")]
            assert not absolute, f"{path} imports {absolute}; imports inside are relative"
        elif isinstance(node, ast.ImportFrom):
            assert node.level or not str(node.module).startswith("reverie"), path
            if not node.level:
                continue
            base = package[: len(package) - (node.level - 1)]
            base += node.module.split(".") if node.module else []
            for alias in node.names:
                whole = ".".join([*base, alias.name])
                found.append(whole if whole in modules() else ".".join(base))
    return [module for module in found if module != name]


def _nodes(tree: ast.AST) -> list[ast.AST]:
    """Every node outside ``if TYPE_CHECKING``."""
    nodes = []
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            continue
        nodes += [node, *_nodes(node)]
    return nodes


def package_of(module: str) -> str:
    parts = module.split(".")
    return ".".join(parts[:2]) if parts[0] == "experiments" else parts[0]


def test_packages_import_lower_levels_alone() -> None:
    level = {package: i for i, packages in enumerate(ORDER) for package in packages}
    for module, imported in imports().items():
        mine = package_of(module)
        if mine == "experiments":
            continue
        for other in map(package_of, imported):
            assert other == mine or level[other] < level[mine], f"{module} imports {other}"


def test_there_are_at_most_nine_levels_from_the_command_line_to_the_envs() -> None:
    below: dict[str, set[str]] = defaultdict(set)
    for module, imported in imports().items():
        below[package_of(module)] |= {package_of(other) for other in imported}

    @cache
    def depth(package: str) -> int:
        others = below[package] - {package}
        return 1 + max(map(depth, others)) if others else 1

    assert depth("envs") == 1
    assert depth("experiments.cli") <= 9


def test_no_modules_import_each_other_in_a_circle() -> None:
    finished: set[str] = set()

    def visit(module: str, path: tuple[str, ...]) -> None:
        assert module not in path, " -> ".join([*path[path.index(module) :], module])
        if module in finished:
            return
        for other in imports()[module]:
            visit(other, (*path, module))
        finished.add(module)

    for module in modules():
        visit(module, ())


def test_nothing_is_named_like_a_module_of_the_standard_library() -> None:
    """A script that is run by its path has its folder first on the path of modules."""
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout  # fmt: skip
    files = [Path(line) for line in listing.splitlines() if line.endswith(".py")]
    assert {path.parts[0] for path in files} >= {*TOP, "tests", "examples"}
    for path in files:
        names = {*path.parent.parts, path.stem} - {"__init__"}
        assert not names & sys.stdlib_module_names, path


def test_files_of_one_name_hold_the_same_concept() -> None:
    places = defaultdict(list)
    for module, path in modules().items():
        places[path.stem].append(module)
    for stem, found in places.items():
        assert len(found) == 1 or stem in SHARED_NAMES, found


def test_no_package_of_experiments_is_over_2500_lines() -> None:
    lines: dict[str, int] = defaultdict(int)
    for module, path in modules().items():
        lines[package_of(module)] += len(path.read_text().splitlines())
    assert all(n <= 2500 for name, n in lines.items() if name.startswith("experiments.")), lines


def test_attributes_are_set_first_in_init() -> None:
    classes: dict[str, list[ast.ClassDef]] = defaultdict(list)
    for path in sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ClassDef):
                classes[node.name].append(node)

    def assigned(function: ast.AST) -> set[str]:
        return {
            node.attr
            for node in ast.walk(function)
            if isinstance(node, ast.Attribute)
            and isinstance(node.ctx, ast.Store)
            and ast.unparse(node.value) == "self"
        }

    def known(kind: ast.ClassDef) -> set[str]:
        names = {
            n.id
            for x in kind.body
            if not isinstance(x, ast.FunctionDef)
            for n in ast.walk(x)
            if isinstance(n, ast.Name)
        }
        for function in kind.body:
            if isinstance(function, ast.FunctionDef):
                names |= assigned(function) if function.name == "__init__" else {function.name}
        for base in kind.bases:
            for parent in classes.get(ast.unparse(base).partition("[")[0], []):
                names |= known(parent)
        return names

    for kinds in classes.values():
        for kind in kinds:
            for function in kind.body:
                if isinstance(function, ast.FunctionDef):
                    late = assigned(function) - known(kind)
                    assert not late, f"{kind.name}.{function.name} sets {late}"


def test_every_package_is_installed() -> None:
    config = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]
    tree = {f"reverie.{name_of(path)}" for path in sources() if path.stem == "__init__"}
    assert set(config["packages"]) == tree | {"reverie"}
    for path in sources():
        assert (path.parent / "__init__.py").exists(), f"{path.parent} is no package"


def test_the_checkout_is_imported_under_one_name() -> None:
    import reverie.experiments.cli.main  # noqa: F401

    if ROOT.name != "reverie":
        assert not [name for name in sys.modules if name.startswith(f"{ROOT.name}.")]


@pytest.mark.parametrize(
    ("command", "printed", "heavy"),
    [
        ("--help", "reverie train", ["torch", "gymnasium", "tyro"]),
        ("list games", "ms_pacman", ["torch", "gymnasium", "tyro"]),
        # torch's compiler takes as long as torch itself
        ("list presets", "mfec", ["torch._dynamo"]),
        ("collect random env:catch --frames 20 --num-envs 2", "20 frames", ["torch._dynamo"]),
    ],
)
def test_light_commands_load_no_heavy_modules(
    command: str, printed: str, heavy: list[str], tmp_path: Path
) -> None:
    """They also run in a folder that holds the user's own ``envs``."""
    (tmp_path / "envs").mkdir()
    (tmp_path / "envs" / "__init__.py").write_text("raise RuntimeError('shadowed')")
    code = (
        "import sys; from reverie.experiments.cli.main import main; "
        f"status = main({command.split()}); assert status == 0; "
        f"loaded = {{*{heavy}}} & {{*sys.modules}}; assert not loaded, loaded"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert printed in done.stdout
