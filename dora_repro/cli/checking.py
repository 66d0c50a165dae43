"""The commands that check: `quick`, `full`, `every-step`, `twice` of the kit's own training, and `check` of any run."""

from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from dora_repro.cli.answering import Subject, answer, answer_listening
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
    from dora_repro.cli.answering import Attend
    from dora_repro.sides.protocol import OnEvent

_STEPS_PER_EPOCH = click.option(
    "--steps-per-epoch", type=click.IntRange(min=0), default=10, show_default=True, help="Batches per epoch; 0: all."
)


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

    answer(ask, given, _study(config, steps))


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

    answer(ask, given, _study(config, (test_epoch if epochs is None else epochs) * steps_per_epoch))


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

    answer(ask, given, _study(config, epochs * steps_per_epoch))


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

    answer(ask, given, _study(config, epochs * steps_per_epoch))


@click.command(short_help="Check a training run of your own, or a whole script.")
@click.argument("run", metavar="[MODULE:NAME]", required=False)
@click.option("--run", "command", metavar="COMMAND", help="The command of a script; {out} is where it writes.")
@click.option("--resume", metavar="COMMAND", help="How the script is resumed, from {newest}. [default: as it is run]")
@click.option(
    "--kill-after",
    metavar="STEP[,STEP…]",
    help="Kill the script after this step. [default: past its second checkpoint]",
)
@click.option(
    "--signal", "sent", metavar="NAME", help="Send it this signal, as TERM, and let it save and end. [default: KILL]"
)
@click.option(
    "--at-step", type=click.IntRange(min=1), help="The step that the resumed script goes on from, if it cannot be told."
)
@click.option(
    "--budget", type=click.IntRange(min=1), help="Launches at most to find why a script differs. [default: 12]"
)
@click.option("--steps", type=int, help="Optimizer steps to do.")
@click.option("--save-at", type=int, multiple=True, help="Save after this step; 0 is before any.")
@click.option("--every-step", is_flag=True, help="Resume from every step, in place of --save-at.")
@click.option("--twice", is_flag=True, help="Resume the resumed run, at two or more --save-at.")
@check_options
def check(
    run: str | None,
    command: str | None,
    resume: str | None,
    kill_after: str | None,
    sent: str | None,
    at_step: int | None,
    budget: int | None,
    steps: int | None,
    save_at: tuple[int, ...],
    every_step: bool,
    twice: bool,
    **given: Any,
) -> None:
    """Check a run object, or a script as it is.

    A run object has step(), save(path) and load(path), and is built by calling NAME without arguments; MODULE:NAME is
    package.module:NAME, or path/to/file.py:NAME. Give --steps and --save-at with it.

    \b
    A script is launched three times as it is: uninterrupted, killed, resumed.
      dora-repro check --run "python train.py --out {out}" --kill-after 18 \\
                       --resume "python train.py --out {out} --resume {newest}"

    {out} stands for the folder that the script writes to, {newest} for the youngest checkpoint in it, {python} for this
    interpreter. Commands run without a shell: write bash -c '…' around one that needs it.
    """
    if (run is None) == (command is None):
        raise click.UsageError("give MODULE:NAME of a run object, or --run and the command of a script")
    if command is not None:
        of_objects = {"--steps": steps, "--save-at": save_at, "--every-step": every_step, "--twice": twice}
        of_objects |= {"--in-process": given["in_process"], "--control": given["control"] != "auto"}
        _refuse(of_objects, "is for run objects; a script has --kill-after, and its killed run is the control")
        _refuse({"--threads": given["threads"]}, 'is for run objects; write --run "OMP_NUM_THREADS=1 python …"')
        _check_script(command, resume, kill_after, sent, at_step, budget, given)
        return
    assert run is not None
    of_scripts = {"--resume": resume, "--kill-after": kill_after, "--at-step": at_step, "--budget": budget}
    of_scripts["--signal"] = sent
    _refuse(of_scripts, "is for scripts: give the script's command with --run")
    if steps is None:
        raise click.UsageError("give --steps, the number of optimizer steps to do")
    if every_step + twice + (len(save_at) == 1) != 1 or (every_step and save_at):
        raise click.UsageError("give one --save-at, or --every-step, or --twice and several --save-at")
    points = range(steps + 1) if every_step else save_at

    def ask(options: "Options", attend: "Attend") -> "Report | Reports":
        from dora_repro.checks import running
        from dora_repro.checks.options import request_of
        from dora_repro.cli.factory import found

        answers = running.run_every_step if every_step else running.run_twice if twice else running.run_check
        return answers(attend(request_of(found(run), steps, points, options, title=run)))

    answer(ask, given, Subject({"run": run}, steps))


def _refuse(options: dict[str, Any], why: str) -> None:
    """Refuse options that were given and mean nothing here."""
    for name, value in options.items():
        if value not in (None, False, ()):
            raise click.UsageError(f"{name} {why}")


def _check_script(
    command: str,
    resume: str | None,
    kill_after: str | None,
    sent: str | None,
    at_step: int | None,
    budget: int | None,
    given: dict[str, Any],
) -> None:
    from dora_repro.scripts.commands import Command
    from dora_repro.scripts.request import ScriptRequest, as_signal

    output = Output.taken_from(given)
    given.pop("threads")
    options = taken_options(given)
    steps, by = _numbers(kill_after), as_signal(sent)
    run, resumed = Command(command, "--run"), None if resume is None else Command(resume, "--resume")

    def ask(on_event: "OnEvent") -> "Report | Reports":
        from dora_repro.checks.request import as_tolerance
        from dora_repro.scripts.checking import run_script
        from dora_repro.scripts.explaining import BUDGET

        folder = options["folder"]
        request = ScriptRequest(
            run,
            resumed,
            steps,
            by,
            at_step,
            timeout=options["timeout"],
            folder=Path(folder) if folder is not None else None,
            ignore=tuple(options["ignore"]),
            tolerance=as_tolerance(options["tolerance"]),
            explain=options["explain"],
            budget=BUDGET if budget is None else budget,
            on_event=on_event,
        )
        return run_script(request)

    folder = options["folder"]
    asked = Subject({"run": command, "resume": resume, "kill_after": list(steps)})
    answer_listening(ask, output, None if folder is None else str(folder), asked)


def _numbers(given: str | None) -> tuple[int, ...]:
    """The steps of --kill-after."""
    try:
        return tuple(int(number) for number in given.split(",")) if given is not None else ()
    except ValueError:
        raise BadInput(f"--kill-after {given}: give the number of a step, or several as 14,18") from None


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
