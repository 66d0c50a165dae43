"""A training run's checkpoint files: which parts are in them, written and read as the kit does and as the study does.

The kit's own file is a plain mapping {"format", "contains", part: …}; "dora-only" is exactly the study's file, a flat
mapping of OpenAI-CLIP names to tensors. What a part is stands in `parts.py`; reading and writing files is
`dora_repro.checkpoint`'s.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from dora_repro.checkpoint import layouts, reading, writing
from dora_repro.errors import BadInput
from dora_repro.printable import named
from dora_repro.subject.config import PARTS
from dora_repro.subject.fitting import StateDict
from dora_repro.subject.generators import from_study, study_form
from dora_repro.subject.parts import Part


@dataclass(frozen=True)
class Loaded:
    """What a load restored.

    Attributes:
        restored: parts that the file holds.
        absent: parts that it does not.
        missing: DoRA parameters of the model that the file's part `dora` does not hold; they stay as they were.
    """

    restored: tuple[str, ...]
    absent: tuple[str, ...]
    missing: tuple[str, ...]


def save(path: str | Path, parts: Mapping[str, Part], chosen: Sequence[str]) -> None:
    """Write the kit's own file, atomically; reading the parts out changes nothing.

    Args:
        path: the file.
        parts: of the run, by name.
        chosen: which of them to write.

    Raises:
        BadInput: the file cannot be written.
    """
    held = {name: parts[name].state_dict() for name in chosen}
    writing.write(path, {"format": layouts.KIT_FORMAT, "contains": list(chosen), **held})


def save_dora_only(path: str | Path, dora: Mapping[str, Tensor]) -> None:
    """Write the study's file of DoRA parameters, atomically.

    Args:
        path: the file.
        dora: the parameters, by the model's names.

    Raises:
        BadInput: the file cannot be written.
    """
    writing.write(path, {layouts.study_name(name): tensor for name, tensor in dora.items()})


def save_study(folder: str | Path, epoch: int, dora: Mapping[str, Tensor]) -> tuple[Path, Path]:
    """Write the study's two files of an epoch: DoRA parameters, and the states of the global generators.

    Args:
        folder: that they are written to.
        epoch: in their names.
        dora: the parameters, by the model's names.

    Raises:
        BadInput: the files cannot be written.
    """
    layouts.write_study(folder, epoch, dora, study_form())
    return layouts.study_files(folder, epoch)


def read(path: str | Path, parts: Mapping[str, Part]) -> dict[str, StateDict | None]:
    """The states that a file holds, by part, each checked; nothing is changed.

    Beside the study's `epoch{N}_dora_params.pth` its `epoch{N}_random_states.pth` is read as well, if it is there.

    Args:
        path: the file.
        parts: of the run, by name.

    Raises:
        BadInput: the file cannot be read; names or shapes that are not the model's; parts that do not fit the run.
    """
    content = reading.read(path)
    if not isinstance(content, Mapping):
        raise BadInput(f"{named(path)} holds a {type(content).__name__}, no checkpoint of a training run")
    held = _of_kit(content, path) if "format" in content else _of_study(content, path)
    try:
        for name, part in parts.items():
            if name in held:
                part.check(held[name], named(path))
    except BadInput:
        raise
    except Exception as error:  # whatever torch makes of a value of another kind
        raise BadInput(
            f"{named(path)} is no whole checkpoint of a training run ({type(error).__name__}: {error}); save again"
        ) from error
    try:
        writing.refuse_unplain(held)
    except BadInput as error:
        raise BadInput(f"{named(path)} holds what a run that goes on from it could not save: {error}") from error
    return held


def _of_kit(content: Mapping[Any, Any], path: str | Path) -> dict[str, StateDict | None]:
    if not isinstance(content["format"], str) or content["format"] != layouts.KIT_FORMAT:
        raise BadInput(
            f"{named(path)} has the format {content['format']!r}; "
            f"this version reads {layouts.KIT_FORMAT!r}, and the study's"
        )
    if unknown := [part for part in content if part not in ("format", "contains", *PARTS)]:
        raise BadInput(
            f"{named(path)} holds parts that are not known: {', '.join(map(str, unknown))}; "
            f"known are {', '.join(PARTS)}"
        )
    held = {part: content[part] for part in PARTS if part in content}
    contains = content.get("contains", [])
    if not isinstance(contains, (list, tuple)) or not all(isinstance(part, str) for part in contains):
        raise BadInput(f"{named(path)} says in a form that is not known what it holds; save it again")
    if gone := [part for part in contains if part not in held]:
        raise BadInput(f"{named(path)} says that it holds {', '.join(map(str, gone))}, and does not; save it again")
    return held


def _of_study(content: Mapping[Any, Any], path: str | Path) -> dict[str, StateDict | None]:
    try:
        held: dict[str, StateDict | None] = {
            "dora": {layouts.model_name(name): tensor for name, tensor in content.items()}
        }
    except (BadInput, TypeError, AttributeError) as error:
        raise BadInput(
            f"{named(path)} is neither a checkpoint of this kit nor the study's file of DoRA parameters: {error}"
        ) from error
    name = Path(path).name
    beside = Path(path).with_name(name.replace("_dora_params", "_random_states"))
    if beside.name != name and beside.exists():
        states = layouts.read_random_states(beside)
        try:
            held["rng"] = from_study(states)
        except (TypeError, ValueError, OverflowError) as error:
            raise BadInput(f"{named(beside)} holds no states of generators: {error}; save them again") from error
    return held
