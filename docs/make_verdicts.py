"""Make docs/verdicts.md: run each command line of `verdict_cases.py`, and say what came out and why.

    python docs/make_verdicts.py            what was not run yet, then the table
    python docs/make_verdicts.py --fresh    everything anew (half an hour on two cores)
    python docs/make_verdicts.py --table    the table alone, from what was run
    python docs/make_verdicts.py "every-step"    only the command lines that contain these words

Each side of each runs in a process of its own; the reports stay in out/verdicts, so that what was stopped goes on
where it was. The reasons are a person's, kept in `verdict_cases.py` together with what must be found in
a report for the reason to hold: a row whose report does not bear its reason out is marked ⚠, and the exit code is 1.
"""

import argparse
import contextlib
import io
import json
import shlex
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path

from verdict_cases import REASONS, SECTIONS, Case, Reason

from dora_repro.checkpoint.layouts import study_name
from dora_repro.cli import main as command_line
from dora_repro.errors import BadInput
from dora_repro.trace import FINISHED

ROOT = Path(__file__).parents[1]
TABLE = ROOT / "docs" / "verdicts.md"
EVIDENCE = ROOT / "out" / "verdicts"

INTRO = """\
# Which checkpoint resumes exactly, and which does not

Made by `python docs/make_verdicts.py`: every line below was run as it stands, each side in a fresh process. The words
are those of [How it is built](architecture.md); *first difference* is the first effect, in order of execution, in which
the resumed run differs from the one that was not interrupted. The reasons are written by hand and checked against each
report: where it diverged, which state the file lacked, and which it did not lack.

Defaults: model `tiny`, AdamW, dropout 0.1 drawn (`live`), 0 workers, shuffled. `quick` saves after step 2 of 3, on a
dummy batch. `full` trains 3 epochs of 10 steps on the digits and resumes after the second, so its first resumed step
is 21; `--test-epoch E` resumes after epoch E − 1. A run whose file holds no progress takes its step from the file's
name, as in the study.
"""


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("containing", nargs="?", default="", help="run only command lines that contain this")
    parser.add_argument("--fresh", action="store_true", help="run again what was run before")
    parser.add_argument("--table", action="store_true", help="run nothing")
    given = parser.parse_args(arguments)
    wanted = [case for case in cases() if given.containing in case.command]
    if given.fresh:
        for case in wanted:
            evidence(case).unlink(missing_ok=True)
    if not given.table:
        EVIDENCE.mkdir(parents=True, exist_ok=True)
        left = [case for case in wanted if not evidence(case).exists()]
        for number, case in enumerate(left, start=1):
            begun = time.monotonic()
            print(f"{number}/{len(left)}  {case.command}", end="  ", flush=True)
            try:
                report = run(case)
            except (RuntimeError, BadInput) as error:
                print(error, flush=True)
                continue
            print(f"{report['verdict']}  {time.monotonic() - begun:.0f} s", flush=True)
            for wrong in misfits(case, report):
                print(f"    ⚠ {wrong}", flush=True)
    missing = [case.command for case in cases() if not evidence(case).exists()]
    if missing:
        print(f"not run yet, so no table: {len(missing)} command lines, the first is {missing[0]!r}")
        return 1
    reports = {case: read(case) for case in cases()}
    TABLE.write_text(document(reports), encoding="utf-8")
    unfit = [case for case, report in reports.items() if misfits(case, report)]
    print(f"{TABLE.relative_to(ROOT)}: {len(reports)} rows, {len(unfit)} of them do not fit their reason")
    return 1 if unfit else 0


def cases() -> Iterator[Case]:
    return (case for section in SECTIONS for case in section.cases)


def evidence(case: Case) -> Path:
    """Where the report of a command line is kept."""
    return EVIDENCE / ("_".join(shlex.split(case.command)).replace("/", ".") + ".json")


def run(case: Case) -> dict:
    """Run a command line, each side in a process of its own, and read its report.

    Raises:
        RuntimeError: it left none.
    """
    file = evidence(case)
    said = io.StringIO()
    # As typed, but for the interpreter that reads the command line, which need not be a new one.
    with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said), contextlib.chdir(ROOT):
        code = command_line([*shlex.split(case.command), "--quiet", "--json", str(file)], standalone_mode=False)
    if not file.exists():
        raise RuntimeError(f"{case.command}: exit code {code}, no report\n{said.getvalue()}")
    return read(case)


def read(case: Case) -> dict:
    return json.loads(evidence(case).read_text(encoding="utf-8"))


def deciding(report: dict) -> dict:
    """Of several reports the first with the verdict of the whole; a single one as it is."""
    if "reports" not in report:
        return report
    return next(one for one in report["reports"] if one["verdict"] == report["verdict"])


def misfits(case: Case, report: dict) -> list[str]:
    """What in a report does not bear out the reason that its row gives."""
    reason, one = REASONS[case.reason], deciding(report)
    if report["verdict"] != reason.verdict:
        return [f"the verdict is {report['verdict']} ({one['reason']}), expected {reason.verdict}"]
    wrong = _misplaced(reason, one) if reason.phase else []
    if not reason.phase and one["divergence"] is not None:
        wrong.append(f"there is a difference, at {one['divergence']['phase']} of {one['divergence']['step']}")
    lost = [entry["path"] for entry in one["lost"] if entry["path"] not in one["set_aside"]["bookkeeping"]]
    wrong += [f"{glob} was not lost" for glob in reason.lost if not any(fnmatchcase(path, glob) for path in lost)]
    for glob in reason.kept:
        wrong += [f"{path} was lost" for path in lost if fnmatchcase(path, glob)][:1]
    wrong += [f"{glob} is not latent" for glob in reason.latent if not any(fnmatchcase(p, glob) for p in one["latent"])]
    if reason.says not in one["reason"]:
        wrong.append(f"the report says {one['reason']!r}, not {reason.says!r}")
    return wrong


def _misplaced(reason: Reason, report: dict) -> list[str]:
    found = report["divergence"]
    if found is None:
        return [f"there is no difference, expected one in phase {reason.phase}"]
    wrong = []
    if found["phase"] != reason.phase:
        wrong.append(f"the phase is {found['phase']}, expected {reason.phase}")
    if not fnmatchcase(found["leaf"], reason.leaf):
        wrong.append(f"the leaf is {found['leaf']}, expected {reason.leaf}")
    after = found["step"] - report["save_at"]
    if after != reason.after:
        wrong.append(f"it differs {after} steps after the save, expected {reason.after}")
    return wrong


def document(reports: dict[Case, dict]) -> str:
    """The whole page."""
    first = deciding(next(iter(reports.values())))["environment"]
    verdicts = [report["verdict"] for report in reports.values()]
    counts = ", ".join(f"{verdicts.count(name)} {name}" for name in dict.fromkeys(verdicts))
    parts = [INTRO, f"Run with Python {first['python']}, torch {first['torch']}, on a CPU: {counts}.\n"]
    for section in SECTIONS:
        parts.append(f"## {section.title}\n")
        if section.text:
            parts.append(f"{section.text}\n")
        parts.append("| `dora-repro …` | verdict | first difference | why |\n| --- | --- | --- | --- |")
        parts += [row(case, reports[case]) for case in section.cases]
        parts.append("")
    return "\n".join(parts)


def row(case: Case, report: dict) -> str:
    """One line of a table; nothing in it that changes from machine to machine."""
    flag = "".join(f" ⚠ {wrong}" for wrong in misfits(case, report))
    cells = [f"`{case.command}`", report["verdict"], _place(deciding(report)["divergence"])]
    return f"| {' | '.join(cells)} | {REASONS[case.reason].text}{flag} |"


def _place(found: dict | None) -> str:
    if found is None:
        return "none"
    kind = {"missing": ", missing", "unexpected": ", only in the resumed run"}.get(found["kind"], "")
    if found["leaf"] == FINISHED and kind:
        kind = ", the resumed run is over" if found["kind"] == "missing" else ", the resumed run goes on"
    return f"step {found['step']}, {found['phase']}, `{_named(found['leaf'])}`{kind}"


def _named(leaf: str) -> str:
    """A leaf's path with the study's name where it is a DoRA parameter."""
    try:
        return study_name(leaf.removeprefix("model/"))
    except BadInput:
        return leaf


if __name__ == "__main__":
    sys.exit(main())
