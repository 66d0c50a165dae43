"""What to add to save and load, so that a cause no longer is one.

The lines follow from the role of the leaves and from their type, never from where a fault was planted; some losses call
for a sentence, and not for lines. Lines of save fill a dict `state`, lines of load read it, in plain torch; objects
have the names that the run gives them.
"""

from collections.abc import Iterable, Mapping
from dataclasses import replace

from dora_repro.explain.advice.checkpoint_keys import CheckpointKeys
from dora_repro.explain.advice.expressions import Kinds, of_function
from dora_repro.explain.advice.holders import holder_at, holder_lines
from dora_repro.explain.advice.lost_state import Advice, LostState, expression, of_each, saved_value, state_key
from dora_repro.explain.advice.models import alias, gradients, structure, weights
from dora_repro.explain.advice.optimizers import moments, whole_optimizer
from dora_repro.explain.advice.position import place_in_the_data
from dora_repro.explain.advice.rng_and_flags import ARRAYS, flag_lines, generator_lines, has_arrays
from dora_repro.explain.advice.values import value_lines
from dora_repro.explain.advice.whole_objects import whole_object
from dora_repro.explain.trials.search_result import OBJECT
from dora_repro.explain.trials.trial import DATA, DRAWS, ITERATORS, POSITION
from dora_repro.state.module_variables import PREFIX
from dora_repro.state.paths import few
from dora_repro.state.snapshot import SavedLeaf, Snapshot

_LAST = (
    "Restore generators last, after everything that draws: building modules, splitting data, making an iterator of a "
    "loader."
)


def not_saved(paths: Iterable[str]) -> Advice:
    """Advise on values that the resumed run alone has: there is nothing to save."""
    listed = few(paths)
    return Advice(sentence=f"{listed}: only in the resumed run. Let load() not set it, or remove it before it is used.")


def in_function(advice: Advice, function: str) -> Advice:
    """Advice whose lines belong into a function that saves and loads by itself; any other as it is.

    Args:
        advice: with lines in terms of the function's variables.
        function: its name.
    """
    if not (advice.save or advice.load):
        return advice
    where = (
        f"In {of_function(function)}: the lines of save belong where the checkpoint is filled, those of load where one "
        "has been read."
    )
    return replace(advice, further=(*advice.further, where))


def advise(
    name: str,
    leaves: tuple[str, ...],
    role: str,
    saved: Mapping[str, SavedLeaf] | None = None,
    *,
    kinds: Kinds | None = None,
    keys: CheckpointKeys | None = None,
    how: str = "",
    loaded: Mapping[str, SavedLeaf] | None = None,
    plain: bool = False,
) -> Advice:
    """Say what to add to save and load, so that a cause no longer is one.

    Args:
        name: name of the cause.
        leaves: paths of its leaves.
        role: role of its leaves.
        saved: the reference's state at the save: its values distinguish torch's, numpy's and Python's generators, and
            name what an alias stands for.
        kinds: kinds of its containers, by path; by default those of `saved`, where it is a `Snapshot`.
        keys: how code reads the checkpoint, where the values are in it and only the lines of load are missing.
        how: what the audits of saving and of loading say of the leaves: it adds what lines alone would not fix.
        loaded: the resumed run's state after loading: of a dict that is mostly as it was, only the lost entries are
            saved.
        plain: whether to save no more than the leaves, and nothing by the state_dict of an object around them.
    """
    if name in (DATA, ITERATORS):
        saved = saved or {}
        return place_in_the_data(saved, _kinds(saved) if kinds is None else kinds)
    if name in _SENTENCES:
        return Advice(sentence=_SENTENCES[name])
    paths, saved = leaves or (name,), saved or {}
    if role == OBJECT:
        own = _kinds(saved) if kinds is None else kinds
        whole = LostState(paths, saved, own, loaded=loaded, plain=plain)
        holder = holder_at(whole, whole.first, inside=True)
        return whole_optimizer(whole) or (holder_lines(whole, holder) if holder else whole_object(whole))
    nothing_there = any(word in how for word in ("lost", "recast", "reshaped", "in another shape"))
    kinds = _kinds(saved) if kinds is None else kinds
    advice = _by_role(LostState(paths, saved, kinds, keys, nothing_there, loaded, plain), role)
    load = tuple(_declared(line, paths) for line in advice.load)
    by_how = [
        sentence
        for words, sentence in _BY_HOW
        if words in how and not (plain and words == "recast") and not _beside_the_point(words, role)
    ]
    if by_how and not (advice.save or load):  # what became of it tells more than what it is
        advice = replace(advice, sentence=by_how.pop(0), further=(advice.sentence, *advice.further))
    advice = replace(advice, load=load, further=(*advice.further, *by_how))
    if keys is None:
        return advice
    source = keys.source(paths[0])
    load = tuple(f"{line}  # state: {source}" if source else line for line in load)
    return replace(advice, save=(), load=load, file=keys.file(paths[0]))


def _beside_the_point(words: str, role: str) -> bool:
    """Whether a sentence would say nothing of these leaves: a plain value that was recast went through no
    load_state_dict."""
    return words == "recast" and role == "memory"


def _kinds(saved: Mapping[str, SavedLeaf]) -> Kinds:
    return saved.kinds if isinstance(saved, Snapshot) else {}


def _declared(line: str, paths: Iterable[str]) -> str:
    """A line that assigns a variable of the module, with the declaration that a function needs."""
    name = line.partition(" = ")[0]
    return f"global {name}; {line}" if name.isidentifier() and PREFIX + name in paths else line


# (words of the audits, the sentence that they call for)
_BY_HOW = (
    (
        "an earlier state is in the checkpoint",
        "The state that is saved is from before the last draws: with it, load() has to draw what was drawn since, and "
        "nothing else.",
    ),
    (
        "with other values than the run had",
        "Save after all that changes it in a step: what is saved is not what the run had at the save.",
    ),
    (
        "with the values of `",
        "What is saved in its place belongs to another object: save the one that is trained as well.",
    ),
    ("in another dtype", "Save it in its own dtype: rounding loses bits that loading cannot restore."),
    ("rounded to", "Save it in its own dtype: rounding loses bits that loading cannot restore."),
    (
        "recast",
        "load_state_dict keeps the dtype of the tensors that are there, and an optimizer's casts state to the dtype of "
        "its parameters: build the run in the dtype it was trained in before loading.",
    ),
    (
        "reshaped",
        "load_state_dict changes no shapes: build the model with the shapes that it was trained with before loading.",
    ),
    (
        "that the run no longer has",
        "Load into the tensors that are there (copy_, or load_state_dict without assign=True) and make no new ones, or "
        "make the optimizer after them, and load its state then.",
    ),
    ("misplaced", "Parameters are identified by position: give the optimizer the same parameters in the same order."),
    (
        "re-initialised",
        "Load after the adapter was made, and make no adapter afterwards: a new one starts from initial values.",
    ),
    ("reset to zeros", "Make the optimizer before its state is loaded, and not again afterwards."),
    (
        "in a different order",
        "A set of parameters, or of names, has another order in each process: give the optimizer a list, as "
        "model.parameters() is in order.",
    ),
)


_SENTENCES = {
    DRAWS: f"Something draws a different number of random numbers after resuming than it did before. {_LAST} Between "
    "that and the next step draw nothing (no evaluation, no sample, no new model).",
    POSITION: "Save the number of batches of the epoch that were used, and pass over as many when resuming.",
    "run/exception": "The resumed run raises: make load() run through on a file that save() wrote, without a try that "
    "swallows what it raises.",
}


# --- by role ---------------------------------------------------------------------------------------------------------


def _in_holder(lost: LostState, role: str) -> Advice:
    """Advice on leaves that lie in one holder, or in none."""
    holder = holder_at(lost, lost.first)
    return holder_lines(lost, holder) if holder else _by_role(lost, role)


def _by_role(lost: LostState, role: str) -> Advice:
    """Advise on leaves of one role."""
    if role in ("memory", "alias") and any(holder_at(lost, path) for path in lost.paths):
        return of_each(lambda some: _in_holder(some, role), lost, lambda path: holder_at(lost, path))
    if lost.root == "flags" or role == "flag":
        return _flags(lost)
    if role == "generator" or lost.root == "rng":
        return _generators(lost)
    if role == "alias":
        return alias(lost)
    if role in ("moment", "option"):
        return moments(lost)
    if role == "gradient":
        return gradients(lost)
    if role in ("parameter", "buffer"):
        return weights(lost, role)
    if role == "structure":
        return structure(lost)
    return value_lines(lost)


def _generators(lost: LostState) -> Advice:
    save: list[str] = []
    load: list[str] = []
    wide = False
    for path in lost.paths:
        key = lost.keys.generator(path) if lost.keys else state_key(lost, path)
        get, put = generator_lines(path, saved_value(lost, path), expression(lost, path), key)
        save.append(f"{key} = {get}")
        load.append(put)
        wide = wide or has_arrays(saved_value(lost, path), get)
    return Advice(tuple(save), tuple(load), f"{_LAST} {ARRAYS}" if wide else _LAST)


def _flags(lost: LostState) -> Advice:
    save: list[str] = []
    load: list[str] = []
    for path in lost.paths:
        flag, key = path.removeprefix("flags/"), state_key(lost, path)
        get, put = flag_lines(flag, key)
        if put:
            save.append(f"{key} = {get}")
            load.append(put)
    sentence = "Better: set it at the start of the program, the same each time."
    return Advice(tuple(save), tuple(load), sentence if save else f"Set {lost.first} the same in both processes.")
