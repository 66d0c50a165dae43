"""The commands that check: `quick`, `full`, `every-step`, `twice` of the kit's own training, and `check` of any run."""

import contextlib
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, TypeAlias

import click

from dora_repro.cli.group import Interrupted
from dora_repro.cli.options import (
    ON_REAL_DATA,
    Output,
    check_options,
    made_config,
    taken_options,
    training_options,
)
from dora_repro.errors import BadInput
from dora_repro.subject.config import NEEDS, TrainingConfig

if TYPE_CHECKING:
    from dora_repro.checks.options import Options
    from dora_repro.checks.report import Report, Reports
    from dora_repro.checks.request import Request
    from dora_repro.contracts import Json

    Attend: TypeAlias = Callable[[Request], Request]
    """Adds to a request who listens, and the interpreters that wait for it."""
    Ask: TypeAlias = Callable[[Options, Attend], Report | Reports]
    """Asks what the command is for."""

_STEPS_PER_EPOCH = click.option(
    "--steps-per-epoch", type=click.IntRange(min=0), default=10, show_default=True, help="Batches per epoch; 0: all."
)


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


@click.command(short_help="The study's quick test, on a dummy batch.")
@click.option("--steps", default=3, show_default=True, help="Optimizer steps to do.")
@click.option("--save-at", default=2, show_default=True, help="Save after this step; 0 is before any.")
@check_options
@training_options(without=ON_REAL_DATA)
def quick(steps: int, save_at: int, **given: Any) -> None:
    """The study's quick test: 3 steps on a dummy batch, against 2 steps, save, load and 1 more."""
    config = replace(made_config(given), data="synthetic")

    def ask(options: "Options", attend: "Attend") -> "Report":
        from dora_repro.checks import running, study

        return running.run_check(attend(study.quick_request(config, steps=steps, save_at=save_at, **options)))

    _answer(ask, given, _study(config, steps))


@click.command(short_help="The study's full test, on real data.")
@click.option("--epochs", type=int, help="Last epoch to compare. [default: --test-epoch]")
@_STEPS_PER_EPOCH
@click.option("--test-epoch", default=3, show_default=True, help="First epoch of the resumed run, counted from 1.")
@check_options
@training_options()
def full(epochs: int | None, steps_per_epoch: int, test_epoch: int, **given: Any) -> None:
    """The study's full test: epochs on real data, against all but the last, save, load and the last."""
    config = made_config(given)

    def ask(options: "Options", attend: "Attend") -> "Report":
        from dora_repro.checks import running, study

        request = study.full_request(
            config, epochs=epochs, steps_per_epoch=steps_per_epoch or None, test_epoch=test_epoch, **options
        )
        return running.run_check(attend(request))

    _answer(ask, given, _study(config, (test_epoch if epochs is None else epochs) * steps_per_epoch))


@click.command("every-step", short_help="Resume from every step.")
@click.option("--epochs", default=3, show_default=True, help="Epochs to train.")
@_STEPS_PER_EPOCH
@check_options
@training_options()
def every_step(epochs: int, steps_per_epoch: int, **given: Any) -> None:
    """Resume from every step and from every boundary between epochs, the first and the last included."""
    config = made_config(given)

    def ask(options: "Options", attend: "Attend") -> "Reports":
        from dora_repro.checks import running, study

        request = study.every_step_request(config, epochs=epochs, steps_per_epoch=steps_per_epoch or None, **options)
        return running.run_every_step(attend(request))

    _answer(ask, given, _study(config, epochs * steps_per_epoch))


@click.command(short_help="Resume a resumed run.")
@click.option("--epochs", default=3, show_default=True, help="Epochs to train.")
@_STEPS_PER_EPOCH
@click.option(
    "--save-at",
    type=int,
    multiple=True,
    help="Save after this step; repeatable. [default: the middle of the first and of the last epoch]",
)
@check_options
@training_options()
def twice(epochs: int, steps_per_epoch: int, save_at: tuple[int, ...], **given: Any) -> None:
    """Resume a resumed run: save, resume, save again, resume again."""
    config = made_config(given)

    def ask(options: "Options", attend: "Attend") -> "Reports":
        from dora_repro.checks import running, study

        request = study.twice_request(
            config, epochs=epochs, steps_per_epoch=steps_per_epoch or None, save_at=save_at or None, **options
        )
        return running.run_twice(attend(request))

    _answer(ask, given, _study(config, epochs * steps_per_epoch))


@click.command(short_help="Check a training run of your own.")
@click.argument("run", metavar="MODULE:NAME")
@click.option("--steps", type=int, required=True, help="Optimizer steps to do.")
@click.option("--save-at", type=int, multiple=True, help="Save after this step; 0 is before any.")
@click.option("--every-step", is_flag=True, help="Resume from every step, in place of --save-at.")
@click.option("--twice", is_flag=True, help="Resume the resumed run, at two or more --save-at.")
@check_options
def check(run: str, steps: int, save_at: tuple[int, ...], every_step: bool, twice: bool, **given: Any) -> None:
    """Check any run: an object with step(), save(path) and load(path), built by calling NAME without arguments.

    MODULE:NAME is package.module:NAME, or path/to/file.py:NAME.
    """
    if every_step + twice + (len(save_at) == 1) != 1 or (every_step and save_at):
        raise click.UsageError("give one --save-at, or --every-step, or --twice and several --save-at")
    points = range(steps + 1) if every_step else save_at

    def ask(options: "Options", attend: "Attend") -> "Report | Reports":
        from dora_repro.checks import running
        from dora_repro.checks.options import request_of
        from dora_repro.cli.factory import found

        answer = running.run_every_step if every_step else running.run_twice if twice else running.run_check
        return answer(attend(request_of(found(run), steps, points, options, title=run)))

    _answer(ask, given, Subject({"run": run}, steps))


# --- what they have in common ----------------------------------------------------------------------------------------


def _study(config: TrainingConfig, steps: int) -> Subject:
    """The kit's own training; 0 steps: not known beforehand."""
    wording = {"names": _study_names, "about": _about(config), "parameters": "DoRA parameters"}
    return Subject({"config": asdict(config)}, steps or None, NEEDS, wording)


def _study_names(path: str) -> str:
    """The study's names of the DoRA parameters, wherever they are in a path."""
    return "/".join(map(_study_name, path.split("/"))).removeprefix("model/")


def _study_name(part: str) -> str:
    from dora_repro.checkpoint.layouts import study_name

    try:
        return study_name(part)
    except BadInput:
        return part


def _about(config: TrainingConfig) -> list[str]:
    holds = f" ({', '.join(config.parts)})" if config.checkpoint in ("complete", "dora-only") else ""
    words = [f"model {config.size}", f"data {config.data}", f"{config.optimizer}, lr {config.learning_rate:g}"]
    words += [f"momentum {config.momentum:g}"] if config.momentum else []
    words += [f"scheduler {config.scheduler}"] if config.scheduler != "none" else []
    words += [f"dropout {config.dropout:g} ({config.dropout_mode})", f"{config.workers} workers", f"seed {config.seed}"]
    if config.perturbation != "none":
        last = config.perturbation_start + config.perturbation_length - 1
        words.append(f"{config.perturbation} in epochs {config.perturbation_start}–{last}")
    words += [f"early stopping {config.early_stopping}"] if config.early_stopping else []
    return [f"checkpoint: {config.checkpoint}{holds}", "; ".join(words)]


def _answer(ask: "Ask", given: dict[str, Any], subject: Subject) -> None:
    """Ask, print the report, write it, and exit with the verdict's code."""
    output = Output.taken_from(given)  # what could go wrong after the work is found before it
    threads = given.pop("threads")
    options = taken_options(given)
    if output.html is not None:
        options["values"] = ("*",)  # the page draws the distance of the parameters, step by step
    result = _asked(ask, options, subject, threads, output.quiet)
    try:
        _print(result, output, subject)
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
            if not options["in_process"]:  # they import what the run needs while this process imports torch
                interpreters = stack.enter_context(Interpreters(subject.needs))
                interpreters.expect(2)
            if threads is not None:
                import torch

                torch.set_num_threads(threads)  # both sides get the number of this process
            return ask(options, lambda request: replace(request, on_event=progress.on_event, interpreters=interpreters))
    except KeyboardInterrupt:
        kept = f"; evidence so far is in {options['folder']}" if options["folder"] else ""
        raise Interrupted(f"{progress.reached}. No report was written{kept}.") from None


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
    from dora_repro.checkpoint.writing import atomic

    if output.json is not None:
        text = json.dumps({**result.to_dict(), "asked": subject.asked}, indent=2, ensure_ascii=False, allow_nan=False)
        with atomic(output.json) as file:
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))
    if output.junit is not None:
        from dora_repro.show.junit import junit_text

        with atomic(output.junit) as file:
            file.write(junit_text(result).encode("utf-8", "xmlcharrefreplace"))
    if output.html is not None:
        from dora_repro.show.html import page

        asked = {"command": f"dora-repro {shlex.join(sys.argv[1:])}", **subject.asked}
        with atomic(output.html) as file:
            file.write(page(result, asked=asked, **subject.wording).encode("utf-8", "xmlcharrefreplace"))
