"""Execute notebooks, each in a process of its own that can be ended, and read the outcome from the executed copy.

papermill can wait for ever on a kernel (nbclient #312), so beside the time limit of each cell there is one for the
whole notebook, enforced from outside. An exception inside a widget's callback may leave papermill content: executed
copies are searched for it.
"""

import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from dora_repro.checks.expectation import MIME
from dora_repro.errors import BadInput
from dora_repro.guardian.guarding import guard, release
from dora_repro.headless.copies import Notebook
from dora_repro.printable import named
from dora_repro.scratch import ScratchFolder

if TYPE_CHECKING:
    import psutil

DYING = 10.0  # seconds to wait for a killed process


@dataclass(frozen=True)
class Executed:
    """One notebook, run once.

    Attributes:
        name: of the notebook.
        parameters: those that it was given.
        outcome: `passed`, `failed` (a cell or a widget raised), `stopped` (a time limit).
        seconds: wall time.
        verdict: of the check in it; empty where it has none.
        expected: the verdicts that it expects.
        problem: what went wrong, as text.
        copy: the executed notebook; it may be missing where it was stopped.
    """

    name: str
    parameters: dict[str, object]
    outcome: str
    seconds: float
    verdict: str = ""
    expected: tuple[str, ...] = ()
    problem: str = ""
    copy: Path | None = field(default=None, repr=False)

    @property
    def passed(self) -> bool:
        return self.outcome == "passed"


def execute_all(
    notebooks: list[tuple[Path, dict[str, object]]], out: Path, *, jobs: int, cell_timeout: float, timeout: float
) -> Iterator[Executed]:
    """Execute notebooks with their parameters, several at a time; yields each result when it is there.

    Args:
        notebooks: each with its parameters.
        out: the folder of the executed copies; made where it is missing. Copies of earlier runs are replaced.
        jobs: how many at a time.
        cell_timeout: seconds for each cell.
        timeout: seconds for a whole notebook.

    Raises:
        BadInput: a copy would replace its notebook or another copy; `out` is no folder.
    """
    _refuse_to_overwrite([path for path, _ in notebooks], out)
    running: set[subprocess.Popen[str]] = set()
    with ThreadPoolExecutor(jobs) as pool:
        waiting = [pool.submit(execute, path, given, out, cell_timeout, timeout, running) for path, given in notebooks]
        try:
            for done in as_completed(waiting):
                yield done.result()
        except BaseException:  # Ctrl-C, too: nothing goes on after it
            pool.shutdown(wait=False, cancel_futures=True)
            for process in tuple(running):
                _end(process)
            raise


def _refuse_to_overwrite(notebooks: list[Path], out: Path) -> None:
    if os.path.lexists(out) and not out.is_dir():
        what = "a file" if out.is_file() else "no folder"
        raise BadInput(f"out={named(out)} is {what}: name a folder for the executed copies")
    names = [path.name for path in notebooks]
    for path in notebooks:
        if out.resolve() == path.resolve().parent:
            raise BadInput(
                f"out={named(out)} is where {path.name} lies: its copy would take its place; name another folder"
            )
        if names.count(path.name) > 1:
            raise BadInput(f"two notebooks are called {path.name}: their copies would take each other's place")


def execute(
    notebook: Path,
    parameters: Mapping[str, object],
    out: Path,
    cell_timeout: float,
    timeout: float,
    running: set[subprocess.Popen[str]] | None = None,
) -> Executed:
    """Execute one notebook in a new interpreter, from its own folder, and judge the copy.

    Args:
        notebook: path of the notebook.
        parameters: values by name.
        out: the folder of the executed copy; made where it is missing.
        cell_timeout: seconds for each cell.
        timeout: seconds for the whole notebook.
        running: has the process in it while that works, so that a caller can end it.
    """
    running = set() if running is None else running
    out.mkdir(parents=True, exist_ok=True)
    copy = out.resolve() / notebook.name
    copy.unlink(missing_ok=True)
    request = {
        "notebook": str(notebook.resolve()),
        "copy": str(copy),
        "parameters": dict(parameters),
        "cell_timeout": cell_timeout,
        "sys.path": sys.path,
    }
    begun = time.monotonic()
    with ScratchFolder("notebook") as scratch:
        # Waiting threads of torch sleep: otherwise kernels that share few cores slow each other down, up to tenfold.
        # The kernel's connection file, which has its key, and what the cells leave for later go with the folder.
        environment = {"OMP_WAIT_POLICY": "passive", **os.environ, "TMPDIR": scratch}
        process = subprocess.Popen(
            [sys.executable, "-c", _BOOT], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
            cwd=notebook.resolve().parent, text=True, encoding="utf-8", errors="replace", start_new_session=True,
            env=environment,
        )  # fmt: skip
        running.add(process)
        guard(process.pid)
        try:
            printed, _ = process.communicate(json.dumps(request), timeout=timeout)
            stopped = False
        except subprocess.TimeoutExpired:
            stopped, printed = True, ""
        finally:
            _end(process)
            release(process.pid)
            running.discard(process)
    seconds = time.monotonic() - begun
    judged = judge(copy) if copy.exists() else Judgement("failed", problem=printed.strip()[-2000:])
    outcome, verdict, expected, problem = judged
    if stopped:
        outcome, problem = "stopped", f"did not finish within {timeout:g} s"
    elif process.returncode and outcome == "passed":
        outcome, problem = "failed", printed.strip()[-2000:]
    elif "CellTimeoutError" in printed:
        outcome, problem = "stopped", f"a cell did not finish within {cell_timeout:g} s"
    return Executed(notebook.stem, dict(parameters), outcome, seconds, verdict, expected, problem, copy)


_BOOT = (
    "import json, sys; request = json.load(sys.stdin); sys.path[:] = request['sys.path']; "
    "from dora_repro.headless.child import main; main(request)"
)


def _end(process: subprocess.Popen[str]) -> None:
    """End the process, the kernel that it started, and what the kernel started; return when they have ended."""
    import psutil

    try:
        whole = psutil.Process(process.pid)
        family = [*whole.children(recursive=True), whole]  # kernels have a session of their own
    except psutil.NoSuchProcess:
        family = []
    for each in family:
        try:
            each.kill()
        except psutil.NoSuchProcess:
            continue
    process.wait()
    by = time.monotonic() + DYING
    while any(_is_alive(each) for each in family) and time.monotonic() < by:
        time.sleep(0.02)  # a killed process is there until the system has taken its memory back
    for stream in (process.stdin, process.stdout):
        with contextlib.suppress(OSError):  # what was still to be written to it is of no use any more
            if stream is not None:
                stream.close()


def _is_alive(process: "psutil.Process") -> bool:
    import psutil

    try:
        return process.status() != psutil.STATUS_ZOMBIE  # dead; nobody asked how it ended, as nobody may in a container
    except psutil.NoSuchProcess:
        return False


class Judgement(NamedTuple):
    """What an executed notebook says of itself; fields as in `Executed`."""

    outcome: str
    verdict: str = ""
    expected: tuple[str, ...] = ()
    problem: str = ""


def judge(copy: Path) -> Judgement:
    """Whether a cell or a widget of an executed notebook raised, and whether its check came out as expected."""
    try:
        notebook = json.loads(copy.read_text(encoding="utf-8"))
    except ValueError:
        return Judgement("failed", problem="the executed copy is torn: its process was ended while it wrote")
    problems = [*errors_in(notebook), *widget_errors_in(notebook)]
    reports = [output["data"][MIME] for output in _outputs(notebook) if MIME in output.get("data", {})]
    # The last one counts.
    verdict, expected = (reports[-1]["verdict"], tuple(reports[-1]["expected"])) if reports else ("", ())
    if reports and verdict not in expected:
        problems.append(f"the verdict {verdict} is not one that was expected: {', '.join(expected)}")
    return Judgement("failed" if problems else "passed", verdict, expected, "\n".join(problems))


def _outputs(notebook: Notebook) -> Iterator[Notebook]:
    for cell in notebook["cells"]:
        yield from cell.get("outputs", ())


def errors_in(notebook: Notebook) -> list[str]:
    """Each cell that raised: its number among the notebook's own code cells, and the exception."""
    own = [cell for cell in notebook["cells"] if "injected-parameters" not in cell["metadata"].get("tags", ())]
    cells = [cell for cell in own if cell["cell_type"] == "code"]
    return [
        f"cell {number} raised {output['ename']}: {output['evalue']}"
        for number, cell in enumerate(cells, start=1)
        for output in cell["outputs"]
        if output["output_type"] == "error"
    ]


def widget_errors_in(notebook: Notebook) -> list[str]:
    """Exceptions that an `Output` widget caught: they are in no cell's outputs, and papermill does not report them."""
    state = (
        notebook["metadata"].get("widgets", {}).get("application/vnd.jupyter.widget-state+json", {}).get("state", {})
    )
    return [
        f"a widget raised {output['ename']}: {output['evalue']}"
        for model in state.values()
        if model.get("model_name") == "OutputModel"
        for output in model["state"].get("outputs", ())
        if output.get("output_type") == "error"
    ]
