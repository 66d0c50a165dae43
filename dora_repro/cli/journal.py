"""The commands of a training in production: `watch` keeps its journal, `journal` reads it."""

import os
import shutil
from pathlib import Path

import click

from dora_repro.cli.options import writable
from dora_repro.errors import BadInput
from dora_repro.journal.setting import LEVELS, LIMIT, STRICT_EXIT, Setting
from dora_repro.printable import json_text, named

DEFAULT = "dora-repro-journal"
_MIB = 1 << 20
_VERBATIM = {"ignore_unknown_options": True, "allow_interspersed_args": False}


@click.command(context_settings=_VERBATIM, short_help="Keep a journal of a training in production.")
@click.option("--journal", "folder", default=DEFAULT, show_default=True, metavar="DIR", help="Where to keep it.")
@click.option("--level", type=click.Choice(LEVELS), default=LEVELS[0], show_default=True,
              help="full: gradients, moments and all that moves at each update, too.")  # fmt: skip  # one option
@click.option("--strict", is_flag=True,
              help=f"End the job where it does not go on as it was, with exit code {STRICT_EXIT}.")  # fmt: skip
@click.option("--limit", type=click.IntRange(min=1), default=LIMIT // _MIB, show_default=True, metavar="MIB",
              help="What the journal may take; the oldest updates go first.")  # fmt: skip  # one option
@click.argument("command", nargs=-1, required=True, type=click.UNPROCESSED, metavar="-- COMMAND...")
def watch(folder: str, level: str, strict: bool, limit: int, command: tuple[str, ...]) -> None:
    """Run COMMAND, and keep a journal of what it trains: digests, losses and names, and no data.

    When it is started again and reads a checkpoint that an earlier start wrote, all that it works with is held against
    what it was then, and the updates that were done past that checkpoint against those that are done again. The job's
    own log says what was found; `dora-repro journal DIR` shows all starts.

    This command becomes COMMAND: signals, standard streams and the exit code are its own.

    Exit codes: those of COMMAND; 2 bad input; with --strict, 90 where it did not go on as it was.
    """
    program = shutil.which(command[0])
    if program is None:
        raise BadInput(f"cannot run {command[0]!r}: no such command; give one after --, as `-- python train.py`")
    place = Path(folder).absolute()
    _make(place)
    from dora_repro.scripts.commands import python_path

    setting = Setting(place, level, strict, limit * _MIB)
    environment = {**os.environ, **setting.environment, "PYTHONPATH": python_path()}
    os.execve(program, command, environment)


def _make(place: Path) -> None:
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadInput(
            f"cannot keep a journal in {named(place)}: {error.strerror}; name another folder (--journal)"
        ) from None
    if not os.access(place, os.W_OK):
        raise BadInput(
            f"cannot keep a journal in {named(place)}: it cannot be written to; name another folder (--journal)"
        )


@click.command(short_help="Whether each start of a training went on as it was.")
@click.argument("folder", default=DEFAULT, metavar="[DIR]")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--html", metavar="FILE", help="Write a page.")
def journal(folder: str, as_json: bool, html: str | None) -> None:
    """Show all starts of the journal DIR that came to an update: what each went on from, and whether it went on as it
    was.

    Exit codes: 0 all exact, 1 one different or latent, 2 bad input, 3 one that cannot be judged, or none that resumed.
    """
    writable(html)
    from dora_repro.journal.reading import read_journal

    found = read_journal(folder)
    if html is not None:
        from dora_repro.checkpoint import replacing
        from dora_repro.show.journal_page import journal_page

        with replacing.atomic(html) as file:
            file.write(journal_page(found).encode())
    click.echo(json_text(found.to_dict()) if as_json else str(found))
    click.get_current_context().exit(found.verdict.exit_code)
