"""Reproduction of the committed results: ``results/NAME.json`` of a recipe, and its video."""

import shutil
from pathlib import Path

from ..recipes.recipe import SeedsRecipe
from ..recipes.recipes import RECIPES
from ..reporting.committed import RESULTS, write_result
from ..runs.files import read_json
from ..runs.outputs import check_writable


def reproduce(name: str, folder: Path, seeds: int = 0) -> None:
    """Measure a recipe and write its result, again after each part.

    The runs are in ``folder``. A result that lacks seeds keeps those that it has and
    gets at most ``seeds`` more, or all if that is 0. Raises KeyboardInterrupt if a run is
    interrupted; the same call continues, without repeating finished runs.
    """
    recipe, path = RECIPES[name], RESULTS / f"{name}.json"
    if isinstance(recipe, SeedsRecipe):
        recipe = recipe.continued(read_json(path) if path.exists() else {}, seeds)
    about = {"name": name, "command": f"reverie reproduce {name}", "kind": recipe.kind}
    outputs = path, path.with_suffix(".mp4")
    check_writable(*outputs, remedy="reproduce in a checkout that you can write")
    for result in recipe.measure(folder):
        write_result(path, about | result)
    if video := recipe.video(folder):
        shutil.copyfile(video, path.with_suffix(".mp4"))
        print(f"video: {path.with_suffix('.mp4')}")
