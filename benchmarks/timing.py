"""What the benchmarks share: paired timing, costs of processes, the machine's name, tables.

Two things are compared by doing them in turn, one right after the other, and taking the median of the ratios of the
pairs: what else the machine does slows both halves of a pair. Not a profiler, and no statistics beyond medians.
"""

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SAMPLED_EVERY = 0.05  # seconds between two looks at the memory of a process and its children

# A process is started by a small one of its own: the peak that the kernel tells of a process is at first that of the
# process that started it, and this one may hold gigabytes.
_LAUNCH = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[2:])
_, status, used = os.wait4(process.pid, 0)  # the largest of the process and of all children that it waited for
found = [time.perf_counter() - begun, used.ru_maxrss, os.waitstatus_to_exitcode(status)]
with os.fdopen(int(sys.argv[1]), "w") as told:
    json.dump(found, told)
"""


@dataclass(frozen=True)
class Paired:
    """Seconds of two things that were done in turn, pair by pair."""

    plain: tuple[float, ...]
    other: tuple[float, ...]

    @property
    def ratio(self) -> float:
        """The median over the pairs of other / plain."""
        return statistics.median(self._ratios())

    @property
    def quartiles(self) -> tuple[float, float]:
        """Between these lies the middle half of the pairs' ratios; of fewer than four pairs all of them."""
        ratios = sorted(self._ratios())
        quarter = len(ratios) // 4
        return ratios[quarter], ratios[-1 - quarter]

    def _ratios(self) -> list[float]:
        return [other / plain for plain, other in zip(self.plain, self.other, strict=True)]


def paired(plain: Callable[[], float], other: Callable[[], float], pairs: int) -> Paired:
    """Do two things in turn; each returns the seconds that count. The order changes from pair to pair."""
    seconds: dict[str, list[float]] = {"plain": [], "other": []}
    for index in range(pairs):
        things = [("plain", plain), ("other", other)]
        for name, thing in things if index % 2 == 0 else reversed(things):
            seconds[name].append(thing())
    return Paired(tuple(seconds["plain"]), tuple(seconds["other"]))


def interleaved(things: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Seconds of several things by name, each done once in every round; each round starts with the next one."""
    names = list(things)
    seconds: dict[str, list[float]] = {name: [] for name in names}
    for index in range(rounds):
        shift = index % len(names)
        for name in names[shift:] + names[:shift]:
            seconds[name].append(things[name]())
    return seconds


def spent(thing: Callable[[], object]) -> float:
    """Seconds that one call took."""
    begun = time.perf_counter()
    thing()
    return time.perf_counter() - begun


# --- processes -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Cost:
    """What a process and its children took.

    Attributes:
        seconds: wall time, from its start to its end.
        largest: peak resident memory of its largest process, in bytes, as the kernel counted it.
        together: peak of all its processes added up, in bytes, as sampled: pages they share count for each; None where
            there is no /proc.
        code: exit code.
        output: what it printed.
    """

    seconds: float
    largest: int
    together: int | None
    code: int
    output: str


def cost_of(arguments: Sequence[str], *, codes: Sequence[int] = (0,)) -> Cost:
    """Run this Python with these arguments, in the checkout.

    Raises:
        RuntimeError: it ended with another exit code than `codes`; with what it printed.
    """
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])}
    told, tell_here = os.pipe()
    command = [sys.executable, "-I", "-S", "-c", _LAUNCH, str(tell_here), sys.executable, *arguments]
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    with subprocess.Popen(command, cwd=ROOT, env=environment, pass_fds=[tell_here], **streams) as process:
        os.close(tell_here)
        over = threading.Event()
        sampled: list[int] = []
        sampler = threading.Thread(target=_sample, args=(process.pid, over, sampled), daemon=True)
        sampler.start()
        output = process.stdout.read().decode(errors="replace")
        with os.fdopen(told) as answer:
            seconds, largest, code = json.loads(answer.read())
        over.set()
        sampler.join()
    if code not in codes:
        raise RuntimeError(f"{' '.join(arguments)} ended with exit code {code}:\n{output}")
    largest *= 1 if sys.platform == "darwin" else 1024  # elsewhere the kernel counts in KiB
    return Cost(seconds, largest, max(sampled, default=None), code, output)


def _sample(launcher: int, over: threading.Event, sampled: list[int]) -> None:
    while Path("/proc/self/statm").exists():
        sampled.append(sum(_resident(pid) for pid in _family(launcher)[1:]))
        if over.wait(SAMPLED_EVERY):
            return


def _family(pid: int) -> list[int]:
    family = [pid]
    for member in family:  # grows while it is walked
        for path in Path(f"/proc/{member}/task").glob("*/children"):
            try:
                family += map(int, path.read_text().split())
            except OSError:  # it is gone
                continue
    return family


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError):
        return 0


# --- the machine, arguments, tables ----------------------------------------------------------------------------------


def machine() -> dict[str, object]:
    """What the figures were measured on, and how busy it was when they were."""
    import torch

    return {
        "processor": _processor(),
        "cores": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "memory": f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB",
        "system": platform.platform(terse=True),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "threads": torch.get_num_threads(),
        "load": round(os.getloadavg()[0], 2),
    }


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), "unknown")


def arguments(description: str) -> argparse.ArgumentParser:
    """A parser with what every benchmark takes."""
    parser = argparse.ArgumentParser(
        description=description, formatter_class=argparse.ArgumentDefaultsHelpFormatter, allow_abbrev=False
    )
    parser.add_argument("--json", metavar="FILE", help="write the figures here, too")
    return parser


def report(
    title: str,
    rows: Sequence[dict[str, object]],
    options: argparse.Namespace,
    notes: Sequence[str],
    shown: Sequence[dict[str, object]] | None = None,
) -> None:
    """Print the machine and a table, and write JSON where that was asked for.

    Args:
        title: what was measured.
        rows: name of the column -> value, the same columns in each row.
        options: as of the command line.
        notes: sentences below the table.
        shown: rows to print in place of these, with fewer columns.
    """
    where = machine()
    print(f"\n{title}")
    print(", ".join(f"{name} {value}" for name, value in where.items()))
    print(f"\n{table(rows if shown is None else shown)}")
    for note in notes:
        print(f"* {note}")
    if options.json:
        settings = {name: value for name, value in vars(options).items() if name != "json"}
        content = {"title": title, "machine": where, "settings": settings, "rows": list(rows), "notes": list(notes)}
        Path(options.json).write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def faults(names: Sequence[str]) -> list:
    """Faults of the gallery by name, or all that can be tried here; a name that is none ends the program (code 2)."""
    from dora_repro.errors import BadInput
    from dora_repro.faults import gallery
    from dora_repro.faults.trying import missing

    try:
        found = [gallery.find(name) for name in names] if names else list(gallery.every().values())
    except BadInput as error:
        tell(f"Error: {error}")
        raise SystemExit(2) from None
    for fault in found:
        if reason := missing(fault.needs):
            tell(f"{fault.name} is left out: {reason}")
    return [fault for fault in found if not missing(fault.needs)]


def tell(line: str) -> None:
    """Say on standard error how far a long measurement has come."""
    print(line, file=sys.stderr, flush=True)


def table(rows: Sequence[dict[str, object]]) -> str:
    """Rows under the names of their columns, aligned: words to the left, numbers to the right."""
    columns = list(rows[0])
    cells = [[_text(row[column]) for column in columns] for row in rows]
    widths = [max(len(cell) for cell in column) for column in zip(columns, *cells, strict=True)]
    left = [all(isinstance(row[column], str) for row in rows) for column in columns]
    lines = [columns, ["-" * width for width in widths], *cells]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if is_left else cell.rjust(width)
            for cell, width, is_left in zip(line, widths, left, strict=True)
        ).rstrip()
        for line in lines
    )


def _text(value: object) -> str:
    if value is None:
        return "–"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 10 else f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"
    return str(value)


def mib(size: float) -> float:
    """Bytes in MiB."""
    return size / 2**20


def milliseconds(seconds: Sequence[float]) -> float:
    """The median, in milliseconds."""
    return statistics.median(seconds) * 1e3
