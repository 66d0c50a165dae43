"""What a check costs, beside the bare run that it checks: a passing one, and a failing one with its control.

The bare run is what somebody has who trusts: one process that imports, builds and does the steps, unrecorded. The least
that any check can cost is beside it: a second process that imports, builds, loads and does the steps after the save.
"""

import argparse
import functools
import statistics
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

import timing

WAYS = ("bare", "bare, saved and resumed", "check that passes", "check that fails")


def made(size: str, steps: int, checkpoint: str):
    from dora_repro.subject.config import TrainingConfig
    from dora_repro.subject.training import TrainingRun

    return functools.partial(
        TrainingRun, TrainingConfig(size=size, steps_per_epoch=steps, epochs=1, validate=False, checkpoint=checkpoint)
    )


def bare(size: str, steps: int, save_at: int, path: str, part: str) -> None:
    """Do the steps: `all`; or, saving at `save_at`, all of them; or, from that file, the rest."""
    run = made(size, steps, "complete")()
    if part == "resumed":
        run.load(path)
    for step in range(save_at if part == "resumed" else 0, steps):
        run.step()
        if part == "saved" and step + 1 == save_at:
            run.save(path)


def checked(size: str, steps: int, save_at: int, checkpoint: str) -> None:
    """A check; prints how many steps and builds it took."""
    from dora_repro.checks.options import request_of
    from dora_repro.checks.running import run_check
    from dora_repro.subject.config import NEEDS

    counted: Counter[str] = Counter()
    request = request_of(made(size, steps, checkpoint), steps, (save_at,), {"explain": False}, title="check")
    report = run_check(replace(request, preload=NEEDS, on_event=lambda _, event: counted.update([event["event"]])))
    print(f"{report.verdict} {counted['step']} {counted['built'] + counted['loaded']}")


def go(way: str, size: str, steps: int, save_at: int) -> tuple[float, int, int, str]:
    """Seconds, steps, builds and verdict of one way to run."""
    shared = ["--size", size, "--steps", str(steps), "--save-at", str(save_at)]
    if way == "bare":
        cost = timing.cost_of([__file__, *shared, "--only", "all"])
        return cost.seconds, steps, 1, "–"
    if way == "bare, saved and resumed":
        with tempfile.TemporaryDirectory() as folder:
            path = str(Path(folder, "checkpoint"))
            parts = [[*shared, "--only", part, "--path", path] for part in ("saved", "resumed")]
            seconds = sum(timing.cost_of([__file__, *words]).seconds for words in parts)
        return seconds, 2 * steps - save_at, 2, "–"
    cost = timing.cost_of([__file__, *shared, "--only", "passing" if way == "check that passes" else "failing"])
    verdict, done, builds = cost.output.split()[-3:]
    return cost.seconds, int(done), int(builds), verdict


def measured(steps: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """A row for each way, in relation to the bare run of the same round."""
    save_at = max(1, round(steps * options.save_at_share))
    found: dict[str, list[tuple]] = {way: [] for way in options.ways}

    def once(way: str) -> float:
        found[way].append(go(way, options.size, steps, save_at))
        timing.tell(f"{steps} steps, {way}: {found[way][-1]}")
        return found[way][-1][0]

    seconds = timing.interleaved({way: functools.partial(once, way) for way in options.ways}, options.rounds)
    rows = []
    for way in options.ways:
        _, done, builds, verdict = found[way][0]
        rows.append(
            {
                "of steps": steps,
                "save at": save_at,
                "what": way,
                "verdict": verdict,
                "steps": done,
                "builds": builds,
                "seconds": statistics.median(seconds[way]),
                "wall / bare": timing.Paired(tuple(seconds[options.ways[0]]), tuple(seconds[way])).ratio,
                "steps / bare": done / steps,
            }
        )
    return rows


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--size", default="tiny", help="the model")
    parser.add_argument("--steps", nargs="+", type=int, default=[10, 60], help="how many steps the run has")
    parser.add_argument("--save-at-share", type=float, default=0.5, help="save after this share of them")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is done")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS), help="the first is the others' measure")
    parser.add_argument("--save-at", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--only", choices=("all", "saved", "resumed", "passing", "failing"), help=argparse.SUPPRESS)
    parser.add_argument("--path", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only in ("all", "saved", "resumed"):
        bare(options.size, options.steps[0], options.save_at, options.path, options.only)
    elif options.only:
        checkpoint = {"passing": "complete", "failing": "dora-only"}[options.only]
        checked(options.size, options.steps[0], options.save_at, checkpoint)
    else:
        rows = [row for steps in options.steps for row in measured(steps, options)]
        notes = [
            "bare: import, build and steps in one process; the ratios of wall time are of the same round, medians",
            "a failing check repeats both sides before it accuses (the control)",
        ]
        timing.report(f"Cost of a check, {options.size}", rows, options, notes)


if __name__ == "__main__":
    main()
