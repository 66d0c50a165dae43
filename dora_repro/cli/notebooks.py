"""The command `notebooks`: run them without a screen, and compare their verdicts with the expected ones."""

import ast
import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dora_repro.cli.group import Interrupted
from dora_repro.cli.options import writable
from dora_repro.printable import named
from dora_repro.wording import counted

if TYPE_CHECKING:
    from dora_repro.headless.finding import Parameter
    from dora_repro.headless.running import Executed


@click.command(short_help="Run the notebooks without a screen.")
@click.argument("names", nargs=-1, metavar="[NAME]...")
@click.option(
    "-p", "--parameter", "given", nargs=2, multiple=True, metavar="NAME VALUE",
    help="Set a parameter of the notebooks that declare it, to a Python literal or else to text. Repeatable.",
)  # fmt: skip
@click.option("--folder", metavar="FOLDER", help="Folder of the notebooks. [default: notebooks here, or the kit's]")
@click.option("--out", default="out/notebooks", show_default=True, help="Folder of the executed copies and pages.")
@click.option("--jobs", type=click.IntRange(min=1), default=2, show_default=True, help="How many at a time.")
@click.option(
    "--cell-timeout", type=click.FloatRange(min=1), default=300.0, show_default=True, help="Seconds per cell."
)
@click.option("--timeout", type=click.FloatRange(min=1), default=900.0, show_default=True, help="Seconds per notebook.")
@click.option("--html/--no-html", default=True, show_default=True, help="Write each as one HTML page, too.")
@click.option("--junit", "junit_file", metavar="FILE", help="Write the results as JUnit XML.")
@click.option("--in-place", is_flag=True, help="Write the outputs into the notebooks themselves (defaults only).")
@click.option("--list", "listing", is_flag=True, help="List the notebooks and their parameters; run none.")
@click.option("-q", "--quiet", is_flag=True, help="Print the last line only.")
def notebooks(names: tuple[str, ...], given: tuple[tuple[str, str], ...], **wanted: Any) -> None:
    """Run notebooks by NAME (01, 01_quick_check, or a path; all by default) with papermill, each in its own process.

    The verdict of a notebook is compared with the one that its parameters lead to: where its checkpoint lacks
    something, its check must fail. Exit codes: 0 all as expected, 1 not all, 2 bad input.
    """
    from dora_repro.headless import finding

    if wanted["in_place"] and given:
        raise click.UsageError("--in-place stores what the notebooks print with their defaults: leave out -p")
    writable(wanted["junit_file"])
    within = finding.folder(wanted["folder"])
    if wanted["in_place"] and within == finding.PACKAGE / finding.FOLDER:
        raise click.UsageError(
            f"--in-place would change the installed package, {within}: copy the folder, and name the copy with --folder"
        )
    declared = {path: finding.parameters_of(path) for path in finding.find(names, within)}
    values = {name: _literal(text) for name, text in given}
    finding.refuse_unknown(values, declared)
    if wanted["listing"]:
        _list(declared)
        return
    work = [
        (path, {name: value for name, value in values.items() if name in known}) for path, known in declared.items()
    ]
    done = _run(work, wanted)
    if wanted["junit_file"]:
        from dora_repro.checkpoint.replacing import atomic
        from dora_repro.show.junit import notebooks_junit

        with atomic(wanted["junit_file"]) as file:
            file.write(notebooks_junit(done).encode("utf-8", "xmlcharrefreplace"))
    wrong = [one for one in done if not one.passed]
    click.echo(f"{'❌' if wrong else '✅'} {len(done) - len(wrong)} of {len(done)} notebooks as expected")
    click.get_current_context().exit(1 if wrong else 0)


def _literal(text: str) -> object:
    """A parameter's value as typed: `3`, `1e-3`, `True`, `None`, `[1, 2]`, and anything else as text."""
    try:
        return ast.literal_eval(text)
    except (ValueError, SyntaxError):
        return text


def _list(declared: "Mapping[Path, Mapping[str, Parameter]]") -> None:
    for path, parameters in declared.items():
        click.echo(path.stem)
        for one in parameters.values():
            click.echo(f"  {one.name} = {one.default}" + (f"  # {one.help}" if one.help else ""))


def _run(work: list[tuple[Path, dict[str, object]]], wanted: dict[str, Any]) -> "list[Executed]":
    import sys

    from tqdm import tqdm

    from dora_repro.headless import copies
    from dora_repro.headless.running import execute_all

    sources = {path.stem: path for path, _ in work}
    limits = {"cell_timeout": wanted["cell_timeout"], "timeout": wanted["timeout"]}
    done: list[Executed] = []
    silent = wanted["quiet"] or not sys.stderr.isatty()
    with (
        _counting_where_interrupted(done, work, wanted["out"]),
        tqdm(total=len(work), unit="notebook", leave=False, disable=silent) as bar,
    ):
        for one in execute_all(work, Path(wanted["out"]), jobs=wanted["jobs"], **limits):
            bar.update()
            done.append(one)
            if not wanted["quiet"]:
                bar.clear()
                click.echo(result_line(one))
            if one.outcome == "stopped" or one.copy is None or not one.copy.exists():
                continue
            if wanted["html"]:
                copies.page(one.copy)
            if wanted["in_place"] and one.passed:
                copies.write(copies.cleaned(one.copy, sources[one.name]), sources[one.name])
    return sorted(done, key=lambda one: one.name)


@contextlib.contextmanager
def _counting_where_interrupted(done: Sequence[object], work: Sequence[object], out: str) -> Iterator[None]:
    """Turn Ctrl-C into a sentence that says how many notebooks were done."""
    try:
        yield
    except KeyboardInterrupt:
        where = f"; their copies are in {named(out)}" if done else ""
        raise Interrupted(f"{len(done)} of {counted(len(work), 'notebook')} had been executed{where}.") from None


def result_line(one: "Executed") -> str:
    """`✓ 01_quick_check: DIFFERENT, as expected (12 s)`, or what went wrong."""
    if one.passed:
        what = f"{one.verdict}, as expected" if one.verdict else "ran to its end"
        return f"✓ {one.name}: {what} ({one.seconds:.0f} s)"
    lines = one.problem.splitlines() or ["no reason was given"]
    return "\n".join([f"✗ {one.name}: {one.outcome} ({one.seconds:.0f} s)", *(f"    {line}" for line in lines)])
