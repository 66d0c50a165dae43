"""What is kept of an executed notebook, and its page."""

import json
import re

import pytest

from dora_repro.headless import copies, running
from tests.headless import specimens

FIGURE = """import matplotlib.pyplot as plt
figure = plt.figure(figsize=(2, 1))
plt.plot([1, 2])
plt.close(figure)
figure"""
WIDGET = "import ipywidgets\nipywidgets.IntSlider()"


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    """(source, executed copy) of a notebook with a parameter, text, a figure and a widget."""
    folder = tmp_path_factory.mktemp("copies")
    source = specimens.write(folder / "a.ipynb", "print(seed)", FIGURE, WIDGET, parameters="seed = 0  # a number")
    one = running.execute(source, {"seed": 7}, folder / "out", 60.0, 120.0)
    assert one.passed, one.problem
    return source, one.copy


def test_a_page_is_one_file_that_loads_nothing(done):
    page = copies.page(done[1])
    text = page.read_text(encoding="utf-8")
    assert page.suffix == ".html" and "data:image/png;base64," in text and "IntSlider" in text
    assert not re.findall(r"<(?:script|link|img|iframe)[^>]*(?:src|href)=[\"']?https?:", text)


def test_what_is_kept_has_the_sources_cells_and_ids_and_nothing_of_the_machine(done):
    source, copy = done
    kept = copies.cleaned(copy, source)
    before = json.loads(source.read_text())
    assert [cell["id"] for cell in kept["cells"]] == [cell["id"] for cell in before["cells"]]
    assert [cell["source"] for cell in kept["cells"]] == [cell["source"] for cell in before["cells"]]
    assert [cell["execution_count"] for cell in kept["cells"]] == [1, 2, 3, 4]
    assert kept["cells"][1]["outputs"] == [{"name": "stdout", "output_type": "stream", "text": ["7\n"]}]
    text = json.dumps(kept)
    for machine in (
        "papermill",
        "widget-view",
        "widget-state",
        "start_time",
        "duration",
        "3.11",
        "shell.execute_reply",
    ):
        assert machine not in text
    assert list(kept["cells"][3]["outputs"][0]["data"]) == ["text/plain"]


def test_keeping_the_same_run_twice_is_the_same_file(done, tmp_path):
    source, copy = done
    copies.write(copies.cleaned(copy, source), tmp_path / "one.ipynb")
    copies.write(copies.cleaned(copy, tmp_path / "one.ipynb"), tmp_path / "two.ipynb")
    assert (tmp_path / "one.ipynb").read_bytes() == (tmp_path / "two.ipynb").read_bytes()
