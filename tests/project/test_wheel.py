"""The wheel has all that the commands need outside a checkout; an editable install uses the checkout as it is."""

import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

pytest.importorskip("hatchling", reason="archives are built with hatchling, of the extra test")

NEEDED = ("*.py", "*.ipynb", "*.html", "py.typed")


def built(root: Path, folder: Path, version: str) -> set[str]:
    """Names of the files in a wheel, without its metadata.

    Args:
        root: The checkout to build from.
        folder: Where the wheel is written.
        version: `standard` or `editable`.
    """
    done = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder), "-t", f"wheel:{version}"],
        cwd=root, capture_output=True, text=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    (wheel,) = folder.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        return {name for name in archive.namelist() if ".dist-info/" not in name}


def wanted(root: Path) -> set[str]:
    """What must lie in the wheel: each file of the package that is used, and each notebook inside it."""
    package = {path.relative_to(root).as_posix() for glob in NEEDED for path in (root / "dora_repro").rglob(glob)}
    notebooks = {f"dora_repro/{path.relative_to(root).as_posix()}" for path in (root / "notebooks").glob("*.ipynb")}
    return package | notebooks


def test_the_wheel_has_package_templates_and_notebooks_and_nothing_else(root, tmp_path):
    names = built(root, tmp_path, "standard")
    assert names == wanted(root)
    assert {"dora_repro/py.typed", "dora_repro/notebooks/07_lab.ipynb", "dora_repro/show/templates/page.html"} <= names


def test_an_editable_install_copies_nothing(root, tmp_path):
    assert built(root, tmp_path, "editable") == {"_dora_repro.pth"}


def test_the_archive_of_sources_has_what_the_wheel_is_made_from(root, tmp_path):
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(tmp_path), "-t", "sdist"],
        cwd=root, capture_output=True, check=True, timeout=120,
    )  # fmt: skip
    (sdist,) = tmp_path.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    sources = {name.replace("dora_repro/notebooks/", "notebooks/") for name in wanted(root)}
    assert sources | {"pyproject.toml", "README.md", "LICENSE", "constraints.txt", "Makefile"} <= names


# --- and a wheel that lacks something is seen


def test_a_notebook_that_is_left_out_and_a_file_too_many_are_seen(root, tmp_path):
    package = tmp_path / "checkout" / "dora_repro"
    (package / "show" / "templates").mkdir(parents=True)
    for name in ("__init__.py", "py.typed", "show/templates/page.html", "stray.txt"):
        (package / name).touch()
    (tmp_path / "checkout" / "notebooks").mkdir()
    (tmp_path / "checkout" / "notebooks" / "07_lab.ipynb").touch()
    config = '[build-system]\nrequires = ["hatchling"]\nbuild-backend = "hatchling.build"\n'
    config += '[project]\nname = "dora-repro"\nversion = "1"\n'
    config += '[tool.hatch.build.targets.wheel]\nonly-include = ["dora_repro"]\n'
    (tmp_path / "checkout" / "pyproject.toml").write_text(config, encoding="utf-8")
    names = built(tmp_path / "checkout", tmp_path, "standard")
    assert wanted(tmp_path / "checkout") - names == {"dora_repro/notebooks/07_lab.ipynb"}
    assert names - wanted(tmp_path / "checkout") == {"dora_repro/stray.txt"}
