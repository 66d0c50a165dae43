"""Make docs/frameworks.md: check each row of `framework_rows.py`, and hold it against a plain comparison of weights.

    python docs/make_frameworks.py               what was not run yet, then the page
    python docs/make_frameworks.py --fresh       everything anew (an hour or two on two cores)
    python docs/make_frameworks.py --page        the page alone, from what was run
    python docs/make_frameworks.py "Lightning"   only the rows whose name contains these words

Each row is checked as a user would check it, by the command line that its section shows, and besides run three times
without the kit. Reports stay in out/frameworks, so that what was stopped goes on where it was. Rows whose library is
not installed are left out, with a word. A row whose report is not as `framework_rows.py` expects, or whose verdict the
weights do not bear out, is marked ⚠, and the exit code is 1.
"""

import argparse
import contextlib
import io
import json
import re
import shlex
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path

from final_weights import Weights, compare_launches
from framework_rows import DIFFERENT, EXACT, KILL_AFTER, LATENT, ROWS, Expected, Framework, Row, checks

from dora_repro.cli import main as command_line
from dora_repro.errors import BadInput

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "frameworks.md"
EVIDENCE = ROOT / "out" / "frameworks"

INTRO = """\
# How training libraries resume

Made by `python docs/make_frameworks.py`: scripts as users write them (`examples/frameworks`), each checked as it is.
They train 36 steps in 3 epochs of 12, with a shuffled loader, dropout and a schedule that changes with each step. Each
is killed at two points:

- **end of an epoch**: saved after step 12, killed after step 14;
- **within an epoch**: saved after step 15, killed after step 18.

*Cause* is what the check proved by launching the resume again with state put in, in its own words; *launches* are how
many it took. *Weights* is another way to ask, without the kit: the same three launches, and the tensors of the two
files of final weights compared by bytes. Where all are equal the verdict must be `EXACT`, or `LATENT` (something is
lost, and no step depends on it), and where one is not it must be `DIFFERENT`. What a report must say for its row's
reason to hold stands in `docs/framework_rows.py`, and is checked.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("containing", nargs="?", default="", help="run only rows whose name contains this")
    parser.add_argument("--fresh", action="store_true", help="run again what was run before")
    parser.add_argument("--page", action="store_true", help="run nothing")
    given = parser.parse_args(arguments)
    wanted = [each for each in checks() if given.containing in each[0].name and not missing(each[0].framework)]
    if not given.page:
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        for row, saved in wanted:
            _look(row, saved, given.fresh)
    PAGE.write_text(document(), encoding="utf-8")
    found = [wrong for row, saved in checks() if done(row, saved) for wrong in misfits(row, saved)]
    print(f"{PAGE.relative_to(ROOT)}: {sum(done(*each) for each in checks())} checks, {len(found)} not as expected")
    return 1 if found else 0


def _look(row: Row, saved: int, fresh: bool) -> None:
    """Run one check and the plain comparison, as far as they are not there, and tell of both."""
    begun = time.monotonic()
    try:
        if fresh or not report_file(row, saved).exists():
            run_check(row, saved)
        if fresh or not weights_file(row, saved).exists():
            run_plainly(row, saved)
    except (RuntimeError, BadInput) as error:
        print(f"{row.name}, saved at {saved}: {error}", flush=True)
        return
    weights = read_weights(row, saved).words
    print(f"{row.name}, saved at {saved}: {read_report(row, saved)['reason']} · weights: {weights}", end="", flush=True)
    print(f"  {time.monotonic() - begun:.0f} s", flush=True)
    for wrong in misfits(row, saved):
        print(f"    ⚠ {wrong}", flush=True)


# --- running ---------------------------------------------------------------------------------------------------------


def missing(framework: Framework) -> list[str]:
    """The distributions that a framework needs and that are not installed."""
    there = {distribution.metadata["Name"].lower() for distribution in metadata.distributions()}
    return [name for name in framework.libraries if name not in there]


def _file(row: Row, saved: int, ending: str) -> Path:
    return EVIDENCE / f"{row.name.replace(', ', '-').replace(' ', '_')}-{saved}{ending}"


def report_file(row: Row, saved: int) -> Path:
    """Where the report of a check is kept."""
    return _file(row, saved, ".json")


def weights_file(row: Row, saved: int) -> Path:
    """Where the plain comparison is kept."""
    return _file(row, saved, ".weights.json")


def done(row: Row, saved: int) -> bool:
    return report_file(row, saved).exists() and weights_file(row, saved).exists()


def run_check(row: Row, saved: int) -> None:
    """Check a row as its command line does, and keep the report.

    Raises:
        RuntimeError: it left none.
    """
    file, said = report_file(row, saved), io.StringIO()
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.chdir(ROOT):
        code = command_line([*row.check(saved), "--json", str(file)], standalone_mode=False)
    _file(row, saved, ".txt").write_text(said.getvalue(), encoding="utf-8")
    if not file.exists():
        raise RuntimeError(f"exit code {code}, no report\n{said.getvalue()}")


def run_plainly(row: Row, saved: int) -> None:
    """Run a row three times without the kit, and keep how the final weights compare."""
    folder = _file(row, saved, ".plain")
    found = compare_launches(row.run(saved), row.resumed(saved), row.killed(saved), folder, ROOT)
    weights_file(row, saved).write_text(json.dumps(found.as_json()), encoding="utf-8")


def read_report(row: Row, saved: int) -> dict:
    return json.loads(report_file(row, saved).read_text(encoding="utf-8"))


def read_weights(row: Row, saved: int) -> Weights:
    return Weights(**json.loads(weights_file(row, saved).read_text(encoding="utf-8")))


# --- judging ---------------------------------------------------------------------------------------------------------


def misfits(row: Row, saved: int) -> list[str]:
    """What in a report is not as expected, or not borne out by the weights."""
    report, weights = read_report(row, saved), read_weights(row, saved)
    return [*unlike(row.at[saved], report), *disagreements(report, weights)]


def unlike(expected: Expected, report: dict) -> list[str]:
    """What in a report is not as expected."""
    if report["verdict"] != expected.verdict:
        return [f"the verdict is {report['verdict']} ({report['reason']}), expected {expected.verdict}"]
    if expected.verdict != DIFFERENT:
        return []
    found, wrong = report["divergence"], []
    if (found["step"], found["phase"]) != (expected.step, expected.phase):
        place = f"step {found['step']}, {found['phase']}"
        wrong.append(f"it first differs at {place}, expected step {expected.step}, {expected.phase}")
    if not fnmatchcase(found["leaf"], expected.leaf):
        wrong.append(f"the leaf is {found['leaf']}, expected {expected.leaf}")
    named = [leaf for cause in causes(report) for leaf in cause["leaves"]]
    for glob in expected.causes:
        if not any(fnmatchcase(leaf, glob) for leaf in named):
            wrong.append(f"{glob} is not among the causes")
    surplus = [leaf for leaf in named if not any(fnmatchcase(leaf, glob) for glob in expected.causes)]
    if surplus and report["explanation"]["proved"]:  # else the report says that it may be more than needed
        wrong.append(f"{surplus[0]} is among the causes" + (f", and {len(surplus) - 1} more" if surplus[1:] else ""))
    return wrong


def disagreements(report: dict, weights: Weights) -> Iterator[str]:
    """Whether a verdict is another than that of the weights."""
    if (report["verdict"] in (EXACT, LATENT)) != weights.equal:
        yield f"the verdict is {report['verdict']}, and the final weights: {weights.words}"


def causes(report: dict) -> list[dict]:
    return (report["explanation"] or {}).get("causes") or []


# --- the page --------------------------------------------------------------------------------------------------------


def document() -> str:
    """The whole page, of the rows that were run."""
    rows = [row for row in ROWS if any(done(row, saved) for saved in row.at)]
    left = [row.name for row in ROWS if row not in rows]
    parts = [INTRO, versions(rows), "## All rows\n", summary(rows)]
    if left:
        parts.append(f"Not run for this page: {'; '.join(left)}.\n")
    for framework in dict.fromkeys(row.framework for row in rows):
        parts.append(f"## {framework.title}\n\n{_script(framework)}\n")
        parts += [section(row) for row in rows if row.framework == framework]
    return "\n".join(parts)


def versions(rows: list[Row]) -> str:
    """What it was run with."""
    first = next((read_report(row, saved) for row in rows for saved in row.at if done(row, saved)), None)
    if first is None:
        return ""
    needed = dict.fromkeys(name for row in rows for name in row.framework.libraries)
    installed = [f"{name} {metadata.version(name)}" for name in needed if not missing(Framework("", (name,), ""))]
    here = first["environment"]
    listed = ", ".join((f"Python {here['python']}", f"torch {here['torch'].partition('+')[0]}", *installed))
    return f"Run with {listed}, on a CPU.\n"


def summary(rows: list[Row]) -> str:
    lines = ["| row | end of an epoch | weights | within an epoch | weights |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        cells = [f"[{row.name}](#{_anchor(row)})"]
        for saved in KILL_AFTER:
            there = saved in row.at and done(row, saved)
            cells += [_verdict(row, saved), read_weights(row, saved).words] if there else ["–", "–"]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join((*lines, ""))


def section(row: Row) -> str:
    """What is said of one row."""
    points = [saved for saved in row.at if done(row, saved)]
    lines = [f"### {row.name}\n", f"{_capital(row.what)}.\n"]
    names = {12: "end of an epoch", 15: "within an epoch"}
    lines += [f"| | {' | '.join(names[saved] for saved in points)} |", "| --- |" + " --- |" * len(points)]
    cells = {"verdict": _verdict, "first difference": _place, "cause": _causes, "launches": _launches}
    for title, cell in cells.items():
        lines.append(f"| {title} | {' | '.join(cell(row, saved) for saved in points)} |")
    lines.append(f"| weights | {' | '.join(read_weights(row, saved).words for saved in points)} |\n")
    lines.append(f"{row.why}\n")
    if row.mends:
        lines.append(f"*What mends it:* {row.mends}\n")
    for saved in points:
        lines += [f"```\n{_typed(row, saved)}\n```\n"]
        lines += [f"⚠ Saved at {saved}: {wrong}.\n" for wrong in misfits(row, saved)]
    return "\n".join(lines)


def _verdict(row: Row, saved: int) -> str:
    return read_report(row, saved)["verdict"] + (" ⚠" if misfits(row, saved) else "")


def _place(row: Row, saved: int) -> str:
    found = read_report(row, saved)["divergence"]
    return "none" if found is None else f"step {found['step']}, {found['phase']}: `{found['leaf']}`"


def _causes(row: Row, saved: int) -> str:
    """The causes in the words of the report."""
    report = read_report(row, saved)
    told = [f"`{cause['name']}`: {cause['how']}" for cause in causes(report)]
    explanation = report["explanation"] or {}
    if not told:
        return explanation.get("unexplained") or "–"
    more = "" if explanation["proved"] else " (sufficient, but perhaps more than needed)"
    return "; ".join(told).replace("|", "\\|") + more


def _launches(row: Row, saved: int) -> str:
    explanation = read_report(row, saved)["explanation"]
    trials = 0 if explanation is None else len(explanation["trials"]) + (explanation["confirmed"] is not None)
    return f"3 + {trials}" if trials else "3"


def _typed(row: Row, saved: int) -> str:
    """The command line as one types it, a line an option."""
    words = ["dora-repro", *row.check(saved)]
    options = [index for index, word in enumerate(words) if word.startswith("--")]
    ends = [*options[1:], len(words)]
    lines = [shlex.join(words[begin:end]) for begin, end in zip(options, ends, strict=True)]
    return f"{' '.join(words[: options[0]])} " + " \\\n    ".join(lines)


def _script(framework: Framework) -> str:
    return f"The script: `examples/frameworks/{framework.script}`."


def _anchor(row: Row) -> str:
    """The row's heading as the site makes an anchor of it."""
    return re.sub(r"[^\w-]", "", row.name.lower().replace(" ", "-"))


def _capital(text: str) -> str:
    return text[0].upper() + text[1:]


if __name__ == "__main__":
    sys.exit(main())
