"""Which of the user's functions lines go into: where his dict is built and read, or where a file of their own can be
written beside it."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from dora_repro.explain.advice.fitted import fitted, reached
from dora_repro.explain.advice.lost_state import Advice
from dora_repro.sides.evidence import Sides
from dora_repro.sides.places import APART, BUILT, LOAD, READ, SAVE, Place

Places = tuple[Place | None, Place | None]
_UNREACHED = "No attribute of the run leads to this: keep it on the run as well, and save it from there."
_ONCE = "once, right before its first forward pass after resuming (after all that it draws until then)"
_APART = "These go into a file of their own beside the checkpoint."


@dataclass(frozen=True)
class Fit:
    """The places that lines may go into.

    Attributes:
        methods: what saves, and what loads.
        dicts: where the dict that is saved is built, and where that which was read is; None where that is not known.
        apart: whether the lines go into a file of their own, in `methods`.
        known: whether it is known that all lines go there: those of a function's variables go into that function.
    """

    methods: Places = (None, None)
    dicts: Places = (None, None)
    apart: bool = False
    known: bool = True

    @classmethod
    def of(cls, sides: Sides, function: str) -> "Fit":
        """The places of two sides.

        Args:
            sides: the reference and the resumed side.
            function: the function that is the whole run; empty for a run with save() and load().
        """
        reference, resumed = sides.reference, sides.resumed
        if function:
            found = (reference.place(f"{SAVE} {function}"), reference.place(f"{LOAD} {function}"))
            return cls(found, found)
        loading = resumed if resumed.place(LOAD) is not None else reference
        return cls((reference.place(SAVE), loading.place(LOAD)), (reference.place(BUILT), loading.place(READ)))

    @property
    def places(self) -> Places:
        """Where lines of save and those of load go."""
        (saving, loading), (built, read) = self.methods, self.dicts
        if not self.known:
            return _in_names(saving), _in_names(loading)
        if not self.apart:
            return built or saving, read or loading
        same = read is not None and loading is not None and read.function == loading.function
        return saving, read if same else loading

    @property
    def before_the_first_step(self) -> "Fit":
        """The same with the lines of load where the run is about to do its first step, where they need no other name
        for what was read."""
        methods, dicts = self._late(self.methods), self._late(self.dicts)
        return replace(self, methods=methods, dicts=dicts)

    @staticmethod
    def _late(places: Places) -> Places:
        saving, loading = places
        if loading is None or loading.instead or not loading.where:
            return places
        return saving, replace(loading, where=_ONCE)

    @property
    def later(self) -> list[str]:
        """Variables that are given a value only after the lines of load."""
        loading = self.places[1]
        return loading.later if loading is not None else []

    @property
    def again(self) -> list[str]:
        """Variables that are given a value where the file is read, and another one after that."""
        loading = self.places[1]
        return loading.again if loading is not None else []

    def made_of(self, names: Iterable[str]) -> set[str]:
        """The variables that others of the same function are made of; none where that is not known."""
        loading = self.methods[1]
        made = loading.made if loading is not None else {}
        return {source for name in names for source in made.get(name, ())}

    @property
    def says_where(self) -> bool:
        """Whether both places say where in their function the lines go."""
        return all(place is not None and place.where for place in self.places)

    def fitted(self, advice: Advice, beside: bool, late: bool = False) -> Advice:
        """Advice with its lines in the names of where they go.

        Args:
            advice: in the names that advice is written with.
            beside: whether its lines of save fill a file of their own.
            late: whether its lines of load go into the first step, where what was read has no name that is known.
        """
        found = []
        places = replace(self, apart=self.apart or beside).places
        if late:
            places = places[0], self.methods[1]
        for some, inner, outer in zip((advice.save, advice.load), places, self.methods, strict=True):
            if not reached(inner, some) and not reached(outer, some):
                return replace(advice, save=(), load=(), sentence=f"{advice.sentence} {_UNREACHED}".strip())
            found.append(inner if reached(inner, some) else outer)
        return fitted(advice, *found)

    def why_apart(self, advice: Advice) -> str:
        """Why lines cannot fill the user's own dict, in words; empty where they can."""
        built, read = self.dicts
        if not advice.save:
            return ""
        if built is not None and not reached(built, advice.save):
            return f"{built.name} builds what is saved {_at(built)}, where no name leads to this. {_APART}"
        if read is not None and read.every_key:
            return f"{read.name} goes through all keys of what it reads, and takes no further ones. {_APART}"
        if read is not None and not reached(read, advice.load):
            return f"{read.name} reads the checkpoint, where no name leads to this. {_APART}"
        return ""


def _in_names(place: Place | None) -> Place | None:
    """A place that says only what modules are called there."""
    return None if place is None else Place(names=place.names, taken=place.taken)


def _at(place: Place) -> str:
    at = place.instead.removesuffix(APART)
    if at.startswith("`"):  # a statement among others of its lines
        return f"in {at}"
    return f"({at})" if at else place.where
