"""Libraries that a run imports inside functions: imported once for all forks, and unseen until the run imports them."""

import importlib
import json
import os
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from textwrap import dedent

import pytest
import torch

from dora_repro import check
from dora_repro.sides import out_of_sight
from dora_repro.sides.late_libraries import LateLibraries
from dora_repro.sides.out_of_sight import Imports, Refused, import_out_of_sight
from tests import runs

linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="forks are used on Linux only")
MODULES = 12

PACKAGE = """
    import os
    from pathlib import Path
    from {name} import part_0, part_1, part_3, part_4, part_5, part_6, part_8, part_9, part_10, part_11
    from {name}.part_2 import part_2  # a function in place of the module

    with Path(__file__).with_name("imports.txt").open("a") as file:
        file.write(f"{{os.getpid()}}\\n")
"""


@pytest.fixture
def libraries(tmp_path, monkeypatch):
    """Makes installed packages of many modules; returns the folder. All is forgotten after the test."""
    folder = tmp_path / "site-packages"
    folder.mkdir()
    monkeypatch.syspath_prepend(folder)
    modules, finders, environment = dict(sys.modules), list(sys.meta_path), dict(os.environ)

    def make(name, more=""):
        package = folder / name
        package.mkdir()
        (package / "__init__.py").write_text(dedent(PACKAGE).format(name=name) + dedent(more))
        for number in range(MODULES):
            (package / f"part_{number}.py").write_text(f"def part_{number}():\n    return {number}\n")
        importlib.invalidate_caches()
        return folder

    yield make
    for name in set(sys.modules) - set(modules):
        del sys.modules[name]
    sys.meta_path[:] = finders
    os.environ.clear()
    os.environ.update(environment)


@pytest.fixture
def alone(monkeypatch):
    """This process, with the threads of others in it, taken for one that may be forked."""
    monkeypatch.setattr(out_of_sight, "obstacle_to_forks", lambda: "")


def forget(name):
    for module in [module for module in sys.modules if module.partition(".")[0] == name]:
        del sys.modules[module]


def imported(*names):
    """What a side tells that imports these packages whole."""
    imports = Imports()
    for name in names:
        for number in range(MODULES):
            importlib.import_module(f"{name}.part_{number}")
    return imports.libraries()


def listed(tmp_path, modules):
    (tmp_path / "late.json").write_text(json.dumps(modules))
    return tmp_path / "late.json"


def test_installed_modules_are_told_in_order_and_the_users_are_not(libraries, tmp_path, monkeypatch):
    libraries("heavy_one")
    (tmp_path / "mine.py").write_text("import heavy_one.part_11\n")
    monkeypatch.syspath_prepend(tmp_path)
    imports = Imports()
    for name in ("mine", *(f"heavy_one.part_{number}" for number in range(MODULES))):
        importlib.import_module(name)
    told = dict(imports.libraries())
    assert {"heavy_one", "heavy_one.part_11"} <= set(told) and "mine" not in told
    assert Path(told["heavy_one.part_3"]).name == "part_3.py"


def test_what_was_imported_in_other_circumstances_is_not_told(libraries, monkeypatch):
    libraries("heavy_one")
    imports = Imports()
    monkeypatch.setenv("HEAVY_ONE_DOES", "otherwise")
    importlib.import_module("heavy_one")
    assert imports.libraries() == []
    monkeypatch.delenv("HEAVY_ONE_DOES")
    torch.set_default_dtype(torch.float64)
    try:
        assert imports.libraries() == []
    finally:
        torch.set_default_dtype(torch.float32)


def test_nothing_is_seen_of_it_until_it_is_imported_and_then_it_is_as_it_was(libraries, tmp_path, alone):
    folder = libraries("heavy_one")
    told = imported("heavy_one")
    forget("heavy_one")
    (folder / "heavy_one" / "imports.txt").unlink()
    assert import_out_of_sight(listed(tmp_path, told)) is None
    assert not any(name.startswith("heavy_one") for name in sys.modules)
    assert find_spec("heavy_one").submodule_search_locations == [str(folder / "heavy_one")]
    module = importlib.import_module("heavy_one.part_1")
    assert (folder / "heavy_one" / "imports.txt").read_text().count("\n") == 1  # it was not run once more
    package = sys.modules["heavy_one"]
    assert package.part_1 is module and package.part_2() == 2  # the function, and not the module of that name
    assert module.__spec__.loader.path == module.__file__ and find_spec("heavy_one") is package.__spec__
    assert importlib.import_module("heavy_one.part_2").part_2 is package.part_2
    assert importlib.reload(module) is module


def test_a_part_of_a_package_that_is_there_is_no_attribute_of_it_before_it_is_imported(libraries, tmp_path, alone):
    libraries("heavy_one")
    told = imported("heavy_one")
    forget("heavy_one")
    package = importlib.import_module("heavy_one")
    assert import_out_of_sight(listed(tmp_path, told)) is None
    assert sys.modules["heavy_one"] is package and not hasattr(package, "part_7")
    from heavy_one import part_7

    assert package.part_7 is part_7 is sys.modules["heavy_one.part_7"]


def test_what_a_module_does_not_import_stays_out_of_sight(libraries, tmp_path, alone):
    libraries("heavy_one")
    libraries("heavy_two", "import importlib, heavy_one.part_7; importlib.import_module('heavy_one.part_11')")
    libraries("heavy_three")
    told = imported("heavy_one", "heavy_two", "heavy_three")
    for name in ("heavy_one", "heavy_two", "heavy_three"):
        forget(name)
    assert import_out_of_sight(listed(tmp_path, told)) is None
    importlib.import_module("heavy_two.part_7")
    there = {name for name in sys.modules if name.startswith("heavy_")}
    assert {"heavy_two", "heavy_two.part_3", "heavy_one", "heavy_one.part_7", "heavy_one.part_11"} <= there
    assert not any(name.startswith("heavy_three") for name in there)


@pytest.mark.parametrize(
    "more, obstacle",
    [
        ("import random; random.random()", "generator python"),
        ("import torch; torch.rand(1)", "generator torch.cpu"),
        ("import torch; torch.set_num_threads(torch.get_num_threads() + 1)", "torch.num_threads"),
        ("import os; os.environ['HEAVY_ONE'] = 'was here'", "the environment"),
        ("import of_mine", "of_mine"),
    ],
)
def test_a_library_that_changes_what_is_recorded_is_left_to_the_sides(libraries, tmp_path, alone, more, obstacle):
    libraries("heavy_one", more)
    libraries("heavy_two")
    (tmp_path / "of_mine.py").write_text("")
    sys.path.insert(0, str(tmp_path))
    threads, state = torch.get_num_threads(), random.getstate()
    try:
        folder = tmp_path / "site-packages"
        told = [(name, str(folder / name / "__init__.py")) for name in ("heavy_one", "heavy_two")]
        assert import_out_of_sight(listed(tmp_path, told)) == Refused("heavy_one", obstacle)
        forget("heavy_one")
        assert import_out_of_sight(listed(tmp_path, told[1:])) is None
    finally:
        torch.set_num_threads(threads)
        random.setstate(state)
        sys.path.remove(str(tmp_path))


def test_what_cannot_be_imported_or_is_found_elsewhere_is_left_out(libraries, tmp_path, alone):
    folder = libraries("heavy_one", "raise SystemExit")
    libraries("heavy_two")
    told = [("heavy_one", str(folder / "heavy_one" / "__init__.py")), ("not_there", "/not_there.py")]
    told += [("heavy_two", "/elsewhere/heavy_two/__init__.py")]
    assert import_out_of_sight(listed(tmp_path, told)) is None
    assert not (folder / "heavy_two" / "imports.txt").exists()
    with pytest.raises(SystemExit):
        importlib.import_module("heavy_one")


def test_what_sides_tell_is_learned_once():
    late = LateLibraries()
    late.learn([("heavy_one", "/one.py"), ("heavy_two", "/two.py")])
    late.learn([("heavy_one", "/one.py"), ("json.tool", "/tool.py")])  # of what is new, nothing is worth it
    late.learn([("heavy_one", "/one.py"), ("heavy_three", "/three.py")])
    late.leave_out("heavy_two")
    assert [late.modules(index) for index in range(2)] == [[("heavy_one", "/one.py")], [("heavy_three", "/three.py")]]
    assert len(late.learned) == 2


class Late(runs.Plain):
    """Imports a library inside a function, at its first step, and keeps whether it was seen before."""

    def step(self):
        if not hasattr(self, "seen"):
            self.seen = "heavy_one" in sys.modules
        from heavy_one import part_0

        part_0.part_0()
        return super().step()


@linux
def test_a_check_imports_it_once_to_learn_of_it_and_once_in_each_interpreter(libraries):
    folder = libraries("heavy_one")
    report = check(Late, steps=4, save_at=2, control="always", explain=False)
    assert report.verdict.value == "EXACT" and report.control.runs == ("reference",)  # as little seen in each
    assert len((folder / "heavy_one" / "imports.txt").read_text().split()) == 2  # of three sides


@linux
def test_what_draws_when_it_is_imported_draws_where_the_run_imports_it(libraries):
    folder = libraries("heavy_one", "import random; random.random()")
    report = check(Late, steps=4, save_at=2, control="always", explain=False)
    assert report.verdict.value == "LATENT"  # once more in the resumed run, at its first step
    assert len((folder / "heavy_one" / "imports.txt").read_text().split()) >= 3 + 1  # each side, and who has tried it
