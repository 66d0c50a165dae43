"""JupyterLab as a browser test sees it: a server of its own, and a notebook that is open in a page.

What runs and what came out is asked of JupyterLab's own objects (`jupyterapp`, which the server is told to show): cells
that are scrolled out of sight are not in the page at all. What a reader sees and does is asked of the page.
"""

import contextlib
import importlib.util
import json
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

BROWSERS = ("chromium", "chromium-browser", "google-chrome")
SIZE = {"width": 1366, "height": 768}  # the laptop that most readers have
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}

# Nothing that asks, and nothing that asks the world outside.
SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False, "doNotDisturbMode": True},
    "docmanager-extension/plugin": {"autosave": False},
}


def chromium() -> str | None:
    """The path of a Chromium, or None."""
    return next((path for name in BROWSERS if (path := shutil.which(name))), None)


def missing() -> str:
    """Why browser tests cannot run here; empty where they can, or must: continuous integration installs both."""
    if chromium() is None:
        return f"needs Chromium; none of {', '.join(BROWSERS)} is here"
    if importlib.util.find_spec("playwright") is None and not os.environ.get("CI"):
        return "needs the package playwright: pip install 'dora-repro[test]'"
    return ""


@contextlib.contextmanager
def server(folder: Path, home: Path, log: Path) -> Iterator[str]:
    """A JupyterLab on a folder, with settings of its own below `home`; ended with its kernels.

    Yields:
        Its address, up to the query, with `{}` for the path and the token in it.

    Raises:
        RuntimeError: it does not answer within a minute; with what it said.
    """
    for name, setting in SETTINGS.items():
        path = home / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting), encoding="utf-8")
    token, port = secrets.token_hex(16), _free_port()
    places = {
        "JUPYTER_CONFIG_DIR": "config", "JUPYTER_DATA_DIR": "data", "JUPYTER_RUNTIME_DIR": "runtime",
        "JUPYTERLAB_SETTINGS_DIR": "settings", "JUPYTERLAB_WORKSPACES_DIR": "workspaces", "IPYTHONDIR": "ipython",
        "MPLCONFIGDIR": "matplotlib",
    }  # fmt: skip
    with log.open("wb") as said:
        process = subprocess.Popen(
            [
                sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--expose-app-in-browser",
                "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
                f"--ServerApp.root_dir={folder}", "--LabApp.extension_manager=readonly",
            ],
            env={**os.environ, **{name: str(home / place) for name, place in places.items()}, "JUPYTER_TOKEN": token},
            stdin=subprocess.DEVNULL, stdout=said, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        _await(process, f"http://127.0.0.1:{port}/api/status?token={token}", log)
        yield f"http://127.0.0.1:{port}/{{}}?token={token}"
    finally:
        _end(process)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _await(process: subprocess.Popen, address: str, log: Path) -> None:
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    end = time.monotonic() + 60
    while process.poll() is None and time.monotonic() < end:
        try:
            with direct.open(address, timeout=5):
                return
        except OSError:
            time.sleep(0.1)
    raise RuntimeError(f"JupyterLab does not answer; it said:\n{log.read_text(encoding='utf-8', errors='replace')}")


def _end(process: subprocess.Popen) -> None:
    """As Jupyter ends in good order, kernels first; by force where it does not."""
    import psutil

    if process.poll() is not None:
        return
    family = psutil.Process(process.pid).children(recursive=True)  # kernels have sessions of their own
    process.send_signal(signal.SIGTERM)
    with contextlib.suppress(subprocess.TimeoutExpired):
        process.wait(15)
    for one in family:
        with contextlib.suppress(psutil.NoSuchProcess):
            one.kill()
    process.kill()
    process.wait()


def give(notebook: Path, parameters: dict[str, object]) -> None:
    """Set literals in the cell of a notebook that is tagged `parameters`.

    Raises:
        LookupError: it has no such parameter.
    """
    content = json.loads(notebook.read_text(encoding="utf-8"))
    (cell,) = (cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    lines = "".join(cell["source"]).splitlines(keepends=True)
    for name, value in parameters.items():
        found = [index for index, line in enumerate(lines) if line.startswith(f"{name} = ")]
        if not found:
            raise LookupError(f"{notebook.name} has no parameter {name!r}")
        lines[found[0]] = f"{name} = {value!r}\n"
    cell["source"] = lines
    notebook.write_text(json.dumps(content), encoding="utf-8")


# Expressions in the page: the notebook that it shows, its kernel's state, its code cells.
_NOTEBOOK = "window.jupyterapp?.shell.currentWidget"
_KERNEL = f"{_NOTEBOOK}?.sessionContext?.session?.kernel?.status"
_CELLS = f"{_NOTEBOOK}.content.widgets.map(cell => cell.model.toJSON()).filter(cell => cell.cell_type === 'code')"


class Notebook:
    """A notebook that is open in a page of JupyterLab, 1366 by 768.

    Args:
        page: Playwright's; closed by whoever made it.
        pictures: the folder of screenshots; made where it is not there.
    """

    def __init__(self, page: object, pictures: Path):
        self.page, self.pictures = page, pictures
        self._console: list[str] = []
        page.on("console", lambda message: message.type == "error" and self._console.append(message.text))
        page.on("pageerror", lambda error: self._console.append(str(error)))

    def open(self, address: str) -> None:
        """Go there and wait until the notebook's kernel is idle."""
        self.page.goto(address, wait_until="domcontentloaded")
        self._until(f"{_KERNEL} === 'idle' && {_NOTEBOOK}.content.model.cells.length > 0")

    def run_all(self, seconds: float = 200) -> None:
        """Run all cells, as the menu's Run All Cells does, and wait until none runs or waits (`[*]`).

        A cell that raises ends the run; those after it have no count.
        """
        self.page.evaluate(
            "() => { window.ran = false;"
            " jupyterapp.commands.execute('notebook:run-all-cells').finally(() => { window.ran = true; }); }"
        )
        self._until(f"window.ran && {_KERNEL} === 'idle'", seconds)

    def counts(self) -> list[int | None]:
        """The execution count of each code cell; None where it did not run."""
        return self.page.evaluate(f"{_CELLS}.map(cell => cell.execution_count)")

    def output_errors(self) -> list[str]:
        """What cells and widgets raised."""
        cells = self.page.evaluate(f"{_CELLS}.flatMap(cell => cell.outputs)")
        raised = [f"{out['ename']}: {out['evalue']}" for out in cells if out["output_type"] == "error"]
        panels = self.page.locator(".dora-repro-panel [role=alert], .jupyter-widgets-error-widget")
        return raised + panels.all_inner_texts()

    def console_errors(self) -> list[str]:
        """What the browser's console holds of errors, from opening on."""
        return list(self._console)

    def scroll_to(self, text: str) -> object:
        """Bring the first cell whose source or prose holds a text to the top, and return its place in the page."""
        index = self.page.evaluate(
            f"wanted => {_NOTEBOOK}.content.widgets.findIndex(cell => cell.model.sharedModel.source.includes(wanted))",
            text,
        )
        if index < 0:
            raise LookupError(f"no cell holds {text!r}")
        self.page.evaluate(f"index => {_NOTEBOOK}.content.scrollToItem(index, 'start')", index)
        cell = self.page.locator(f".jp-Cell[data-windowed-list-index='{index}']")
        cell.wait_for(state="visible")
        # JupyterLab guesses the heights of cells never shown, and shifts all as it learns them: until it rests.
        self.page.wait_for_function(
            "node => { const before = window.top_seen; node.scrollIntoView({block: 'start'});"
            " window.top_seen = node.getBoundingClientRect().top; return window.top_seen === before; }",
            arg=cell.element_handle(), polling=100,
        )  # fmt: skip
        return cell

    def theme(self, name: str) -> None:
        """Switch to `light` or `dark`, as the menu does."""
        self.page.evaluate("theme => jupyterapp.commands.execute('apputils:change-theme', {theme})", THEMES[name])
        self.page.wait_for_function(f"document.body.dataset.jpThemeLight === '{str(name == 'light').lower()}'")
        # JupyterLab covers the page meanwhile; of two covers in a row it takes one away twice, which is an error.
        self.page.wait_for_function("() => document.querySelector('#jupyterlab-splash') === null")

    def side_bar(self, shown: bool) -> None:
        """Show the side bar on the left with its file browser, or fold it away."""
        if self.page.evaluate("jupyterapp.shell.leftCollapsed") == shown:
            self.page.evaluate("jupyterapp.commands.execute('application:toggle-left-area')")
        self.page.wait_for_function(f"jupyterapp.shell.leftCollapsed === {str(not shown).lower()}")

    def screenshot(self, name: str) -> Path:
        """What the reader sees now, as a PNG among the pictures."""
        self.pictures.mkdir(parents=True, exist_ok=True)
        path = self.pictures / f"{name}.png"
        self._until(f"{_KERNEL} === 'idle' && [...document.images].every(image => image.complete)")
        self.page.screenshot(path=path, animations="disabled")
        return path

    def _until(self, condition: str, seconds: float = 60) -> None:
        self.page.wait_for_function(f"() => {condition}", timeout=seconds * 1000)
