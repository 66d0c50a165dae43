"""Executed notebooks as pages, and as they are kept in a repository.

A page is one file that loads nothing. A kept notebook holds what it says and nothing of the machine that ran it: no
times, no versions, no identities of widgets, so that a diff of it shows what changed.
"""

import json
import re
from pathlib import Path
from typing import Any, TypeAlias

from dora_repro.checkpoint.replacing import atomic
from dora_repro.errors import MissingExtra

Notebook: TypeAlias = dict[str, Any]
"""A notebook, or one of its outputs, as JSON has it. Any: nbformat's schema is the notebook's, and has no types."""

_VIEW = "application/vnd.jupyter.widget-view+json"


def page(executed: Path) -> Path:
    """Write an executed notebook beside itself as one HTML file, and return its path.

    Raises:
        MissingExtra: nbconvert is not installed.
    """
    try:
        import nbformat
        from nbconvert import HTMLExporter
    except ImportError as error:
        raise MissingExtra("nbconvert", "notebooks", "writing a notebook as HTML") from error
    notebook = nbformat.read(executed, as_version=4)
    notebook.metadata.pop("widgets", None)  # a live widget would be loaded from elsewhere; static views stay
    exporter = HTMLExporter(mathjax_url="", require_js_url="", jquery_url="", widget_renderer_url="", embed_images=True)
    text, _ = exporter.from_notebook_node(notebook)
    text = re.sub(r"<script[^>]*\bsrc=[^>]*>\s*</script>", "", text)
    target = executed.with_suffix(".html")
    with atomic(target) as file:
        file.write(text.encode())
    return target


def cleaned(executed: Path, source: Path) -> Notebook:
    """The executed notebook as it is kept in a repository: same cells and ids, new outputs, nothing of the machine.

    Cells that papermill inserted (the parameters given) are left out.

    Args:
        executed: the executed copy.
        source: the notebook that it was executed from.
    """
    original = json.loads(source.read_text(encoding="utf-8"))
    done = json.loads(executed.read_text(encoding="utf-8"))
    cells = [cell for cell in done["cells"] if "injected-parameters" not in cell["metadata"].get("tags", ())]
    by_id = {cell["id"]: cell for cell in cells}
    count = 0
    for cell in original["cells"]:
        if cell["cell_type"] != "code":
            continue
        count += 1
        cell["execution_count"] = count
        cell["outputs"] = [_cleaned_output(output, count) for output in by_id[cell["id"]]["outputs"]]
        cell["metadata"] = {key: value for key, value in cell["metadata"].items() if key == "tags"}
    original["metadata"] = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    return original


def _cleaned_output(output: Notebook, count: int) -> Notebook:
    output = dict(output)
    if "data" in output:
        output["data"] = {kind: data for kind, data in output["data"].items() if kind != _VIEW}
        output["metadata"] = {}
    if output["output_type"] == "execute_result":
        output["execution_count"] = count
    return output


def write(notebook: Notebook, path: Path) -> None:
    """Write a notebook as nbformat does: sorted keys, one space of indent, a newline at the end."""
    text = json.dumps(notebook, indent=1, ensure_ascii=False, sort_keys=True) + "\n"
    with atomic(path) as file:
        file.write(text.encode())
