"""Journals made by hand, as starts would have left them."""

import json
from pathlib import Path

from dora_repro.journal.layout import FIRST, LOG, state_file
from dora_repro.journal.ledger import digest_of
from dora_repro.journal.lines import to_text
from dora_repro.journal.state import StateDigests
from dora_repro.journal.updates import Updates
from dora_repro.trace import Effect, Step

DIGESTS = {name: to_text(name.encode() * 16) for name in "abcdefgh"}


def state(update, *, moment="update", **leaves):
    """State in which each leaf, by `kind_name`, has the digest of a letter."""
    return StateDigests(
        update,
        0,
        {path.replace("_", "/"): (path.partition("_")[0], DIGESTS[value]) for path, value in leaves.items()},
        moment,
    )


def step(number, weight="w"):
    return Step(number, 0.5, (0.1,), (Effect("update", "parameter/w", weight.encode() * 16),), {})


def make(journal: Path, number, *lines, first=None, states=(), updates=(), base=0, environment=None):
    """A start: its log, its states, and the weights after each of its updates."""
    folder = journal / f"start-{number:04d}"
    folder.mkdir(parents=True)
    about = {"environment": environment}
    head = {**about, "kind": "start", "time": 1.8e9 + number, "argv": ["train.py"], "host": "node", "level": "light"}
    (folder / LOG).write_text("".join(json.dumps(line) + "\n" for line in (head, *lines)))
    if first is not None:
        first.write(folder / FIRST)
    for one in states:
        one.write(folder / state_file(one.update))
    writer = Updates(folder, base, lambda: 1 << 20, lambda step: None)
    for index, weight in enumerate(updates, 1):
        writer.step(step(index, weight))
    writer.close(False, ())
    return folder


def wrote(path: Path, update, text=None):
    """The line of a checkpoint that was written; with `text` it is written here, and else only told of."""
    if text is not None:
        path.write_text(text)
    digest = digest_of(str(path)) if text is not None else None
    size = len(text or "")
    return {"kind": "wrote", "path": str(path), "update": update, "backwards": 0, "digest": digest, "size": size}


def resumed(start, update, lost=None, unknown=()):
    """The line of a start that goes on from another."""
    found = {"compared": 5, "lost": lost or {}, "other": [], "unknown": list(unknown)}
    return {"kind": "resumed", "start": start, "update": update, "backwards": 0, "files": ["a.pt"], "state": found}
