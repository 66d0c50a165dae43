"""`record`: nothing where no check runs, and a name in the answer where one does."""

import subprocess
import sys
from pathlib import Path

import pytest

import dora_repro
from dora_repro import naming
from dora_repro.scripts.assignment import Assignment
from dora_repro.scripts.checking import check_script
from dora_repro.scripts.commands import Launchable
from dora_repro.scripts.launching import launch
from tests.scripts.trainings import TRAIN, commands


def test_where_no_check_runs_it_does_nothing_and_loads_no_torch():
    code = "import sys, dora_repro; dora_repro.record(a=object()); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


@pytest.mark.parametrize("variable", [naming.VARIABLE, naming.setting.VARIABLE])
def test_a_variable_that_is_set_later_is_seen(variable, monkeypatch):
    monkeypatch.setattr(naming, "_without", -1)
    for name in (naming.VARIABLE, naming.setting.VARIABLE):
        monkeypatch.delenv(name, raising=False)
    assert not naming.is_recorded() and not naming.is_recorded()
    monkeypatch.setenv(variable, "x")
    assert naming.is_recorded() and naming.is_recorded()
    monkeypatch.delenv(variable)
    assert not naming.is_recorded()


def test_what_is_named_is_state(tmp_path):
    counting = (
        "import dora_repro\nclass Kept:\n    __slots__ = ('total',)\n    def __init__(self): self.total = 0\n"
        "def hidden(kept=[]):\n    kept or kept.append(Kept())\n    return kept[0]\n"
    )
    text = f"{counting}{TRAIN}".replace("    start, best =", "    dora_repro.record(kept=hidden())\n    start, best =")
    text = text.replace("optimizer.step()\n", "optimizer.step()\n            hidden().total += 1\n")
    report = check_script(*commands(tmp_path, text), kill_after=4, explain=False)
    assert report.summary == "LATENT"
    assert "kept/total" in report.latent


EARLY = f"""
import sys
sys.path.insert(0, {str(Path(dora_repro.__file__).parents[1])!r})
import dora_repro
dora_repro.record(kept=[1])
import torch
model = torch.nn.Linear(1, 1)
optimizer = torch.optim.SGD(model.parameters(), 0.1)
for _ in range(2):
    model(torch.ones(1)).backward()
    optimizer.step()
"""


@pytest.mark.parametrize("option", ["-I", "-B"])
def test_it_brings_the_recorder_where_python_does_not_read_it(tmp_path, option):
    """Before torch is imported, too, where importing it would have installed the recorder."""
    (tmp_path / "train.py").write_text(EARLY, encoding="utf-8")
    (tmp_path / "out").mkdir()
    command = Launchable((sys.executable, option, str(tmp_path / "train.py")), {})
    ran = launch("reference", command, Assignment(tmp_path / "side", tmp_path / "out"), timeout=120.0)
    assert (ran.code, ran.installed, ran.problems, ran.trained) == (0, 1, (), True)
    about = ran.folder / "about.json"
    assert '"named": ["kept"]' in about.read_text(encoding="utf-8")
