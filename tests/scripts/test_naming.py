"""`record`: nothing where no check runs, and a name in the answer where one does."""

import subprocess
import sys

from dora_repro.scripts.checking import check_script
from tests.scripts.trainings import TRAIN, commands


def test_where_no_check_runs_it_does_nothing_and_loads_no_torch():
    code = "import sys, dora_repro; dora_repro.record(a=object()); print('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True).stdout == "False\n"


def test_what_is_named_is_state(tmp_path):
    counting = (
        "import dora_repro\nclass Kept:\n    __slots__ = ('total',)\n    def __init__(self): self.total = 0\n"
        "def hidden(kept=[]):\n    kept or kept.append(Kept())\n    return kept[0]\n"
    )
    text = f"{counting}{TRAIN}".replace("    start, best =", "    dora_repro.record(kept=hidden())\n    start, best =")
    text = text.replace("optimizer.step()\n", "optimizer.step()\n            hidden().total += 1\n")
    report = check_script(*commands(tmp_path, text), kill_after=4)
    assert report.summary == "LATENT"
    assert "kept/total" in report.latent
