"""The commands that check: `quick`, `full`, `every-step`, `twice` of the kit's own training, and `check` of any run."""

import contextlib
import json
import shlex
import sys
from collections.abc import Callable
from dataclasses import asdict, replace

import click

from dora_repro.cli.group import Interrupted
from dora_repro.cli.options import ON_REAL_DATA, check_options, made_config, training_options, writable
from dora_repro.errors import BadInput
from dora_repro.subject.config import NEEDS, TrainingConfig

_STEPS_PER_EPOCH = click.option(
    "--steps-per-epoch", type=click.IntRange(min=0), default=10, show_default=True, help="Batches an epoch; 0: all."
)


@click.command(short_help="The study's quick test, on a dummy batch.")
@click.option("--steps", default=3, show_default=True, help="Optimizer steps to do.")
@click.option("--save-at", default=2, show_default=True, help="Save after this step; 0 is before any.")
@check_options
@training_options(without=ON_REAL_DATA)
def quick(**given) -> None:
    """The study's quick test: 3 steps on a dummy batch, against 2, save, load and 1."""
    config = made_config(given)
    _subject("quick", replace(config, data="synthetic"), given, None)


@click.command(short_help="The study's full test, on real data.")
@click.option("--epochs", type=int, help="Last epoch that is compared; --test-epoch without.")
@_STEPS_PER_EPOCH
@click.option("--test-epoch", default=3, show_default=True, help="First epoch of the resumed run, from 1.")
@check_options
@training_options()
def full(**given) -> None:
    """The study's full test: epochs on real data, against all but the last, save, load and the last."""
    config = made_config(given)
    epochs = given["test_epoch"] if given["epochs"] is None else given["epochs"]
    _subject("full", config, given, epochs)


@click.command("every-step", short_help="Resume from every step.")
@click.option("--epochs", default=3, show_default=True, help="Epochs to train.")
@_STEPS_PER_EPOCH
@check_options
@training_options()
def every_step(**given) -> None:
    """Resume from every step and every boundary of epochs, the first and the last included."""
    config = made_config(given)
    _subject("every_step", config, given, given["epochs"])


@click.command(short_help="Resume a resumed run.")
@click.option("--epochs", default=3, show_default=True, help="Epochs to train.")
@_STEPS_PER_EPOCH
@click.option("--save-at", type=int, multiple=True, help="Save after these steps; in the first and last epoch without.")
@check_options
@training_options()
def twice(**given) -> None:
    """Resume a resumed run: saved, resumed, saved again, resumed again."""
    config = made_config(given)
    if not given["save_at"]:
        del given["save_at"]
    _subject("twice", config, given, given["epochs"])


@click.command(short_help="Check a training run of your own.")
@click.argument("run", metavar="MODULE:NAME")
@click.option("--steps", type=int, required=True, help="Optimizer steps to do.")
@click.option("--save-at", type=int, multiple=True, help="Save after this step; 0 is before any.")
@click.option("--every-step", is_flag=True, help="Resume from every step, in place of --save-at.")
@click.option("--twice", is_flag=True, help="Resume the resumed run, at the steps of several --save-at.")
@check_options
def check(run: str, every_step: bool, twice: bool, save_at: tuple[int, ...], **given) -> None:
    """Check any run: an object with step(), save(path) and load(path) that NAME, called without arguments, builds.

    MODULE:NAME is package.module:NAME, or path/to/file.py:NAME.
    """
    if every_step + twice + (len(save_at) == 1) != 1 or (every_step and save_at):
        raise click.UsageError("give one --save-at, or --every-step, or --twice and several --save-at")
    _prepare(given)
    options = {"title": run, **given}
    if not every_step:
        options["save_at"] = save_at if twice else save_at[0]

    def ask(**options) -> object:
        from dora_repro.checks import checks
        from dora_repro.cli.factory import found

        question = checks.every_step if every_step else checks.twice if twice else checks.check
        return question(found(run), **options)

    _answer(ask, options, given["steps"], {"run": run})


# --- what they have in common ----------------------------------------------------------------------------------------


def _subject(question: str, config: TrainingConfig, given: dict, epochs: int | None) -> None:
    """Ask a question of `check.study` about the kit's own training."""
    _prepare(given)
    if epochs is None:
        steps = given["steps"]
    else:
        given["steps_per_epoch"] = given["steps_per_epoch"] or None
        steps = epochs * given["steps_per_epoch"] if given["steps_per_epoch"] else None

    def ask(**options) -> object:
        from dora_repro.checks import study

        return getattr(study, question)(config, **options)

    showing = {"names": _study_names, "about": _about(config), "parameters": "DoRA parameters"}
    _answer(ask, given, steps, {"config": asdict(config)}, showing, NEEDS)


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


def _prepare(given: dict) -> None:
    """Find out before the work what could go wrong after it."""
    if given["quiet"] and given["verbose"]:
        raise click.UsageError("--quiet and --verbose exclude each other")
    writable(given["json_file"], given["junit_file"], given["html_file"])
    if (threads := given.pop("threads")) is not None:
        import torch

        torch.set_num_threads(threads)  # both sides get the number of this process


def _answer(
    ask: Callable, given: dict, steps: int | None, asked: dict, showing: dict | None = None, needs: tuple[str, ...] = ()
) -> None:
    """Ask, show, write, and exit with the verdict's code.

    Args:
        needs: modules that the run will import. The interpreters of its sides begin to, before this one imports torch.
    """
    from dora_repro.show.progress import Progress
    from dora_repro.sides.processes import Interpreters

    given = dict(given)
    files = {kind: given.pop(f"{kind}_file") for kind in ("json", "junit", "html")}
    if files["html"] is not None:
        given["values"] = ("*",)  # how far apart the parameters are, step by step, is drawn
    quiet, verbose = given.pop("quiet"), given.pop("verbose")
    progress = Progress(steps, wanted=not quiet)
    try:
        with progress, contextlib.ExitStack() as stack:
            if not given["in_process"]:
                given["interpreters"] = stack.enter_context(Interpreters(needs))
                given["interpreters"].expect(2)
            result = ask(on_event=progress.on_event, **given)
    except KeyboardInterrupt:
        kept = f"; evidence so far is in {given['folder']}" if given["folder"] else ""
        raise Interrupted(f"{progress.reached}. No report was written{kept}.") from None
    try:
        _print(result, quiet, verbose, showing or {})
    finally:
        _write(result, files, asked, showing or {})
    click.get_current_context().exit(result.verdict.exit_code)


def _print(result: object, quiet: bool, verbose: bool, showing: dict) -> None:
    from dora_repro.checks.report import Reports
    from dora_repro.show import console, screen

    if quiet:
        text = console.verdict_line(result)
    else:
        text_of = console.reports_text if isinstance(result, Reports) else console.report_text
        text = text_of(result, verbose=verbose, **showing)
    click.echo(screen.fitted(text, sys.stdout))


def _write(result: object, files: dict[str, str | None], asked: dict, showing: dict) -> None:
    from dora_repro.checkpoint.writing import atomic

    if files["json"] is not None:
        text = json.dumps({**result.to_dict(), "asked": asked}, indent=2, ensure_ascii=False, allow_nan=False)
        with atomic(files["json"]) as file:
            file.write(f"{text}\n".encode("utf-8", "backslashreplace"))
    if files["junit"] is not None:
        from dora_repro.show.junit import junit_text

        with atomic(files["junit"]) as file:
            file.write(junit_text(result).encode("utf-8", "xmlcharrefreplace"))
    if files["html"] is not None:
        from dora_repro.show.html import page

        command = {"command": f"dora-repro {shlex.join(sys.argv[1:])}"}
        with atomic(files["html"]) as file:
            file.write(page(result, asked={**command, **asked}, **showing).encode("utf-8", "xmlcharrefreplace"))
