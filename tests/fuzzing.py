"""Fuzzing: files that nobody wrote, for each reader of the kit. It reads them, or refuses them, at small cost.

`python -m tests.fuzzing pickle --seconds 300` changes files of that kind (`tests/fuzzed.py`) for five minutes, and
prints what it found: anything raised that is no BadInput, more than `SECONDS` of CPU, more than `MEMORY` beyond what
the process had, a file that differs from itself, words that hold what a terminal would obey. With `atheris` in the
environment, changes are guided by the code that they reach; without it they are drawn at random. `docs/fuzzing.md` says
what was tried.
"""

import argparse
import contextlib
import importlib.util
import json
import os
import random
import resource
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

SECONDS = 5.0  # of CPU
MEMORY = 500 << 10  # KiB
LONGEST = 1 << 16  # bytes of a file that is made
ROOT = Path(__file__).parent.parent

HOSTILE: tuple[Any, ...] = (
    None, True, 0, -1, 2**63, 10**400, 1.5, float("nan"), float("inf"), "", "x", "\x1b[2J\n", "\u202e", "\udc80", "\0",
    "../x", "<script>", [], {}, [[]], {"": None}, "9" * 300,
)  # fmt: skip


class _TooLong(BaseException):
    """Past every `except Exception`."""


# --- changes ---------------------------------------------------------------------------------------------------------


def changed_bytes(data: bytes, draw: random.Random) -> bytes:
    """Bytes with some of them replaced, left out, doubled or made new."""
    made = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 4, 8))):
        at = draw.randrange(len(made) + 1)
        until = at + draw.choice((0, 1, 1, 2, 4, 16))
        old = bytes(made[at:until])
        made[at:until] = draw.choice((b"", draw.randbytes(until - at), draw.randbytes(1), old + old))
    return bytes(made)


def changed_text(data: bytes, draw: random.Random) -> bytes:
    """JSON, or lines of it, with a value or name replaced, left out or put elsewhere; what is none, as bytes."""
    lines = data.split(b"\n")
    at = draw.randrange(len(lines))
    try:
        value = json.loads(lines[at])
        lines[at] = json.dumps(_changed(value, draw)).encode()
    except (ValueError, RecursionError):
        return changed_bytes(data, draw)
    return b"\n".join(lines)


def _changed(value: Any, draw: random.Random) -> Any:
    places = list(_places(value))
    if not places or draw.random() < 0.02:
        return draw.choice(HOSTILE)
    holder, key = draw.choice(places)
    other, index = draw.choice(places)
    what = draw.randrange(4)
    if what == 0:
        del holder[key]
    elif what == 1:
        holder[key] = json.loads(json.dumps(other[index]))
    elif what == 2 and isinstance(holder, dict):
        holder[str(draw.choice(HOSTILE))] = holder.pop(key)
    else:
        holder[key] = draw.choice(HOSTILE)
    return value


def _places(value: Any) -> Iterator[tuple[Any, Any]]:
    inside = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in inside:
        yield value, key
        yield from _places(item)


# --- one file --------------------------------------------------------------------------------------------------------


class Fuzzing:
    """Looks at one file after another, and keeps those that are finds.

    Args:
        name: of the target.
        out: the folder of the finds.
    """

    def __init__(self, name: str, out: Path):
        from tests.fuzzed import TARGETS

        self.target, self.name, self.out = TARGETS[name], name, out
        self.tried, self.found = 0, set[str]()
        out.mkdir(parents=True, exist_ok=True)
        signal.signal(signal.SIGVTALRM, _end)

    def one(self, data: bytes) -> None:
        """Look at a file, and note what is wrong."""
        self.tried += 1
        with contextlib.suppress(OSError):  # what the process took at most counts from now on; not everywhere
            Path("/proc/self/clear_refs").write_text("5")
        before, folder = _most(), Path(tempfile.mkdtemp(prefix="dora-fuzzing-"))
        wrong = ""
        try:
            signal.setitimer(signal.ITIMER_VIRTUAL, SECONDS)
            self.target.look(data, folder)
        except _TooLong as error:
            wrong = f"more than {SECONDS:g} s of CPU, {_where(error)}"
        except Exception as error:
            wrong = f"{type(error).__name__}: {str(error)[:100]!r}, {_where(error)}"
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            shutil.rmtree(folder, ignore_errors=True)
        taken = _most() - before
        if taken > MEMORY:
            wrong = wrong or f"more than {MEMORY >> 10} MiB"
        kind = wrong.partition(": ")[0] + wrong.rpartition(", ")[2]
        if wrong and kind not in self.found:
            self.found.add(kind)
            file = self.out / f"{self.name.replace(' ', '-')}-{len(self.found)}"
            file.write_bytes(data)
            print(f"{file}: {wrong}", flush=True)

    def __str__(self) -> str:
        how = "guided" if "atheris" in sys.modules else "drawn at random"
        return f"{self.name}: {self.tried:,} files ({how}), {len(self.found)} finds"


def _end(*_: object) -> None:
    raise _TooLong


def _most() -> int:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def _where(error: BaseException) -> str:
    frames = [each for each in traceback.extract_tb(error.__traceback__) if "/dora_repro/" in each.filename]
    return f"{frames[-1].filename.rpartition('/dora_repro/')[2]}:{frames[-1].lineno}" if frames else "here"


# --- the command -----------------------------------------------------------------------------------------------------


def _guided(fuzzing: Fuzzing, seconds: float, corpus: Path) -> None:
    """Changes that reach code which no file before has reached are changed further."""
    import atheris

    def change(data: bytes, longest: int, seed: int) -> bytes:
        draw = random.Random(seed)
        return changed_text(data, draw)[:longest] if draw.random() < 0.7 else bytes(atheris.Mutate(data, longest))

    ends = time.monotonic() + seconds

    def one(data: bytes) -> None:
        fuzzing.one(data)
        if time.monotonic() > ends:  # libFuzzer ends the process in its own way, without a word
            print(fuzzing, flush=True)
            os._exit(0)

    more = {"custom_mutator": change} if fuzzing.target.text else {}
    options = ["-timeout=1200", "-rss_limit_mb=0", f"-max_len={LONGEST}", "-verbosity=0"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], one, **more)
    atheris.Fuzz()


def _drawn(fuzzing: Fuzzing, seconds: float, corpus: Path) -> None:
    draw, files = random.Random(0), [path.read_bytes() for path in sorted(corpus.iterdir())]
    change = changed_text if fuzzing.target.text else changed_bytes
    ends = time.monotonic() + seconds
    while time.monotonic() < ends:
        data = draw.choice(files)
        for _ in range(draw.choice((1, 1, 2, 3))):
            data = change(data, draw)
        fuzzing.one(data[:LONGEST])


def main() -> None:
    """The command."""
    parser = argparse.ArgumentParser(description="Files that a reader neither reads nor refuses at small cost.")
    parser.add_argument("target", help="a kind of file that tests/fuzzed.py names")
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument(
        "--out", type=Path, default=Path("finds"), help="the folder of the finds, and of what led there"
    )
    parser.add_argument("--file", type=Path, help="look at this file alone")
    given = parser.parse_args()
    guided = importlib.util.find_spec("atheris") is not None and given.file is None
    with contextlib.ExitStack() as stack:
        if guided:
            import atheris

            stack.enter_context(atheris.instrument_imports(include=["dora_repro"]))
        fuzzing = Fuzzing(given.target, given.out)
    if given.file is not None:
        return fuzzing.one(given.file.read_bytes())
    corpus = given.out / f"corpus-{given.target.replace(' ', '-')}"
    corpus.mkdir(exist_ok=True)
    for number, seed in enumerate(fuzzing.target.seeds()):
        (corpus / f"seed-{number}").write_bytes(seed)
    (_guided if guided else _drawn)(fuzzing, given.seconds, corpus)
    print(fuzzing)


if __name__ == "__main__":
    main()
