"""The options of the commands: those of a check, and those of the training that is checked."""

import difflib
import os
import types
from collections.abc import Callable, Iterable
from dataclasses import Field, dataclass, fields
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from dora_repro.errors import BadInput
from dora_repro.printable import named
from dora_repro.subject.config import CHOICES, TrainingConfig

if TYPE_CHECKING:
    from dora_repro.checks.options import Options

Command = TypeVar("Command", bound=Callable[..., Any])
"""A function that click turns into a command, or the command itself."""

# Option (without the dashes) -> (field of TrainingConfig, help). Defaults and choices are the config's own.
TRAINING = {
    "model": ("size", "The model, by size."),
    "weights": ("weights", "Folder or hub name of CLIP weights. [default: random weights]"),
    "data": ("data", "The data to train on."),
    "images": ("images", "Folder of images, for --data things."),
    "targets": ("targets", "CSV of image name and 66 values, for --data things."),
    "checkpoint": (
        "checkpoint",
        "What a checkpoint holds: complete, dora-only (the study's file), or parts joined by '+', "
        "from dora, optimizer, scheduler, rng, data, progress.",
    ),
    "optimizer": ("optimizer", "The optimizer."),
    "lr": ("learning_rate", "Learning rate."),
    "momentum": ("momentum", "Momentum of SGD."),
    "weight-decay": ("weight_decay", "Weight decay."),
    "scheduler": ("scheduler", "Schedule of the learning rate."),
    "warmup-steps": ("warmup_steps", "Steps of --scheduler warmup."),
    "rank": ("rank", "Rank r of the DoRA layers. [default: the model's own]"),
    "alpha": ("alpha", "Strength of the low-rank update: scaling is alpha / rank."),
    "dropout": ("dropout", "Dropout on the low-rank update."),
    "dropout-mode": ("dropout_mode", "live: masks are drawn; study: none are, as in the study."),
    "dora-init": ("init", "Initialisation of the DoRA layers: the study's or the paper's."),
    "vision-dora": ("vision_dora", "DoRA layers in the last blocks of the vision tower."),
    "text-dora": ("text_dora", "DoRA layers in the last blocks of the text tower."),
    "batch-size": ("batch_size", "Samples per step. [default: the model's own]"),
    "workers": ("workers", "Worker processes of the data loader."),
    "persistent-workers": ("persistent_workers", "Keep the workers from epoch to epoch."),
    "shuffle": ("shuffle", "Reshuffle the samples in each epoch."),
    "validate": ("validate", "Measure the validation loss after each epoch."),
    "early-stopping": ("early_stopping", "Stop after this number of epochs without a lower validation loss; 0: never."),
    "perturbation": ("perturbation", "What to perturb, in a window of epochs."),
    "perturbation-start": ("perturbation_start", "First epoch of the window, from 1."),
    "perturbation-length": ("perturbation_length", "Epochs in the window."),
    "noise": ("noise", "Standard deviation of --perturbation image-noise."),
    "seed": ("seed", "Seed of everything."),
    "device": ("device", "Where to train: cpu, cuda, cuda:1."),
}
# The dummy batch of the quick test has no folders, no order, no validation and nothing to stop by.
ON_REAL_DATA = frozenset({"data", "images", "targets", "shuffle", "validate", "early-stopping"})


class Nearest(click.Choice):
    """A choice that names the nearest one when it is misspelt."""

    def get_invalid_choice_message(self, value: object, ctx: click.Context | None) -> str:
        near = difflib.get_close_matches(str(value), self.choices, n=1, cutoff=0.5)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        return f"{value!r} is not one of {', '.join(map(repr, self.choices))}.{hint}"


def training_options(without: Iterable[str] = ()) -> Callable[[Command], Command]:
    """A decorator that adds the options of a `TrainingConfig`."""
    kinds = {field.name: field for field in fields(TrainingConfig)}

    def add(command: Command) -> Command:
        for option, (name, text) in reversed(TRAINING.items()):
            if option not in without:
                command = _option(option, kinds[name], text)(command)
        return command

    return add


def _option(option: str, field: Field[Any], text: str) -> Callable[[Command], Command]:
    default = field.default
    wanted = [kind for kind in get_args(field.type) or (field.type,) if kind is not types.NoneType]
    if wanted == [bool]:
        flag = f"--{option}/--no-{option}"
        return click.option(flag, field.name, default=default, help=text, show_default=True)
    kind = Nearest(CHOICES[field.name]) if field.name in CHOICES else wanted[0]
    return click.option(
        f"--{option}", field.name, type=kind, default=default, help=text, show_default=default is not None
    )


def made_config(given: dict[str, Any]) -> TrainingConfig:
    """Take the training's options out of all that a command was given; the rest stays there.

    Args:
        given: parameter -> value, as click passes them.

    Raises:
        BadInput: as `TrainingConfig`.
    """
    names = {field for field, _ in TRAINING.values()}
    mine = {name: given.pop(name) for name in list(given) if name in names}
    return TrainingConfig(**{name: value for name, value in mine.items() if value is not None})


_CHECK = (
    click.option("--ignore", multiple=True, metavar="GLOB", help="Leaves that may be lost without harm; repeatable."),
    click.option(
        "--tolerance",
        metavar="NUMBER|load|parameters|outputs",
        help="Accept absolute differences of parameters and outputs up to this number or tier of the study.",
    ),
    click.option(
        "--control",
        type=Nearest(("auto", "always", "never")),
        default="auto",
        show_default=True,
        help="When to repeat a side, to see if it is deterministic: where a byte differs (auto), always, or never.",
    ),
    click.option(
        "--explain/--no-explain",
        default=True,
        show_default=True,
        help="Where the runs differ, find the cause by putting state back.",
    ),
    click.option(
        "--timeout", type=float, default=3600.0, show_default=True, help="Time limit per side or launch, in seconds."
    ),
    click.option("--in-process", is_flag=True, help="Run all sides in this process, for debugging."),
    click.option("--threads", type=click.IntRange(min=1), help="Threads of both sides. [default: torch's choice]"),
    click.option(
        "--keep", "folder", metavar="FOLDER", help="Keep traces, snapshots and checkpoints in this new folder."
    ),
    click.option("--json", "json_file", metavar="FILE", help="Write the report as JSON."),
    click.option("--html", "html_file", metavar="FILE", help="Write the report as one HTML page."),
    click.option("--junit", "junit_file", metavar="FILE", help="Write the report as JUnit XML."),
    click.option("-q", "--quiet", is_flag=True, help="Print the last line only."),
    click.option("-v", "--verbose", is_flag=True, help="Print all: every parameter, lost leaf and trial."),
)


def check_options(command: Command) -> Command:
    """A decorator that adds what every check takes."""
    for option in reversed(_CHECK):
        command = option(command)
    return command


def taken_options(given: dict[str, Any]) -> "Options":
    """Take the options of a check out of all that a command was given; the rest stays there.

    Args:
        given: parameter -> value, as click passes them.
    """
    return {
        "ignore": given.pop("ignore"),
        "tolerance": given.pop("tolerance"),
        "control": given.pop("control"),
        "explain": given.pop("explain"),
        "timeout": given.pop("timeout"),
        "in_process": given.pop("in_process"),
        "folder": given.pop("folder"),
    }


@dataclass(frozen=True)
class Output:
    """Where an answer goes.

    Attributes:
        quiet: print the last line only.
        verbose: print every parameter and every leaf.
        json: file for the report as JSON.
        html: file for the report as one page.
        junit: file for the report as JUnit XML.
    """

    quiet: bool
    verbose: bool
    json: str | None
    html: str | None
    junit: str | None

    @classmethod
    def taken_from(cls, given: dict[str, Any]) -> "Output":
        """Take what concerns the output out of all that a command was given; the rest stays there.

        Args:
            given: parameter -> value, as click passes them.

        Raises:
            UsageError: options that exclude each other.
            BadInput: a file that cannot be written.
        """
        files = {kind: given.pop(f"{kind}_file") for kind in ("json", "html", "junit")}
        output = cls(given.pop("quiet"), given.pop("verbose"), **files)
        if output.quiet and output.verbose:
            raise click.UsageError("--quiet and --verbose exclude each other")
        writable(output.json, output.junit, output.html)
        return output


def writable(*paths: str | None) -> None:
    """See before the work that its results can be written.

    Raises:
        BadInput: one of them cannot be written, as `atomic` would say it, or two are one.
    """
    from dora_repro.checkpoint.replacing import require_writable

    given = [path for path in paths if path is not None]
    for path in given:
        if path == "-":
            raise BadInput("cannot write -: the answer itself is printed there; name a file (./- for one of that name)")
        require_writable(path)
    if len({os.path.realpath(path) for path in given}) < len(given):
        raise BadInput(f"{named(given[0])} is named for two reports: give each a file of its own")
