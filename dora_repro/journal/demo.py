"""A training for a notebook to check, to mend and to preempt, where nobody names one."""

import difflib
import sys
from pathlib import Path

from dora_repro.checks.report import Report, Verdict
from dora_repro.errors import BadInput
from dora_repro.explain.explanation import in_order
from dora_repro.journal.preempting import preempted
from dora_repro.journal.reading import Journal, read_journal
from dora_repro.scratch import ScratchFolder
from dora_repro.scripts.checking import check_script

SCRIPT = """\
import argparse
from pathlib import Path
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path)
    out = parser.parse_args().out
    torch.manual_seed(0)
    x = torch.randn(96, 8)
    loader = DataLoader(TensorDataset(x, x.sum(1, keepdim=True)), batch_size=16, shuffle=True)
    model = nn.Sequential(nn.Linear(8, 16), nn.ReLU(), nn.Dropout(0.1), nn.Linear(16, 1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-2)
    first = 0
    for path in sorted(out.glob("epoch*.pt")):
        state = torch.load(path)
        model.load_state_dict(state["model"])
        optimizer.load_state_dict(state["optimizer"])
        first = state["epoch"] + 1
    for epoch in range(first, 5):
        for inputs, targets in loader:
            loss = nn.functional.mse_loss(model(inputs), targets)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": epoch}
        torch.save(state, out / f"epoch{epoch}.pt")


main()
"""
_KEPT: list[ScratchFolder] = []  # removed when the interpreter ends
_SAVES, _LOADS = "        torch.save(", "        first = state"
_UPDATES = (15, 13)  # of a start, before it is killed: in the third epoch, and in the fifth


class Training:
    """A script, its command, and the journal of its starts.

    Args:
        run: the command that trains, as for `check_script`; empty for a script that forgets the generator.
        resume: the command that resumes; empty for the same.
        kill_after: kill it after this step; 0 for between its second and third checkpoint.

    Attributes:
        command: the command that is checked.
        own: whether it is the user's.
    """

    def __init__(self, run: str = "", resume: str = "", kill_after: int = 0):
        _KEPT.append(ScratchFolder("training"))
        self._folder = Path(_KEPT[-1].name)
        self._script = self._folder / "train.py"
        self._script.write_text(SCRIPT, encoding="utf-8")
        self.own = bool(run)
        self.command = run or f"{{python}} {self._script} --out {{out}}"
        self._resume, self._kill_after = resume or None, kill_after or None

    @property
    def script(self) -> str:
        """The script as it is now; of a command of the user's, the command."""
        return self.command if self.own else self._script.read_text(encoding="utf-8").rstrip()

    def check(self) -> Report:
        """Launch the training, kill it, resume it and compare.

        Raises:
            BadInput: as `check_script`.
        """
        report = check_script(self.command, self._resume, kill_after=self._kill_after)
        assert isinstance(report, Report)  # of one kill
        return report

    def mend(self, report: Report) -> str:
        """Put the advised lines into the script, and tell what has changed.

        Args:
            report: of a check of the script.

        Returns:
            The lines that were added, between those beside them; of a command of the user's, or where nothing is
            advised, what to do.
        """
        if self.own or report.explanation is None:
            return "nothing to mend" if report.verdict is Verdict.EXACT else "put the advised lines into your script"
        causes = in_order(report.explanation.causes)
        save = [f"        {line}\n" for cause in causes for line in cause.save]
        load = [f"        {line}\n" for cause in causes for line in cause.load]
        text = SCRIPT.replace(_SAVES, "".join(save) + _SAVES).replace(_LOADS, "".join(load) + _LOADS)
        self._script.write_text(text, encoding="utf-8")
        return _changed(SCRIPT, text)

    def preempt(self) -> str:
        """Run it in production: killed twice, and started the third time by somebody who has the script of before.

        Returns:
            What the journal said in the job's own log; of a command of the user's, how to start it.

        Raises:
            RuntimeError: a start ended otherwise.
        """
        if self.own:
            return f"dora-repro watch --journal DIR -- {self.command}"
        out = self._folder / "out"
        out.mkdir()
        words = [sys.executable, str(self._script), "--out", str(out)]
        said = [preempted(words, self._journal, after) for after in _UPDATES]
        self._script.write_text(SCRIPT, encoding="utf-8")
        said.append(preempted(words, self._journal))
        return "\n\n".join(filter(None, said))

    @property
    def _journal(self) -> Path:
        return self._folder / "journal"

    @property
    def journal(self) -> Journal | None:
        """The journal of its starts; None where there was none."""
        try:
            return read_journal(self._journal)
        except BadInput:
            return None

    @property
    def verdicts(self) -> str:
        """The verdict on each start, a line each; empty where there was none."""
        starts = self.journal.starts if self.journal is not None else ()
        return "\n".join(f"start {start.number}: {start.verdict or 'the first'}" for start in starts)


def _changed(before: str, after: str) -> str:
    """The lines of a text that are new, each with one before and one after it; `…` for what lies between."""
    lines = [*difflib.unified_diff(before.splitlines(), after.splitlines(), n=1, lineterm="")][2:]
    return "\n".join("…" if line.startswith("@@") else line for line in lines)
