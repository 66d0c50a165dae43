"""`dora-repro lab`: copies that are never overwritten, what is refused, and a JupyterLab that ends with the command."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from pathlib import Path

import psutil
import pytest

from dora_repro.checks.keeping import OBJECT, Answer, Kept, Origin
from dora_repro.checks.report import Report, Verdict
from dora_repro.cli import lab as module
from tests.headless import specimens
from tests.processes import command_line

ROOT = Path(__file__).parents[2]


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A folder with three notebooks in `notebooks`, gone to."""
    (tmp_path / "notebooks").mkdir()
    for name in ("01_check", "02_other", "07_lab"):
        specimens.write(tmp_path / "notebooks" / f"{name}.ipynb", "1 + 1")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.fixture
def served(monkeypatch):
    """What would have been served, in place of JupyterLab."""
    asked = []
    monkeypatch.setattr(module, "serve", lambda folder, notebook, port, *, browser: asked.append((folder, notebook)))
    return asked


def test_the_lab_opens_at_copies_in_a_folder_of_ones_own(call, here, served):
    done = call("lab")
    assert done.exit_code == 0, done.output
    assert done.stdout == "3 notebooks copied to dora-repro-notebooks\n".replace("dora", f"{here}/dora")
    copies = here / "dora-repro-notebooks"
    assert served == [(copies, "07_lab.ipynb")]
    assert {path.name: path.read_bytes() for path in copies.glob("*.ipynb")} == {
        path.name: path.read_bytes() for path in (here / "notebooks").glob("*.ipynb")
    }


def test_what_is_there_is_kept_and_that_is_said(call, here, served):
    copies = here / "mine"
    call("lab", "--folder", copies)
    (copies / "01_check.ipynb").write_text("my work", encoding="utf-8")
    (copies / "02_other.ipynb").unlink()
    specimens.write(copies / "mine.ipynb", "2 + 2")
    done = call("lab", "mine", "--folder", copies)
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines() == [
        f"1 notebook copied to {copies}",
        f"1 notebook already in {copies}, unchanged",
        f"your versions in {copies} stay as they are: 01_check.ipynb (delete one to get the original)",
    ]
    assert (copies / "01_check.ipynb").read_text(encoding="utf-8") == "my work"
    assert served[-1] == (copies, "mine.ipynb")


def test_notebooks_here_that_are_not_the_kits_are_left_alone_and_the_kits_own_are_copied(call, here, served):
    (here / "notebooks" / "07_lab.ipynb").unlink()
    done = call("lab")
    assert done.exit_code == 0, done.output
    copies = here / "dora-repro-notebooks"
    own = {path.name: path.read_bytes() for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert {path.name: path.read_bytes() for path in copies.glob("*.ipynb")} == own
    assert served == [(copies, "07_lab.ipynb")]


def test_copies_are_no_change_of_the_checkout_and_a_folder_that_was_there_gets_nothing_more(call, here, served):
    call("lab")
    assert (here / "dora-repro-notebooks" / ".gitignore").read_text(encoding="utf-8") == "*\n"
    (here / "docs").mkdir()
    call("lab", "--folder", "docs")
    assert not (here / "docs" / ".gitignore").exists()


@pytest.mark.parametrize("place", [".", "notebooks", "dora-repro-notebooks"])
def test_the_folder_is_the_same_one_from_inside_the_originals_and_from_inside_itself(
    here, monkeypatch, place
):
    (here / place).mkdir(exist_ok=True)
    monkeypatch.chdir(here / place)
    assert module.default_folder(here / "notebooks") == here / "dora-repro-notebooks"


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("07_lap",), "holds no notebook '07_lap': did you mean '07_lab'?"),
        (("--folder", "notebooks"), "is where the originals lie: name another folder for your copies"),
        (("--folder", "file"), "cannot copy the notebooks to file: File exists; name another --folder"),
        (("elsewhere.ipynb",), "elsewhere.ipynb is neither in"),
        (("--port", "70000"), "70000 is not in the range 1<=x<=65535"),
        (("--folder", "empty/new", "nothing"), "holds no notebook 'nothing'"),
    ],
)
def test_bad_input_is_exit_code_2_and_nothing_is_written(call, here, served, words, said):
    (here / "file").write_text("", encoding="utf-8")
    specimens.write(here / "elsewhere.ipynb", "1")
    before = {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}
    done = call("lab", *words)
    assert (done.exit_code, served) == (2, []) and said in done.stderr
    assert before == {path: path.is_file() and path.read_bytes() for path in here.rglob("*")}


def test_a_port_in_use_is_refused_where_it_is_named_and_passed_by_where_not(call, here, served, monkeypatch):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        done = call("lab", "--port", port)
        assert (done.exit_code, served) == (2, [])
        assert f"port {port}: Address already in use; name another --port" in done.stderr
        assert not (here / "dora-repro-notebooks").exists()
        monkeypatch.setattr(module, "PORT", port)
        assert module.free_port(None) not in (None, port)


def test_without_jupyterlab_it_is_said_what_to_install(call, here, served, monkeypatch):
    monkeypatch.setattr(module.importlib.util, "find_spec", lambda name: None)
    done = call("lab")
    assert (done.exit_code, served) == (2, [])
    assert "'jupyterlab', which is not installed: pip install 'dora-repro[notebooks]'" in done.stderr


def test_a_jupyterlab_that_does_not_start_is_no_verdict(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_BOOT", "raise SystemExit(3)")
    with pytest.raises(module.BadInput, match=r"did not start \(exit code 3\)"):
        module.serve(tmp_path, "a.ipynb", module.free_port(None), browser=False)


# --- in a process of its own, as a user runs it


def answer(address: str, sent: bytes | None = None) -> int:
    """The status that a server answers with, to what is sent or to asking alone."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(address, sent, timeout=30) as response:
            return response.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code


def gone(processes: list[psutil.Process], seconds: float = 30) -> bool:
    return not psutil.wait_procs(processes, timeout=seconds)[1]


@pytest.fixture
def started(here):
    """The command on the notebook 01, the line that tells where JupyterLab is, and what it wrote to stderr."""
    environment = {
        **os.environ, "PYTHONPATH": str(ROOT),
        "JUPYTER_RUNTIME_DIR": str(here / "runtime"), "JUPYTER_CONFIG_DIR": str(here / "config"),
    }  # fmt: skip
    with (here / "errors").open("wb") as errors:
        command = subprocess.Popen(
            [sys.executable, "-m", "dora_repro", "lab", "01", "--no-browser"], cwd=here, env=environment,
            stdout=subprocess.PIPE, stderr=errors, text=True,
        )  # fmt: skip
    family = [psutil.Process(command.pid)]
    line = next((line for line in iter(command.stdout.readline, "") if line.startswith("JupyterLab: ")), "")
    yield command, line.removeprefix("JupyterLab: ").strip(), here / "errors"
    for one in [*family[0].children(recursive=True), *family] if family[0].is_running() else []:
        one.kill()
    command.communicate()


def test_the_address_opens_the_notebook_and_ctrl_c_ends_jupyterlab_and_kernels_in_good_order(started, here):
    command, address, errors = started
    assert "/lab/tree/01_check.ipynb?token=" in address, errors.read_text(encoding="utf-8")
    assert answer(address) == 200
    status = address.replace("lab/tree/01_check.ipynb", "api/contents/01_check.ipynb")
    assert answer(status) == 200 and answer(status.partition("?")[0]) == 403
    whole = psutil.Process(command.pid)
    assert address.partition("token=")[2] not in str([command_line(one.pid) for one in whole.children(recursive=True)])
    assert answer(address.replace("lab/tree/01_check.ipynb", "api/kernels"), b"{}") == 201
    family = whole.children(recursive=True)
    assert len(family) >= 2
    command.send_signal(signal.SIGINT)
    rest, _ = command.communicate(timeout=60)
    assert command.returncode == 0, errors.read_text(encoding="utf-8")
    assert rest.endswith("JupyterLab has ended; your notebooks are as you saved them.\n")
    assert gone(family)
    assert "lab.py" not in errors.read_text(encoding="utf-8")  # no traceback of ours


def test_jupyterlab_does_not_outlive_a_command_that_is_killed(started):
    command, _, _ = started
    family = psutil.Process(command.pid).children(recursive=True)
    assert family
    command.kill()
    assert gone(family)


# --- on the evidence of a check


@pytest.fixture
def evidence(here):
    """A folder that a check has kept, and the notebook that `--on` opens."""
    text = 'folder = ""  # of a check\nrestore = "*"  # globs'
    specimens.write(here / "notebooks" / "11_the_evidence.ipynb", parameters=text)
    answer = Answer(Report(Verdict.EXACT, "equal", 1, 2), {})
    (here / "kept").mkdir()
    Kept(OBJECT, "check", False, {}, Origin.here(), (answer,)).write(here / "kept")
    return here / "kept"


def test_on_evidence_a_copy_of_its_notebook_is_opened_that_has_the_folder(call, here, served, evidence):
    done = call("lab", "--on", "kept")
    assert done.exit_code == 0, done.output
    (folder, name), copy = served[0], here / "dora-repro-notebooks" / "11_the_evidence_of_kept.ipynb"
    assert folder / name == copy
    (cell,) = json.loads(copy.read_text(encoding="utf-8"))["cells"]
    assert "".join(cell["source"]) == f"folder = {str(evidence)!r}  # of a check\nrestore = \"\"  # globs"
    assert cell["outputs"] == [] and cell["execution_count"] is None
    copy.write_text(copy.read_text(encoding="utf-8").replace("globs", "mine"), encoding="utf-8")
    call("lab", "--on", str(evidence))
    assert served[1] == served[0] and "mine" in copy.read_text(encoding="utf-8")


def test_evidence_in_another_folder_of_the_same_name_gets_a_copy_of_its_own(call, here, served, evidence):
    call("lab", "--on", "kept")
    shutil.copytree(evidence, here / "other" / "kept")
    call("lab", "--on", "other/kept")
    assert [name for _, name in served] == ["11_the_evidence_of_kept.ipynb", "11_the_evidence_of_kept_2.ipynb"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--on", "nowhere"), "there is no folder"),
        (("--on", "notebooks"), "is no folder that a check has kept (it has no evidence.json)"),
        (("07", "--on", "kept"), "--on opens the notebook on the evidence: leave out 07"),
    ],
)
def test_evidence_that_is_none_is_refused_before_anything_is_served(call, here, served, evidence, words, said):
    done = call("lab", *words)
    assert (done.exit_code, served) == (2, []) and said in " ".join(done.stderr.split())
    assert not (here / "dora-repro-notebooks").exists()
