"""The package's public names: lazy, the same in any order of imports."""

import subprocess
import sys

import pytest

import dora_repro


def fresh(code: str, folder) -> str:
    done = subprocess.run([sys.executable, "-c", code], cwd=folder, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def root():
    from pathlib import Path

    return Path(dora_repro.__file__).parents[1]


def test_every_public_name_is_there():
    for name in dora_repro.__all__:
        assert getattr(dora_repro, name) is not None
    assert {"check", "every_step", "twice", "inspect", "compare", "Snapshot", "Trace"} <= set(dir(dora_repro))
    assert dora_repro.BadInput.__module__ == "dora_repro.errors"


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
