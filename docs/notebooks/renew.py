"""Run the notebooks and store their outputs: ``python docs/notebooks/renew.py [NAME ...]``.

Each runs in an empty folder, whose path is left out of the outputs, as are the times of execution.
The metadata hold a digest of the cells, by which a test finds outputs of other cells.
"""

import hashlib
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

FOLDER = Path(__file__).parent


def digest(notebook: dict[str, Any]) -> str:
    """Return a digest of the cells without their outputs."""
    cells = "\0".join(f"{x['cell_type']}\0{''.join(x['source'])}" for x in notebook["cells"])
    return hashlib.sha256(cells.encode()).hexdigest()[:16]


def renew(path: Path) -> None:
    """Run a notebook, and write it with its outputs."""
    import nbformat  # not needed for the digest
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    with TemporaryDirectory() as folder:
        client = NotebookClient(
            notebook,
            timeout=1200,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": folder}},
        )
        client.execute()
        for cell in (x for x in notebook.cells if x.cell_type == "code"):
            # Lines of progress, on stderr, are of the moment.
            cell.outputs = [x for x in cell.outputs if x.get("name") != "stderr"]
            for output in cell.outputs:
                if output.output_type == "stream":
                    output.text = output.text.replace(f"{folder}/", "")
                else:
                    output.data.pop("image/jpeg", None)  # a copy of a PNG
    notebook.metadata = {
        "kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"},
        "language_info": {"name": "python"},
        "digest": digest(notebook),
    }
    nbformat.write(notebook, path)


if __name__ == "__main__":
    for name in sys.argv[1:] or sorted(x.stem for x in FOLDER.glob("*.ipynb")):
        renew(FOLDER / f"{name}.ipynb")
        print(f"renewed {name}")
