"""What to save of the position in the data, by what holds it: a loader, one whose workers live on, a generator."""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping

from dora_repro.explain.advice import expressions
from dora_repro.explain.advice.checkpoint_keys import CheckpointKeys
from dora_repro.explain.advice.expressions import Kinds, quoted
from dora_repro.explain.advice.lost_state import Advice, LostState
from dora_repro.explain.advice.rng_and_flags import generator_lines
from dora_repro.explain.advice.units import class_at, has_state_dict
from dora_repro.state.rebuild import NO_KIND
from dora_repro.state.snapshot import SavedLeaf, Snapshot
from dora_repro.state.suspended import suspended
from dora_repro.state.torch_objects import LOADER_ITERATOR

_ATTRIBUTE = "/persistent_workers"  # that loaders have, and hardly anything else
_GLOBAL = "rng/torch.cpu"
_MANY = ("list", "tuple", "deque", "dict", "OrderedDict", "set")  # what holds items
_PARTS = (
    "the epoch, the state of the sampler or of the loader's generator at the epoch's beginning, and the number of "
    "batches used"
)
AGAIN = "restore the generator, make a new iterator and take the used batches from it"


def loaders_of(saved: Iterable[str]) -> list[str]:
    """The paths of a run's loaders."""
    return [path.removesuffix(_ATTRIBUTE) for path in saved if path.endswith(_ATTRIBUTE)]


def place_in_the_data(
    saved: Mapping[str, SavedLeaf], kinds: Kinds, reaches: Callable[[str], bool] = lambda path: True
) -> Advice:
    """Advise on data that continues elsewhere. A run that keeps no loader gets no lines for one.

    Args:
        saved: the reference's state at the save; the first of several loaders is the one that it trains on.
        kinds: kinds of its containers.
        reaches: whether a line of the user's can name what is at a path.
    """
    held = suspended(saved, saved.uncaptured) if isinstance(saved, Snapshot) else {}
    of_loaders = {path: what for path, what in held.items() if what.startswith(LOADER_ITERATOR)}
    loaders = loaders_of(saved)
    if held and not of_loaders and not _loops_over_a_loader(saved):
        return _own_iterators(held, kinds)
    if reached := [path for path in loaders if reaches(path)]:
        return _loader(reached[0], saved, kinds)
    if loaders:
        return Advice(
            sentence="The library holds the loader, where no line of yours reaches it. Keep a name for it of your "
            f"own, and save {_PARTS}; after loading, {AGAIN}."
        )
    if of_loaders:
        names = _listed(of_loaders, kinds)
        return Advice(
            sentence=f"{names} holds the position, and no file can hold an iterator. Keep its loader on the run, and "
            f"save {_PARTS}; after loading, {AGAIN}."
        )
    return Advice(
        sentence="Nothing that the run keeps holds its position in the data: no loader, and no iterator. Keep what "
        "gives the batches on the run, and save where it stands: what its order is drawn from, as it was before that "
        "was drawn, and the number of batches used."
    )


def living_workers(
    saved: Mapping[str, SavedLeaf], kinds: Kinds, keys: CheckpointKeys, in_file: Iterable[str]
) -> tuple[Advice, str] | None:
    """Advise on a loader whose workers live on, and name the generator that the lines restore; None for a run without.

    Such a loader draws the base seed of its workers once, when it is first iterated over: a resumed run does it again.

    Args:
        saved: the reference's state at the save.
        kinds: kinds of its containers.
        keys: how code reads the checkpoint.
        in_file: leaves whose values are in the checkpoint.
    """
    for loader in _with_living_workers(saved):
        generator = _generator_of(loader, saved)
        if generator not in saved:
            continue
        code, generator_code = expressions.code(loader, kinds), expressions.code(generator, kinds)
        stored = generator in in_file
        key = keys.generator(generator) if stored else f"state[{quoted(generator)}]"
        get, put = generator_lines(generator, saved[generator].value, generator_code, key)
        name = "torch's global generator" if generator == _GLOBAL else generator_code
        return Advice(
            () if stored else (f"{key} = {get}",),
            (f"iter({code})", put),
            f"The workers of {code} live on (persistent_workers=True): their base seed was drawn from {name} once, by "
            "the first iterator. A resumed run draws it once more, so restore the generator after an iterator was "
            "made, or restore it as it was before that draw.",
            ("In the middle of an epoch, the position is lost as well: " + AGAIN + ".",),
            keys.file(generator) if stored else "",
        ), generator
    return None


def drawing_workers(saved: Mapping[str, SavedLeaf], kinds: Kinds) -> Advice | None:
    """Advise on a loader whose workers live on and draw themselves, as an augmentation does: what their generators have
    come to is in their processes alone. None for a run without such a loader."""
    for loader in _with_living_workers(saved):
        code = expressions.code(loader, kinds)
        return Advice(
            sentence=f"The workers of {code} live on (persistent_workers=True): what they draw in one epoch goes on "
            "from the last, in their own processes, which no file holds and no line restores. With "
            "persistent_workers=False each epoch seeds them anew, by a draw from the loader's generator: save that "
            "as it was before the draw. Or let the dataset draw from a generator that is seeded by epoch and index.",
            further=("In the middle of an epoch, the position is lost as well: " + AGAIN + ".",),
        )
    return None


def in_an_epoch(saved: Snapshot) -> bool:
    """Whether the run held an iterator of a loader that had given batches."""
    held = suspended(saved, saved.uncaptured).values()
    return any(what.startswith(LOADER_ITERATOR) and not what.endswith(" 0 batches") for what in held)


def drawn_from(generators: Iterable[str], saved: Mapping[str, SavedLeaf], kinds: Kinds, stored: str = "") -> Advice:
    """Advise on an order that is drawn from generators of a loader's own, which have other states and nothing else.

    Args:
        generators: their paths.
        saved: the reference's state at the save.
        kinds: kinds of its containers.
        stored: the key of an earlier state that the checkpoint has of the one generator; empty where it has none.
    """
    paths = tuple(generators)
    kept, put = generator_lines(paths[0], saved[paths[0]].value, expressions.code(paths[0], kinds), "epoch_rng")
    also = "" if len(paths) == 1 else "; the others likewise"
    when = "where it was saved once the loop was over"
    has = f" The checkpoint has an earlier state of it, `{stored}`: that one, {when}."
    return Advice(
        sentence=f"The order is drawn from {_listed(paths, kinds)}. Keep its state as it is before the loop over the "
        f"loader begins: `epoch_rng = {kept}`{also}. Save it with the rest; when resuming, set it before that loop: "
        f"`{put}`. In the middle of an epoch, take the used batches from the new iterator."
        + (has if stored and not also else "")
    )


def _with_living_workers(saved: Mapping[str, SavedLeaf]) -> Iterator[str]:
    """The paths of loaders whose workers live as long as they do."""
    for loader in loaders_of(saved):
        workers = saved.get(f"{loader}/num_workers")
        if saved[loader + _ATTRIBUTE].value is True and workers is not None and workers.value:
            yield loader


def other_data(paths: Iterable[str], kinds: Kinds) -> Advice:
    """Advise on batches that are made of other data: the same place in it would not give the same batches."""
    names = _listed(_with_what_holds_them(paths, kinds), kinds)
    return Advice(
        sentence=f"The batches are made of other data: make {names} the same when the run is built, or save it, "
        "and put it back before an iterator is made."
    )


def _with_what_holds_them(paths: Iterable[str], kinds: Kinds) -> tuple[str, ...]:
    """The paths; in place of several items of a container the container, once."""
    paths = tuple(paths)
    items = Counter(holder for path in paths if kinds.get(holder := path.rpartition("/")[0], NO_KIND).name in _MANY)
    held = {holder for holder, count in items.items() if count > 1}
    return tuple(dict.fromkeys(above if (above := path.rpartition("/")[0]) in held else path for path in paths))


def epoch_of_sampler(
    paths: Iterable[str], saved: Mapping[str, SavedLeaf], kinds: Kinds, *, by_a_loader: bool = False
) -> Advice | None:
    """Advise on an order that is made from an epoch's number, which the resumed run's sampler was not told.

    Args:
        paths: of the leaves that differ.
        saved: the reference's state at the save.
        kinds: kinds of its containers.
        by_a_loader: advise only where a loader, as Accelerate's, tells its sampler of an epoch that it counts itself,
            so that lines which set the sampler's would have no effect.

    Returns:
        None where no sampler among these paths takes an epoch.
    """
    for path in paths:
        sampler, _, name = path.rpartition("/")
        if name != "epoch" or not _takes_an_epoch(sampler, path, saved, kinds):
            continue
        above = (sampler[: match.start()] for match in re.finditer("/", sampler))
        loader = next((each for each in above if _takes_an_epoch(each, path, saved, kinds)), "")
        if loader or not by_a_loader:
            code = expressions.code(loader or sampler, kinds)
            return Advice(
                sentence=f"The order is made from the epoch's number: call {code}.set_epoch(epoch), with the epoch "
                "that the run goes on in, before the loader's iterator is made. In the middle of an epoch, take the "
                "used batches from that iterator."
            )
    return None


def _takes_an_epoch(holder: str, path: str, saved: Mapping[str, SavedLeaf], kinds: Kinds) -> bool:
    """Whether the object at a path is told its epoch."""
    return callable(getattr(class_at(LostState((path,), saved, kinds), holder), "set_epoch", None))


def _generator_of(loader: str, saved: Mapping[str, SavedLeaf]) -> str:
    """The path of the generator that a loader draws from."""
    own = saved.get(f"{loader}/generator")
    if own is None or own.value is None:
        return _GLOBAL
    return str(own.value).removeprefix("= ") if own.role == "alias" else f"{loader}/generator"


def _loader(loader: str, saved: Mapping[str, SavedLeaf], kinds: Kinds) -> Advice:
    """Lines for a loader that has a state of its own, as torchdata's has; else words."""
    if not has_state_dict(LostState((loader,), saved, kinds), loader):
        return Advice(
            sentence=f"Save and restore the position in the data: {_PARTS}. torchdata's StatefulDataLoader does so in "
            f"place of DataLoader, by its state_dict() and load_state_dict(); with DataLoader, {AGAIN}."
        )
    code = expressions.code(loader, kinds)
    key = f"state[{quoted(expressions.without_functions(loader, kinds))}]"
    return Advice(
        (f"{key} = {code}.state_dict()",),
        (f"{code}.load_state_dict({key})  # before iter({code})",),
        f"Save and restore the position in the data: {code} has it in its state.",
    )


def _own_iterators(held: Mapping[str, str], kinds: Kinds) -> Advice:
    names = _listed(held, kinds)
    return Advice(
        sentence=f"{names} holds the position: a generator that is half done, which no file can hold. Count what is "
        "taken from it and save the number, with what it draws from as that was when it was made; after loading, "
        "restore this, make it anew and take as many from it. Or make it an object whose __next__ keeps its position "
        "in attributes, and save these."
    )


def _loops_over_a_loader(saved: Mapping[str, SavedLeaf]) -> bool:
    """Whether what is half done has an iterator of a loader in its frame."""
    return isinstance(saved, Snapshot) and any(what.startswith(LOADER_ITERATOR) for what in saved.uncaptured.values())


def _listed(held: Iterable[str], kinds: Kinds) -> str:
    return ", ".join(f"`{expressions.code(path, kinds)}`" for path in held)
