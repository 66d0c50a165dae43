"""The package's public names: lazy, the same in any order of imports."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import dora_repro


def fresh(code: str, folder) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def root():
    return Path(dora_repro.__file__).parents[1]


RESULTS = {
    "Report", "Reports", "Verdict", "Divergence", "Explanation", "Cause", "Control", "SetAside", "Comparison",
    "LeafDifference", "Drift", "Snapshot", "Trace", "Contents",
}  # fmt: skip  # a set of words


def test_every_public_name_is_there():
    for name in dora_repro.__all__:
        assert getattr(dora_repro, name) is not None
    assert {"check", "every_step", "twice", "inspect", "compare", "Recorder", "study"} <= set(dir(dora_repro))
    assert RESULTS <= set(dora_repro.__all__)
    assert dora_repro.BadInput.__module__ == "dora_repro.errors"


def seen_by_type_checkers(source: str) -> dict[str, str]:
    """Name -> module, of all that is imported under `if TYPE_CHECKING:`."""
    found = {}
    for block in ast.parse(source).body:
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING":
            for node in block.body:
                if isinstance(node, ast.ImportFrom):
                    found.update({alias.asname: node.module for alias in node.names if alias.asname == alias.name})
    return found


def imported_when_used(places: dict[str, tuple[str, ...]]) -> dict[str, str]:
    return {name: f"dora_repro.{place}" for place, names in places.items() for name in names}


@pytest.mark.parametrize("module", [dora_repro, dora_repro.study], ids=lambda module: module.__name__)
def test_type_checkers_see_the_names_that_are_imported_when_used(module):
    seen = seen_by_type_checkers(Path(module.__file__).read_text(encoding="utf-8"))
    assert seen.pop("study", None) == ("dora_repro" if module is dora_repro else None)
    assert seen == imported_when_used(module._PLACES)
    assert set(module.__all__) == set(seen)


def test_a_name_that_a_type_checker_would_not_see_is_noticed():
    source = "if TYPE_CHECKING:\n    from dora_repro.a import one as one\n    from dora_repro.a import two\n"
    assert seen_by_type_checkers(source) == {"one": "dora_repro.a"} != imported_when_used({"a": ("one", "two")})


def test_the_names_of_the_study_are_completed_and_a_misspelt_one_is_refused():
    assert {"quick", "full", "TrainingConfig"} <= set(dir(dora_repro.study))
    with pytest.raises(AttributeError, match=r"'dora_repro.study' has no attribute 'qiuck'"):
        _ = dora_repro.study.qiuck


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="'dora_repro' has no attribute 'chekc'"):
        _ = dora_repro.chekc


@pytest.mark.parametrize(
    "imports",
    [
        "import dora_repro.checks.checks, dora_repro.comparison.leaves",
        "import dora_repro; from dora_repro.checks.checks import check as other; import dora_repro.comparison as c",
        "import dora_repro; from dora_repro import check, compare; assert check is dora_repro.check",
    ],
)
def test_the_names_are_the_same_in_any_order_of_imports(imports, root):
    code = f"""
{imports}
from inspect import signature
from dora_repro.checks.checks import check as function
assert list(signature(dora_repro.check).parameters)[:3] == ["factory", "steps", "save_at"]
assert dora_repro.compare({{"a": 1}}, {{"a": 1}}).equal and not dora_repro.compare({{"a": 1}}, {{"a": 2}}).equal
try:
    dora_repro.check(dict, steps=0, save_at=0, in_process=True)
except dora_repro.BadInput as error:
    print(error)
import dora_repro.checks.study
assert dora_repro.checks.study.quick is dora_repro.study.quick
assert dora_repro.comparison.leaves.compare is dora_repro.compare
"""
    assert fresh(code, root) == "steps=0: at least one step must be done\n"
