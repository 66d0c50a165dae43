"""The site: its API page has every public name, docstrings become what they say, a warning fails the build, and a page
loads nothing from elsewhere."""

import importlib
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import dora_repro

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def extension():
    """`extension("rooms")`: a module of docs/_ext, which is in no package."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(DOCS / "_ext"))
        patch.setattr("sys.dont_write_bytecode", True)
        yield importlib.import_module


def described(page: str) -> set[str]:
    """The names that a page has autodoc describe, each with its module."""
    found, module = set(), ""
    for line in page.splitlines():
        if match := re.match(r"\.\. currentmodule:: (\S+)", line):
            module = match[1]
        elif match := re.match(r"\.\. auto\w+:: (\S+)", line):
            found.add(f"{module}.{match[1]}")
    return found


def test_the_api_has_every_public_name_and_no_other():
    public = {f"dora_repro.{name}" for name in dora_repro.__all__}
    public |= {f"dora_repro.study.{name}" for name in dora_repro.study.__all__}
    assert described((DOCS / "api.md").read_text(encoding="utf-8")) == public
    assert described(".. currentmodule:: a\n.. autofunction:: b\n.. autoclass:: C\n   :members:\n") == {"a.b", "a.C"}


@pytest.mark.parametrize(
    ("said", "becomes"),
    [
        ("a `leaf` and `two`s", "a ``leaf`` and ``two``\\ s"),
        ("globs, as `ema/*`, and *args or a|b", "globs, as ``ema/*``, and \\*args or a\\|b"),
        ("over\n`two\nlines` here", "over\n``two lines`` here"),
        ("``already`` so, and name_ here", "``already`` so, and name\\_ here"),
        ("a *setter* and *args, 2 * 3 * 4", "a *setter* and \\*args, 2 \\* 3 \\* 4"),
        ("nothing at all", "nothing at all"),
    ],
)
def test_a_docstring_is_laid_out_as_what_it_says(extension, said, becomes):
    assert extension("plain_docstrings").as_restructured_text(said.split("\n")) == becomes.split("\n")


def test_a_default_without_a_literal_is_dots(extension):
    literal = extension("plain_docstrings").literal_defaults
    assert literal("(a=<factory>, b=<function <lambda> at 0x7f>, c=1)") == "(a=..., b=..., c=1)"
    assert literal("(a: int = 1) -> bool") == "(a: int = 1) -> bool" and literal(None) is None


def test_a_room_has_a_heading_for_each_module_and_what_is_public_is_told_once(extension, tmp_path):
    room = tmp_path / "kit" / "state"
    (room / "deep").mkdir(parents=True)
    for name in ("__init__.py", "rng.py", "deep/__init__.py", "deep/walk.py"):
        (room / name).touch()
    page = extension("rooms").page(room, {"kit.state.rng": {"Draw", "Again"}})
    headings = [line for line in page.splitlines() if line.startswith("#")]
    assert headings == ["# state", "## state.deep", "## state.deep.walk", "## state.rng"]
    assert page.count("automodule") == 4 and page.count(":exclude-members: Again, Draw") == 1
    public = extension("rooms").public()
    assert "Report" in public["dora_repro.checks.report"] and "TrainingRun" in public["dora_repro.subject.training"]


# --- a small site, built as the whole one is


@pytest.fixture
def checkout(tmp_path):
    """A checkout with one room, one notebook and one page."""
    pytest.importorskip("sphinx", reason="the site is built with Sphinx: make docs installs it")
    (tmp_path / "docs").mkdir()
    shutil.copy(DOCS / "conf.py", tmp_path / "docs")
    for name in ("_ext", "_static"):
        shutil.copytree(DOCS / name, tmp_path / "docs" / name, ignore=shutil.ignore_patterns("__pycache__"))
    (tmp_path / "dora_repro").mkdir()
    shutil.copy(ROOT / "dora_repro" / "errors.py", tmp_path / "dora_repro")
    (tmp_path / "notebooks").mkdir()
    shutil.copy(ROOT / "notebooks" / "05_find_the_cause.ipynb", tmp_path / "notebooks")
    return tmp_path


def build(checkout: Path, index: str) -> subprocess.CompletedProcess[str]:
    toc = "\n```{toctree}\nnotebooks/05_find_the_cause\nrooms/errors\napi\n```\n"
    (checkout / "docs" / "index.md").write_text(f"# Site\n\n{index}\n{toc}", encoding="utf-8")
    api = "# API\n\n```{eval-rst}\n.. currentmodule:: dora_repro\n.. autoexception:: BadInput\n```\n"
    (checkout / "docs" / "api.md").write_text(api, encoding="utf-8")
    # Sphinx colours its warnings where CI is set, terminal or not.
    options = ["-b", "html", "-W", "--keep-going", "-q", "--no-color"]
    words = ["-m", "sphinx", *options, str(checkout / "docs"), str(checkout / "out")]
    return subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True, timeout=180)


def from_elsewhere(page: str) -> list[str]:
    """What a browser would load from another host: scripts, styles, images, fonts."""
    tags = re.findall(r"<(?:script|link|img|iframe)\b[^>]*(?:src|href)=\"((?:https?:)?//[^\"]+)\"", page)
    return tags + re.findall(r"@import\s+[\"'](?:https?:)?//[^\"']+|url\([\"']?(?:https?:)?//[^)]+", page)


def test_a_site_loads_nothing_from_elsewhere_and_a_reference_that_leads_nowhere_fails_it(checkout):
    good = "{py:exc}`dora_repro.BadInput`, [the notebook](notebooks/05_find_the_cause.ipynb)"
    done = build(checkout, f"See {good}, {{py:func}}`dora_repro.chek`.")
    assert done.returncode != 0
    warnings = [line.partition("WARNING: ")[2] for line in done.stderr.splitlines() if line.strip()]
    assert warnings == ["py:func reference target not found: dora_repro.chek [ref.func]"], done.stderr
    pages = {path.relative_to(checkout / "out"): path.read_text("utf-8") for path in (checkout / "out").rglob("*.html")}
    assert {Path("index.html"), Path("notebooks/05_find_the_cause.html"), Path("rooms/errors.html")} <= set(pages)
    assert {str(path): from_elsewhere(page) for path, page in pages.items() if from_elsewhere(page)} == {}
    styles = [path.read_text("utf-8") for path in (checkout / "out").rglob("*.css")]
    assert [found for style in styles for found in from_elsewhere(style)] == []
    assert "<img" in pages[Path("notebooks/05_find_the_cause.html")]


def test_what_comes_from_elsewhere_is_noticed():
    page = '<script src="https://cdn.example/x.js"></script><link href="//fonts.example/a.css"><a href="https://x.org">'
    assert from_elsewhere(page) == ["https://cdn.example/x.js", "//fonts.example/a.css"]
    assert from_elsewhere('<img src="_images/a.png"><style>@import "https://x.org/a.css"</style>') == [
        '@import "https://x.org/a.css'
    ]
