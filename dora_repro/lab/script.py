"""A history as a script: `build, step*2, save, kill, load, step` as a list of actions."""

import difflib
import re
from dataclasses import dataclass

from dora_repro.errors import BadInput

ACTIONS = {
    "build": "build both runs",
    "step": "one step of the interrupted run; the uninterrupted one keeps up",
    "both": "one step of each",
    "phase": "one step, shown phase by phase",
    "save": "the interrupted run saves itself",
    "kill": "end the process of the interrupted run",
    "load": "start a new process from the last checkpoint",
    "transplant": "as if the checkpoint had held this component: `transplant optimizer`",
    "end": "step to the end",
    "undo": "undo the last action",
    "reset": "discard both runs",
}
_LIMIT = 10_000  # actions


@dataclass(frozen=True)
class Action:
    """One click.

    Attributes:
        name: one of `ACTIONS`.
        what: for `transplant`, the name of the component.
    """

    name: str
    what: str = ""

    def __str__(self) -> str:
        return f"{self.name} {self.what}".strip()


def parse(script: str) -> list[Action]:
    """Actions, joined by commas; `step*3` is three of them.

    Raises:
        BadInput: there is no such action, with the nearest that exists; a count that is no number.
    """
    actions: list[Action] = []
    for words in filter(None, map(str.strip, script.split(","))):
        found = re.fullmatch(r"([^\s*]+)(?:\s+([^*]+?))?\s*(?:\*\s*(.+))?", words)
        name, what, times = found.groups() if found else (words, None, None)
        if name not in ACTIONS:
            near = difflib.get_close_matches(name, ACTIONS, 1)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(ACTIONS)}"
            raise BadInput(f"script: no action {name!r}: {hint}")
        if (name == "transplant") != bool(what):
            wants = "say what, as in 'transplant optimizer'" if name == "transplant" else "it takes nothing"
            raise BadInput(f"script: {words!r}: {wants}")
        if times is not None and not (times.isdecimal() and 1 <= int(times) <= _LIMIT):
            raise BadInput(f"script: {words!r}: times={times!r} must be a number from 1 to {_LIMIT}")
        actions += [Action(name, what or "")] * int(times or 1)
        if len(actions) > _LIMIT:
            raise BadInput(f"script: more than {_LIMIT} actions")
    return actions
