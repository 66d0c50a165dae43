"""How long the commands take that people type: `dora-repro quick` and `dora-repro --help`, and where that time goes."""

import functools
import json
import statistics
import tempfile
from pathlib import Path

import timing

COMMANDS = {"help": ("--help",), "quick": ("quick",)}
GOALS = {"help": 0.5, "quick": 10.0}  # seconds, imports included

# A command that is taken apart -> its words, and the exit code that it must have.
APART = {"passing": (("quick",), 0), "failing": (("quick", "--checkpoint", "dora-only"), 1)}

# What is shown -> the laps of a side that belong to it.
LAPS = {
    "build and load": ("build",),
    "steps, recorded": ("steps",),
    "snapshots and save": ("capture", "save", "end"),
}

IMPORTS = {
    "an empty Python": "pass",
    "import dora_repro": "import dora_repro",
    "import torch": "import torch",
    "all that a side imports": (
        "from dora_repro.sides.worker_main import KIT, preload\n"
        "from dora_repro.subject.config import NEEDS\n"
        "preload((*KIT, *NEEDS))"
    ),
}


def lapse(*words: str, code: int = 0) -> float:
    """Seconds of one command, from its start to its end."""
    return timing.cost_of(["-m", "dora_repro", *words], codes=(code,)).seconds


def lapse_of_python(code: str) -> float:
    """Seconds of a Python that does this, from its start to its end."""
    return timing.cost_of(["-c", code]).seconds


def taken_apart(words: tuple[str, ...], code: int) -> dict[str, float]:
    """Seconds of one check by what was done: the laps of both sides, the repeated sides, and the rest of the wall."""
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder, "kept")
        wall = lapse(*words, "--keep", str(kept), code=code)
        files = {path.parent.name: path.read_text(encoding="utf-8") for path in kept.glob("*/result.json")}
    spent = {side: json.loads(text)["seconds"] for side, text in files.items()}
    sides = [seconds for side, seconds in spent.items() if not side.startswith("repeat")]
    found = {"wall": wall}
    for name, laps in LAPS.items():
        found[name] = sum(seconds.get(lap, 0.0) for seconds in sides for lap in laps)
    found["control"] = sum(seconds["all"] for side, seconds in spent.items() if side.startswith("repeat"))
    found["rest"] = wall - sum(found[name] for name in (*LAPS, "control"))
    return found


def main(arguments: list[str] | None = None) -> None:
    choices = (*COMMANDS, "imports", *APART)
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5, help="how often each is done")
    parser.add_argument("--only", nargs="+", choices=choices, default=list(choices), help="what to measure")
    options = parser.parse_args(arguments)
    things = {name: functools.partial(lapse, *COMMANDS[name]) for name in COMMANDS if name in options.only}
    if "imports" in options.only:
        things |= {name: functools.partial(lapse_of_python, code) for name, code in IMPORTS.items()}
    for thing in things.values():
        thing()  # once before: so that what Python compiles, and files not yet read, are no part of it
    rows = []
    for name, seconds in timing.interleaved(things, options.repeats).items():
        shown = f"dora-repro {' '.join(COMMANDS[name])}" if name in COMMANDS else name
        rows.append(_row(shown, seconds, GOALS.get(name)))
    for name in [name for name in APART if name in options.only]:
        words, code = APART[name]
        found = [taken_apart(words, code) for _ in range(options.repeats)]
        rows += [_row(f"{' '.join(words)}: {part}", [each[part] for each in found], None) for part in found[0]]
    notes = [
        "medians of seconds; lowest and highest beside them",
        "build, steps and snapshots: of the two sides together; control: the sides repeated where a byte differs",
        "rest: starting interpreters and importing (of one while another works), judging, showing",
    ]
    timing.report("Wall time of commands, tiny", rows, options, notes)


def _row(what: str, seconds: list[float], goal: float | None) -> dict[str, object]:
    return {
        "what": what,
        "seconds": statistics.median(seconds),
        "from": min(seconds),
        "to": max(seconds),
        "goal": goal,
    }


if __name__ == "__main__":
    main()
