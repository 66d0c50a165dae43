"""Where advised lines belong in a script: beside the calls that wrote and read its checkpoint, and at its loop."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from pathlib import Path

from dora_repro.explain.advice.expressions import code
from dora_repro.explain.explanation import Cause
from dora_repro.explain.trials.trial import DATA, DRAWS, POSITION
from dora_repro.scripts.aligning import Alignment, relative
from dora_repro.scripts.calls import Call, function_of, listed, place
from dora_repro.scripts.files import Entry
from dora_repro.state.snapshot import Snapshot

_GLOBAL, _RNG = "torch.get_rng_state()", "rng/torch.cpu"
_ORDER = (
    "Keep the generator as it is before the loop over the loader begins{at}: `epoch_rng = {kept}`. "
    "Save it with the rest; when resuming, set it before that loop, skip the batches that were used, and set the "
    "generator as it was at the save."
)
_PLACE = (
    "Count the batches of an epoch as they are used, and save the number with the rest. When resuming, pass over as "
    "many before the first that is trained on{at}: `for i, batch in enumerate(loader)`, and `continue` while `i` is "
    "less."
)
OWN_CODE = "open"  # as the name of a writer
_LATE = (
    "The sampler draws once more when the loop over the loader ends{at}, and the checkpoint is written before: write "
    "it once that loop is over."
)
_BATCHES = (
    "No state of generators brings these batches back: what they are made of was drawn, or read, at another moment. A "
    "loader with a state of its own does (torchdata's StatefulDataLoader), and so do draws that depend on epoch and "
    "index alone."
)


@dataclass(frozen=True)
class Calls:
    """The lines of a script that have to do with the checkpoint which was resumed from.

    Attributes:
        wrote: that wrote its files, in the killed run, in that order.
        read: that read them, in the resumed one.
        last_wrote: of several files the one that was written last by such a line, relative to `{out}`; else empty.
        last_read: the one that was read last.
        folder: whether a library writes them, as a folder.
    """

    wrote: tuple[Call, ...] = ()
    read: tuple[Call, ...] = ()
    last_wrote: str = ""
    last_read: str = ""
    folder: bool = False

    def functions(self, loop: Call | None) -> tuple[str, ...]:
        """The names of the functions with the lines that wrote and read it last, where both are known and another line
        than that of the loop.

        Args:
            loop: the line at which the loop over the loader began.
        """
        last = [calls[-1] for calls in (self.wrote, self.read) if calls and calls[-1] != loop]
        return tuple(function_of(call) for call in last) if len(last) == 2 else ()

    def in_loop(self, loop: Call | None) -> bool:
        """Whether it is written inside the very line at which the loop began: a library's loop, which saves."""
        return loop is not None and bool(self.wrote) and self.wrote[-1] == loop

    @property
    def several(self) -> bool:
        """Whether the checkpoint has several files, so that lines go into one of their own."""
        return bool(self.last_wrote)


def calls_of(killed: Iterable[Entry], resumed: Iterable[Entry], alignment: Alignment, out: Path) -> Calls:
    """The lines that wrote and read what a resumed run went on from.

    Args:
        killed: what the killed run wrote.
        resumed: what the resumed one read.
        alignment: which files those are.
        out: the folder of both.
    """
    last = {entry["path"]: entry for entry in killed if entry["kind"] == "wrote"}
    wrote = _by_a_line(sorted(last.values(), key=lambda entry: entry["stamp"][0]), alignment, out)
    read = _by_a_line((entry for entry in resumed if entry["kind"] == "read"), alignment, out)
    calls = Calls(tuple(call for _, call in wrote), tuple(call for _, call in read))
    if len(alignment.files) < 2:
        return calls
    last_wrote, last_read = (each[-1][0] if each else "" for each in (wrote, read))
    return replace(calls, last_wrote=last_wrote, last_read=last_read)


def wrote_by_own_code(killed: Iterable[Entry], alignment: Alignment, out: Path) -> bool:
    """Whether the script's own code wrote a file of what a resumed run went on from, and not a library.

    Args:
        killed: what the killed run wrote.
        alignment: which files those are.
        out: the folder of both.
    """
    own = (entry["path"] for entry in killed if entry["kind"] == "wrote" and entry.get("own"))
    return any(relative(path, out) in alignment.files for path in own)


def _by_a_line(entries: Iterable[Entry], alignment: Alignment, out: Path) -> list[tuple[str, Call]]:
    """The files of a checkpoint among entries, with the line of the script that each is by, where that was seen."""
    named = ((relative(entry["path"], out), entry["by"]) for entry in entries)
    return [(name, by) for name, by in named if name in alignment.files and by is not None]


def order_kept(loaders: Iterable[str], saved: Snapshot) -> str:
    """Code for the state of the generator that a loader's order is drawn from: its own, where it has one.

    Args:
        loaders: paths of the run's loaders.
        saved: the state that they are in.
    """
    paths = order_drawn_from(loaders, saved)
    found = [_GLOBAL if path == _RNG else f"{code(path, saved.kinds)}.get_state()" for path in paths]
    return " or ".join(found) or _GLOBAL


def order_drawn_from(loaders: Iterable[str], saved: Snapshot) -> tuple[str, ...]:
    """The paths of the generators that loaders draw their orders from.

    Args:
        loaders: paths of the run's loaders.
        saved: the state that they are in.
    """
    found = []
    for path in (f"{loader}/generator" for loader in loaders):
        known = str(saved[path].value).removeprefix("= ") if path in saved and saved[path].role == "alias" else path
        found.append(known if path in saved else _RNG)
    return tuple(dict.fromkeys(found))


def placed(
    cause: Cause, calls: Calls, loop: Call | None, kept: str = _GLOBAL, used: int = 0, *, late: Collection[str] = ()
) -> Cause:
    """A cause whose advice says where it belongs in the script; loaders of scripts draw before the first step.

    Args:
        cause: of a script.
        calls: the lines that wrote and read the checkpoint.
        loop: the line at which the loop over the loader began whose batch was the first after the save.
        kept: code for the state of the generator that the loader's order is drawn from.
        used: number of batches of the epoch that had been used, and were not passed over.
        late: paths of the generators that orders are drawn from, where they are saved, and were drawn from once more
            when the loop before ended, after the checkpoint had been written.
    """
    if cause.name == POSITION:
        passed = "the batch that had been used was" if used == 1 else f"the {used} batches that had been used were"
        words = cause.advice[1:] or _with(_PLACE.format(at=f" ({place(loop)})" if loop else ""), calls)
        return replace(cause, how=f"the epoch began anew: {passed} not passed over", advice=words)
    if late and (cause.name == DRAWS or {*cause.leaves} <= {*late}):
        how = "the order of the batches was drawn from a generator that is saved before its last draw"
        words = _with(_LATE.format(at=f" ({place(loop)})" if loop else ""), calls)
        return replace(cause, how=how, advice=words, save=(), load=())
    if cause.name == DRAWS:
        how = "the order of the batches was drawn from generators in another state"
        order = _ORDER.format(at=f" ({place(loop)})" if loop else "", kept=kept)
        by_library = cause.advice[1:]
        words = by_library if by_library and calls.in_loop(loop) else (*_with(order, calls), *by_library)
        return replace(cause, how=how, advice=words)
    if cause.name == DATA:
        at = (f"The loop over the loader: {listed([loop])}.",) if loop else ()
        words = (_where(calls),) if cause.load else (_BATCHES,)
        return replace(cause, advice=(*cause.advice, *filter(None, words), *at))
    if cause.save or cause.load:
        return replace(cause, advice=(*cause.advice, *filter(None, (_path(cause, calls), _where(calls)))))
    return cause


def _path(cause: Cause, calls: Calls) -> str:
    """Which file `path` is in lines that write one beside it; empty where there is one only, or a folder."""
    if not (cause.save and cause.beside) or calls.folder or not calls.several:
        return ""
    return f"`path` is that of {Path(calls.last_wrote).name}, the file that is written last."


def _with(sentence: str, calls: Calls) -> tuple[str, ...]:
    where = _where(calls)
    return (sentence, where) if where else (sentence,)


def _where(calls: Calls) -> str:
    """Where the checkpoint is written and read, as a sentence; empty where neither is known."""
    wrote = f"written at {listed(calls.wrote)}" if calls.wrote else ""
    read = f"read at {listed(calls.read)}" if calls.read else ""
    known = " and ".join(filter(None, (wrote, read)))
    return f"The checkpoint is {known}." if known else ""
