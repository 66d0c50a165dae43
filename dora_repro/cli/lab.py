"""The command `lab`: the notebooks in JupyterLab, as copies that are the reader's own."""

import contextlib
import importlib.util
import itertools
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from dora_repro.errors import BadInput, MissingExtra
from dora_repro.guardian.guarding import guard, release
from dora_repro.printable import named
from dora_repro.wording import counted

FIRST = "07_lab"
EVIDENCE = "11_the_evidence"  # the notebook that `--on` opens
COPIES = "dora-repro-notebooks"
HOST = "127.0.0.1"
PORT = 8888  # Jupyter's own
PATIENCE = 120.0  # seconds until JupyterLab answers: a cold start on a slow disk takes most of a minute
FAREWELL = 15.0  # seconds to end kernels in good order


@click.command(short_help="Open the notebooks in JupyterLab.")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--on", "evidence", metavar="FOLDER", help="Open the evidence that a check has left there (--keep).")
@click.option("--port", type=click.IntRange(1, 65535), help=f"Port to use. [default: {PORT}, or the next free one]")
@click.option("--no-browser", is_flag=True, help="Open no browser: print the address of JupyterLab, with its token.")
@click.option(
    "--folder", metavar="FOLDER", help=f"Folder of your copies, created if necessary. [default: {COPIES} here]"
)
def lab(name: str | None, evidence: str | None, port: int | None, no_browser: bool, folder: str | None) -> None:
    """Open the notebook NAME (07 or 07_lab; 07_lab by default) in JupyterLab, in a folder of copies of all notebooks.

    With --on FOLDER, open a notebook on the evidence of a check that was told to --keep FOLDER: where both runs differ,
    what was lost, and further transplants, each by a click.

    The copies are yours to run and change: an existing file is never overwritten, so the same command continues
    where you stopped. Ctrl-C ends JupyterLab and its kernels. Exit codes: 0 ended, 2 bad input.
    """
    if evidence is not None and name is not None:
        raise click.UsageError(f"--on opens the notebook on the evidence: leave out {name}")

    if importlib.util.find_spec("jupyterlab") is None:
        raise MissingExtra("jupyterlab", "notebooks", "dora-repro lab")
    source = originals()
    yours = Path(folder) if folder is not None else default_folder(source)
    on = opened(evidence) if evidence is not None else None
    chosen = chosen_in(name or FIRST, source, yours)
    port = free_port(port)
    click.echo(summary(copy_missing(source, yours)))
    if on is not None:
        chosen = copy_on(on, source, yours)
        click.echo(f"on the evidence in {on}: {yours / chosen}")
    serve(yours, chosen, port, browser=not no_browser)


def opened(evidence: str) -> Path:
    """The folder of a check's evidence, looked at before anything is served.

    Raises:
        BadInput: it is none, or not whole.
    """
    from dora_repro.kept import opening

    return opening.evidence(evidence).folder


def copy_on(evidence: Path, source: Path, yours: Path) -> str:
    """The file name of a copy of the notebook whose parameter is the folder of the evidence: the one that is there, or
    a new one; no file is written over.

    Raises:
        BadInput: the folder of the copies cannot be written to.
    """
    text = (source / f"{EVIDENCE}.ipynb").read_text(encoding="utf-8")
    content = json.loads(text)
    (cell,) = (cell for cell in content["cells"] if "parameters" in cell["metadata"].get("tags", ()))
    lines = "".join(cell["source"]).splitlines(keepends=True)
    told = f"folder = {str(evidence)!r}"
    given = {"folder": told, "restore": 'restore = ""'}  # launching again is for who looks at it to ask for
    cell["source"] = [_set(line, given) for line in lines]
    for code in (cell for cell in content["cells"] if cell["cell_type"] == "code"):
        code["outputs"], code["execution_count"] = [], None  # those of other evidence
    for number in itertools.count(1):
        path = yours / f"{EVIDENCE}_of_{evidence.name}{f'_{number}' if number > 1 else ''}.ipynb"
        try:
            with path.open("x", encoding="utf-8") as file:
                file.write(json.dumps(content, indent=1, ensure_ascii=False) + "\n")
        except FileExistsError:
            if json.dumps(told, ensure_ascii=False)[1:-1] not in path.read_text(encoding="utf-8", errors="replace"):
                continue  # on other evidence, in a folder of the same name
        except OSError as error:
            raise BadInput(f"cannot write {named(path)}: {error.strerror}; name another --folder") from error
        return path.name
    raise AssertionError("numbers do not end")


def _set(line: str, given: Mapping[str, str]) -> str:
    """A line of a cell of parameters, with another value where one is given; its comment stays."""
    name, _, rest = line.partition(" = ")
    return f"{given[name]}  #{rest.partition('#')[2]}" if name in given else line


def originals() -> Path:
    """The folder to copy from: `notebooks` here where that has the lab, as in a checkout, else the kit's own."""
    from dora_repro.headless import finding

    here = Path.cwd() / finding.FOLDER
    return here if (here / f"{FIRST}.ipynb").is_file() else finding.own()


def default_folder(source: Path) -> Path:
    """The folder of copies where none is given: here, but never inside another one or among the originals."""
    here = Path.cwd()
    if here.name == COPIES:
        return here
    return (here.parent if here == source.resolve() else here) / COPIES


def chosen_in(name: str, source: Path, yours: Path) -> str:
    """The file name of a notebook, as the originals or the reader's own folder have it.

    Raises:
        BadInput: neither has it (with the nearest name), or it is a path to somewhere else.
    """
    from dora_repro.headless import finding

    try:
        (found,) = finding.find((name,), source)
    except BadInput as not_there:
        try:
            (found,) = finding.find((name,), yours)
        except BadInput:
            raise not_there from None
    if found.resolve().parent not in (source.resolve(), yours.resolve()):
        raise BadInput(f"{name} is neither in {source} nor in {yours}: copy it there, or give --folder {found.parent}")
    return found.name


@dataclass(frozen=True)
class Copied:
    """The copies of the notebooks, by file name.

    Attributes:
        folder: where they are.
        new: copied just now.
        same: already there, unchanged.
        changed: already there, changed since.
    """

    folder: Path
    new: tuple[str, ...] = ()
    same: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()


def copy_missing(source: Path, yours: Path) -> Copied:
    """Copy the notebooks that the reader's folder does not have; what is there is never written to.

    Raises:
        BadInput: the folder is the originals' own, is a file, or cannot be written.
    """
    if yours.resolve() == source.resolve():
        raise BadInput(f"--folder {yours} is where the originals lie: name another folder for your copies")
    became: dict[str, list[str]] = {"new": [], "same": [], "changed": []}
    try:
        if not yours.is_dir():
            yours.mkdir(parents=True)
            if yours.resolve().is_relative_to(source.resolve().parent):
                (yours / ".gitignore").write_text("*\n", encoding="utf-8")  # no change of the checkout
        for path in sorted(source.glob("*.ipynb")):
            became[_copied(path, yours / path.name)].append(path.name)
    except OSError as error:
        raise BadInput(f"cannot copy the notebooks to {yours}: {error.strerror}; name another --folder") from error
    return Copied(yours, **{what: tuple(names) for what, names in became.items()})


def _copied(original: Path, copy: Path) -> str:
    try:
        with copy.open("xb") as file:  # `x`: never over a file that is there, whoever made it
            file.write(original.read_bytes())
    except FileExistsError:
        return "same" if copy.is_file() and copy.read_bytes() == original.read_bytes() else "changed"
    return "new"


def summary(copied: Copied) -> str:
    """What was copied, and what was left as it is, a line each."""
    lines = [f"{counted(len(copied.new), 'notebook')} copied to {copied.folder}"] if copied.new else []
    if copied.same:
        lines.append(f"{counted(len(copied.same), 'notebook')} already in {copied.folder}, unchanged")
    if copied.changed:
        names = ", ".join(copied.changed)
        lines.append(f"your versions in {copied.folder} stay as they are: {names} (delete one to get the original)")
    return "\n".join(lines)


def free_port(wanted: int | None) -> int:
    """The port wanted, or Jupyter's own, or the next that is free.

    Raises:
        BadInput: the port wanted cannot be listened at.
    """
    if wanted is not None:
        if trouble := _trouble_at(wanted):
            raise BadInput(f"port {wanted}: {trouble}; name another --port, or leave it out to get a free one")
        return wanted
    return next((port for port in range(PORT, PORT + 50) if not _trouble_at(port)), None) or _any_port()


def _trouble_at(port: int) -> str:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was closed a moment ago is free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            return error.strerror or str(error)
    return ""


def _any_port() -> int:
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return probe.getsockname()[1]


# JupyterLab, which ends itself when nobody holds the other end of its standard input any more: when this command was
# killed, too. `os.read`, since a thread that waits in `sys.stdin` makes an interpreter abort on its way out.
_BOOT = """\
import os, runpy, signal, sys, threading
def watch():
    os.read(0, 1)
    os.kill(os.getpid(), signal.SIGTERM)
threading.Thread(target=watch, daemon=True).start()
sys.argv[0] = "jupyter-lab"
runpy.run_module("jupyterlab", run_name="__main__")
"""


def serve(folder: Path, notebook: str, port: int, *, browser: bool) -> None:
    """Run JupyterLab on a folder until it ends or is ended: by Ctrl-C, by a signal, or with this process.

    Raises:
        BadInput: it did not start, or did not end well.
    """
    token = secrets.token_hex(24)
    command = [
        sys.executable, "-c", _BOOT, "--log-level=WARN", f"--ServerApp.open_browser={browser}",
        f"--ServerApp.root_dir={folder.resolve()}", f"--LabApp.default_url=/lab/tree/{notebook}",
        f"--ServerApp.ip={HOST}", f"--ServerApp.port={port}", "--ServerApp.port_retries=0",
    ]  # fmt: skip
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command.append("--allow-root")  # in a container there is often nobody else; it listens to this machine alone
    # The token goes by the environment: a command line can be read by every user of the machine.
    environment = {**os.environ, "JUPYTER_TOKEN": token}
    with _interruptions(), _child(command, environment) as process:
        _await(process, port, token)
        click.echo(f"\nJupyterLab: http://{HOST}:{port}/lab/tree/{notebook}?token={token}\nCtrl-C ends it.")
        sys.stdout.flush()
        if process.wait():
            raise BadInput(f"JupyterLab ended with exit code {process.returncode}: what it said is above")


@contextlib.contextmanager
def _interruptions() -> Iterator[None]:
    """Ctrl-C is the way to end, not an error; a signal to end, and a terminal that closes, are as Ctrl-C."""

    def interrupt(number: int, frame: object) -> None:
        raise KeyboardInterrupt

    named = [getattr(signal, name) for name in ("SIGTERM", "SIGHUP") if hasattr(signal, name)]
    before = {number: signal.signal(number, interrupt) for number in named}
    try:
        yield
    except KeyboardInterrupt:
        click.echo("\nJupyterLab has ended; your notebooks are as you saved them.")
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def _child(command: list[str], environment: dict[str, str]) -> Iterator[subprocess.Popen]:
    """A process that is ended with this block, in good order where it goes, with all that it started where not."""
    # A session of its own: Ctrl-C comes to us, and Jupyter asks nobody whether it was meant.
    process = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)
    guard(process.pid)
    try:
        yield process
    finally:
        try:
            process.terminate()
            process.wait(FAREWELL)
        except (subprocess.TimeoutExpired, KeyboardInterrupt):  # a second Ctrl-C: at once
            _kill(process)
        release(process.pid)
        if process.stdin is not None:
            process.stdin.close()


def _kill(process: subprocess.Popen) -> None:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        for child in psutil.Process(process.pid).children(recursive=True):  # kernels have sessions of their own
            with contextlib.suppress(psutil.NoSuchProcess):
                child.kill()
    process.kill()
    process.wait()


def _await(process: subprocess.Popen, port: int, token: str) -> None:
    """Wait until JupyterLab answers to its token."""
    asked = urllib.request.Request(f"http://{HOST}:{port}/api/status", headers={"Authorization": f"token {token}"})
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy leads to this machine itself
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        if process.poll() is not None:
            raise BadInput(f"JupyterLab did not start (exit code {process.returncode}): what it said is above")
        try:
            with direct.open(asked, timeout=5):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.1)
    raise BadInput(f"JupyterLab did not answer at port {port} within {PATIENCE:.0f} s: try again, or see what it said")
