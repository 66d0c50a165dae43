"""The words of a test that failed: the answer of the report, the page that was kept, and the line that asked."""

import hashlib
import os
import re
import textwrap
from pathlib import Path
from traceback import FrameSummary

from dora_repro.checkpoint.replacing import atomic
from dora_repro.checks.report import Report, Reports
from dora_repro.errors import BadInput
from dora_repro.printable import named, one_line, printable
from dora_repro.show.answer import COLUMNS, answer
from dora_repro.show.console import as_text
from dora_repro.show.html import page

_LONGEST = 120  # characters of a page's name


def failure(result: Report | Reports, at: str, kept: str | None, *, whole: bool) -> str:
    """Why a test failed.

    Args:
        result: what was found.
        at: file and line of the test that asked.
        kept: the page of the report, where one was kept.
        whole: the whole report in place of its answer.
    """
    lines = printable(as_text(result) if whole else "\n".join(answer(result))).split("\n")
    if kept is not None:
        lines.append(f"  Page: {one_line(kept)}")
    elif not whole:
        lines.append("  The evidence: -vv shows it, --resume-exact-html DIR keeps it.")
    return "\n".join([*lines, f"{at}: {result.verdict}"])


def cannot(error: Exception, at: str) -> str:
    """Why a question cannot be answered.

    Args:
        error: what is the user's to change.
        at: file and line of the test that asked.
    """
    first, *more = printable(str(error)).splitlines()
    lines = textwrap.wrap(
        f"✗ resume_exact: {first}", COLUMNS, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False
    )
    return "\n".join([*lines, *more, f"{at}: nothing was compared"])


def place(call: FrameSummary, folder: Path) -> str:
    """File and line of a call, as pytest writes them.

    Args:
        call: as `traceback` knows it.
        folder: where pytest was started.
    """
    return f"{seen_from(folder, Path(call.filename))}:{call.lineno}"


def seen_from(folder: Path, path: Path) -> str:
    """A path, relative to a folder where that can be."""
    try:
        return named(os.path.relpath(path, folder))
    except ValueError:  # on another drive
        return named(path)


def keep(result: Report | Reports, folder: Path, test: str, call: int) -> Path:
    """Write the page of a report, and return where it is.

    Args:
        result: what was found.
        folder: for the pages; made if it is not there.
        test: pytest's name of the test.
        call: how often the test has asked by now, from 1.

    Raises:
        BadInput: the folder cannot be written to.
    """
    name = re.sub(r"[^\w.-]+", "-", test.replace(".py::", "-")).strip("-")
    if len(name) > _LONGEST:  # what is cut off may be all that tells two tests apart
        name = f"{name[:_LONGEST]}-{hashlib.sha256(test.encode()).hexdigest()[:8]}"
    path = folder / f"{name}{f'-{call}' if call > 1 else ''}.html"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            file.write(page(result, asked={"test": test}).encode("utf-8", "xmlcharrefreplace"))
    except OSError as error:
        why = f"{error.strerror}; name a folder that can be written to"
        raise BadInput(f"--resume-exact-html={folder}: {why}") from None
    return path
