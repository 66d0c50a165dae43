"""The house has rooms in a row, and one way through: a room imports only rooms to its left, and no modules import each
other in a circle.

Read from the sources (`ast`), so imports inside functions and those for type checkers alone count too: what a room may
know does not depend on when it asks.
"""

import ast
import sys
import tomllib
from collections.abc import Collection, Mapping
from importlib.metadata import packages_distributions
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# From left to right. A new room gets its place here.
ROOMS = (
    "lazy",
    "printable",
    "errors",
    "contracts",
    "private_names",
    "wording",
    "scratch",
    "guardian",
    "shown",
    "checkpoint",
    "subject",
    "state",
    "difference",
    "trace",
    "alignment",
    "recording",
    "comparison",
    "series",
    "dora",
    "driving",
    "sides",
    "explain",
    "checks",
    "scripts",
    "journal",
    "naming",
    "integrations",
    "boot",
    "faults",
    "kept",
    "lab",
    "show",
    "widgets",
    "headless",
    "pytest_plugin",
    "cli",
)

# Narrower than the row: what investigates knows nothing of what is investigated, and the other way round.
ONLY = {"subject": {"printable", "scratch", "errors", "contracts", "private_names", "wording", "checkpoint"}}
INVESTIGATES = frozenset(
    {"checkpoint", "state", "difference", "trace", "alignment", "recording", "comparison", "sides", "explain"}
)
NEVER = {room: {"subject"} for room in INVESTIGATES}

# The one way against the row, open to this module alone, and only inside its functions.
# A result shows itself when it is printed; importing a check loads no screen.
LATE = {"shown.py": "show"}

# Circles of imports that are still to be cut, each as all its modules. Empty is the goal; one that is gone must leave.
CIRCLES: set[tuple[str, ...]] = set()

# The floors of `explain`, folders and modules, each of which imports only floors before it. `logs` are as far up as
# `audit` and `advice` and know neither.
FLOORS = (
    "trials",
    "audit",
    "advice",
    "logs",
    "candidates",
    "late",
    "explanation",
    "confirmation",
    "proof",
    "audited",
    "how_lost",
    "given_later",
    "advised",
    "set_anew",
    "causes",
    "unexplained",
    "explaining",
)

# The core knows no screen and no model.
CORE = {*INVESTIGATES, "checks"}
SCREENS_AND_MODELS = {"matplotlib", "ipywidgets", "transformers", "sklearn", "IPython"}


FRONT_DOORS = {"__init__.py", "__main__.py", "study.py"}


def modules(package: Path) -> list[Path]:
    """The modules that belong to a room: all but the package's front doors, which may open every room."""
    return [path for path in sorted(package.rglob("*.py")) if path.parent != package or path.name not in FRONT_DOORS]


def room(path: Path, package: Path) -> str:
    return path.relative_to(package).parts[0].removesuffix(".py")


def imports(path: Path, package: Path, submodules: Collection[str] = ()) -> list[tuple[int, str]]:
    """Line and absolute name of all that a module imports, by statement or `import_module("literal")`.

    Args:
        path: The module's file.
        package: The package's folder.
        submodules: Absolute names of modules; `from x import y` names `x.y` where that is one of them, and else `x`.
    """
    inside = [
        package.name,
        *path.relative_to(package).parts[:-1],
    ]  # the package that relative imports start from
    found = []
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            above = inside[: len(inside) - node.level + 1] if node.level else []
            base = ".".join([*above, *([node.module] if node.module else [])])
            # `from . import trace` names a room only after the word import.
            names = [f"{base}.{alias.name}" for alias in node.names]
            found += [(node.lineno, name if base == package.name or name in submodules else base) for name in names]
        elif isinstance(node, ast.Call) and node.args and isinstance(node.args[0], ast.Constant):
            function = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            if function in {"import_module", "__import__"}:
                found.append((node.lineno, str(node.args[0].value)))
    return sorted(set(found))


def late_lines(path: Path) -> set[int]:
    """The lines inside functions: what they import is imported when they are called."""
    functions = (
        node
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef))
    )
    return {line for node in functions for line in range(node.lineno, node.end_lineno + 1)}


def trespasses(package: Path) -> list[str]:
    """Every import that goes against the row, each as `file:line: what is wrong`."""
    wrong = []
    for path in modules(package):
        here = room(path, package)
        late = LATE.get(path.relative_to(package).as_posix())
        for line, name in imports(path, package):
            top, _, rest = name.partition(".")
            there = rest.partition(".")[0]
            if there == late and line in late_lines(path):
                continue
            if top in SCREENS_AND_MODELS and here in CORE:
                fault = f"{here} is core and imports {top}: the core knows no screen and no model"
            elif top != package.name or there == here:
                continue
            elif here not in ROOMS:
                fault = f"{here} is no room yet: give it a place in ROOMS"
            elif there not in ROOMS:
                fault = f"{name} comes through the front door: name the room it lies in"
            elif ROOMS.index(there) > ROOMS.index(here):
                fault = f"{here} imports {there}, a room to its right"
            elif there in NEVER.get(here, ()) or (here in ONLY and there not in ONLY[here]):
                fault = f"{here} imports {there}, of which it knows nothing"
            else:
                continue
            wrong.append(f"{path.relative_to(package.parent).as_posix()}:{line}: {fault}")
    return wrong


def climbs(package: Path) -> list[str]:
    """Every import within `explain` that goes against its floors, each as `file:line: what is wrong`."""
    wrong, floors = [], {f"{package.name}.explain.{floor}" for floor in FLOORS}
    for path in sorted((package / "explain").rglob("*.py")):
        here = room(path, package / "explain")
        if here != "__init__" and here not in FLOORS:
            wrong.append(
                f"{path.relative_to(package.parent).as_posix()}: {here} is no floor yet: give it a place in FLOORS"
            )
            continue
        for line, name in imports(path, package, floors):
            if not name.startswith(f"{package.name}.explain"):
                continue
            there = name.removeprefix(f"{package.name}.explain").removeprefix(".").partition(".")[0]
            fault = "" if there in FLOORS else f"explain imports {there or 'itself'}: name the floor it lies on"
            if here == "__init__" or (there in FLOORS and FLOORS.index(there) > FLOORS.index(here)):
                fault = f"{here} imports {there}, a floor above it"
            elif here == "logs" and there in ("trials", "audit", "advice"):
                fault = f"logs imports {there}, of which it knows nothing"
            if fault:
                wrong.append(f"{path.relative_to(package.parent).as_posix()}:{line}: {fault}")
    return wrong


def graph(package: Path) -> dict[str, set[str]]:
    """For each module by its name within the package, the modules of the package that it imports anywhere.

    The package's own `__init__` is no part of it, since Python runs that before any module; nor is the late way.
    """
    files = {".".join(path.relative_to(package.parent).with_suffix("").parts): path for path in package.rglob("*.py")}
    files = {name.removesuffix(".__init__"): path for name, path in files.items() if name != f"{package.name}.__init__"}
    found: dict[str, set[str]] = {}
    for module, path in sorted(files.items()):
        late = LATE.get(path.relative_to(package).as_posix())
        lines = late_lines(path) if late else set()
        found[module.partition(".")[2]] = {
            name.partition(".")[2]
            for line, name in imports(path, package, files)
            if name in files and name != module and not (line in lines and name.split(".")[1] == late)
        }
    return found


def circles(edges: Mapping[str, Collection[str]]) -> set[tuple[str, ...]]:
    """Each largest set of modules of which every one leads to every other by imports, sorted."""
    reached = {module: _reached(module, edges) for module in edges}
    together = {
        module: tuple(sorted(other for other in there if module in reached[other])) for module, there in reached.items()
    }
    return {modules for module, modules in together.items() if module in modules}


def _reached(module: str, edges: Mapping[str, Collection[str]]) -> set[str]:
    seen, waiting = set(), list(edges[module])
    while waiting:
        if (there := waiting.pop()) not in seen:
            seen.add(there)
            waiting += edges[there]
    return seen


def undeclared(package: Path, pyproject: str) -> list[str]:
    """Every import of a package from elsewhere that pyproject.toml does not name."""
    project = tomllib.loads(pyproject)["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    elsewhere = {"ignite": ["pytorch-ignite"]}  # where it is not installed: a distribution of another name
    declared = {canonicalize_name(Requirement(line).name) for lines in lists for line in lines}
    providers = packages_distributions()
    wrong = []
    for path in sorted(package.rglob("*.py")):
        for line, name in imports(path, package):
            top = name.partition(".")[0]
            if top == package.name or top in sys.stdlib_module_names:
                continue
            known = providers.get(top, elsewhere.get(top, [top]))
            if not declared & {canonicalize_name(provider) for provider in known}:
                wrong.append(f"{path.relative_to(package.parent).as_posix()}:{line}: {top} is not in pyproject.toml")
    return wrong


def test_a_room_imports_only_rooms_to_its_left(root):
    package = root / "dora_repro"
    assert {room(path, package) for path in modules(package)} >= {"errors", "checkpoint", "subject", "state"}
    assert trespasses(package) == []


def test_a_floor_of_explain_imports_only_floors_before_it(root):
    package = root / "dora_repro"
    assert {room(path, package / "explain") for path in (package / "explain").rglob("*.py")} >= set(FLOORS)
    assert climbs(package) == []


def test_every_room_has_its_place_in_the_row(root):
    package = root / "dora_repro"
    assert {room(path, package) for path in modules(package)} <= set(ROOMS)


def test_no_modules_import_each_other_in_a_circle_but_the_known_ones(root):
    edges = graph(root / "dora_repro")
    assert len(edges) > 150 and sum(map(len, edges.values())) > 400
    found = circles(edges)
    assert found - CIRCLES == set(), "a new circle: move what both need to a module that neither imports"
    assert CIRCLES - found == set(), "this circle is gone: take it off the list"


def test_every_package_imported_is_declared(root):
    assert undeclared(root / "dora_repro", (root / "pyproject.toml").read_text(encoding="utf-8")) == []


# --- and each of these sees a planted fault


def plant(folder: Path, **files: str) -> Path:
    """A package dora_repro of these files; `__` stands for a folder: state__leaves is state/leaves.py."""
    package = folder / "dora_repro"
    for name, text in files.items():
        path = package / (name.replace("__", "/") + ".py")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return package


def test_a_trespass_is_seen_however_it_is_written(tmp_path):
    package = plant(
        tmp_path,
        comparison="def late():\n    from .checks import check\n",
        trace="from . import recording\n",
        state__leaves="from ..comparison import compare\n",
        state__rng="import dora_repro.show.console\n",
        checkpoint__reading="import importlib\nimportlib.import_module('dora_repro.state')\n",
        subject__model="from ..state.digest import digest\n",
        recording="from dora_repro.subject import TrainingRun\n",
        checks="import sklearn.datasets\n",
        cli="from dora_repro import BadInput\n",
        attic="from .errors import BadInput\n",
    )
    assert trespasses(package) == [
        "dora_repro/attic.py:1: attic is no room yet: give it a place in ROOMS",
        "dora_repro/checkpoint/reading.py:2: checkpoint imports state, a room to its right",
        "dora_repro/checks.py:1: checks is core and imports sklearn: the core knows no screen and no model",
        "dora_repro/cli.py:1: dora_repro.BadInput comes through the front door: name the room it lies in",
        "dora_repro/comparison.py:2: comparison imports checks, a room to its right",
        "dora_repro/recording.py:1: recording imports subject, of which it knows nothing",
        "dora_repro/state/leaves.py:1: state imports comparison, a room to its right",
        "dora_repro/state/rng.py:1: state imports show, a room to its right",
        "dora_repro/subject/model.py:1: subject imports state, a room to its right",
        "dora_repro/trace.py:1: trace imports recording, a room to its right",
    ]


def test_a_floor_that_imports_one_above_it_is_seen(tmp_path):
    package = plant(
        tmp_path,
        explain__trials__worker="def late():\n    from ..causes import proof\n",
        explain__audit__saved="from dora_repro.explain.advice.advice import Advice\nfrom ..trials.trial import Trial\n",
        explain__advice__advice="from . import models\nfrom ..audit import saved\nfrom .. import trials\n",
        explain__logs__draws="from ..trials.trial import Trial\nfrom dora_repro.sides import job\n",
        explain__causes="from .explanation import Cause\nfrom .explaining import explain\nfrom . import advise\n",
        explain__attic="from .trials import trial\n",
    )
    (package / "explain" / "__init__.py").write_text("from .explaining import explain\n", encoding="utf-8")
    assert climbs(package) == [
        "dora_repro/explain/__init__.py:1: __init__ imports explaining, a floor above it",
        "dora_repro/explain/attic.py: attic is no floor yet: give it a place in FLOORS",
        "dora_repro/explain/audit/saved.py:1: audit imports advice, a floor above it",
        "dora_repro/explain/causes.py:2: causes imports explaining, a floor above it",
        "dora_repro/explain/causes.py:3: explain imports itself: name the floor it lies on",
        "dora_repro/explain/logs/draws.py:1: logs imports trials, of which it knows nothing",
        "dora_repro/explain/trials/worker.py:2: trials imports causes, a floor above it",
    ]


def test_only_a_result_imports_its_screen_and_only_when_it_is_shown(tmp_path):
    late = "class Shown:\n    def __str__(self):\n        from dora_repro.show.console import as_text\n"
    package = plant(tmp_path, shown=late, checks__judge=late, trace=late)
    assert trespasses(package) == [
        "dora_repro/checks/judge.py:3: checks imports show, a room to its right",
        "dora_repro/trace.py:3: trace imports show, a room to its right",
    ]
    package = plant(tmp_path / "eager", shown="from dora_repro.show.console import as_text\n")
    assert trespasses(package) == ["dora_repro/shown.py:1: shown imports show, a room to its right"]
    package = plant(tmp_path / "farther", shown=late.replace("show.console", "cli.group"))
    assert trespasses(package) == ["dora_repro/shown.py:3: shown imports cli, a room to its right"]


def test_subject_knows_nothing_even_of_rooms_to_its_left(tmp_path, monkeypatch):
    package = plant(tmp_path, subject__data="from ..errors import BadInput\nfrom ..checkpoint.writing import atomic\n")
    assert trespasses(package) == []
    monkeypatch.setitem(ONLY, "subject", {"errors"})
    assert trespasses(package) == [
        "dora_repro/subject/data.py:2: subject imports checkpoint, of which it knows nothing"
    ]


def test_what_is_allowed_is_not_accused(tmp_path):
    package = plant(
        tmp_path,
        state__leaves="import torch\nfrom .digest import digest\nfrom ..errors import X\nfrom . import rng\n",
        subject__model="from transformers import CLIPModel\nfrom .. import errors, checkpoint\n",
        checks="from .comparison import compare\nfrom .subject import TrainingRun\n",
        show__console="from ..checks import check\n",
    )
    (package / "__init__.py").write_text(
        "from .cli import main\n", encoding="utf-8"
    )  # the front door may open every room
    assert trespasses(package) == []


def test_a_circle_is_seen_however_it_is_written(tmp_path):
    package = plant(
        tmp_path,
        errors="",
        trace="from . import errors\n",
        state__leaves="def late():\n    from . import rng\n",
        state__rng="from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from .digest import Digest\n",
        state__digest="import importlib\n\nimportlib.import_module('dora_repro.state.leaves')\n",
        checks__report="import dora_repro.checks.judge\n",
        checks__judge="from dora_repro.checks.report import Report\nfrom dora_repro.checks.alone import x\n",
        checks__alone="from dora_repro.state.digest import digest\n",
        series__files="from . import Series\n",
    )
    (package / "series" / "__init__.py").write_text("from .files import read\n", encoding="utf-8")
    (package / "__init__.py").write_text("from .trace import Trace\n", encoding="utf-8")
    assert circles(graph(package)) == {
        ("checks.judge", "checks.report"),
        ("series", "series.files"),
        ("state.digest", "state.leaves", "state.rng"),
    }
    assert graph(package)["checks.alone"] == {"state.digest"}


def test_the_late_way_of_a_result_to_its_screen_makes_no_circle_and_any_other_does(tmp_path):
    late = "class Shown:\n    def __str__(self):\n        from dora_repro.show.console import as_text\n"
    console = "from dora_repro.shown import Shown\nfrom dora_repro.trace import Trace\n"
    package = plant(tmp_path, shown=late, show__console=console, trace="from .shown import Shown\n")
    assert circles(graph(package)) == set()
    package = plant(tmp_path / "second", shown="", show__console=console, trace=late)
    assert circles(graph(package)) == {("show.console", "trace")}
    package = plant(tmp_path / "eager", shown="import dora_repro.show.console\n", show__console=console, trace="")
    assert circles(graph(package)) == {("show.console", "shown")}


def test_an_undeclared_package_is_seen(tmp_path):
    package = plant(
        tmp_path, comparison="import json\nimport numpy as np\nimport sklearn\nimport nowhere_to_be_had.x\n"
    )
    pyproject = '[project]\ndependencies = ["NumPy>=1"]\noptional-dependencies.subject = ["scikit_learn"]\n'
    assert undeclared(package, pyproject) == ["dora_repro/comparison.py:4: nowhere_to_be_had is not in pyproject.toml"]
