"""The examples do what they say, run as a reader would run them."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from dora_repro.checks.report import Verdict
from dora_repro.cli.group import main
from dora_repro.journal.reading import read_journal
from dora_repro.scripts.checking import check_script

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [([], 0, "TEST PASSED"), (["--forget", "optimizer"], 1, "step 4, phase update")],
)
def test_the_plain_loop_passes_and_its_forgetful_twin_fails(arguments, code, says):
    command = [sys.executable, "examples/plain_loop.py", *arguments]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=200)
    assert found.returncode == code, found.stderr
    assert says in found.stdout


@pytest.mark.parametrize(
    ("name", "libraries"),
    [
        ("plain.py", ()),
        ("hf_trainer.py", ("transformers", "accelerate")),
        ("lightning_module.py", ("lightning",)),
        ("accelerate_loop.py", ("accelerate",)),
        ("peft_dora.py", ("peft", "transformers")),
    ],
)
def test_a_script_resumes_as_the_command_in_the_readme_says(monkeypatch, name, libraries):
    for library in ("sklearn", *libraries):
        pytest.importorskip(library, reason=f"examples/{name} needs {library}")
    monkeypatch.chdir(ROOT)
    run = f"python examples/{name} --out {{out}}"
    assert f'dora-repro check --run "{run}"' in (ROOT / "README.md").read_text(encoding="utf-8")
    report = check_script(run.replace("python", sys.executable, 1), explain=False)
    assert (report.summary, report.save_at) == ("EXACT", 10)  # between its second epoch's save and its third's


def test_the_workflow_checks_a_script_with_options_that_there_are():
    (job,) = yaml.safe_load((ROOT / "examples" / "check_resume.yml").read_text(encoding="utf-8"))["jobs"].values()
    (command,) = [step["run"] for step in job["steps"] if "dora-repro" in step.get("run", "")]
    words = shlex.split(command.partition("&& ")[2])
    given = {word for word in words if word.startswith("--")}
    known = {option for one in main.get_command(None, "check").params for option in one.opts}
    assert words[:2] == ["dora-repro", "check"] and {"--run", "--html", "--junit"} == given <= known


def test_a_job_that_is_killed_three_times_is_judged_each_time(tmp_path, monkeypatch):
    pytest.importorskip("sklearn", reason="examples/plain.py needs sklearn")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    command = ["sh", "examples/preempted.sh", str(tmp_path / "out")]
    found = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, encoding="utf-8", timeout=400)
    journal = read_journal(tmp_path / "out" / "journal")
    resumed = [start for start in journal.starts if start.source is not None]
    assert len(resumed) == 3, found.stderr
    # One that is killed between its save and its next update leaves generators that cannot be compared.
    assert {start.verdict for start in resumed} <= {Verdict.EXACT, Verdict.INCONCLUSIVE}
    assert not any(start.state is not None and start.state.lost for start in resumed)
    assert found.returncode == journal.verdict.exit_code
