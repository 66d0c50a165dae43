"""Notebooks made for a test."""

import json
from pathlib import Path

ASK = """import dora_repro
config = dora_repro.study.quick_config(dora_repro.study.TrainingConfig(checkpoint=checkpoint))
report = dora_repro.study.quick(config, in_process=True)"""

CALLBACK = """import ipywidgets
def broken(change):
    raise RuntimeError("in a callback")
slider = ipywidgets.IntSlider()
slider.observe(broken, "value")
slider.value = 5"""

SWALLOWED = """import ipywidgets
view = ipywidgets.Output()
with view:
    raise RuntimeError("swallowed")"""


def notebook(*sources: str, parameters: str = "") -> dict:
    """A notebook of code cells, none of them executed; `parameters` is the source of the cell with that tag."""
    cells = [_cell(0, parameters, {"tags": ["parameters"]})] if parameters else []
    cells += [_cell(index + 1, source, {}) for index, source in enumerate(sources)]
    kernel = {"display_name": "Python 3", "language": "python", "name": "python3"}
    return {"cells": cells, "metadata": {"kernelspec": kernel}, "nbformat": 4, "nbformat_minor": 5}


def _cell(index: int, source: str, metadata: dict) -> dict:
    return {
        "cell_type": "code",
        "execution_count": None,
        "id": f"cell-{index}",
        "metadata": metadata,
        "outputs": [],
        "source": source.splitlines(keepends=True),
    }


def write(path: Path, *sources: str, parameters: str = "") -> Path:
    path.write_text(json.dumps(notebook(*sources, parameters=parameters)), encoding="utf-8")
    return path
