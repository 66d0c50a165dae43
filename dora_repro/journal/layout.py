"""The names of a journal's files.

One folder for each start (`start-0001`), and in it

- `log.jsonl`: what the start is, what it wrote and read, what was found when it went on, how it ended;
- `first.json`: the digests of its state before its first update;
- `state-NUMBER.json`: the same before the update that follows a write of a checkpoint, or a copy that a thread may
  write, NUMBER updates being done;
- `saved-NUMBER.json`: the same when the checkpoint had been written, until that update comes;
- `updates-NUMBER.jsonl`: a line for each update, NUMBER being done before the first of them.
"""

import re
from pathlib import Path

LOG = "log.jsonl"
FIRST = "first.json"
_START = re.compile(r"start-(\d+)")
_STATE = re.compile(r"state-(\d+)(?:\+(\d+))?\.json")
_UPDATES = re.compile(r"updates-(\d+)\.jsonl")


def state_file(update: int, backwards: int = 0) -> str:
    """The file of the state when so many updates, and backward passes since, were done."""
    return f"state-{update}.json" if not backwards else f"state-{update}+{backwards}.json"


def saved_file(update: int, backwards: int = 0) -> str:
    """The file of the state when a checkpoint had been written, so many updates being done."""
    return state_file(update, backwards).replace("state", "saved")


def updates_file(update: int) -> str:
    """The file of the updates that follow so many."""
    return f"updates-{update}.jsonl"


def starts_of(journal: Path) -> dict[int, Path]:
    """The folders of the starts of a journal, by number, in order."""
    found = {int(match[1]): path for path in journal.glob("start-*") if (match := _START.fullmatch(path.name))}
    return dict(sorted(found.items()))


def updates_of(start: Path) -> dict[int, Path]:
    """The files of the updates of a start by the number of updates before them, in order."""
    found = {int(match[1]): path for path in start.glob("updates-*") if (match := _UPDATES.fullmatch(path.name))}
    return dict(sorted(found.items()))


def states_of(start: Path) -> list[tuple[int, int]]:
    """The moments whose state a start has kept: numbers of updates, and of backward passes since; in order."""
    names = (match for path in start.glob("state-*") if (match := _STATE.fullmatch(path.name)))
    return sorted((int(match[1]), int(match[2] or 0)) for match in names)


def claim(journal: Path) -> tuple[int, Path]:
    """Make the folder of the next start; no other process gets the same.

    Raises:
        OSError: it cannot be made.
    """
    journal.mkdir(parents=True, exist_ok=True)
    number = max(starts_of(journal), default=0)
    while True:
        number += 1
        path = journal / f"start-{number:04d}"
        try:
            path.mkdir()
        except FileExistsError:
            continue
        return number, path
