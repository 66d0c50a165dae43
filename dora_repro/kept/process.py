"""The process that makes trials from evidence that was kept, from outside (`worker_main.py`: from inside)."""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from dora_repro.checks.keeping import Origin, changes_results
from dora_repro.errors import BadInput
from dora_repro.explain.trials.trial import Outcome, Trial, TrialResult
from dora_repro.guardian.guarding import guard, let_end, release
from dora_repro.scratch import ScratchFolder
from dora_repro.sides.protocol import Emit, ignore

_BOOT = (
    # Byte by byte: what follows the line is for another reader.
    "import json, os, sys; boot = json.loads(b''.join(iter(lambda: os.read(0, 1) or b'\\n', b'\\n')) or 'null'); "
    "sys.path[:] = boot['path']; sys.argv[:] = boot['argv']; "
    "from dora_repro.kept.worker_main import main; main(boot)"
)
_LOG = "log.txt"
_TAIL = 15  # lines of the log that a message shows
_FAREWELL = 15.0  # seconds to end what it has launched


class Cancelled(Exception):
    """A trial was ended before it had come to a result."""


class TrialProcess:
    """Makes trials of one report, one after the other; started when the first is asked for.

    Args:
        folder: of the evidence.
        report: its place among the reports.
        origin: the process that made the check.
    """

    def __init__(self, folder: Path, report: int, origin: Origin):
        self._folder, self._report, self._origin = folder, report, origin
        self._process: subprocess.Popen[str] | None = None
        self._place: ScratchFolder | None = None

    def run(self, trial: Trial, on_event: Emit = ignore) -> TrialResult:
        """Make a trial.

        Args:
            trial: what is put back.
            on_event: called with each event of it.

        Raises:
            BadInput: it cannot be made, with the reason.
            Cancelled: `close` was called meanwhile.
        """
        if self._process is None or self._process.poll() is not None:
            self._start()
        process = self._process
        assert process is not None and process.stdin is not None and process.stdout is not None
        try:
            _write(process, trial.to_dict())
            for line in process.stdout:
                event = json.loads(line)
                if event["event"] == "refused":
                    raise BadInput(event["message"])
                if event["event"] == "answer":
                    return TrialResult.from_dict(event)
                on_event(event)
        except BaseException as error:
            closed_meanwhile = isinstance(error, ValueError) and self._process is not process
            if not closed_meanwhile:
                self.close()
                raise
        if self._process is not process:
            raise Cancelled("the trial was ended before it had come to a result")
        code = process.wait()
        words = f"the process of the trial ended with exit code {code}{self._tail()}"
        self.close()
        return TrialResult(Outcome.UNRESOLVED, error=words)

    def _start(self) -> None:
        self.close()
        origin = self._origin
        if not Path(origin.folder).is_dir():
            raise BadInput(f"the check was made in {origin.folder}, which is gone: a trial has to run there")
        python = origin.python if Path(origin.python).is_file() else sys.executable
        self._place = ScratchFolder()
        scratch = Path(self._place.name, "scratch")
        scratch.mkdir()
        with Path(self._place.name, _LOG).open("wb") as log:
            self._process = subprocess.Popen(
                [python, *origin.flags, "-c", _BOOT],
                cwd=origin.folder, env=environment(origin), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log,
                text=True, encoding="utf-8", errors="replace", start_new_session=True,
            )  # fmt: skip  # a row of arguments
        guard(self._process.pid)
        asked = {"folder": str(self._folder), "report": self._report, "scratch": str(scratch)}
        _write(self._process, {"path": origin.path, "argv": origin.argv, **asked})

    def _tail(self) -> str:
        """The last lines that the process printed."""
        if self._place is None:
            return ""
        text = Path(self._place.name, _LOG).read_text(encoding="utf-8", errors="replace")
        lines = text.strip().splitlines()
        return "".join(f"\n  {line}" for line in lines[-_TAIL:])

    def close(self) -> None:
        """End the process, in the middle of a trial, too, with all that it has launched."""
        process, self._process = self._process, None
        if process is not None:
            assert process.stdout is not None
            let_end(process, _FAREWELL)  # it ends what it has launched
            release(process.pid)
            process.stdout.close()
        if self._place is not None:
            self._place.cleanup()
            self._place = None


def environment(origin: Origin) -> dict[str, str]:
    """The environment of this process, but what changes results as it was in the process of the check."""
    here = {name: value for name, value in os.environ.items() if not changes_results(name)}
    return {**here, **origin.variables}


def _write(process: subprocess.Popen[str], line: Mapping[str, Any]) -> None:
    assert process.stdin is not None
    try:
        process.stdin.write(json.dumps(line) + "\n")
        process.stdin.flush()
    except OSError:  # it is gone: whoever reads its answers reports how it ended
        pass
