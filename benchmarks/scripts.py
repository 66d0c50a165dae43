"""What a check of a script costs: `record()` where none runs, steps that are recorded, memory, the whole of a check.

The script is one as users write them: epochs over a loader that shuffles, dropout, AdamW, a checkpoint after each
epoch. At the end of each step it prints its processor time and the most memory that it took since the last; so a
recorded run and a bare one tell of themselves in the same way. Bare: the same command, launched without the kit.

All seconds are processor time, of all processes that are started: a check waits for nothing but its launches, one after
the other, and what else the machine does counts less.
"""

import argparse
import functools
import os
import resource
import statistics
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import timing

SCRIPT = '''
import argparse, atexit, os, time


def tell():
    """Print the processor time and the peak memory since the last call, in KiB."""
    peak = 0
    if os.path.exists("/proc/self/clear_refs"):
        with open("/proc/self/status") as lines:
            peak = next(int(line.split()[1]) for line in lines if line.startswith("VmHWM"))
        with open("/proc/self/clear_refs", "w") as file:
            file.write("5")  # the peak begins anew
    print("figures", time.process_time(), peak, flush=True)


atexit.register(tell)  # before torch is imported, so after what a check does at the end
import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out")
    parser.add_argument("--resume")
    parser.add_argument("--shape", type=int, nargs=3)
    parser.add_argument("--epochs", type=int)
    parser.add_argument("--steps", type=int)
    parser.add_argument("--lose", nargs="*", default=[])
    args = parser.parse_args()
    width, inner, batch = args.shape
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(width, inner), nn.ReLU(), nn.Dropout(0.1), nn.Linear(inner, width))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    data = TensorDataset(torch.randn(args.steps * batch, width))
    loader = DataLoader(data, batch_size=batch, shuffle=True)
    start = 0
    if args.resume:
        state = torch.load(args.resume)
        model.load_state_dict(state["model"])
        if "optimizer" not in args.lose:
            optimizer.load_state_dict(state["optimizer"])
        if "rng" not in args.lose:
            torch.set_rng_state(state["rng"])
        start = state["epoch"]
        del state
    for epoch in range(start, args.epochs):
        for (images,) in loader:
            optimizer.zero_grad()
            loss = (model(images) - images).square().mean()
            loss.backward()
            optimizer.step()
            tell()
        state = {"model": model.state_dict(), "optimizer": optimizer.state_dict(), "rng": torch.get_rng_state()}
        torch.save({**state, "epoch": epoch + 1}, os.path.join(args.out, f"epoch{epoch + 1}.pt"))
        del state


main()
'''


@dataclass(frozen=True)
class Model:
    """What the script trains.

    Attributes:
        shape: width, inner width and batch.
        steps: of an epoch.
    """

    shape: tuple[int, int, int]
    steps: int

    @property
    def state_bytes(self) -> int:
        """Bytes of the parameters and their two moments."""
        width, inner, _ = self.shape
        return 3 * 4 * (2 * width * inner + width + inner)


MODELS = {"mlp": Model((32, 32, 16), 40), "mid": Model((1024, 2048, 32), 20)}
EPOCHS = 4
LOST = {"passes": (), "one-cause": ("optimizer",), "two-causes": ("optimizer", "rng")}
SMALLEST = 16  # MiB of state for which copies are told
PARTS = ("record", "recording", "checks")


# --- launches ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Told:
    """What the script said of itself.

    Attributes:
        times: the processor time when each step was over, in seconds.
        peaks: the most memory since the step before, in MiB; of the first one, since the script began.
        end: the most memory from the last step to the end of the process, in MiB.
        seconds: processor time of the launch.
    """

    times: tuple[float, ...]
    peaks: tuple[float, ...]
    end: float
    seconds: float

    def step(self, epoch_steps: int) -> float:
        """The median seconds of a step, without those that a checkpoint was written before."""
        pairs = enumerate(zip(self.times, self.times[1:], strict=False), 1)
        return statistics.median(after - before for index, (before, after) in pairs if index % epoch_steps)


def command(script: Path, model: str, steps: int, *more: str) -> str:
    """What a user would type."""
    shape = " ".join(map(str, MODELS[model].shape))
    words = ["{python}", str(script), "--out {out}", f"--shape {shape} --epochs {EPOCHS} --steps {steps}", *more]
    return " ".join(words)


def children() -> float:
    """Processor time of all processes that were started from here and are over."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def used(thing: Callable[[], object]) -> float:
    """Processor time that one call took in this process."""
    begun = time.process_time()
    thing()
    return time.process_time() - begun


def launched(text: str, folder: Path, recorded: bool) -> Told:
    """Launch it, as a check does or bare, in a folder that does not exist yet."""
    from dora_repro.scripts.assignment import VARIABLE, Assignment
    from dora_repro.scripts.commands import Command
    from dora_repro.scripts.launching import launch

    folder.mkdir()
    out = folder / "out"
    out.mkdir()
    filled = Command(text, "--run").filled({"{out}": str(out)})
    before = children()
    if recorded:
        given = Assignment(folder / "recorded", out, keep_first=True, keep_saved=True)
        ran = launch("recorded", filled, given, timeout=3600)
        output, code = ran.log.read_text(encoding="utf-8"), ran.code
        if ran.problems or not ran.trained:
            raise RuntimeError(f"nothing was recorded of {text}: {ran.problems}\n{output}")
    else:
        assert VARIABLE not in os.environ
        cost = timing.cost_of(filled.words[1:])
        output, code = cost.output, cost.code
    if code != 0:
        raise RuntimeError(f"{text} ended with exit code {code}:\n{output}")
    lines = [line.split()[1:] for line in output.splitlines() if line.startswith("figures ")]
    times, peaks = zip(*((float(at), float(peak) / 1024) for at, peak in lines), strict=True)
    return Told(times[:-1], peaks[:-1], peaks[-1], children() - before)


# --- what is measured -------------------------------------------------------------------------------------------------


def row(what: str, model: str, unit: str, bare: float | None, checked: float, **more: object) -> dict[str, object]:
    """A row of the table."""
    columns = dict.fromkeys(("ratio", "from", "to", "copies", "launches", "goal"))
    return {"what": what, "model": model, "unit": unit, "bare": bare, "with the kit": checked, **columns, **more}


def shown(row: dict[str, object]) -> dict[str, object]:
    """A row as it is printed: figures with their units, and what else is told of it in one column."""

    def figure(value: object) -> str:
        return "–" if value is None else f"{value:.3g} {row['unit']}"

    ratio = "–" if row["ratio"] is None else f"{row['ratio']:.2f} ({row['from']:.2f} … {row['to']:.2f})"
    copies = None if row["copies"] is None else f"{row['copies']:+.2f} copies"
    launches = None if row["launches"] is None else f"{row['launches']} launches"
    columns = {name: row[name] for name in ("what", "model")}
    figures = {name: figure(row[name]) for name in ("bare", "with the kit")}
    return {**columns, **figures, "ratio": ratio, "which is": copies or launches, "goal": row["goal"]}


def naming(calls: int) -> list[dict[str, object]]:
    """`record()` in a script that nobody checks: the import, the call, a step beside it."""
    program = (
        "import time, torch; begun = time.process_time(); import dora_repro; dora_repro.record(model=torch); "
        "print(time.process_time() - begun)"
    )
    first = statistics.median(float(timing.cost_of(["-c", program]).output) for _ in range(3))

    import torch

    import dora_repro

    def recorded(times: int) -> None:
        for _ in range(times):
            dora_repro.record(model=model, optimizer=optimizer)

    def steps(named: bool) -> None:
        for _ in range(20):
            if named:
                dora_repro.record(model=model, optimizer=optimizer)
            optimizer.zero_grad()
            model(batch).square().mean().backward()
            optimizer.step()

    width, inner, size = MODELS["mlp"].shape
    model = torch.nn.Sequential(torch.nn.Linear(width, inner), torch.nn.ReLU(), torch.nn.Linear(inner, width))
    optimizer, batch = torch.optim.AdamW(model.parameters()), torch.randn(size, width)
    steps(True)
    one = statistics.median(used(lambda: recorded(calls)) / calls for _ in range(9))
    pairs = timing.paired(lambda: used(lambda: steps(False)), lambda: used(lambda: steps(True)), 15)
    return [
        row("import dora_repro and record(), no check", "–", "ms", None, first * 1e3),
        row("record(), no check", "–", "µs", None, one * 1e6, goal="1"),
        row(
            "a step with record() in it, no check",
            "mlp",
            "ms",
            timing.milliseconds(pairs.plain) / 20,
            timing.milliseconds(pairs.other) / 20,
            **_ratio(pairs),
        ),
    ]


def _ratio(pairs: timing.Paired) -> dict[str, float]:
    return {"ratio": pairs.ratio, "from": pairs.quartiles[0], "to": pairs.quartiles[1]}


def recording(model: str, steps: int, rounds: int, folder: Path) -> list[dict[str, object]]:
    """A recorded step beside a bare one, and its memory; that at the save and at the first resumed step too."""
    script = written(folder)
    runs: dict[bool, list[Told]] = {False: [], True: []}

    def once(recorded: bool) -> float:
        place = folder / f"{model}-{recorded}-{len(runs[recorded])}"
        runs[recorded].append(launched(command(script, model, steps), place, recorded))
        timing.tell(f"{model}, {'recorded' if recorded else 'bare'}: {runs[recorded][-1].seconds:.1f} s")
        return runs[recorded][-1].step(steps)

    pairs = timing.paired(functools.partial(once, False), functools.partial(once, True), rounds)
    bare, recorded = pairs.plain, pairs.other
    found = [
        row(
            "a step that is recorded", model, "ms", timing.milliseconds(bare), timing.milliseconds(recorded),
            **_ratio(pairs),
        )
    ]  # fmt: skip
    saved = folder / f"{model}-False-0" / "out" / "epoch2.pt"
    text = command(script, model, steps, f"--resume {saved}")
    resumed = {way: launched(text, folder / f"{model}-resumed-{way}", way) for way in (False, True)}
    if not any(runs[False][0].peaks):  # no /proc
        return found
    # A line's peak is that since the line before it, so what a save takes is in the first step of the next epoch.
    inside = [index for index in range(len(runs[False][0].peaks)) if index % steps]
    after_save = [index for index in range(1, len(runs[False][0].peaks)) if not index % steps]
    moments = {
        "memory within a step": (inside, runs),
        "memory from a save to the next step": (after_save, runs),
    }
    for what, (indices, told) in moments.items():
        peaks = {way: statistics.median(max(one.peaks[i] for i in indices) for one in told[way]) for way in told}
        found.append(_memory(what, model, peaks))
    found.append(_memory("memory up to the first resumed step", model, {way: resumed[way].peaks[0] for way in resumed}))
    ends = {way: statistics.median(one.end for one in runs[way]) for way in runs}
    found.append(_memory("memory at the end of the process", model, ends))
    return found


def _memory(what: str, model: str, peaks: dict[bool, float]) -> dict[str, object]:
    state = timing.mib(MODELS[model].state_bytes)
    # Of a state that is smaller than what two launches differ by anyway, the number of copies tells nothing.
    copies = (peaks[True] - peaks[False]) / state if state >= SMALLEST else None
    goal = "0 copies" if "within" in what else "1 copy"
    return row(what, model, "MiB", peaks[False], peaks[True], copies=copies, goal=goal if model == "mid" else None)


def written(folder: Path) -> Path:
    """The script, where it was not yet."""
    path = folder / "train.py"
    path.write_text(SCRIPT, encoding="utf-8")
    return path


def checks(model: str, steps: int, rounds: int, ways: Sequence[str], folder: Path) -> list[dict[str, object]]:
    """Whole checks, in units of the bare command: one that passes, and some that find their causes."""
    script = written(folder)
    answers: dict[str, str] = {}
    count = iter(range(10**6))

    def bare() -> float:
        return launched(command(script, model, steps), folder / f"bare-{model}-{next(count)}", False).seconds

    def checked(way: str) -> float:
        words = ["--only", way, "--models", model, "--steps", str(steps), "--script", str(script)]
        before = children()
        answers[way] = timing.cost_of([__file__, *words]).output.splitlines()[-1]
        seconds = children() - before
        timing.tell(f"{model}, {way}: {answers[way]}, {seconds:.1f} s")
        return seconds

    things = {"bare": bare, **{way: functools.partial(checked, way) for way in ways}}
    seconds = timing.interleaved(things, rounds)
    found = []
    for way in ways:
        verdict, launches, trials = answers[way].split()
        pairs = timing.Paired(tuple(seconds["bare"]), tuple(seconds[way]))
        medians = statistics.median(pairs.plain), statistics.median(pairs.other)
        counts = f"{launches} + {trials} trials" if int(trials) else launches
        what = f"a check ({way}): {verdict}"
        found.append(row(what, model, "s", *medians, **_ratio(pairs), launches=counts))
    return found


def check(way: str, model: str, steps: int, script: Path) -> None:
    """One check; prints the verdict, the number of launches without trials, and that of trials."""
    from dora_repro.scripts.checking import run_script
    from dora_repro.scripts.commands import Command
    from dora_repro.scripts.request import ScriptRequest

    launches: Counter[str] = Counter()
    lose = f"--lose {' '.join(LOST[way])}" if LOST[way] else ""
    request = ScriptRequest(
        Command(command(script, model, steps), "--run"),
        Command(command(script, model, steps, "--resume {newest}", lose), "--resume"),
        on_event=lambda side, event: launches.update([side] if event["event"] == "built" else []),
    )
    report = run_script(request)
    trials = launches.pop("trial", 0)
    print(report.verdict, sum(launches.values()), trials)


def main(arguments: list[str] | None = None) -> None:
    parser = timing.arguments(__doc__.splitlines()[0])
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=list(PARTS), help="what to measure")
    parser.add_argument("--models", nargs="+", choices=MODELS, default=list(MODELS), help="what the script trains")
    parser.add_argument("--steps", type=int, help="of each of the script's epochs; 40 for mlp, 20 for mid without")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is done")
    parser.add_argument("--ways", nargs="+", choices=LOST, default=list(LOST), help="what a check finds")
    parser.add_argument("--only", choices=LOST, help=argparse.SUPPRESS)
    parser.add_argument("--script", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.only:
        check(options.only, options.models[0], options.steps, options.script)
        return
    rows = naming(10_000) if "record" in options.parts else []
    with tempfile.TemporaryDirectory() as temporary:
        for model in options.models:
            steps = options.steps or MODELS[model].steps
            if "recording" in options.parts:
                rows += recording(model, steps, options.rounds, Path(temporary))
            if "checks" in options.parts:
                rows += checks(model, steps, options.rounds, options.ways, Path(temporary))
    notes = [
        "seconds are processor time; ratio: with the kit / bare, median of the pairs; the middle half lies from … to",
        "copies: how much more memory that is, in copies of parameters and their two moments, where these are large",
        f"checks: of a script of {EPOCHS} epochs, in units of one bare launch, imports included; "
        "the first number of launches is without those that look for causes",
    ]
    timing.report("Cost of checking a script", rows, options, notes, [*map(shown, rows)])


if __name__ == "__main__":
    main()
