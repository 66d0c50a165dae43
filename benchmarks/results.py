"""All benchmarks, one after the other, into one file: `make bench` writes RESULTS.md beside this script.

Each is run as one would type it, and its tables stand below the command that made them, with the machine, its load and
the day. A benchmark that is not run anew keeps its part of the file, unless it failed: what it said is there then.
"""

import argparse
import datetime
import re
import shlex
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
# Those that need nothing else: `rivals.py` wants other tools, `clicks.py` a browser, `explanations.py --read` a file.
COMMANDS = {
    "wall": ("wall.py", "--repeats", "3"),
    "digest": ("digest.py",),
    "recording": ("recording.py", "--cases", "tiny", "dora"),
    "checks": ("checks.py",),
    "journal": ("journal.py", "--only", "tiny", "dora"),
    "scripts": ("scripts.py", "--models", "mlp"),
    "explanations": ("explanations.py", "--family", "optimizer"),
    "quick_vit_l_14": ("quick_vit_l_14.py",),
}
_HEAD = """# Results

What `make bench` measured last; `benchmarks/README.md` says what each figure means, how it is measured, and what was
aimed at. Figures of two parts, measured on two days or machines, are not compared.
"""
_PART = re.compile(r"^## (\S+)$", re.MULTILINE)


def main(words: list[str] | None = None) -> int:
    """Run benchmarks and write their parts of the file; the number of those that failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="+", choices=COMMANDS, default=list(COMMANDS), help="what to measure")
    parser.add_argument("--out", type=Path, default=FOLDER / "RESULTS.md", metavar="FILE", help="where to write")
    options = parser.parse_args(words)
    parts = parts_of(options.out.read_text(encoding="utf-8")) if options.out.exists() else {}
    failed = 0
    for name in options.only:
        print(f"{name} …", flush=True)
        parts[name], code = measured(COMMANDS[name])
        failed += code != 0
        options.out.write_text(written(parts), encoding="utf-8")  # after each: an interrupt loses one
    print(f"{options.out}: {', '.join(options.only)}" + (f"; failed: {failed}" if failed else ""))
    return failed


def measured(command: tuple[str, ...]) -> tuple[str, int]:
    """What a benchmark prints, below the command and the day, and its exit code."""
    script, *words = command
    run = subprocess.run([sys.executable, FOLDER / script, *words], capture_output=True, text=True, check=False)
    said = run.stdout if run.returncode == 0 else f"{run.stdout}\nexit code {run.returncode}\n{run.stderr}"
    typed = shlex.join(["python", f"benchmarks/{script}", *words])
    body = "\n".join(line.rstrip() for line in said.strip("\n").splitlines())
    return f"`{typed}`, {datetime.date.today():%Y-%m-%d}\n\n```text\n{body}\n```", run.returncode


def parts_of(text: str) -> dict[str, str]:
    """The parts of a file that was written before, by the name of the benchmark."""
    _, *found = _PART.split(text)
    return {name: body.strip("\n") for name, body in zip(found[::2], found[1::2], strict=True)}


def written(parts: dict[str, str]) -> str:
    """The file, its parts in the order of `COMMANDS`."""
    ordered = [name for name in COMMANDS if name in parts]
    return "\n".join([_HEAD, *(f"## {name}\n\n{parts[name]}\n" for name in ordered)])


if __name__ == "__main__":
    sys.exit(min(main(), 1))
