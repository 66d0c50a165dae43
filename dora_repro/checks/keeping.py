"""What a check leaves beside its evidence, so that it can be gone on with later: `evidence.json`, written and read.

It holds what was asked, the answers, where in the folder the evidence of each lies, and the process that asked: its
folder, its Python and those of its environment variables that change what is computed. Traces and states are files of
their own. Of the environment no more is written than `VARIABLES` names, and nothing that is named like a secret.
"""

import json
import os
import sys
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from dora_repro.checkpoint import replacing
from dora_repro.checks.report import Report, Reports, as_json
from dora_repro.checks.rereading import from_json
from dora_repro.contracts import Json
from dora_repro.errors import BadInput
from dora_repro.printable import json_text, named, one_line
from dora_repro.private_names.of_cpython import interpreter_flags

NAME = "evidence.json"
FACTORY = "factory.pkl"  # the factory of a run object, as it was sent to the sides
FORMAT = "dora_repro/evidence/"
VERSION = 1

OBJECT, SCRIPT = "run object", "script"

# Environment variables that change what a process computes, or which libraries it gets.
VARIABLES = (
    "PATH", "LD_*", "DYLD_*", "PYTHON*", "VIRTUAL_ENV", "CONDA_*", "TZ", "LANG", "LC_*", "MPLBACKEND", "OMP_*",
    "GOMP_*", "KMP_*", "MKL_*", "OPENBLAS_*", "CUDA_*", "CUBLAS_*", "CUDNN_*", "NVIDIA_*", "NCCL_*", "GLOO_*", "TORCH*",
    "PYTORCH_*", "ATEN_*", "DNNL_*", "HF_*", "TRANSFORMERS_*", "TOKENIZERS_*", "ACCELERATE_*", "PL_*", "WANDB_MODE",
)  # fmt: skip
_SECRETS = ("*TOKEN", "*_TOKEN_*", "*SECRET*", "*PASSWORD*", "*_KEY", "*CREDENTIAL*")


def changes_results(variable: str) -> bool:
    """Whether an environment variable is one that may change what is computed, and holds no secret by its name."""
    return any(fnmatchcase(variable, glob) for glob in VARIABLES) and not any(
        fnmatchcase(variable, glob) for glob in _SECRETS
    )


@dataclass(frozen=True)
class Origin:
    """The process that asked.

    Attributes:
        folder: the folder that it was in.
        python: the path of its interpreter.
        flags: the options that it was started with.
        path: where it looked for modules.
        argv: how it was called.
        variables: its environment variables that `changes_results` names.
    """

    folder: str
    python: str
    flags: tuple[str, ...]
    path: tuple[str, ...]
    argv: tuple[str, ...]
    variables: dict[str, str]

    @classmethod
    def here(cls) -> "Origin":
        """This process."""
        variables = {name: value for name, value in os.environ.items() if changes_results(name)}
        flags, path, argv = tuple(interpreter_flags()), tuple(map(str, sys.path)), tuple(sys.argv)
        return cls(os.getcwd(), sys.executable, flags, path, argv, variables)


@dataclass(frozen=True)
class Answer:
    """One report, and where its evidence is.

    Attributes:
        report: without its traces and values.
        places: what is in the folder: `reference` and `resumed` (a side's evidence each), and of a script `killed`;
            names relative to it. One that there is none of is left out.
        trial: what a trial has to know besides, by its kind; empty where none can be made: nothing differs, or the
            run did not come that far.
    """

    report: Report
    places: dict[str, str]
    trial: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """A check, as its folder tells of it.

    Attributes:
        kind: `run object` or `script`.
        title: the name of the check.
        several: whether it makes several reports, whatever their number.
        asked: what was asked, by the names of the options.
        origin: the process that asked.
        answers: one for each report, in order.
    """

    kind: str
    title: str
    several: bool
    asked: dict[str, Any]
    origin: Origin
    answers: tuple[Answer, ...]

    def write(self, folder: Path) -> None:
        """Write it into the folder of the evidence, atomically.

        Raises:
            BadInput: the folder cannot be written to.
        """
        answers = (replace(each, report=_without_traces(each.report)) for each in self.answers)
        data = {"format": f"{FORMAT}{VERSION}", **_entries(as_json(replace(self, answers=tuple(answers))))}
        with replacing.atomic(folder / NAME) as file:
            file.write(json_text(data, indent=1).encode())

    @classmethod
    def read(cls, folder: Path) -> "Kept":
        """Read what `write` wrote.

        Raises:
            BadInput: the folder is none that a check has kept, is of another version, or is not whole.
        """
        path = folder / NAME
        if not folder.is_dir():
            raise BadInput(f"there is no folder {named(folder)}: name one that a check was told to --keep")
        if path.exists() and not path.is_file():
            raise BadInput(f"{named(path)} is no file: name a folder that a check was told to --keep")
        try:
            data = json.loads(path.read_bytes())
            written = data["format"]
        except FileNotFoundError:
            raise BadInput(_lacking(folder)) from None
        except OSError as error:
            raise BadInput(f"cannot read {named(path)}: {error.strerror}") from None
        except (ValueError, TypeError, KeyError, RecursionError) as error:
            raise BadInput(
                f"{named(path)} is not whole ({type(error).__name__}): make the check again with --keep"
            ) from None
        _require_version(path, written)
        try:
            kept = from_json(cls, data)
        except (ValueError, TypeError, KeyError) as error:
            raise BadInput(
                f"{named(path)} is not whole ({one_line(str(error))}): make the check again with --keep"
            ) from None
        if not kept.answers:
            raise BadInput(f"{named(path)} has no report in it: make the check again with --keep")
        return kept

    @property
    def result(self) -> Report | Reports:
        """What the check returned, without traces and values."""
        reports = tuple(answer.report for answer in self.answers)
        return Reports(self.title, reports) if self.several else reports[0]


def _without_traces(report: Report) -> Report:
    """A report without what lies in files of its own."""
    return replace(report, reference=None, resumed=None, drift=None)


def _entries(data: Json) -> dict[str, Json]:
    assert isinstance(data, dict)  # a dataclass was written
    return data


def _lacking(folder: Path) -> str:
    """Why a folder has no `evidence.json`, in words."""
    if (folder / "reference").is_dir() or (folder / "reference.json").is_file():
        return (
            f"{folder} has evidence, and no {NAME}: the check did not come to its end, or an older version of this "
            "kit made it; make it again with --keep"
        )
    return (
        f"{named(folder)} is no folder that a check has kept (it has no {NAME}): "
        "name one that a check was told to --keep"
    )


def _require_version(path: Path, written: object) -> None:
    if not isinstance(written, str) or not written.startswith(FORMAT):
        raise BadInput(
            f"{named(path)} is not of this kit (format {written!r}): name a folder that a check was told to --keep"
        )
    if written != f"{FORMAT}{VERSION}":
        raise BadInput(
            f"{named(path)} is of version {written.removeprefix(FORMAT)}, and this kit reads version {VERSION}: "
            "open it with the kit that made it, or make the check again"
        )
