"""Make docs/frameworks.md: check each row of `framework_rows.py`, and hold it against a plain comparison of weights.

    python docs/make_frameworks.py               what was not run yet, then the page
    python docs/make_frameworks.py --fresh       everything anew (an hour or two on two cores)
    python docs/make_frameworks.py --page        the page alone, from what was run
    python docs/make_frameworks.py "Lightning"   only the rows whose name contains these words

Each row is checked as a user would check it, by the command line that its section shows, and besides run three times
without the kit. Reports stay in out/frameworks, so that what was stopped goes on where it was. Rows without one stand
as the page has them, where it does; those whose library is not installed are not run. A row whose report is not as
`framework_rows.py` expects, or whose verdict the weights do not bear out, is marked ⚠, and the exit code is 1.
"""

import argparse
import contextlib
import functools
import io
import json
import re
import shlex
import shutil
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib import metadata
from pathlib import Path

from final_weights import Weights, compare_launches
from framework_rows import BEFORE, DIFFERENT, EXACT, KILL_AFTER, LATENT, ROWS, Expected, Framework, Row, checks

from dora_repro.cli import main as command_line
from dora_repro.errors import BadInput

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "frameworks.md"
EVIDENCE = ROOT / "out" / "frameworks"
POINTS = {12: "end of an epoch", 15: "within an epoch"}
TITLES = ("verdict", "first difference", "cause", "launches", "weights")

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
reason to hold stands in `docs/framework_rows.py`, and is checked. *Advice taken* is what comes of it where what mends a
row was done: the verdict of another row, or of this one at the end of an epoch.
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
    shutil.rmtree(folder, ignore_errors=True)  # of a comparison that was stopped
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
    rows = [row for row in ROWS if any(known(row, saved) for saved in row.at)]
    left = [row.name for row in ROWS if row not in rows]
    parts = [INTRO, versions(rows), "## All rows\n", summary(rows)]
    if left:
        parts.append(f"Not run for this page: {'; '.join(left)}.\n")
    parts.append(compared_with_before(rows))
    for framework in dict.fromkeys(row.framework for row in rows):
        parts.append(f"## {framework.title}\n\n{_script(framework)}\n")
        parts += [section(row) for row in rows if row.framework == framework]
    return "\n".join(parts)


def versions(rows: list[Row]) -> str:
    """What it was run with."""
    first = next((read_report(row, saved) for row in rows for saved in row.at if done(row, saved)), None)
    if first is None:
        line = re.search(r"^Run with .+\n", PAGE.read_text(encoding="utf-8"), re.MULTILINE) if PAGE.exists() else None
        return line[0] if line else ""
    needed = dict.fromkeys(name for row in rows for name in row.framework.libraries)
    installed = [f"{name} {metadata.version(name)}" for name in needed if not missing(Framework("", (name,), ""))]
    here = first["environment"]
    listed = ", ".join((f"Python {here['python']}", f"torch {here['torch'].partition('+')[0]}", *installed))
    return f"Run with {listed}, on a CPU.\n"


def summary(rows: list[Row]) -> str:
    lines = [
        "| row | end of an epoch | weights | within an epoch | weights | advice taken |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        cells = [f"[{row.name}](#{_anchor(row)})"]
        for saved in KILL_AFTER:
            there = saved in row.at and known(row, saved)
            cells += [facts(row, saved)[name] for name in ("verdict", "weights")] if there else ["–", "–"]
        lines.append(f"| {' | '.join((*cells, _advised(row)))} |")
    return "\n".join((*lines, ""))


def compared_with_before(rows: list[Row]) -> str:
    """Whether final weights were equal where they had been when this was measured before."""
    before = [(row, saved) for row in rows for saved in row.known if known(row, saved)]
    other = [(row, saved) for row, saved in before if row.known[saved] != _equal(row, saved)]
    names = {12: "at the end of an epoch", 15: "within one"}
    told = "; ".join(f"{row.name}, {names[saved]}" for row, saved in other)
    outcome = f"All but these came out the same: {told}." if other else "All of them came out the same."
    return (
        f"{len(before)} of these checks had been measured before ({BEFORE}), by final weights alone: equal, or not. "
        f"{outcome}\n"
    )


def _equal(row: Row, saved: int) -> bool:
    return facts(row, saved)["weights"].startswith("all ")


def _advised(row: Row) -> str:
    """What comes of the advice, where it was taken."""
    names = {12: "", 15: "within: "} if len(row.advised) > 1 else {12: "", 15: ""}
    told = []
    for saved, (name, at) in row.advised.items():
        other = next(one for one in ROWS if one.name == name)
        if known(row, saved) and known(other, at):
            told.append(f"{names[saved]}{facts(other, at)['verdict']} ([{name}](#{_anchor(other)}))")
    return "; ".join(told) or "–"


def section(row: Row) -> str:
    """What is said of one row."""
    points = [saved for saved in row.at if known(row, saved)]
    lines = [f"### {row.name}\n", f"{_capital(row.what)}.\n"]
    lines += [f"| | {' | '.join(POINTS[saved] for saved in points)} |", "| --- |" + " --- |" * len(points)]
    told = {saved: facts(row, saved) for saved in points}
    lines += [f"| {title} | {' | '.join(told[saved][title] for saved in points)} |" for title in TITLES]
    lines.append(f"\n{row.why}\n")
    if row.mends:
        lines.append(f"*What mends it:* {row.mends}\n")
    for saved in points:
        lines += [f"```\n{_typed(row, saved)}\n```\n"]
        lines += [f"⚠ Saved at {saved}: {wrong}.\n" for wrong in (misfits(row, saved) if done(row, saved) else ())]
    return "\n".join(lines)


def known(row: Row, saved: int) -> bool:
    """Whether there is something to say of a row at a kill point: it was run, or the page has it."""
    return done(row, saved) or bool(_on_page().get((row.name, POINTS[saved])))


def facts(row: Row, saved: int) -> dict[str, str]:
    """What is told of a row at a kill point, by `TITLES`: from its report, or as it stands on the page."""
    if not done(row, saved):
        return _on_page()[row.name, POINTS[saved]]
    cells = (_verdict, _place, _causes, _launches, lambda row, saved: read_weights(row, saved).words)
    return {title: cell(row, saved) for title, cell in zip(TITLES, cells, strict=True)}


@functools.cache
def _on_page() -> dict[tuple[str, str], dict[str, str]]:
    """(name of a row, kill point) -> what the page says of it, by `TITLES`, as it was when this began."""
    text = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
    found: dict[tuple[str, str], dict[str, str]] = {}
    for part in re.split(r"^### ", text, flags=re.MULTILINE)[1:]:
        name, _, rest = part.partition("\n")
        lines = [line for line in rest.splitlines() if line.startswith("| ")]
        table = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
        points, cells = table[0][1:], {row[0]: row[1:] for row in table[2:]}
        for index, point in enumerate(points):
            found[name, point] = {title: cells[title][index] for title in TITLES}
    return found


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
        further = [sentence for sentence in explanation.get("look_at") or () if sentence.startswith("with ")]
        return "; ".join(filter(None, (explanation.get("unexplained"), *further))) or "–"
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
