"""The fixture in a user's own repository: found by its entry point, light, and a failing test says the answer."""

import os
import re
import tomllib
from pathlib import Path

import pytest

from tests.scripts.trainings import TRAIN

ROOT = Path(__file__).parents[2]

TRAINING = """
import torch


class MyRun:
    saved = ("model", "optimizer")

    def __init__(self):
        torch.manual_seed(0)
        self.model = torch.nn.Linear(4, 1)
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=0.1)

    def step(self):
        self.optimizer.zero_grad()
        loss = (self.model(torch.eye(4)) - 1).square().mean()
        loss.backward()
        self.optimizer.step()
        return loss.item()

    def save(self, path):
        torch.save({name: getattr(self, name).state_dict() for name in self.saved}, path)

    def load(self, path):
        for name, state in torch.load(path).items():
            getattr(self, name).load_state_dict(state)


class Forgetful(MyRun):
    saved = ("model",)


class Unseeded(MyRun):
    def step(self):
        self.model.weight.grad = None
        torch.nn.init.normal_(self.model.bias, generator=torch.Generator().manual_seed(torch.seed()))
        return super().step()
"""

TESTS = """
import pytest
from training import Forgetful, MyRun, Unseeded


def test_exact(resume_exact):
    print("said by a test")
    report = resume_exact(MyRun, steps=3, save_at=1)
    assert report.summary == "EXACT"
    resume_exact(MyRun, steps=2, every_step=True, in_process=True)


def test_forgetful(resume_exact):
    resume_exact(Forgetful, steps=3, save_at=1, in_process=True)


def test_one_of_several(resume_exact):
    resume_exact(Forgetful, steps=2, every_step=True, in_process=True, explain=False)


def test_unseeded(resume_exact):
    resume_exact(Unseeded, steps=3, save_at=1, in_process=True, explain=False)


def test_misspelt(resume_exact):
    resume_exact(MyRun, step=3, save_at=1)


def test_script(resume_exact):
    command = "{python} train.py --out {out}"
    resume_exact(command, command + " --resume {newest}", kill_after=4)


@pytest.mark.skip
def test_script_without_program(resume_exact):
    resume_exact("pyton train.py --out {out}", kill_after=4)
"""

FORGETFUL = """\
✗ DIFFERENT: resumed after step 1 of 3, the run is not the same (Forgetful)
  First difference: step 2, phase update: model/weight
"""
UNSEEDED = """\
⚠ INCONCLUSIVE: resumed after step 1 of 3, no verdict can be given (Unseeded)
  Why: not deterministic: a repeat of the same side first differs at step 1,
"""
MISSPELT = """\
✗ resume_exact: there is no option 'step': did you mean 'steps'?
tests/test_resume.py:26: nothing was compared
"""


@pytest.fixture
def repository(pytester, monkeypatch):
    """A user's own repository, and an environment that has the kit installed as its pyproject.toml says."""
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]["entry-points"]
    entries = "".join(f"{name} = {place}\n" for name, place in declared["pytest11"].items())
    installed = pytester.mkdir("installed")
    metadata = installed / "kit_under_test-0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Name: kit_under_test\nVersion: 0\n", encoding="utf-8")
    (metadata / "entry_points.txt").write_text(f"[pytest11]\n{entries}", encoding="utf-8")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(ROOT), str(installed)]))
    monkeypatch.setenv("COLUMNS", "80")
    pytester.makepyprojecttoml('[tool.pytest.ini_options]\nresume_exact_timeout = "300"\npythonpath = ["."]\n')
    for name, text in {"training.py": TRAINING, "train.py": TRAIN, "tests/test_resume.py": TESTS}.items():
        path = pytester.path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    return pytester


def told(output: str, test: str) -> str:
    """What pytest shows of a test that failed: what stands below its name, and below that of a worker."""
    below = output.partition(f" {test} ___")[2].partition("\n[gw")[2].partition("\n")[2]
    return re.split(r"\n(?:___|===|- gen)", below, maxsplit=1)[0]


def test_a_users_tests_fail_with_the_answer_and_keep_their_pages(repository):
    pages = "--resume-exact-html=pages"
    ran = repository.runpytest_subprocess("-n", "2", pages, "--junitxml=results.xml", "-o", "junit_family=xunit2")
    ran.assert_outcomes(passed=2, failed=4, skipped=1)
    output = ran.stdout.str()
    assert told(output, "test_forgetful").startswith(FORGETFUL)
    assert 'load(): self.optimizer.load_state_dict(state["optimizer"])' in told(output, "test_forgetful")
    assert told(output, "test_one_of_several").startswith("✗ DIFFERENT: ")
    assert told(output, "test_unseeded").startswith(UNSEEDED)
    assert told(output, "test_misspelt") == MISSPELT.rstrip()
    for test in ("test_forgetful", "test_one_of_several", "test_unseeded", "test_misspelt"):
        assert max(map(len, told(output, test).splitlines())) <= 80
    assert "Traceback" not in output and "dora_repro/" not in output
    kept = sorted(path.name for path in (repository.path / "pages").iterdir())
    names = ("exact-2", "exact", "forgetful", "one_of_several", "script", "unseeded")
    assert kept == [f"tests-test_resume-test_{name}.html" for name in names]
    assert "first differs at step 2, phase update" in (repository.path / "results.xml").read_text(encoding="utf-8")
    assert "  Page: pages/tests-test_resume-test_unseeded.html" in told(output, "test_unseeded").splitlines()
    again = repository.runpytest_subprocess("--last-failed", "-s", "-k", "misspelt or exact")
    again.assert_outcomes(failed=1)  # those alone that had failed


def test_collecting_imports_no_torch_and_a_call_that_passes_shows_what_its_test_prints(repository):
    repository.makepyfile(
        conftest="""
            import sys

            def pytest_collection_finish(session):
                print([name for name in ("torch", "numpy", "jinja2", "dora_repro.checks") if name in sys.modules])
        """,
        test_light="def test_light(resume_exact):\n    assert 'torch' not in __import__('sys').modules\n",
    )
    ran = repository.runpytest_subprocess("-s", "test_light.py")
    ran.assert_outcomes(passed=1)
    ran.stdout.fnmatch_lines(["*[[][]]*"])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-o", "resume_exact_timeout=soon"], "resume_exact_timeout = soon: give the seconds"),
        (["-o", "resume_exact_timeout=-1"], "resume_exact_timeout = -1: give the seconds"),
        (["--resume-exact-html=training.py"], "training.py is a file: name a folder"),
    ],
)
def test_what_could_not_be_used_is_refused_before_any_test_runs(repository, arguments, words):
    ran = repository.runpytest_subprocess("--collect-only", *arguments)
    assert ran.ret == pytest.ExitCode.USAGE_ERROR
    assert words in ran.stderr.str()
