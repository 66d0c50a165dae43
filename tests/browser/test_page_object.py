"""What the browser tests stand on sees faults that are planted; and where there is no browser, they say so."""

import json
import os
import subprocess
import sys

import pytest

from tests.browser import jupyter
from tests.headless import specimens

BROKEN = """import ipywidgets
from dora_repro.widgets import panel
class Broken(panel.Panel):
    def fail(self):
        raise RuntimeError("in a callback")
broken, button = Broken(), ipywidgets.Button(description="fail")
broken.on_click(button, broken.fail)
broken.show(button)
broken"""


@pytest.mark.browser
def test_what_a_callback_and_a_cell_raise_is_seen(open_notebook, copies):
    specimens.write(copies / "broken.ipynb", BROKEN, "missing", "1 + 1")
    notebook = open_notebook("broken")
    notebook.run_all()
    assert notebook.counts() == [1, 2, None]
    assert notebook.output_errors() == ["NameError: name 'missing' is not defined"]
    notebook.scroll_to("ipywidgets").get_by_role("button", name="fail").click()
    notebook.page.get_by_role("alert").filter(has_text="in a callback").wait_for()
    assert "RuntimeError: in a callback" in notebook.output_errors()
    with pytest.raises(LookupError, match="no cell holds 'nowhere'"):
        notebook.scroll_to("nowhere")
    notebook.page.evaluate("console.error('planted')")
    assert "planted" in notebook.console_errors()


def test_parameters_are_given_to_a_copy(tmp_path):
    path = specimens.write(tmp_path / "a.ipynb", "epochs", parameters="epochs = 3  # of training\nname = 'x'")
    jupyter.give(path, {"epochs": 1})
    assert json.loads(path.read_text())["cells"][0]["source"] == ["epochs = 1\n", "name = 'x'"]
    with pytest.raises(LookupError, match="no parameter 'epoch'"):
        jupyter.give(path, {"epoch": 1})


def test_without_chromium_they_are_skipped_and_say_so(root):
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-rs", "-p", "no:cacheprovider", "tests/browser/test_notebooks_open.py"],
        cwd=root, env={**os.environ, "PATH": "/nowhere"}, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    assert "needs Chromium; none of chromium, chromium-browser, google-chrome is here" in done.stdout
    assert "passed" not in done.stdout


@pytest.mark.parametrize(("ci", "said"), [("", "needs the package playwright"), ("true", "")])
def test_without_playwright_they_are_skipped_but_not_in_continuous_integration(monkeypatch, ci, said):
    monkeypatch.setenv("CI", ci)
    monkeypatch.setattr(jupyter.shutil, "which", lambda name: f"/usr/bin/{name}")
    monkeypatch.setattr(jupyter.importlib.util, "find_spec", lambda name: None)
    assert jupyter.missing().startswith(said) and bool(jupyter.missing()) == bool(said)


@pytest.fixture
def root(pytestconfig):
    return pytestconfig.rootpath
