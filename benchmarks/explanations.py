"""What finding a cause costs, beside the check that it follows: the gallery of faults, each checked with and without.

The check includes its control. A trial is one try to make the resumed run the reference's, by giving it some of the
reference's state; it stops at the first step that differs. Clean runs are asked too, for their verdicts; they have
nothing to explain. Whether all is as declared beside the fault stands in the table as well.
"""

import statistics
from collections.abc import Sequence

import timing


def measured(fault, in_process: bool) -> dict[str, object]:
    """One fault: wall time of both ways, and what was found."""
    from dora_repro import check
    from dora_repro.faults.trying import Tried

    reports = {}

    def once(explain: bool) -> float:
        def ask() -> None:
            preload = ("dora_repro.faults.plain",)
            options = {"in_process": in_process, "preload": preload, "explain": explain}
            reports[explain] = check(fault.factory, fault.steps, fault.save_at, **options)

        return timing.spent(ask)

    seconds = timing.paired(lambda: once(False), lambda: once(True), 1)
    report = reports[True]
    explanation = report.explanation
    return {
        "fault": fault.name,
        "verdict": str(report.verdict),
        "as declared": Tried(fault, report).as_declared,
        "cause": " + ".join(cause.name for cause in report.causes) or "–",
        "trials": len(explanation.trials) if explanation is not None else 0,
        "steps of trials": explanation.steps if explanation is not None else 0,
        "check s": seconds.plain[0],
        "explained s": seconds.other[0],
        "explanation / check": seconds.ratio - 1,
    }


def chosen(names: Sequence[str], family: str | None) -> list:
    from dora_repro.faults import gallery
    from dora_repro.faults.trying import missing

    faults = [gallery.find(name) for name in names] if names else list(gallery.every().values())
    return [fault for fault in faults if not missing(fault.needs) and family in (None, fault.family)]


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--only", nargs="+", metavar="NAME", default=[], help="these faults, instead of all")
    parser.add_argument("--family", metavar="NAME", help="the faults of one family")
    parser.add_argument("--in-process", action="store_true", help="all sides in this process")
    options = parser.parse_args(arguments)
    rows = []
    for fault in chosen(options.only, options.family):
        rows.append(measured(fault, options.in_process))
        timing.tell(f"{fault.name}: {rows[-1]}")
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
