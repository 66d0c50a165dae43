"""The notebooks of the repository: executed, thin, told apart from logic; and nbval does see what is wrong in one."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from dora_repro.headless.finding import parameters_of
from tests.headless import specimens

FOLDER = Path(__file__).parents[2] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
LINES = 8  # of a code cell; the parameters' cell aside
WIDTH = 100  # characters of a line, so that none is cut off in JupyterLab
CELLS = 16  # code cells of a notebook


def code_cells(content: dict) -> list[dict]:
    return [cell for cell in content["cells"] if cell["cell_type"] == "code"]


def source(cell: dict) -> str:
    return "".join(cell["source"])


def is_parameters(cell: dict) -> bool:
    return "parameters" in cell["metadata"].get("tags", ())


def faults(content: dict) -> list[str]:
    """What a kept notebook must not be."""
    cells, wrong = code_cells(content), []
    if [cell["execution_count"] for cell in cells] != list(range(1, len(cells) + 1)):
        wrong.append("not executed from top to bottom: nbval compares nothing in a cell without a count")
    if sum(map(is_parameters, cells)) != 1:
        wrong.append("not one cell tagged parameters")
    if sum("nbval-ignore-output" in cell["metadata"].get("tags", ()) for cell in cells) > 1:
        wrong.append("more than one cell whose output nbval does not compare")
    if len(cells) > CELLS:
        wrong.append(f"{len(cells)} code cells")
    if not source(content["cells"][0]).startswith("# ") or "?" not in source(content["cells"][0]).splitlines()[0]:
        wrong.append("the title is no question")
    if "What this does not show" not in source(content["cells"][-1]):
        wrong.append("it does not say what it does not show")
    for number, cell in enumerate(cells, start=1):
        text = source(cell)
        if len(text.splitlines()) > LINES and not is_parameters(cell):
            wrong.append(f"cell {number} is long")
        if any(len(line) > WIDTH for line in text.splitlines()):
            wrong.append(f"cell {number} is wide")
        if re.search(r"^\s*(def|class|for|while|with) ", text, re.MULTILINE):
            wrong.append(f"cell {number} holds logic: a function of the package is missing")
        if any(output["output_type"] == "error" for output in cell["outputs"]):
            wrong.append(f"cell {number} raised")
    text = json.dumps(content["metadata"]) + json.dumps([cell["metadata"] for cell in content["cells"]])
    if "papermill" in text or "execution" in text or '"version"' in text or "widget-view" in json.dumps(content):
        wrong.append("it holds things of the machine that ran it")
    return wrong


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_kept_notebook_is_executed_and_thin(path):
    assert faults(json.loads(path.read_text(encoding="utf-8"))) == []


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_every_parameter_is_a_literal_with_a_comment(path):
    parameters = parameters_of(path)
    assert parameters and all(one.help for one in parameters.values())


def test_there_are_notebooks():
    assert [path.stem[:2] for path in NOTEBOOKS][:4] == ["01", "02", "03", "04"]


def test_faults_are_noticed():
    whole = json.loads(NOTEBOOKS[0].read_text(encoding="utf-8"))
    assert faults(whole) == []
    for spoil, said in {
        "count": "not executed from top to bottom",
        "tag": "not one cell tagged parameters",
        "logic": "holds logic",
        "long": "is long",
        "wide": "is wide",
        "raised": "raised",
        "machine": "things of the machine",
        "title": "no question",
        "end": "does not say",
        "ignored": "nbval does not compare",
    }.items():
        content = json.loads(json.dumps(whole))
        cells = code_cells(content)
        if spoil == "count":
            cells[1]["execution_count"] = None
        elif spoil == "tag":
            cells[0]["metadata"] = {}
        elif spoil == "logic":
            cells[1]["source"] = ["for x in y:\n", "    pass"]
        elif spoil == "long":
            cells[1]["source"] = ["x = 1\n"] * 20
        elif spoil == "wide":
            cells[1]["source"] = ["x" * 120]
        elif spoil == "raised":
            cells[1]["outputs"] = [{"output_type": "error", "ename": "E", "evalue": "", "traceback": []}]
        elif spoil == "machine":
            content["metadata"]["papermill"] = {}
        elif spoil == "ignored":
            cells[1]["metadata"] = cells[2]["metadata"] = {"tags": ["nbval-ignore-output"]}
        elif spoil == "title":
            content["cells"][0]["source"] = ["# A title"]
        else:
            content["cells"][-1]["source"] = ["the end"]
        assert any(said in fault for fault in faults(content)), spoil


def nbval(path: Path) -> subprocess.CompletedProcess:
    words = ["-m", "pytest", "-q", "--nbval", "--nbval-current-env", "-p", "no:cacheprovider", str(path)]
    # -c: nothing of this project's configuration, so that a specimen stands alone.
    return subprocess.run(
        [sys.executable, *words, "-c", "/dev/null", "--rootdir", str(path.parent)],
        capture_output=True, text=True, timeout=180,
    )  # fmt: skip


def kept(path: Path, said: str) -> Path:
    """A notebook that prints a verdict, kept with this output."""
    content = specimens.notebook("verdict = 'EXACT'\nprint(verdict)")
    content["cells"][0] |= {"execution_count": 1}
    content["cells"][0]["outputs"] = [{"name": "stdout", "output_type": "stream", "text": [f"{said}\n"]}]
    path.write_text(json.dumps(content))
    return path


def test_nbval_passes_a_right_output_and_notices_a_planted_wrong_one(tmp_path):
    right = nbval(kept(tmp_path / "right.ipynb", "EXACT"))
    assert right.returncode == 0 and "1 passed" in right.stdout, right.stdout
    wrong = nbval(kept(tmp_path / "wrong.ipynb", "DIFFERENT"))
    assert wrong.returncode == 1 and "1 failed" in wrong.stdout and "DIFFERENT" in wrong.stdout, wrong.stdout
