"""Where a library writes the checkpoint: no dict of the user's takes a key, so where the lines go and what they fill.

From the libraries' code: the Trainer of transformers 5 calls `on_save` when its folder is written; Lightning 2.6 hands
the dict that it writes and reads to `on_save_checkpoint` and `on_load_checkpoint`; Ignite's `Checkpoint` keeps the path
of what it wrote last.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from dora_repro.explain.advice.expressions import of_function
from dora_repro.explain.advice.libraries import code_of

MORE = "more"  # what the lines fill in place of `state`, where it takes no keys

# Libraries that write checkpoints, those that drive a whole training first, by their own name.
_WRITING = {"trainer": "the Trainer", "lightning": "Lightning", "ignite": "Ignite", "accelerate": "Accelerate"}
_PLAIN = {"json", "numpy", "safetensors"}  # these write tables and logs as often as checkpoints
_PLACES = {
    "trainer": "Here the lines of save belong into on_save(self, args, state, control, **kwargs) of a callback, where "
    '`path` is f"{{args.output_dir}}/checkpoint-{{state.global_step}}", those of load into its on_train_begin, where '
    "it is the folder that is resumed from.",
    "lightning": "Here the lines of save belong into on_save_checkpoint(self, trainer, module, checkpoint) of a "
    "callback, or on_save_checkpoint(self, checkpoint) of the module, those of load into on_load_checkpoint.",
    "ignite": "Here the lines of save belong into a handler that follows Checkpoint's, where `path` is its "
    "last_checkpoint, those of load after Checkpoint.load_objects(…).",
    "accelerate": "Here the lines of save belong after {at}.save_state(path), those of load after "
    "{at}.load_state(path).",
}
_ANYWHERE = (
    "In {function} the lines of save belong after the checkpoint at `path` was written, those of load after it was "
    "loaded."
)


@dataclass(frozen=True)
class HandedOver:
    """A checkpoint that no code of the user's builds.

    Attributes:
        filled: the dict that lines fill in place of `state`.
        file: whether they write it to a file of its own.
        sentence: why, and where the lines belong.
    """

    filled: str
    file: bool
    sentence: str


def handed_over(writers: Collection[str], libraries: Mapping[str, str], function: str) -> HandedOver | None:
    """Say what lines fill where a library writes the checkpoint; None where the user's own code does.

    Args:
        writers: functions by which the run's own code writes what it has built.
        libraries: library -> the path of what shows that the run uses it.
        function: the function that is the whole run; empty for a run with save() and load().
    """
    library = next((name for name in _WRITING if name in libraries), "")
    if any(name.partition(".")[0] not in _PLAIN for name in writers) or (writers and not (library and function)):
        return None
    name = _WRITING.get(library, "a library")
    by = f"{name[:1].upper()}{name[1:]} writes the checkpoint"
    place = _ANYWHERE.format(function=of_function(function)) if function else ""
    if function and library:
        place = _PLACES[library].format(at=code_of(libraries[library]))
    if function and library == "lightning":
        return HandedOver("checkpoint", False, f"{by} and hands its dict to hooks. {place}")
    sentence = f"{by}, and no dict of yours goes into it: these lines use a file of their own beside it."
    return HandedOver(MORE, True, f"{sentence} {place}".strip())
