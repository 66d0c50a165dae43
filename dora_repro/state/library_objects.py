"""Objects of training libraries, which keep among their state what serves their logs, counts and names of files alone.

No library saves these, and no step reads them. Read in transformers 5.24 (`trainer.py`), accelerate 1.15
(`accelerator.py`, `state.py`, `data_loader.py`), Lightning 2.6 (`trainer.py`, `strategy.py`) and Ignite 0.5
(`handlers/checkpoint.py`); none of them is imported.
"""

from collections.abc import Callable
from typing import Any

from dora_repro.state.assign import Setter
from dora_repro.state.attributes import attributes_of, set_attribute
from dora_repro.state.keys import key_text
from dora_repro.state.leaves import LOG
from dora_repro.state.parts import Parts
from dora_repro.state.walker import Reader, Walker

_LOADERS, _PREPARED, _HISTORY = "_dataloader_references_ref", "_dataloaders", "log_history"
_EXPORTED = "stateful_callbacks"


def _of_trainer(trainer: Any) -> frozenset[str]:
    """The losses summed since the last line of the log and since the beginning; the columns that the model takes, in
    the order of a set."""
    return frozenset({"_tr_loss", "_total_loss_scalar", "_signature_columns"})


def _of_project(project: Any) -> frozenset[str]:
    """How often it has saved; where folders are named by that, the next save depends on it."""
    named_by_it = (attributes_of(project) or {}).get("automatic_checkpoint_naming")
    return frozenset() if named_by_it else frozenset({"iteration"})


def _of_prepared_loader(loader: Any) -> frozenset[str]:
    """How many epochs it has given; it tells a sampler or a data set that has `set_epoch`, and nothing else."""
    inner = (attributes_of(loader) or {}).get("base_dataloader")
    told = [(attributes_of(inner) or {}).get("dataset")]
    for name in ("batch_sampler", "batch_sampler", "sampler"):  # a batch sampler of several processes wraps another
        inner = (attributes_of(inner) or {}).get(name, inner)
        told.append(inner)
    return frozenset() if any(hasattr(type(each), "set_epoch") for each in told) else frozenset({"iteration"})


def _of_checkpoint(handler: Any) -> frozenset[str]:
    """The files that it has written: those beyond a number of them are removed."""
    removes = (attributes_of(handler) or {}).get("n_saved") is not None
    return frozenset() if removes else frozenset({"_saved"})


def _reading(names_of: Callable[[Any], frozenset[str]]) -> Reader:
    def read(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
        names = names_of(value)
        walker.attributes(value, path, role, skip=names)
        attributes = attributes_of(value) or {}
        for name in sorted(names & attributes.keys()):
            put = walker.setter(set_attribute, value, name)
            walker.visit(attributes[name], f"{path}/{key_text(name)}", put, LOG)

    return read


def _read_trainer_state(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """The Trainer's, whose history of logs comes back from its file with the keys of each entry in alphabetical
    order; without what callbacks had exported to it when it was last saved: what counts is what they have now, and that
    a file has this is no other thing than that it has theirs."""
    walker.attributes(value, path, role, skip={_HISTORY, _EXPORTED})
    held = attributes_of(value) or {}
    if _EXPORTED in held:
        walker.result.uncaptured[f"{path}/{_EXPORTED}"] = "what callbacks exported when it was last saved"
    history = held.get(_HISTORY)
    if isinstance(history, list):
        ordered = [dict(sorted(entry.items())) if isinstance(entry, dict) else entry for entry in history]
        put = walker.setter(set_attribute, value, _HISTORY)
        walker.visit(ordered, f"{path}/{_HISTORY}", put, role)


def _read_gradient_state(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Accelerate's, but for its weak references to loaders: which of them are dead, garbage collection decides."""
    walker.attributes(value, path, role, skip={_LOADERS})
    walker.result.uncaptured[f"{path}/{_LOADERS}"] = "weak references"


def _read_accelerator(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Accelerate's, but for its list of all loaders that it ever prepared: a resumed run prepares fewer. Those in use
    are held by whoever uses them, and have the names that these give them."""
    walker.attributes(value, path, role, skip={_PREPARED})
    if _PREPARED in (attributes_of(value) or {}):
        walker.result.uncaptured[f"{path}/{_PREPARED}"] = "list of all loaders that were prepared"


def _read_lightning_trainer(walker: Walker, value: Any, path: str, hold: Setter, role: str) -> None:
    """Lightning's; its optimizers and schedules by its own words for them, `trainer.optimizers`: its strategy holds
    them, behind attributes of its own."""
    connector = attributes_of((attributes_of(value) or {}).get("_accelerator_connector")) or {}
    strategy = attributes_of(connector.get("strategy")) or {}
    for name in ("optimizers", "lr_scheduler_configs"):
        held = strategy.get(name, strategy.get(f"_{name}"))
        if isinstance(held, list):
            walker.visit(held, f"{path}/{name}", None, role)
    walker.attributes(value, path, role)


def _read_parts(walker: Walker, value: Parts, path: str, hold: Setter, role: str) -> None:
    """The parts of a library."""
    for name, part in value.parts.items():
        put = walker.setter(set_attribute, part.holder, part.attribute) if part.attribute else None
        walker.visit(part.current, f"{path}/{key_text(name)}", put, role)


READERS_BY_NAME: dict[str, Reader] = {
    "accelerate.accelerator.Accelerator": _read_accelerator,
    "accelerate.data_loader.DataLoaderDispatcher": _reading(_of_prepared_loader),
    "accelerate.data_loader.DataLoaderShard": _reading(_of_prepared_loader),
    "accelerate.state.GradientState": _read_gradient_state,
    "accelerate.utils.dataclasses.ProjectConfiguration": _reading(_of_project),
    "dora_repro.state.parts.Parts": _read_parts,
    "ignite.handlers.checkpoint.Checkpoint": _reading(_of_checkpoint),
    "lightning.pytorch.trainer.trainer.Trainer": _read_lightning_trainer,
    "pytorch_lightning.trainer.trainer.Trainer": _read_lightning_trainer,
    "transformers.trainer.Trainer": _reading(_of_trainer),
    "transformers.trainer_callback.TrainerState": _read_trainer_state,
}
