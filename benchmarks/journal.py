"""What a journal costs: a training's update under `dora-repro watch`, by level, beside the same update without.

The training is the study's (`tiny`, or DoRA layers of CLIP), or all parameters of CLIP trained, as a script with a loop
of its own. It prints the processor time of each update; the bare command and the watched ones are launched in turn. At
one thread, so that processor time is what an update takes. `sha256` of the same tensors, and torch's DebugMode, stand
beside a recorder in `recording.py`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import timing
from recording import built

GOALS = {"light": 1.02, "full": None}
UPDATES = {"tiny": 200, "dora": 8, "full": 6}  # of one launch
SKIPPED = 2  # first updates of a launch, that allocate
ROUNDS = 3


def train(case: str, options: argparse.Namespace) -> None:
    """The script: train, save once in the middle, and print the seconds of each update."""
    import torch

    run = built(case, options.size, options.batch)
    updates = options.updates or UPDATES[case]
    model, optimizer = run.model, run.optimizer
    begun = None
    for number in range(updates):
        if begun is not None:
            print("update", time.process_time() - begun, flush=True)
        begun = time.process_time()
        run.step()
        if number == updates // 2:
            before = time.process_time()
            moved = {name: value for name, value in model.named_parameters() if value.requires_grad}
            torch.save({"model": moved, "optimizer": optimizer.state_dict()}, options.train / "last.pt")
            begun += time.process_time() - before  # the save is the training's own


def launched(case: str, level: str, options: argparse.Namespace) -> tuple[list[float], int]:
    """Seconds of the updates of one launch, without the first, and bytes of its journal."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        words = [sys.executable, __file__, "--train", name, "--only", case, "--size", options.size]
        words += [] if options.batch is None else ["--batch", str(options.batch)]
        words += [] if options.updates is None else ["--updates", str(options.updates)]
        if level != "none":
            watch = ["-m", "dora_repro", "watch", "--journal", str(folder / "journal"), "--level", level, "--"]
            words = [sys.executable, *watch, *words]
        environment = {**os.environ, "PYTHONPATH": str(timing.ROOT), "OMP_NUM_THREADS": "1"}
        found = subprocess.run(words, env=environment, capture_output=True, text=True, check=False)
        if found.returncode:
            raise RuntimeError(found.stderr)
        seconds = [float(line.split()[1]) for line in found.stdout.splitlines() if line.startswith("update ")]
        return seconds[SKIPPED:], sum(path.stat().st_size for path in folder.glob("journal/*/updates-*"))


def measured(case: str, options: argparse.Namespace) -> list[dict[str, object]]:
    """A row for each level."""
    levels = ("none", *GOALS)
    seconds: dict[str, list[float]] = {level: [] for level in levels}
    after_save: dict[str, list[float]] = {level: [] for level in levels}
    sizes: dict[str, float] = {}
    for number in range(options.rounds):
        for level in levels[number % 3 :] + levels[: number % 3]:
            one, size = launched(case, level, options)
            saved = (options.updates or UPDATES[case]) // 2 - SKIPPED
            after_save[level].append(one[saved])
            seconds[level] += one[:saved] + one[saved + 1 :]
            sizes[level] = size / (len(one) + SKIPPED)
    plain = statistics.median(seconds["none"])
    rows: list[dict[str, object]] = []
    for level, goal in GOALS.items():
        update = statistics.median(seconds[level])
        timing.tell(f"{case}, {level}: {update / plain:.3f} of {plain * 1e3:.3g} ms")
        rows.append(
            {
                "trained": case if case == "tiny" else f"{options.size}, {case}",
                "level": level,
                "update ms": plain * 1e3,
                "ratio": update / plain,
                "adds ms": (update - plain) * 1e3,
                "goal": goal,
                "at a save, ms": (statistics.median(after_save[level]) - statistics.median(after_save["none"])) * 1e3,
                "KiB an update": sizes[level] / 1024,
            }
        )
    return rows


def main(words: list[str] | None = None) -> None:
    parser = timing.arguments(str(__doc__).partition("\n")[0])
    parser.add_argument("--only", nargs="+", default=[*UPDATES], choices=UPDATES, help="what is trained")
    parser.add_argument("--size", default="vit-b-32", help="of CLIP, for dora and full")
    parser.add_argument("--batch", type=int, help="images of a batch; by default the size's own")
    parser.add_argument("--updates", type=int, help="of one launch")
    parser.add_argument("--rounds", type=int, default=ROUNDS, help="launches of each level")
    parser.add_argument("--train", type=Path, metavar="DIR", help="be the script that is watched, and save there")
    options = parser.parse_args(words)
    if options.train is not None:
        train(options.only[0], options)
        return
    rows = [row for case in options.only for row in measured(case, options)]
    notes = ["at a save: what the update after a checkpoint takes more, the digests of all state and of the file"]
    timing.report("Journals", rows, options, notes)


if __name__ == "__main__":
    main()
