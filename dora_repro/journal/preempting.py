"""A training started under its journal and killed, as a cluster would: to see what a journal says of it."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from dora_repro.journal.layout import starts_of, updates_of

_POLL = 0.02  # seconds
_PATIENCE = 600.0  # seconds within which it must have come so far


def preempted(command: Sequence[str], journal: str | Path, after: int | None, options: Sequence[str] = ()) -> str:
    """Start a command under `dora-repro watch`, and kill it once it has done some updates.

    Args:
        command: the words of the command.
        journal: the folder of its journal.
        after: number of updates of this start that are noted before it is killed; None to let it come to its end.
        options: further options of `watch`.

    Returns:
        What the journal said in the job's log.

    Raises:
        RuntimeError: it ended by itself before so many updates, or did not come as far within ten minutes.
    """
    journal = Path(journal)
    known = starts_of(journal)
    watch = [sys.executable, "-m", "dora_repro", "watch", "--journal", str(journal), *options, "--"]
    with tempfile.TemporaryFile() as log:  # a pipe that nobody reads would stop it
        process = subprocess.Popen(
            [*watch, *command], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            came = _comes(process, journal, known, after) if after is not None else process.wait() is not None
        finally:
            if process.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        log.seek(0)
        printed = log.read().decode(errors="replace")
    if not came:
        raise RuntimeError(f"the training did not come to {after} updates; it printed\n{printed[-2000:]}")
    return "\n".join(line for line in printed.splitlines() if line.startswith("dora_repro: "))


def _comes(process: "subprocess.Popen[bytes]", journal: Path, known: dict[int, Path], after: int) -> bool:
    """Wait until a start that was not known has noted so many updates; whether it has."""
    limit = time.monotonic() + _PATIENCE
    while process.poll() is None and time.monotonic() < limit:
        mine = [path for number, path in starts_of(journal).items() if number not in known]
        if sum(file.read_bytes().count(b"\n") for one in mine for file in updates_of(one).values()) >= after:
            return True
        time.sleep(_POLL)
    return False
