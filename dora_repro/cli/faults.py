"""The command `faults`: list the gallery, and check that each fault is found and explained as declared."""

import sys
from typing import TYPE_CHECKING

import click

from dora_repro.cli.group import Interrupted
from dora_repro.cli.options import writable
from dora_repro.errors import BadInput
from dora_repro.printable import json_text
from dora_repro.wording import counted

if TYPE_CHECKING:
    from dora_repro.faults.gallery import Fault


@click.group(invoke_without_command=True, short_help="The gallery of faults: list it, try it.")
@click.option("--family", metavar="NAME", help="List one family only: optimizer, data, clean, …")
@click.pass_context
def faults(ctx: click.Context, family: str | None) -> None:
    """Real, publicly reported defects of saving and resuming, each planted in a small run.

    Without a command, they are listed. `faults run NAME` checks and explains one, `faults run --all` all of them; the
    result is compared with what is declared for each.
    """
    if ctx.invoked_subcommand is not None:
        return
    from dora_repro.show import gallery

    chosen = _chosen((), True, family)
    click.echo(gallery.listed(chosen))
    runs = sum(fault.clean for fault in chosen)
    click.echo(f"\n{len(chosen) - runs} faults and {runs} clean runs. Try one: dora-repro faults run {chosen[0].name}")


@faults.command(short_help="Check and explain faults, and compare with what is declared.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option("--all", "every", is_flag=True, help="All faults and clean runs.")
@click.option("--family", metavar="NAME", help="All of one family.")
@click.option("--in-process", is_flag=True, help="Run all sides in this process: faster, but not fresh.")
@click.option("--json", "json_file", metavar="FILE", help="Write the results as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Print the last line only.")
@click.option("-v", "--verbose", is_flag=True, help="Print all of each report: every trial, every lost leaf.")
def run(
    names: tuple[str, ...],
    every: bool,
    family: str | None,
    in_process: bool,
    json_file: str | None,
    quiet: bool,
    verbose: bool,
) -> None:
    """Check and explain faults by NAME. For one fault, its report is printed; for several, a line each.

    Exit codes: 0 all as declared, 1 not all, 2 bad input.
    """
    if bool(names) + every + (family is not None) != 1:
        raise click.UsageError("name some faults, or give --all, or one --family")
    writable(json_file)
    chosen = _chosen(names, every, family)
    from dora_repro.faults.trying import try_all
    from dora_repro.show import console, gallery, screen

    alone = len(chosen) == 1
    wide = max(len(fault.name) for fault in chosen)
    done = []
    if alone and not quiet:
        click.echo("\n".join([*gallery.about(chosen[0]), ""]))
    try:
        for tried in try_all(chosen, in_process=in_process):
            done.append(tried)
            if tried.report is not None and not quiet and (alone or verbose):
                click.echo(screen.fitted(console.report_text(tried.report, verbose=verbose), sys.stdout) + "\n")
            if not quiet:
                click.echo(gallery.line(tried, wide))
    except KeyboardInterrupt:
        tried_so_far = f"{len(done)} of {counted(len(chosen), 'run')} had been tried"
        raise Interrupted(f"{tried_so_far}. No result was written.") from None
    if json_file is not None:
        from dora_repro.checkpoint.replacing import atomic

        with atomic(json_file) as file:
            rows = [gallery.to_dict(tried) for tried in done]
            file.write(json_text(rows).encode())
    if not quiet and not alone:
        click.echo(gallery.costs(done))
    click.echo(gallery.summary(done))
    right = all(tried.as_declared for tried in done if tried.report is not None)
    click.get_current_context().exit(0 if right else 1)


def _chosen(names: tuple[str, ...], every: bool, family: str | None) -> "list[Fault]":
    from dora_repro.faults import gallery

    if names:
        return [gallery.find(name) for name in names]
    known = list(gallery.every().values())
    if family is not None:
        chosen = [fault for fault in known if fault.family == family]
        if not chosen:
            raise BadInput(f"the gallery has no family {family!r}: choose one of {', '.join(gallery.FAMILIES)}")
        return chosen
    return known
