"""What finding a cause costs, beside the check that it follows, over the gallery of faults.

Both are parts of one and the same run: the check with its control, and what the explanation took after it, by its own
clock. A trial is one try to make the resumed run the reference's, by giving it some of the reference's state; it stops
at the first step that differs. Clean runs are asked too, for their verdicts; they have nothing to explain. Whether all
is as declared beside the fault stands in the table as well.

What `dora-repro faults run --all --json FILE` has written can be read in place of asking all of it anew.
"""

import json
import statistics
from collections.abc import Iterator, Sequence
from pathlib import Path

import timing


def row(told: dict) -> dict[str, object]:
    """One fault, from a row of `dora-repro faults run --json`."""
    explanation = told["report"]["explanation"] or {"causes": (), "trials": (), "steps": 0, "seconds": 0.0}
    checked = told["seconds"] - explanation["seconds"]
    return {
        "fault": told["name"],
        "verdict": told["report"]["verdict"],
        "as declared": told["as_declared"],
        "cause": " + ".join(cause["name"] for cause in explanation["causes"]) or "–",
        "trials": len(explanation["trials"]),
        "steps of trials": explanation["steps"],
        "check s": checked,
        "explanation s": explanation["seconds"],
        "explanation / check": explanation["seconds"] / checked,
    }


def asked(names: Sequence[str], family: str | None, in_process: bool) -> Iterator[dict]:
    """Faults by name, or all, as `dora-repro faults run --json` writes them."""
    from dora_repro.faults.trying import try_all
    from dora_repro.show.gallery import to_dict

    faults = [fault for fault in timing.faults(names) if family in (None, fault.family)]
    yield from map(to_dict, try_all(faults, in_process=in_process))


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these faults, instead of all")
    parser.add_argument("--family", metavar="NAME", help="the faults of one family")
    parser.add_argument("--in-process", action="store_true", help="all sides in this process")
    parser.add_argument("--read", metavar="FILE", help="what `dora-repro faults run --json FILE` has written")
    options = parser.parse_args(arguments)
    if options.read:
        every = json.loads(Path(options.read).read_text(encoding="utf-8"))
        told = (each for each in every if not each["skipped"])
    else:
        told = asked(options.only, options.family, options.in_process)
    rows = []
    for each in told:
        rows.append(row(each))
        timing.tell(f"{each['name']}: {rows[-1]}")
    timing.report("Cost of an explanation", rows, options, notes_on(rows))


def notes_on(rows: Sequence[dict]) -> list[str]:
    """The medians and the extremes of those that were explained, and how many are as declared."""
    explained = [row for row in rows if row["trials"]]
    notes = [f"{sum(row['as declared'] for row in rows)} of {len(rows)} as declared"]
    for column in ("explanation / check", "trials", "steps of trials") if explained else ():
        figures = [row[column] for row in explained]
        notes.append(f"{column}: median {statistics.median(figures):.3g}, most {max(figures):.3g}")
    return notes


if __name__ == "__main__":
    main()
