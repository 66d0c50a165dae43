"""What a search found, as causes: what became of each part, and the lines that would have restored it."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from dora_repro.explain.advice import expressions
from dora_repro.explain.advice.fit import Fit, Places
from dora_repro.explain.advice.functions import function_of_leaf
from dora_repro.explain.advice.handed_over import MORE, handed_over
from dora_repro.explain.advice.libraries import library_advice
from dora_repro.explain.advice.lost_state import Advice, in_place_of_state, under_free_keys
from dora_repro.explain.advice.reach import Reach
from dora_repro.explain.advised import advised
from dora_repro.explain.audit.lookup import SAVED, STALE
from dora_repro.explain.audit.taken import taken_from
from dora_repro.explain.audited import Audited
from dora_repro.explain.explanation import Cause
from dora_repro.explain.given_later import is_argument, is_given_later, parted_by_line, sentence_on, sources_of
from dora_repro.explain.how_lost import how_beyond, how_lost, is_mark
from dora_repro.explain.late import Late
from dora_repro.explain.set_anew import how_set, made_of, sentence_on_options
from dora_repro.explain.trials.search_result import OBJECT, Part, SearchResult
from dora_repro.explain.trials.trial import DATA
from dora_repro.sides.evidence import Sides
from dora_repro.state.paths import few
from dora_repro.state.rebuild import NO_KIND, VARIABLES

_BESIDE = (
    "The checkpoint takes no further keys (it is no dict, or one module's state_dict): these go into a file of "
    "their own beside it."
)
_SEVERAL = "The checkpoint consists of several files: these go into one of their own."
_BESIDE_FILE = 'f"{path}.more"'
_READ = "Better: let no step depend on whether the run was resumed."
_VARIABLES = "The variables that these lines name are those of {}."
_MADE_OF = "What {0} is made of differs right after loading: {1}."
_MADE = (
    "`{0}` is made in the first step after loading: its lines of load belong there, after it is made, and read the "
    "`state` that load() has put aside."
)


@dataclass(frozen=True)
class Described:
    """Causes in words.

    Attributes:
        causes: one for each part, in the order in which they are told.
        places: where their lines go.
    """

    causes: tuple[Cause, ...]
    places: Places


@dataclass(frozen=True)
class _Filled:
    """What the lines of one cause fill.

    Attributes:
        name: the dict that they fill in place of `state`; empty for the user's own.
        beside: code for the path of a file of their own; empty where they fill no such file.
        why: in words.
    """

    name: str = ""
    beside: str = ""
    why: str = ""


class CauseDescriber:
    """Describes causes.

    Args:
        audited: the reference's state at the save and the resumed run's, with what the audits say of them.
        sides: the reference and the resumed side.
        late: what the resumed run makes in its first step; `audited.loaded` is then its state when that is there.
        script: whether it is a script, whose checkpoint is what it read.
        beside: names of the functions of the script in which lines of save and of load go; empty where they are not
            known.
    """

    def __init__(
        self,
        audited: Audited,
        sides: Sides,
        late: Late | None = None,
        *,
        script: bool = False,
        beside: tuple[str, ...] = (),
    ) -> None:
        self._script, self._beside = script, beside
        self._audited, self._late = audited, late
        self._takes_keys = audited.keys.takes_keys
        self._libraries = sides.reference.libraries
        self._handed = handed_over(sides.reference.writers, self._libraries, audited.function)
        self._reach = Reach(audited.saved, sides.reference.library_functions)
        self._fit = Fit.of(sides, audited.function)

    def described(self, found: SearchResult, *, plain: bool = False) -> Described:
        """One cause for each part of the set that was found.

        Args:
            found: what the search found.
            plain: advise on no more than the leaves, where the lines that were advised at first (an object's own
                state_dict, the generator of workers that live on) were run and did not do.
        """
        audited = self._audited
        taken = {part.name: self._taken_from(part) for part in found.parts}
        if all(taken.values()):  # nothing else is lost that would tell which rows
            taken = {}
        fit = replace(self._fit, known=self._in_function(found.parts))
        parts = [one for part in found.parts for one in parted_by_line(part, audited, fit)]
        if all(is_given_later(part, audited, fit) for part in parts):  # some other line would have to
            fit = replace(fit, known=False)
        # What is lost as a whole comes before what has other values, and that before what is made of both: a generator
        # that the file has was drawn from otherwise since, as what is lost had it.
        # What the run makes of another part comes after that.
        parts.sort(
            key=lambda part: (
                is_given_later(part, audited, fit) or bool(made_of(part, parts, audited)),
                self._was_saved(part),
                part.role != OBJECT,
                part.role == "option",
            )
        )
        if audited.function and any(map(self._is_drawn_from_again, parts)):
            fit = fit.before_the_first_step
        causes = self._causes(parts, taken, fit, plain)
        if any(cause.beside for cause in causes) and not fit.apart:  # all in one place
            fit = replace(fit, apart=True)
            causes = self._causes(parts, taken, fit, plain)
        return Described(causes, fit.places)

    def _causes(self, parts: Iterable[Part], taken: dict[str, str], fit: Fit, plain: bool) -> tuple[Cause, ...]:
        parts = tuple(parts)

        def cause(part: Part) -> Cause:
            if taken.get(part.name):
                return self._taken(part, taken[part.name])
            if is_given_later(part, self._audited, fit):
                return self._made_later(part, fit)
            source = made_of(part, parts, self._audited)
            return self._set_anew(part, source) if source else self._cause(part, fit, plain)

        return tuple(map(cause, parts))

    def _in_function(self, parts: Iterable[Part]) -> bool:
        """Whether all parts are of the one function that is the whole run, where a run is one."""
        own = {self._audited.function, self._audited.function.removesuffix("()")}
        return all(function_of_leaf(part.leaves[0], self._audited.saved) in own for part in parts if part.leaves)

    def _is_drawn_from_again(self, part: Part) -> bool:
        """Whether a part is generators that had their saved state by loading, and then were drawn from."""
        return any(path in self._audited.ahead and self._audited.save.in_file(path) for path in part.leaves)

    def _was_saved(self, part: Part) -> bool:
        """Whether a part is generators of a function that the checkpoint has, as they were when it was written."""
        known = (self._audited.save.leaves.get(path) for path in part.leaves)
        saved = all(status is not None and status.status in (SAVED, STALE) for status in known)
        return saved and part.role == "generator" and bool(self._audited.function)

    # --- a cause that follows from others: no line saves it ------------------------------------------------------

    def _taken_from(self, part: Part) -> str:
        """The data that a function took all of a part from, for its next step; empty where it did not."""
        saved, loaded = self._audited.saved, self._audited.loaded
        if part.role != "memory" or not all(function_of_leaf(path, saved) for path in part.leaves):
            return ""
        found = [taken_from(path, saved, loaded) for path in part.leaves]
        return "" if None in found else few(dict.fromkeys(filter(None, found)))

    def _taken(self, part: Part, whole: str) -> Cause:
        how = f"other rows of {whole}, taken for the next step"
        advice = f"`{part.name}` is taken from {whole}, which both runs have: save what tells its place there."
        return replace(_bare(part), how=how, advice=(advice,), taken_from=whole)

    def _made_later(self, part: Part, fit: Fit) -> Cause:
        made = any(is_argument(leaf, self._audited.saved) for leaf in part.leaves)
        how = "made for the next step" if made else how_lost(part, self._audited)
        advice = sentence_on(part, fit, self._audited)
        return replace(_bare(part), how=how, advice=(advice,), taken_from=self._audited.function)

    def _set_anew(self, part: Part, source: str) -> Cause:
        return replace(_bare(part), how=how_set(source), advice=(sentence_on_options(part),), taken_from=source)

    # --- a cause with lines of its own, or a sentence in their place ---------------------------------------------

    def _cause(self, part: Part, fit: Fit, plain: bool) -> Cause:
        audited = self._audited
        how = how_lost(part, audited)
        named = not (self._handed is not None and audited.function) and not fit.says_where and not self._script
        found = advised(part, how, audited, self._reach, plain=plain, named=named)
        advice, filled = found.advice, self._filled(part, found.advice, fit)
        if filled.name:
            advice = in_place_of_state(advice, filled.name)
        elif advice.save:
            advice = under_free_keys(advice, audited.keys.encoded(part.leaves))
        late = self._late.holder(part.leaves) if self._late is not None else ""
        advice = fit.fitted(advice, bool(filled.beside), late=bool(late))
        made = _MADE.format(expressions.code(late, audited.saved.kinds)) if late and advice.load else ""
        sentences = (
            advice.sentence,
            *advice.further,
            _READ if is_mark(part, audited) else "",
            filled.why,
            self._whose_variables(part, advice),
            made,
            *self._in_time(part.name, fit),
            *library_advice(self._libraries, part, self._audited.saved, script=self._script),
        )
        return replace(
            _bare(part),
            leaves=part.leaves if part.name != DATA else (DATA,),
            how=how_beyond(part.name, audited) or how,
            beside=filled.beside,
            filled=filled.name or "state",
            restored=found.restored,
            save=advice.save,
            load=advice.load,
            file=advice.file,
            late=late,
            advice=tuple(map(expressions.with_own_state, filter(None, sentences))),
        )

    def _whose_variables(self, part: Part, advice: Advice) -> str:
        """In a script, which function has the variables that the lines name, where they go into another; else empty."""
        path = part.leaves[0]
        root = path.partition("/")[0]
        own = self._audited.saved.kinds.get(root, NO_KIND).name == VARIABLES
        if not (self._script and own):
            return ""
        function = function_of_leaf(path, self._audited.saved)
        both = zip((advice.save, advice.load), self._beside or ("", ""), strict=True)
        elsewhere = any(lines and there != function for lines, there in both)
        return _VARIABLES.format(expressions.of_function(function)) if elsewhere else ""

    def _filled(self, part: Part, advice: Advice, fit: Fit) -> _Filled:
        """What the lines of a part fill."""
        if not advice.save:
            return _Filled()
        beside = self._audited.keys.beside
        if self._handed is not None:
            return _Filled(self._handed.filled, beside if self._handed.file else "", self._where_handed(part))
        function = function_of_leaf(part.leaves[0], self._audited.saved)
        if self._script and not self._takes_keys:
            return _Filled(MORE, _BESIDE_FILE, _SEVERAL if self._audited.keys.in_folder else _BESIDE)
        if not self._takes_keys and not function:
            return _Filled(MORE, beside, _BESIDE)
        why = "" if function else fit.why_apart(advice)  # a function fills a checkpoint of its own
        return _Filled(MORE, beside, why) if why or fit.apart else _Filled()

    def _where_handed(self, part: Part) -> str:
        """Where the lines belong when a library writes the checkpoint, and what `self` is there."""
        words = self._handed.sentence if self._handed is not None else ""
        holder, name = self._reach.hooked(part.leaves[0]) if self._audited.function else ("", "")
        if not holder:
            return words
        return f"{words} In methods of {name}, `{expressions.code(holder, self._audited.saved.kinds)}` is `self`."

    def _in_time(self, name: str, fit: Fit) -> Iterator[str]:
        if name == DATA and self._audited.data_sources:
            root, sources = f"{self._audited.function}/", few(self._audited.data_sources)
            own = [path.removeprefix(root).partition("/")[0] for path in self._audited.data_sources]
            if made := sources_of(own, fit, self._audited):
                yield _MADE_OF.format(", ".join(f"`{each}`" for each in dict.fromkeys(own)), made)
            yield f"Restore {sources} before an iterator of the loader is made: what was drawn by then does not change."


def _bare(part: Part) -> Cause:
    """A part as a cause, with what trials say of it alone."""
    return Cause(part.name, part.leaves, part.role, necessary=part.necessary, without=part.without, alone=part.alone)
