"""What the Makefile does, with stand-ins for Python, pip and the command line: nothing is installed here."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def checkout(root, tmp_path) -> Path:
    """A folder with the files that the Makefile's set-up reads, and nothing set up."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(root / name, tmp_path)
    return tmp_path


def make(folder: Path, *arguments: str, path: Path | None = None) -> subprocess.CompletedProcess:
    """Run make as from a shell of its own: it inherits nothing from a make that runs these tests."""
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS", "PYTHON"))
    }
    if path:
        environment["PATH"] = f"{path}:/usr/bin:/bin"
    return subprocess.run(
        ["make", "--no-print-directory", *arguments],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=60,
    )


def script(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n", encoding="utf-8")
    path.chmod(0o755)


def pythons(folder: Path, **new_enough: bool) -> Path:
    """Stand-ins by name: each knows whether it is new enough, and writes down what else it is asked."""
    for name in ("python3", "python3.13", "python3.12", "python3.11"):
        fine = new_enough.get(name.replace(".", "_"), False)
        answer = (
            f'[ "$1" = -c ] && exit {0 if fine else 1}; [ "$1" = --version ] && echo Python 3.8.18 && exit 0'
        )
        script(folder / name, f'{answer}\necho "{name} $@" >> {folder}/asked; exit 1')
    return folder


def set_up(folder: Path) -> None:
    """What a finished set-up leaves behind: the stamp, newer than what it was made from, and a Python."""
    (folder / ".venv" / "bin").mkdir(parents=True)
    (folder / ".venv" / "bin" / "python").symlink_to(sys.executable)
    (folder / ".venv" / ".ready").touch()


def stand_in_for_the_kit(folder: Path, **verdicts: tuple[str, int]) -> None:
    """A dora-repro that writes a report, if told, exits as told, and writes down its arguments."""
    cases = "".join(
        f"{name}) [ -z '{verdict}' ] || echo '{json.dumps({'verdict': verdict})}' > out/{name}.json; "
        f"exit {code};; "
        for name, (verdict, code) in verdicts.items()
    )
    script(folder / ".venv" / "bin" / "dora-repro", f'echo "$@" >> asked; case $1 in {cases}*) exit 9;; esac')


def test_help_names_every_command_and_needs_no_set_up(checkout):
    done = make(checkout)
    assert done.returncode == 0
    assert {"check", "test", "lint"} <= {line.split()[1] for line in done.stdout.splitlines()}
    assert not (checkout / ".venv").exists()


@pytest.mark.parametrize("command", ["check", "test"])
def test_an_old_python_is_refused_politely(checkout, tmp_path, command):
    done = make(checkout, command, path=pythons(tmp_path / "bin"))
    assert done.returncode != 0
    assert "dora_repro needs Python 3.11 or newer; python3 is: Python 3.8.18\n" in done.stderr
    assert "make check PYTHON=" in done.stderr
    assert not (checkout / ".venv").exists()


def test_a_newer_python_is_found_beside_an_old_one(checkout, tmp_path):
    make(checkout, "test", path=pythons(tmp_path / "bin", python3_12=True, python3_11=True))
    assert (tmp_path / "bin" / "asked").read_text().splitlines()[0] == "python3.12 -m venv --clear .venv"


def test_the_python_that_is_named_goes_first(checkout, tmp_path):
    bin = pythons(tmp_path / "bin", python3=True, python3_11=True, python3_13=True)
    make(checkout, "test", path=bin)
    make(checkout, "test", "PYTHON=python3.11", path=bin)
    assert [line.split()[0] for line in (bin / "asked").read_text().splitlines()] == ["python3", "python3.11"]


@pytest.mark.parametrize("command", ["check", "test"])
def test_each_command_sets_up_by_itself_once(checkout, command):
    first = make(checkout, "-n", command, "PIP_ARGS=--extra-index-url https://example.org")
    assert (
        "pip install" in first.stdout
        and "-c constraints.txt --extra-index-url https://example.org -e '.[all,test]'" in first.stdout
    )
    set_up(checkout)
    assert "pip install" not in make(checkout, "-n", command).stdout


@pytest.mark.parametrize("command", ["docs", "dist"])
def test_what_a_single_command_needs_is_installed_when_it_is_first_called(checkout, command):
    set_up(checkout)
    first = make(checkout, "-n", command).stdout
    assert f"-c constraints.txt  -e '.[{command}]'" in first
    (checkout / ".venv" / f".{command}").touch()
    assert "pip install" not in make(checkout, "-n", command).stdout
    assert "[docs]" not in make(checkout, "-n", "test").stdout


def test_a_warning_of_the_site_is_an_error_and_the_archives_are_checked(checkout):
    docs = make(checkout, "-n", "docs").stdout
    assert "-m sphinx -b html -W --keep-going -q docs build/docs/html" in docs
    dist = make(checkout, "-n", "dist").stdout
    assert "-m build -o dist && .venv/bin/python -m twine check --strict dist/*" in dist


@pytest.mark.parametrize("changed", ["pyproject.toml", "constraints.txt"])
def test_a_change_of_what_is_needed_sets_up_again(checkout, changed):
    set_up(checkout)
    later = (checkout / ".venv" / ".ready").stat().st_mtime + 10
    os.utime(checkout / changed, (later, later))
    assert "pip install" in make(checkout, "-n", "test").stdout


def test_check_ends_by_naming_verdicts_and_reports(checkout):
    set_up(checkout)
    stand_in_for_the_kit(checkout, quick=("EXACT", 0), full=("EXACT", 0), notebooks=("", 0))
    done = make(checkout, "check")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-3:] == [
        "quick: EXACT  (reports: out/quick.json )",
        "full: EXACT  (reports: out/full.json )",
        "notebooks: as expected  (executed: out/notebooks)",
    ]
    assert (checkout / "asked").read_text().splitlines() == [
        "quick --json out/quick.json --junit out/quick.xml --html out/quick.html",
        "full --json out/full.json --junit out/full.xml --html out/full.html",
        "notebooks --out out/notebooks --junit out/notebooks.xml",
    ]


@pytest.mark.parametrize(
    ("quick", "full", "notebooks", "said"),
    [
        (("DIFFERENT", 1), ("EXACT", 0), 0, ["quick: DIFFERENT", "full: EXACT"]),
        (("EXACT", 0), ("INCONCLUSIVE", 3), 0, ["quick: EXACT", "full: INCONCLUSIVE"]),
        (("", 2), ("EXACT", 0), 0, ["quick: no verdict", "full: EXACT"]),
        (("EXACT", 0), ("", 0), 0, ["quick: EXACT", "full: no verdict"]),
        (("EXACT", 0), ("EXACT", 0), 1, ["quick: EXACT", "full: EXACT"]),
    ],
)
def test_check_fails_where_any_fails_and_runs_all(checkout, quick, full, notebooks, said):
    set_up(checkout)
    (checkout / "out").mkdir()
    for name in ("quick", "full"):  # left over from an earlier call: not to be taken for this one's
        (checkout / "out" / f"{name}.json").write_text('{"verdict": "STALE"}', encoding="utf-8")
    stand_in_for_the_kit(checkout, quick=quick, full=full, notebooks=("", notebooks))
    done = make(checkout, "check")
    assert done.returncode != 0
    told = "notebooks: not as expected" if notebooks else "notebooks: as expected"
    assert [line.split("  ")[0] for line in done.stdout.splitlines()[-3:]] == [*said, told]
    assert len((checkout / "asked").read_text().splitlines()) == 3


def test_the_freeze_keeps_no_local_suffix_and_no_cuda(checkout):
    frozen = (
        "torch==2.13.0+cu130\\nnvidia-nccl-cu13==2.28\\ncuda-bindings==13.0\\ntriton==3.6\\nnumpy==2.4.6\\n"
    )
    with (checkout / "Makefile").open("a", encoding="utf-8") as file:
        file.write(f"\nprobe:\n\t@printf '{frozen}' | $(pins)\n")
    assert make(checkout, "probe").stdout.split() == ["torch==2.13.0", "numpy==2.4.6"]
