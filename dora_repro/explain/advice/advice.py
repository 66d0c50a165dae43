"""What to add to save and load, so that a cause is one no more.

Which lines those are (`mending.py`) is told by the role of the leaves and by their type, never by where the fault was
planted; some losses call for a sentence, and not for lines.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dora_repro.explain.advice.checkpoint_keys import Rereading
from dora_repro.explain.advice.expressions import Addresses, quoted
from dora_repro.explain.advice.lost_state import Advice, Lost
from dora_repro.explain.advice.mending import LAST, mend
from dora_repro.explain.trials.trial import DATA, DRAWS, ITERATORS
from dora_repro.state.module_variables import PREFIX
from dora_repro.state.snapshot import SavedLeaf

__all__ = ["Advice", "advise", "closed_over", "loaders_of"]

EXCEPTION = "run/exception"


def closed_over(function: str, names: Iterable[str]) -> Advice:
    """For variables that a function closes over: no line of save or load reaches them."""
    listed = ", ".join(f"`{name}`" for name in names)
    return Advice(
        sentence=f"{listed}: in the closure of `{function}`, out of reach of save and load. Keep it on the run, or on "
        "an object with state_dict() and load_state_dict()."
    )


def advise(
    name: str,
    leaves: tuple[str, ...],
    role: str,
    saved: Mapping[str, SavedLeaf] | None = None,
    *,
    kinds: Mapping[str, object] | None = None,
    reread: Rereading | None = None,
    how: str = "",
) -> Advice:
    """What to add to save and load, so that a cause is one no more.

    Args:
        name: of the cause; leaves: their paths; role: of them.
        saved: the reference's state at the save: its values tell torch's, numpy's and Python's generators apart, and
            name what an alias stands for.
        kinds: of its containers, by path; by default those of `saved`, where it is a `Snapshot`.
        reread: how the checkpoint is read, where the values are in it and only the lines of load are lacking.
        how: what the audits of saving and of loading say of the leaves: it adds what lines alone would not mend.
    """
    if name in (DATA, ITERATORS):
        return _place_in_the_data(saved or {})
    if name in _WITHOUT_STATE:
        return _WITHOUT_STATE[name]
    paths = leaves or (name,)
    kinds = getattr(saved, "kinds", {}) if kinds is None else kinds
    without_any = any(word in how for word in ("lost", "recast", "reshaped"))
    found = mend(Lost(paths, saved or {}, kinds, reread, without_any), role)
    found = replace(found, load=tuple(_declared(line, paths) for line in found.load))
    besides = (sentence for words, sentence in _BY_HOW if words in how and not (words == "recast" and role == "memory"))
    if reread is None:
        return replace(found, further=(*found.further, *besides))
    told = reread.told(paths[0])
    load = tuple(f"{line}  # state: {told}" if told else line for line in found.load)
    return replace(found, save=(), load=load, further=(*found.further, *besides), file=reread.file(paths[0]))


def _declared(line: str, paths: Iterable[str]) -> str:
    """A line that assigns a variable of the module, as it is right in a function."""
    name = line.partition(" = ")[0]
    return f"global {name}; {line}" if name.isidentifier() and PREFIX + name in paths else line


# Words of the audits -> what they call for.
_BY_HOW = (
    ("with other values than the run had", "Save after the update and the scheduler's step: what is saved is older."),
    ("with the values of `", "What is saved in its place is another object's: save the one that is trained as well."),
    ("in another dtype", "Save it in its own dtype: what is rounded away does not come back."),
    ("rounded to", "Save it in its own dtype: what is rounded away does not come back."),
    (
        "recast",
        "load_state_dict keeps the dtype that is there, and an optimizer's casts state to the dtype of its parameters: "
        "build the run in the dtype it was trained in before loading.",
    ),
    (
        "reshaped",
        "load_state_dict changes no shapes: build the model with the shapes that it was trained in before loading.",
    ),
    (
        "that no model has",
        "Load into the tensors that are there (without assign=True, and with no other model in the model's place), or "
        "make the optimizer after the model was loaded, and load its state then.",
    ),
    ("misplaced", "Positions tell parameters apart: give the optimizer the same parameters in the same order."),
    ("re-initialised", "Load after the adapter was made, and make none afterwards: a new one starts from nothing."),
    ("reset to zeros", "Make the optimizer before its state is loaded, and not again afterwards."),
)


def loaders_of(saved: Iterable[str]) -> list[str]:
    """The paths of a run's loaders."""
    last = "/persistent_workers"  # an attribute that loaders have, and hardly anything else
    return [path.removesuffix(last) for path in saved if path.endswith(last)]


def _place_in_the_data(saved: Mapping[str, SavedLeaf]) -> Advice:
    """For data that goes on elsewhere; told of the run's first loader, which is the one that it trains on."""
    loader = next(iter(loaders_of(saved)), "loader")
    code, key = Addresses(getattr(saved, "kinds", {})).code(loader), f"state[{quoted(loader)}]"
    return Advice(
        (f"{key} = {code}.state_dict()  # a torchdata.stateful_dataloader.StatefulDataLoader",),
        (f"{code}.load_state_dict({key})  # before iter({code})",),
        "Save and restore where the data stands: the epoch, the state of the sampler or of the loader's generator at "
        "the epoch's beginning, and how many batches were used. torchdata's StatefulDataLoader does it in place of "
        "DataLoader; with DataLoader, restore the generator, make the iterator anew and take the used batches from it.",
    )


_WITHOUT_STATE = {
    DRAWS: Advice(
        sentence="Something draws another number of random numbers after resuming than it did before. " + LAST + " "
        "Between that and the next step draw nothing (no evaluation, no sample, no new model)."
    ),
    EXCEPTION: Advice(
        sentence="The resumed run raises: make load() run through on a file that save() wrote, without a try that "
        "swallows what it raises."
    ),
}
