"""How the library that a run uses would have saved what was lost: a sentence, beside the lines in plain torch.

From the libraries' documentation and code: Accelerate 1.15 (`checkpointing.py`), peft 0.21 (`utils/save_and_load.py`),
the Trainer of transformers 5 (`training_args.py`), Lightning 2.6 (`Trainer`, `Fabric`), Ignite 0.5 (`Checkpoint`).
"""

from collections.abc import Iterator, Mapping

from dora_repro.explain.trials.search_result import Part
from dora_repro.explain.trials.trial import DATA, DRAWS, ITERATORS, POSITION
from dora_repro.state.leaves import SavedLeaf

# Kinds of what was lost, the keys below: state of a model, an optimizer or a schedule (`trained`), a global generator
# (`generators`), the run's own memory (`own`), the place in the data (`data`), in a script the order that is drawn when
# an epoch begins (`order`). These roles are `trained`:
_TRAINED = ("parameter", "buffer", "moment", "option", "alias")
_PREPARED = (
    "With Accelerate, {at}.save_state(folder) and {at}.load_state(folder) keep every model, optimizer, scheduler and "
    "scaler that went through prepare(), and the global generators."
)
_FOLDER = (
    "With the Trainer, {at}.train(resume_from_checkpoint=folder) brings its own model, optimizer and scheduler and the "
    "global generators back, from a folder that was written with save_only_model=False; not what a callback keeps."
)
_FIT = (
    "With Lightning, {at}.fit(model, ckpt_path=path) brings that model, its optimizers and its schedulers back, from a "
    "file that was written without save_weights_only; what a callback keeps, by its own state_dict() and "
    "load_state_dict() alone."
)
_STATE = (
    "With Fabric, {at}.save(path, state) and {at}.load(path, state) keep whatever the dict `state` names: modules and "
    "optimizers, anything else with state_dict() and load_state_dict(), and plain values."
)
_TO_SAVE = (
    "With Ignite, Checkpoint(to_save, …) and Checkpoint.load_objects(to_load, checkpoint) keep whatever the dict "
    "names: any object with state_dict() and load_state_dict()."
)
_SEEDED = (
    "With Ignite, a DeterministicEngine in place of an Engine seeds each epoch anew, so that a run that was saved at "
    "the end of an epoch goes on with the same batches and draws; in the middle of one it goes on with others: save "
    "at Events.EPOCH_COMPLETED."
)
_SENTENCES: dict[str, dict[str, str]] = {
    "accelerate": {
        "trained": _PREPARED,
        "generators": _PREPARED,
        "own": "With Accelerate, {at}.register_for_checkpointing(it), for any object with state_dict() and "
        "load_state_dict(), adds it to what save_state and load_state keep.",
        "data": "With Accelerate, {at}.skip_first_batches(loader, used) passes over the batches that were used; the "
        "order comes back with DataLoaderConfiguration(use_seedable_sampler=True), both with "
        "DataLoaderConfiguration(use_stateful_dataloader=True).",
        "order": "With Accelerate, DataLoaderConfiguration(use_seedable_sampler=True) draws the order from a seed and "
        "the epoch's number, so that no generator has to be brought back for it.",
    },
    "trainer": {
        "trained": _FOLDER,
        "generators": _FOLDER,
        "own": "The Trainer keeps the state of a callback that is an ExportableState, and restores it with "
        "restore_callback_states_from_checkpoint=True.",
        "data": "The Trainer finds its place again by passing over batches: leave ignore_data_skip=False.",
        "order": "The Trainer's own order comes from a seed and the epoch's number. What another sampler draws from "
        "the global generator when an epoch begins does not come back in the middle of one: save at the end of epochs "
        "(save_strategy='epoch').",
    },
    "lightning": {
        "trained": _FIT,
        "generators": "Lightning saves no generators: keep them in on_save_checkpoint(self, checkpoint), and set them "
        "in on_train_start(self), after all that draws.",
        "own": "With Lightning, put it into the file in on_save_checkpoint(self, checkpoint), and take it back in "
        "on_load_checkpoint(self, checkpoint).",
        "data": "Lightning goes on with other batches in the middle of an epoch, unless the loader has a state of its "
        "own (torchdata's StatefulDataLoader).",
        "order": "Lightning saves no generators. It calls set_epoch(epoch) of a sampler that has it: let a sampler of "
        "your own draw the order from a seed and the epoch's number.",
    },
    "fabric": {
        "trained": _STATE,
        "generators": "Fabric saves no generators: put their states into the dict that {at}.save is given.",
        "own": _STATE,
    },
    "ignite": {
        "trained": _TO_SAVE,
        "generators": _SEEDED,
        "own": _TO_SAVE,
        "data": _SEEDED,
        "order": _SEEDED,
    },
}  # fmt: skip
_ADAPTER = (
    "With peft, get_peft_model_state_dict({at}) has the adapter's tensors under the names that "
    "set_peft_model_state_dict({at}, state) takes; PeftModel.from_pretrained freezes them unless is_trainable=True."
)
_TRAINABLE = (
    "With peft, PeftModel.from_pretrained(base, folder, is_trainable=True) loads an adapter that goes on training: "
    "without it, none of its tensors asks for gradients."
)


def library_advice(
    libraries: Mapping[str, str], part: Part, saved: Mapping[str, SavedLeaf], *, script: bool = False
) -> Iterator[str]:
    """Yield a sentence for each library in use that offers something for a part of a cause.

    Args:
        libraries: library -> attribute of the run that shows its use.
        part: the part.
        saved: the reference's state at the save.
        script: whether the run is a script, of which draws are those of an order.
    """
    role, leaves = part.role, part.leaves
    what = "order" if script and part.name == DRAWS else _what(part.name, role, leaves)
    for library, attribute in libraries.items():
        at = code_of(attribute)
        if library == "peft":
            of_adapter = any(leaf.startswith(_inside(attribute, saved)) for leaf in leaves)
            frozen = any(leaf.endswith("/requires_grad") for leaf in leaves)
            sentence = _TRAINABLE if frozen else _ADAPTER if role in ("parameter", "structure") else ""
            sentence = sentence if of_adapter else ""
        else:
            sentence = _SENTENCES[library].get(what, "")
        if sentence:
            yield sentence.format(at=at)


def _inside(path: str, saved: Mapping[str, SavedLeaf]) -> tuple[str, ...]:
    """What the paths begin with of all that is in an object: its own, and that of a model around which it is put."""
    within = (f"{path}/", f"{path}.")
    tied = (leaf for at, leaf in saved.items() if leaf.role == "alias" and at.startswith(within))
    return (*within, *(f"{str(leaf.value).removeprefix('= ')}{end}" for leaf in tied for end in "/."))


def code_of(path: str) -> str:
    """An attribute of the run, or a variable of the function that it is; a library's own function has it as `self`."""
    *function, name = path.removeprefix("run.").split("/")
    return name.replace("self", "trainer") if function else f"self.{name}"


def _what(name: str, role: str, leaves: tuple[str, ...]) -> str:
    if name in (DATA, ITERATORS, POSITION):
        return "data"
    if name == DRAWS or (leaves and all(leaf.startswith("rng/") for leaf in leaves)):
        return "generators"
    names = leaves[0].lower().split("/")[:-1] if leaves else []
    if role in _TRAINED or any("sched" in name or "scaler" in name for name in names):
        return "trained"
    return "own" if role in ("memory", "generator") else ""
