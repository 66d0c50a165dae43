"""What a search found, in words: what became of each part, and the lines that would have restored it."""

import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

from dora_repro.difference import LeafDifference, Setting
from dora_repro.explain.advice import expressions
from dora_repro.explain.advice.advice import (
    Advice,
    advise,
    closed_over,
    configured,
    in_function,
    lost_hook,
    not_saved,
    of_hook,
    of_suspended,
)
from dora_repro.explain.advice.checkpoint_keys import CheckpointKeys
from dora_repro.explain.advice.data_sources import source_lines
from dora_repro.explain.advice.fit import Fit, Places
from dora_repro.explain.advice.handed_over import MORE, handed_over
from dora_repro.explain.advice.libraries import library_advice
from dora_repro.explain.advice.lost_state import in_place_of_state, under_free_keys
from dora_repro.explain.advice.position import (
    AGAIN,
    drawing_workers,
    epoch_of_sampler,
    in_an_epoch,
    living_workers,
    loaders_of,
    other_data,
    place_in_the_data,
)
from dora_repro.explain.advice.reach import Reach
from dora_repro.explain.audit.loaded import audit_load, in_place_of
from dora_repro.explain.audit.lookup import SAVED, STALE, SaveStatus
from dora_repro.explain.audit.saved import audit_save
from dora_repro.explain.audit.taken import taken_from
from dora_repro.explain.explanation import Cause
from dora_repro.explain.late import Late
from dora_repro.explain.trials.search_result import OBJECT, Part, SearchResult, name_of
from dora_repro.explain.trials.trial import DATA, DRAWS, ITERATORS
from dora_repro.sides.evidence import Sides
from dora_repro.state.frames import LINE, POSITION
from dora_repro.state.overlay import through_aliases
from dora_repro.state.paths import few, shared_parents
from dora_repro.state.rebuild import NO_KIND, VARIABLES
from dora_repro.state.snapshot import Snapshot
from dora_repro.state.suspended import suspended
from dora_repro.state.torch_objects import LOADER_ITERATOR

_BEYOND = {
    DATA: "the run took other batches",
    DRAWS: "generators had another state at the beginning of a step",
}
_BESIDE = (
    "The checkpoint takes no further keys (it is no dict, or one module's state_dict): these go into a file of "
    "their own beside it."
)
_MARKED = "a mark of the resume, set while loading: nothing is lost, but a step depends on it"
_READ = "Better: let no step depend on whether the run was resumed."
_ANOTHER = re.compile(r"(those|the values)(?: that| of) `([^`]*)`(?: had)?|(the same as) `([^`]*)`")
_SHAPES = re.compile(r"reshaped: \w+\[[\d, ]*\] became \w+\[[\d, ]*\]")
_MADE = (
    "`{0}` is made in the first step after loading: its lines of load belong there, after it is made, and read the "
    "`state` that load() has put aside."
)
_LATER = "{0}: given a value only after loading, so no line of load can set it: restore what it is made of."
_ANEW = "{0}: given another value after loading, and before the next step: restore what that is made of."
_HOOK = re.compile(r"/\w*hooks\.\d+$")


class CauseDescriber:
    """Describes causes, with what the audits of saving and of loading say of them.

    Args:
        saved: the reference's state at the save.
        loaded: the resumed run's state after loading.
        sides: the reference and the resumed side, which has a checkpoint.
        differences: differences of the two states.
        settings: plain values that no step changes, and that the resumed run was told or set otherwise.
        set_by_load: leaves that mark a resume.
        late: what the resumed run makes in its first step; `loaded` is then its state when that is there.
    """

    def __init__(
        self,
        saved: Snapshot,
        loaded: Snapshot,
        sides: Sides,
        differences: tuple[LeafDifference, ...],
        settings: Iterable[Setting] = (),
        set_by_load: Iterable[str] = (),
        late: Late | None = None,
    ) -> None:
        self._late = late
        self._marks = frozenset(set_by_load)
        self._settings = {setting.path: setting for setting in settings}
        extra = [difference.path for difference in differences if difference.path not in saved]
        self._saved = saved = through_aliases(saved, extra)
        self._loaded = loaded
        load = sides.resumed_job.load
        if load is None:
            raise ValueError("the resumed side has no checkpoint")
        alone = load.is_file() and len(list(load.parent.iterdir())) == 1
        self._save_audit = audit_save(saved, load if alone else load.parent)
        self._keys = CheckpointKeys(self._save_audit, saved, load, alone, bool(self.function))
        self._takes_keys = self._keys.takes_keys
        self._load_audit = audit_load(saved, loaded, differences)
        self._ahead = {each.path for each in differences if each.draws is not None and each.draws > 0}
        self._libraries = sides.reference.libraries
        self._handed = handed_over(sides.reference.writers, self._libraries, self.function)
        self._reach = Reach(saved, sides.reference.library_functions)
        self._fit = Fit.of(sides, self.function)
        self._data_sources = tuple(_data_sources(saved, differences))
        self._loaders = loaders_of(saved)

    @property
    def data_sources(self) -> tuple[str, ...]:
        """What differs inside a loader, or in what it reads."""
        return self._data_sources

    @property
    def drawn_since_stored(self) -> dict[str, int]:
        """Generator -> number of draws from the state that the checkpoint has of it to the save."""
        apart = {path: found.draws or 0 for path, found in self._save_audit.leaves.items()}
        return {path: -draws for path, draws in apart.items() if draws < 0}

    def causes(self, found: SearchResult, *, plain: bool = False) -> tuple[Cause, ...]:
        """One cause for each part of the set that was found.

        Args:
            found: what the search found.
            plain: advise on no more than the leaves, where the lines that were advised at first (an object's own
                state_dict, the generator of workers that live on) were run and did not do.
        """
        taken = {part.name: self._taken_from(part) for part in found.parts}
        if all(taken.values()):  # nothing else is lost that would tell which rows
            taken = {}
        self._fit = replace(self._fit, apart=False, known=self._in_function(found.parts))
        parts = [one for part in found.parts for one in self._by_line(part)]
        if all(map(self._is_given_later, parts)):  # some other line would have to
            self._fit = replace(self._fit, known=False)
        # What is lost as a whole comes before what has other values, and that before what is made of both.
        parts.sort(key=lambda part: (self._is_given_later(part), part.role != OBJECT))
        if self.function and any(map(self._is_drawn_from_again, parts)):
            self._fit = self._fit.before_the_first_step
        causes = self._described(parts, taken, plain)
        if any(cause.beside for cause in causes) and not self._fit.apart:  # all in one place
            self._fit = replace(self._fit, apart=True)
            causes = self._described(parts, taken, plain)
        return causes

    def _by_line(self, part: Part) -> list[Part]:
        """A part as two, where a line of load could set some of its variables alone."""
        later = tuple(leaf for leaf in part.leaves if self._has_later_value(leaf))
        rest = tuple(leaf for leaf in part.leaves if leaf not in later)
        if part.role == OBJECT or part.name == DATA or not later or not rest:
            return [part]  # a batch in hand goes with the batches
        return [replace(part, name=name_of(leaves), leaves=leaves) for leaves in (rest, later)]

    def _described(self, parts: Iterable[Part], taken: dict[str, str], plain: bool) -> tuple[Cause, ...]:
        return tuple(
            self._taken(part, taken[part.name])
            if taken.get(part.name)
            else self._made_later(part)
            if self._is_given_later(part)
            else self._cause(part, plain)
            for part in parts
        )

    def _in_function(self, parts: Iterable[Part]) -> bool:
        """Whether all parts are of the one function that is the whole run, where a run is one."""
        own = {self.function, self.function.removesuffix("()")}
        return all(self._function_of(part.leaves[0]) in own for part in parts if part.leaves)

    def _is_drawn_from_again(self, part: Part) -> bool:
        """Whether a part is generators that had their saved state by loading, and then were drawn from."""
        return any(path in self._ahead and self._save_audit.in_file(path) for path in part.leaves)

    def _is_given_later(self, part: Part) -> bool:
        """Whether a part is variables that their function gives a value after the lines of load: none could set
        them."""
        leaves = (part.name,) if part.role == OBJECT else part.leaves
        return bool(leaves) and all(map(self._has_later_value, leaves))

    def _has_later_value(self, leaf: str) -> bool:
        holder, _, name = leaf.rpartition("/")
        if not self._fit.known or self._saved.kinds.get(holder, NO_KIND).name != VARIABLES:
            return False
        return name in self._fit.later or (name in self._fit.again and self._went_on(leaf))

    def _went_on(self, leaf: str) -> bool:
        """Whether the file has a variable by its name, and the reference gave it another value since it was written."""
        status = self._save_audit.leaves.get(leaf)
        return status is not None and (status.status == STALE or bool(status.near))

    def _made_later(self, part: Part) -> Cause:
        """A cause that follows from the others: its variables are made anew after loading."""
        leaves = (part.name,) if part.role == OBJECT else part.leaves
        names = ", ".join(f"`{leaf.rpartition('/')[2]}`" for leaf in leaves)
        words = _ANEW if all(leaf.rpartition("/")[2] in self._fit.again for leaf in leaves) else _LATER
        return replace(self._taken(part, self.function), how=self._how(part), advice=(words.format(names),))

    @property
    def places(self) -> Places:
        """Where the lines of what was described last go."""
        return self._fit.places

    def _taken_from(self, part: Part) -> str:
        """The data that a function took all of a part from, for its next step; empty where it did not."""
        if part.role != "memory" or not all(self._function_of(path) for path in part.leaves):
            return ""
        found = [taken_from(path, self._saved, self._loaded) for path in part.leaves]
        return "" if None in found else few(dict.fromkeys(filter(None, found)))

    def _taken(self, part: Part, whole: str) -> Cause:
        """A cause that follows from another: no line saves it."""
        return Cause(
            name=part.name,
            leaves=part.leaves,
            role=part.role,
            how=f"other rows of {whole}, taken for the next step",
            necessary=part.necessary,
            without=part.without,
            alone=part.alone,
            advice=(f"`{part.name}` is taken from {whole}, which both runs have: save what tells its place there.",),
            taken_from=whole,
        )

    def _cause(self, part: Part, plain: bool) -> Cause:
        how = self._how(part)
        advice, restored = self._advice(part, how, plain)
        by_library = library_advice(self._libraries, part.name, part.role, part.leaves)
        filled, beside, why = self._written_to(part, advice)
        if filled:
            advice = in_place_of_state(advice, filled)
        elif advice.save:
            advice = under_free_keys(advice, self._keys.encoded(part.leaves))
        late = self._late.holder(part.leaves) if self._late is not None else ""
        advice = self._fit.fitted(advice, bool(beside), late=bool(late))
        made = _MADE.format(expressions.code(late, self._saved.kinds)) if late and advice.load else ""
        further = (*advice.further, _READ if self._is_mark(part) else "", why, made, *self._in_time(part.name))
        sentences = (advice.sentence, *further, *by_library)
        return Cause(
            name=part.name,
            leaves=part.leaves if part.name != DATA else (DATA,),
            role=part.role,
            how=self._beyond(part.name) or how,
            beside=beside,
            filled=filled or "state",
            restored=restored,
            necessary=part.necessary,
            without=part.without,
            alone=part.alone,
            save=advice.save,
            load=advice.load,
            file=advice.file,
            late=late,
            advice=tuple(map(expressions.with_own_state, filter(None, sentences))),
        )

    def _written_to(self, part: Part, advice: Advice) -> tuple[str, str, str]:
        """What the lines fill in place of `state`, code for the path of its file, and why; empty where they fill the
        user's own dict."""
        if not advice.save:
            return "", "", ""
        if self._handed is not None:
            return self._handed.filled, self._keys.beside if self._handed.file else "", self._handed_words(part)
        function = self._function_of(part.leaves[0])
        if not self._takes_keys and not function:
            return MORE, self._keys.beside, _BESIDE
        why = "" if function else self._fit.why_apart(advice)  # a function fills a checkpoint of its own
        if why or self._fit.apart:
            return MORE, self._keys.beside, why
        return "", "", ""

    def _handed_words(self, part: Part) -> str:
        """Where the lines belong when a library writes the checkpoint, and what `self` is there."""
        words = self._handed.sentence if self._handed is not None else ""
        holder, name = self._reach.hooked(part.leaves[0]) if self.function else ("", "")
        if not holder:
            return words
        return f"{words} In methods of {name}, `{expressions.code(holder, self._saved.kinds)}` is `self`."

    def _advice(self, part: Part, how: str, plain: bool) -> tuple[Advice, tuple[str, ...]]:
        """What to add, with the leaves besides the cause's own that its lines restore; no lines for what no line of
        the user's reaches."""
        advice, restored = self._advised_for(part, how, plain)
        out_of_reach = self._reach.advice(part.leaves, (*advice.save, *advice.load)) if advice.load else None
        return (out_of_reach, ()) if out_of_reach is not None else (advice, restored)

    def _advised_for(self, part: Part, how: str, plain: bool) -> tuple[Advice, tuple[str, ...]]:
        audit, saved = self._save_audit, self._saved
        if part.name == DATA:
            if not plain and (lines := self._of_sources()) is not None:
                return lines
            made_of = [path for path in self._data_sources if path in saved and saved[path].role == "data"]
            if made_of:
                return other_data(made_of, saved.kinds), ()
            if told := epoch_of_sampler(self._data_sources, saved, saved.kinds):
                return told, ()
            workers = living_workers(saved, saved.kinds, self._keys, audit.of(SAVED))
            if workers is not None and not plain:
                return workers[0], workers[1:]
            drawing = drawing_workers(saved, saved.kinds)  # what restores the loader's generator was not enough
            if drawing is not None and not in_an_epoch(saved):
                return drawing, ()
            if drawing is not None:
                place = place_in_the_data(saved, saved.kinds, self._reach.reaches)
                return replace(place, further=(*place.further, drawing.sentence)), ()
        if part.name in (DATA, ITERATORS):
            return place_in_the_data(saved, saved.kinds, self._reach.reaches), ()
        in_file = all(audit.in_file(path) and self._keys.reaches(path) for path in part.leaves)
        # What the file has was tried: then it is saved anew, but for moments, which loading by itself may have cast.
        anew = plain and part.role not in ("moment", "option")
        keys = self._keys if in_file and not anew else None
        whole = self._of_hook(part) if part.role == OBJECT else None
        out_of_reach = whole or self._closed_over(part) or self._of_suspended(part) or self._of_hook(part)
        if out_of_reach is not None:
            return out_of_reach, ()
        given = self._given(part)
        if given and keys is None:
            return configured([(setting.path, setting.expected) for setting in self._sources(given)]), ()
        paths, role = self._advised(part)
        loaded = self._loaded
        if surplus := tuple(path for path in paths if path not in saved and role == "memory" and path in loaded):
            if surplus == paths:
                return not_saved(surplus), ()
            paths = tuple(path for path in paths if path not in surplus)
        advice = advise(part.name, paths, role, saved, keys=keys, how=how, loaded=loaded, plain=plain)
        if given:
            sentence = configured([(setting.path, setting.expected) for setting in self._sources(given)]).sentence
            advice = replace(advice, further=(*advice.further, sentence))
        function = self._function_of(part.leaves[0])
        in_lines = function and not (self._handed is not None and self.function) and not self._fit.says_where
        return (in_function(advice, function) if in_lines else advice), ()

    def _of_sources(self) -> tuple[Advice, tuple[str, ...]] | None:
        """Lines for what the batches are made of, with the leaves that they restore: none where an iterator is there
        when they would be tried. None where no lines do."""
        loader = next(iter(self._loaders), "")
        advice = source_lines(self._data_sources, self._saved, self._loaded, loader, self._reach.reaches)
        if advice is None:
            return None
        within = self.function or in_an_epoch(self._saved)  # a function waits in its loop, with a batch in hand
        place = f"In the middle of an epoch, the position is lost as well: {AGAIN}." if within else ""
        driven = f"{self.function}/{POSITION}" in self._saved
        held = not self.function and any(what.startswith(LOADER_ITERATOR) for what in self._loaded.uncaptured.values())
        began = driven or held  # in a script the lines run where it reads the file
        return replace(advice, sentence=place), () if began else self._data_sources

    def _given(self, part: Part) -> list[Setting]:
        """The settings that a part is made of, where all of it was told otherwise."""
        found = [self._settings[path] for path in part.leaves if path in self._settings]
        return found if len(found) == len(part.leaves) and all(setting.by != "load" for setting in found) else []

    def _sources(self, given: Iterable[Setting]) -> Iterator[Setting]:
        """Each setting, or the entry of a configuration that differs in the same way."""
        for setting in given:
            name = setting.path.rpartition("/")[2]
            alike = (
                other
                for other in self._settings.values()
                if (other.expected, other.actual) == (setting.expected, setting.actual)
                and re.split(r"[/.]", other.path)[-1] == name
            )
            yield min(alike, key=lambda other: "conf" not in other.path and "arg" not in other.path)

    def _advised(self, part: Part) -> tuple[tuple[str, ...], str]:
        """The leaves and the role to give advice for: an object as a whole, but for one in an optimizer's state; what
        was known by another name, as what it is."""
        roles = {self._saved[path].role for path in part.leaves if path in self._saved}
        if part.role == "alias" and len(roles) == 1:
            return part.leaves, roles.pop()
        if part.role != OBJECT:
            return part.leaves, part.role
        return (part.leaves, "moment") if roles == {"moment"} else ((part.name.removesuffix("/*"),), OBJECT)

    def _closed_over(self, part: Part) -> Advice | None:
        """Advice on variables that a function closes over; None for all else."""
        for function in reversed(_above(part.leaves[0])):
            name = self._saved.get(f"{function}/name")
            if part.leaves[0].removeprefix(f"{function}/").partition("/")[0].endswith("="):
                return closed_over(function, _names_inside(part.leaves, function), "a default argument")
            if name is not None and any(mark in str(name.value) for mark in ("<locals>", "<lambda>")):
                return closed_over(function, _names_inside(part.leaves, function))
        return None

    def _of_hook(self, part: Part) -> Advice | None:
        """Advice on a hook that is lost, or on what an object keeps that is nothing but one; None for all else."""
        if part.role == OBJECT and _HOOK.search(part.name):
            name = self._saved.get(f"{part.name}/name")
            return lost_hook(part.name, "" if name is None else str(name.value).rpartition(".")[2].partition(" ")[0])
        for at in _above(part.leaves[0]):
            if _HOOK.search(at):
                object_at = f"{at}/self" if f"{at}/self" in _above(part.leaves[0]) else at
                return of_hook(at, _names_inside(part.leaves, object_at))
        return None

    def _of_suspended(self, part: Part) -> Advice | None:
        """Advice on variables of a suspended generator; None for all else."""
        for frame in suspended(self._saved, {}):
            if part.leaves[0].startswith(f"{frame}/"):
                names = (expressions.without_functions(leaf, self._saved.kinds) for leaf in part.leaves)
                return of_suspended(frame, tuple(dict.fromkeys(name.partition("/")[0] for name in names)))
        return None

    def _function_of(self, path: str) -> str:
        """The function whose lines restore a leaf: that of a variable, in a greenlet that waits; for all else, the one
        that is the whole run. Empty for a run that is none."""
        parts = path.split("/")
        for count in range(len(parts) - 1, 0, -1):
            holder = "/".join(parts[:count])
            if self._saved.kinds.get(holder, NO_KIND).name == VARIABLES:
                last = parts[count - 1]
                place = self._saved.get(f"{holder}/{POSITION}")
                if place is None or f"{last}, line " in str(place.value):
                    return last.removesuffix("()")
                return str(place.value).partition(",")[0]
        return self.function

    @property
    def function(self) -> str:
        """The function that is the whole run, which saves and loads by itself; empty where a run has these methods."""
        saved = self._saved
        roots = sorted({path.partition("/")[0] for path, kind in saved.kinds.items() if kind.name == VARIABLES})
        driven = [root for root in roots if f"{root}/{POSITION}" in saved]
        if driven:
            return driven[0]
        # A script's functions are running, the outermost first, its module before them.
        running = [root for root in saved.kinds if root in roots and f"{root}/{LINE}" not in saved]
        return running[min(1, len(running) - 1)] if running else ""

    def _beyond(self, name: str) -> str:
        """What is behind a cause that is no leaf; empty for one that is."""
        if name == ITERATORS:
            return self._half_done()
        if name == DATA and self._loaders:
            sources = self._data_sources
            differ = f"; their sources differ right after loading: {few(sources)}" if sources else ""
            return f"the loader returned other batches{differ}"
        return _BEYOND.get(name, "")

    def _in_time(self, name: str) -> Iterator[str]:
        if name == DATA and self._data_sources:
            sources = few(self._data_sources)
            yield f"Restore {sources} before an iterator of the loader is made: what was drawn by then does not change."

    def _half_done(self) -> str:
        """The reference's iterators and generators, where they stood: no file holds them, and no load makes them."""
        held = suspended(self._saved, self._saved.uncaptured)
        return ", ".join(f"`{path}` ({what})" for path, what in held.items()) + ": started anew, or not at all"

    def _how(self, part: Part) -> str:
        """What became of its leaves while loading, and where they are in the file."""
        if part.leaves and all(path in self._settings for path in part.leaves):
            return self._how_set(part)
        if self._is_mark(part):
            return _MARKED
        loaded = _counted(self._load_audit.get(path, "") for path in part.leaves)
        statuses = [self._save_audit.leaves[path] for path in part.leaves if path in self._save_audit.leaves]
        if part.role == OBJECT and part.name.endswith("/*"):
            loaded = self._how_many(part)
            statuses = [status for status in statuses if status.status != SAVED] or statuses
        elif part.role == OBJECT:
            form = self._saved.forms.get(part.name)
            what = form.name.rpartition(".")[2] if form is not None else "generator"
            there = self._loaded.forms.get(part.name)
            loaded = f"the {what} is lost, with all that it holds"
            if form is not None and there is not None and there.name != form.name:
                keys = there.with_keys.removeprefix(there.name) != form.with_keys.removeprefix(form.name)
                loaded = in_place_of(*((there.with_keys, form.with_keys) if keys else (there.name, form.name)))
        in_file = _counted(_in_file(self._shown(status), len(statuses) == 1) for status in statuses)
        return "; ".join(words for words in (loaded, in_file) if words)

    def _shown(self, status: SaveStatus) -> SaveStatus:
        """The same, with keys as the user knows them."""
        near = status.near and self._keys.shown(status.near)
        return replace(status, keys=tuple(map(self._keys.shown, status.keys)), near=near)

    def _is_mark(self, part: Part) -> bool:
        return bool(part.leaves) and self._marks.issuperset(part.leaves)

    def _how_many(self, part: Part) -> str:
        """What became of many objects in one place."""
        holder = part.name.removesuffix("/*")
        paths = [f"{holder}/{name}" for name in _names_inside(part.leaves, holder)]
        lost = [path for path in paths if not self._loaded.has(path)]
        forms = [self._saved.forms.get(self._first_name(path)) for path in lost or paths]
        kinds = dict.fromkeys(form.name.rpartition(".")[2] if form is not None else "generator" for form in forms)
        if not lost or len(lost) == len(paths):
            return f"{len(forms)} objects ({', '.join(kinds)}) are lost, with all that they hold"
        others = "the other has other values" if len(paths) == len(lost) + 1 else "the others have other values"
        return f"{len(lost)} of {len(paths)} objects ({', '.join(kinds)}) are lost, {others}"

    def _first_name(self, path: str) -> str:
        """The path by which an object is known that has several."""
        leaf = self._saved.get(path)
        return str(leaf.value).removeprefix("= ") if leaf is not None and leaf.role == "alias" else path

    def _how_set(self, part: Part) -> str:
        """What was told or set otherwise, and where its value in the reference is in the file, if it is."""
        settings = [self._settings[path] for path in part.leaves]
        words = ", ".join(dict.fromkeys(setting.words for setting in settings))
        in_file = (path for path in part.leaves if self._save_audit.in_file(path))
        keys = [str(self._shown(self._save_audit.leaves[path])) for path in in_file]
        return words + (f"; {keys[0]}" if len(keys) == len(part.leaves) == 1 else "")


def _data_sources(saved: Snapshot, differences: Iterable[LeafDifference]) -> Iterator[str]:
    """What differs inside a loader, or in what it reads: an order that was drawn from it is not put back with it."""
    inside = tuple(f"{path}/" for path in loaders_of(saved))
    tied = (leaf for path, leaf in saved.items() if leaf.role == "alias" and path.startswith(inside))
    elsewhere = {str(leaf.value).removeprefix("= ") for leaf in tied}
    within = tuple(f"{path}/" for path in elsewhere)  # a sampler that the run holds as well
    for difference in differences:
        path, kept = difference.path, difference.role in ("memory", "generator")
        if path.startswith(inside) or difference.role == "data" or path in elsewhere:
            yield path
        elif kept and path.startswith(within):
            yield path


def _in_file(status: SaveStatus, alone: bool) -> str:
    """Where a leaf is in the file; for several leaves without the keys, which differ for each."""
    if alone:
        return str(status)
    return "in the checkpoint" if status.status == SAVED else str(replace(status, near=""))


def _counted(words: Iterable[str]) -> str:
    """The same words once; different ones with how often each occurs."""
    count = Counter(word for word in words if word)
    if len(count) <= 1:
        return next(iter(count), "")
    alike = Counter(_of_others(word) for word in count.elements())
    if len(alike) == 1:
        return _of_one_object(count) or next(iter(alike))
    if all(map(_SHAPES.fullmatch, count)):
        return f"{count.most_common(1)[0][0]}, the others likewise"
    return ", ".join(f"{word} ({number})" for word, number in alike.most_common(3))


def _of_one_object(words: Iterable[str]) -> str:
    """What is the same in words that each name another leaf, with the object that these lie in; empty where there is
    none that they share."""
    found = [match for word in words for match in _ANOTHER.finditer(word)]
    owner = shared_parents(match[2] or match[4] for match in found)
    if not owner:
        return ""
    return _ANOTHER.sub(lambda found: f"{found[1] or f'{found[3]} a leaf'} of `{owner}`", found[0].string)


def _of_others(words: str) -> str:
    """The same without the name of another leaf, where it is a different one for each of several."""
    return _ANOTHER.sub(lambda found: f"{found[1]} of another leaf" if found[1] else f"{found[3]} another leaf", words)


def _above(path: str) -> list[str]:
    """The paths that a path lies in, the outermost first."""
    parts = path.split("/")
    return ["/".join(parts[:end]) for end in range(1, len(parts))]


def _names_inside(leaves: Iterable[str], holder: str) -> tuple[str, ...]:
    """The names of what a holder has that these leaves lie in."""
    inside = (leaf.removeprefix(f"{holder}/") for leaf in leaves if leaf.startswith(f"{holder}/"))
    return tuple(dict.fromkeys(leaf.partition("/")[0].removesuffix("=") for leaf in inside))
