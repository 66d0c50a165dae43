"""What every command that checks does with its question: ask it, print the answer, write it, exit with its code."""

import contextlib
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from dora_repro.cli.group import Interrupted, is_own_process
from dora_repro.cli.options import Output, taken_options
from dora_repro.printable import json_text

if TYPE_CHECKING:
    from pathlib import Path

    from dora_repro.checks.options import Options
    from dora_repro.checks.report import Report, Reports
    from dora_repro.checks.request import Request
    from dora_repro.contracts import Json
    from dora_repro.sides.protocol import OnEvent

    Attend: TypeAlias = Callable[[Request], Request]
    """Adds to a request who listens, and the interpreters that wait for it."""
    Ask: TypeAlias = Callable[[Options, Attend], Report | Reports]
    """Asks what the command is for."""


@dataclass(frozen=True)
class Subject:
    """What is checked, for the bars, the reports and the interpreters.

    Attributes:
        asked: what was asked, for the written reports.
        steps: the last step, if it is known before the run is built.
        needs: modules that the run will import.
        wording: what `show` is given besides the report: names of leaves, a description of the run.
    """

    asked: "dict[str, Json]"
    steps: int | None = None
    needs: tuple[str, ...] = ()
    wording: dict[str, Any] = field(default_factory=dict)


def answer(ask: "Ask", given: dict[str, Any], subject: Subject) -> None:
    """Ask, print the report, write it, and exit with the verdict's code."""
    output = Output.taken_from(given)  # what could go wrong after the work is found before it
    threads = given.pop("threads")
    options = taken_options(given)
    if output.html is not None:
        options["values"] = ("*",)  # the page draws the distance of the parameters, step by step
    present(_asked(ask, options, subject, threads, output.quiet), output, subject, options["folder"])


def answer_listening(
    ask: "Callable[[OnEvent], Report | Reports]", output: Output, folder: str | None, subject: Subject
) -> None:
    """As `answer`, for what needs no interpreters that wait: launched scripts.

    Args:
        ask: asks, with what is to be told of the progress.
        output: where the answer goes.
        folder: where the evidence is kept, if it is.
        subject: what is checked.
    """
    from dora_repro.show.progress import Progress

    progress = Progress(subject.steps, wanted=not output.quiet)
    try:
        with progress:
            result = ask(progress.on_event)
    except KeyboardInterrupt:
        raise _interrupted(progress.reached, folder) from None
    present(result, output, subject, folder)


def present(result: "Report | Reports", output: Output, subject: Subject, kept: "str | Path | None" = None) -> None:
    """Print an answer, write it, and exit with the verdict's code.

    Args:
        result: the answer.
        output: where it goes.
        subject: what is checked.
        kept: the folder of the evidence, where it was kept.
    """
    try:
        _print(result, output, subject)
        if kept is not None and not output.quiet:
            click.echo(f"Evidence: {kept} (dora-repro lab --on {shlex.quote(str(kept))})", err=True)
    finally:
        _write(result, output, subject)
    click.get_current_context().exit(result.verdict.exit_code)


def _asked(ask: "Ask", options: "Options", subject: Subject, threads: int | None, quiet: bool) -> "Report | Reports":
    """The answer; meanwhile a bar shows how far the sides have got."""
    from dora_repro.show.progress import Progress
    from dora_repro.sides.interpreters import Interpreters

    progress = Progress(subject.steps, wanted=not quiet)
    try:
        with progress, contextlib.ExitStack() as stack:
            interpreters = None
            if not options["in_process"]:  # one imports what the run needs while this process does
                interpreters = stack.enter_context(Interpreters(subject.needs))
                if is_own_process():
                    interpreters.start_with_own_fork()
                interpreters.expect(2)
            if threads is not None:
                import torch

                torch.set_num_threads(threads)  # both sides get the number of this process
            return ask(options, lambda request: replace(request, on_event=progress.on_event, interpreters=interpreters))
    except KeyboardInterrupt:
        raise _interrupted(progress.reached, options["folder"]) from None


def _interrupted(reached: str, folder: "str | Path | None") -> Interrupted:
    kept = f"; evidence so far is in {folder}" if folder else ""
    return Interrupted(f"{reached}. No report was written{kept}.")


def _print(result: "Report | Reports", output: Output, subject: Subject) -> None:
    from dora_repro.checks.report import Reports
    from dora_repro.show import console, screen

    if output.quiet:
        text = console.verdict_line(result)
    elif isinstance(result, Reports):
        text = console.reports_text(result, verbose=output.verbose, **subject.wording)
    else:
        text = console.report_text(result, verbose=output.verbose, **subject.wording)
    click.echo(screen.fitted(text, sys.stdout))


def _write(result: "Report | Reports", output: Output, subject: Subject) -> None:
    from dora_repro.checkpoint.replacing import atomic

    if output.json is not None:
        text = json_text({**result.to_dict(), "asked": subject.asked})
        with atomic(output.json) as file:
            file.write(f"{text}\n".encode())
    if output.junit is not None:
        from dora_repro.show.junit import junit_text

        with atomic(output.junit) as file:
            file.write(junit_text(result).encode())
    if output.html is not None:
        from dora_repro.show.html import page

        asked = {"command": f"dora-repro {shlex.join(sys.argv[1:])}", **subject.asked}
        with atomic(output.html) as file:
            file.write(page(result, asked=asked, **subject.wording).encode("utf-8", "xmlcharrefreplace"))
