"""A training started under its journal and killed, as a cluster would: to see what a journal says of it."""

import os
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from dora_repro.journal.setting import Setting
from dora_repro.scripts.commands import python_path


def preempted(command: Sequence[str], journal: str | Path, after: int | None = None, level: str = "light") -> str:
    """Start a command with a journal, and have it killed once it has done some updates.

    It is killed by SIGKILL, in the midst of its own code: after the same update each time, unlike by a cluster.

    Args:
        command: the words of the command.
        journal: the folder of its journal.
        after: number of updates of this start, after the next of which it is killed; None to let it come to its end.
        level: `light` or `full`.

    Returns:
        What the journal said in the job's log.

    Raises:
        RuntimeError: it ended otherwise; with what it printed.
    """
    setting = Setting(Path(journal), level, kill_after=after)
    environment = {**os.environ, **setting.environment, "PYTHONPATH": python_path()}
    with tempfile.TemporaryFile() as log:
        found = subprocess.run(
            command, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, check=False
        )
        log.seek(0)
        printed = log.read().decode(errors="replace")
    if found.returncode != (0 if after is None else -signal.SIGKILL):
        wanted = "come to its end" if after is None else f"be killed after {after} updates"
        raise RuntimeError(
            f"the training was to {wanted}; exit code {found.returncode}, and it printed\n{printed[-2000:]}"
        )
    return "\n".join(line for line in printed.splitlines() if line.startswith("dora_repro: "))
