"""How long the commands take that people type, beside `import torch`, and where the time of `quick` goes."""

import functools
import json
import statistics
import tempfile
from pathlib import Path

import timing

TOY = f"{Path(__file__).with_name('toy.py')}:Forgetful"

# A command -> its words, and the exit code that it must have.
COMMANDS = {
    "help": (("--help",), 0),
    "quick": (("quick",), 0),
    "quick, explained": (("quick", "--checkpoint", "dora-only"), 1),
    "toy, explained": (("check", TOY, "--steps", "16", "--save-at", "8"), 1),
}
GOALS = {"quick": 2.0, "toy, explained": 4.0}  # times `import torch`, imports included
TORCH = "import torch"

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
    TORCH: "import torch",
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
    wanted = {name: command for name, command in COMMANDS.items() if name in options.only}
    things = {name: functools.partial(lapse, *words, code=code) for name, (words, code) in wanted.items()}
    imports = [name for name in IMPORTS if "imports" in options.only or name == TORCH]
    things |= {name: functools.partial(lapse_of_python, IMPORTS[name]) for name in imports}
    for thing in things.values():
        thing()  # once before: so that what Python compiles, and files not yet read, are no part of it
    measured = timing.interleaved(things, options.repeats)
    torch = statistics.median(measured[TORCH])
    rows = []
    for name, seconds in measured.items():
        shown = f"dora-repro {' '.join(COMMANDS[name][0])}".replace(TOY, "toy.py:Forgetful") if name in wanted else name
        rows.append(_row(shown, seconds, torch, GOALS.get(name)))
    for name in [name for name in APART if name in options.only]:
        words, code = APART[name]
        found = [taken_apart(words, code) for _ in range(options.repeats)]
        rows += [_row(f"{' '.join(words)}: {part}", [each[part] for each in found], torch) for part in found[0]]
    notes = [
        "medians of seconds, lowest and highest beside them; the median in units of `import torch`",
        "build, steps and snapshots: of the two sides together; control: the sides repeated where a byte differs",
        "rest: starting interpreters and importing (of one while another works), judging, showing",
    ]
    timing.report("Wall time of commands", rows, options, notes)


def _row(what: str, seconds: list[float], torch: float, goal: float | None = None) -> dict[str, object]:
    median = statistics.median(seconds)
    return {
        "what": what,
        "seconds": median,
        "from": min(seconds),
        "to": max(seconds),
        "/ import torch": median / torch,
        "goal": goal,
    }


if __name__ == "__main__":
    main()
