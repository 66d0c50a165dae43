"""What differs right after loading, and what of it is lost together: an object, an optimizer's moments, one kind."""

from collections import Counter
from collections.abc import Container, Iterable, Mapping, Sequence

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.components import ASKS, Holder, by_first_name, components_of, likely_of
from dora_repro.explain.trials.search_result import OBJECT, Part, Unit, all_of, name_of
from dora_repro.explain.trials.trial import BEYOND, DATA
from dora_repro.state.objects import around
from dora_repro.state.parameter_order import optimizer_of
from dora_repro.state.paths import ends
from dora_repro.trace import unnumbered

MANY = 3  # objects of a list are one loss
# Roles of leaves that come one per parameter or group: where all of a kind are lost, they are one loss.
_BY_PARAMETER = frozenset({"parameter", "buffer", "moment", "gradient", "option"})


class Losses:
    """The differences of two states.

    Args:
        differences: of the reference's state at the save and the resumed run's after loading.
        roles: role of every leaf of the reference at the save, by path.
        phase: phase of the first differing effect.
        objects: paths of objects that the resumed run lacks: each is put back whole, or not.
        given: those of the differences that are what the next step's modules are given, where no loader made it: one
            loss.
        marks: paths of the differences that mark a resume or were told otherwise: tried last.
        feeding: paths of what samplers of loaders hold.
        holder: tells the component of a leaf, by its path and role.
        divided: tells what a component that is needed is divided by first; None where its kinds are.
        frugal: each trial costs a process: what is missing in one object is one loss, as the entries of a buffer.

    Attributes:
        phase: without its number.
        frugal: as given.
        objects: path of a leaf -> path of the object that it is in, where the resumed run lacks all of that.
    """

    def __init__(
        self,
        differences: Iterable[LeafDifference],
        roles: Mapping[str, str],
        phase: str,
        *,
        objects: Sequence[str] = (),
        given: Unit = (),
        marks: Container[str] = (),
        feeding: Container[str] = (),
        holder: Holder = by_first_name,
        divided: Holder | None = None,
        frugal: bool = False,
    ):
        self.phase, self.frugal = unnumbered(phase), frugal
        self._feeding = feeding
        self._given, self._marks, self._holder, self._divided = given, marks, holder, divided
        self._differences = {difference.path: difference for difference in differences}
        self._wholes = Counter((role, *ends(path)) for path, role in roles.items())
        self._moments = Counter(holder(path, role) for path, role in roles.items() if role == "moment")
        inside = {path: at for path in self._differences if (at := around(path, objects)) is not None}
        lists = _lists_of_many(inside.values())
        # What differs in the other items of such a list is the same loss, and so is an empty list in their place.
        held = {path: f"{at}/*" for path in self._differences if (at := around(path, lists)) is not None}
        self.objects = {**inside, **held}
        if frugal:
            for path in [path for path in lists if path in self._differences]:  # after its entries
                self._differences[path] = self._differences.pop(path)

    def add(self, differences: Mapping[str, LeafDifference]) -> None:
        """Count further differences among them, by path."""
        self._differences |= differences

    def role(self, path: str) -> str:
        """The role of a leaf that differs; empty for any other."""
        return self._differences[path].role if path in self._differences else ""

    def only_resumed(self, path: str) -> bool:
        """Whether the resumed run alone has it."""
        return path in self._differences and self._differences[path].kind == "unexpected"

    def feeds(self, path: str) -> bool:
        """Whether a sampler of a loader holds it."""
        return path in self._feeding

    def components(self, without: Container[str]) -> dict[str, Unit]:
        """The leaves that differ, by component and role: the likely ones first.

        Args:
            without: paths that are left out.
        """
        found = (each for path, each in self._differences.items() if path not in without)
        return components_of(found, self.phase, self._holder, self.objects, self._marks, self._given)

    def part(self, leaves: Unit) -> Part:
        """What is lost with these leaves."""
        whole = self.objects.get(leaves[0])
        if whole is not None:
            return Part(whole, leaves, OBJECT)
        return Part(name_of(leaves), leaves, self.role(leaves[0]))

    # --- of some units, those that may do -------------------------------------------------------------------------

    def likely(self, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
        """Those that are likely behind the first difference."""
        return likely_of(units, self.phase, self.role, (*BEYOND, *self._given))

    def without_misplaced(self, units: tuple[Unit, ...], orders: Unit) -> tuple[Unit, ...]:
        """Those that are no moments which an order of parameters has misplaced.

        Args:
            units: the units.
            orders: groups whose parameters came in another order.
        """
        optimizers = tuple(f"{optimizer_of(path)}/" for path in orders if path in all_of(units))
        return tuple(unit for unit in units if not (self.role(unit[0]) == "moment" and unit[0].startswith(optimizers)))

    # --- a unit, divided: itself alone where it is one loss -------------------------------------------------------

    def by_object(self, unit: Unit) -> list[Unit]:
        """Its leaves by the objects that they are in, as `divided` tells them."""
        if self._divided is None or unit[0] in BEYOND or unit[0] in self.objects:
            return [unit]
        groups: dict[str, list[str]] = {}
        for path in unit:
            groups.setdefault(self._divided(path, self.role(path)), []).append(path)
        return [tuple(paths) for paths in groups.values()]

    def by_kind(self, unit: Unit) -> list[Unit]:
        """Its leaves by their kinds."""
        if self._is_one(unit) or self._lost_together(unit):
            return [unit]
        kinds: dict[tuple[str, str], list[str]] = {}
        for path in unit:
            kinds.setdefault(ends(path), []).append(path)
        return [tuple(paths) for paths in kinds.values()]

    def by_leaf(self, unit: Unit) -> list[Unit]:
        """Its leaves, each by itself."""
        role = self.role(unit[0])
        by_parameter = role in _BY_PARAMETER or unit[0].endswith(ASKS)
        whole = by_parameter and len(unit) == self._wholes[role, *ends(unit[0])]
        if whole or self._is_one(unit) or self._lost_together(unit):
            return [unit]
        return [(leaf,) for leaf in unit]

    def _is_one(self, unit: Unit) -> bool:
        """Whether it is batches, what the next step is given, an object, or all the moments of an optimizer."""
        return unit[0] == DATA or unit == self._given or unit[0] in self.objects or self._is_whole_optimizer(unit)

    def _is_whole_optimizer(self, unit: Unit) -> bool:
        """Whether all the moments of an optimizer are lost: one loss, and with a part of them it could not step."""
        if any(self._differences[path].kind != "missing" for path in unit if path in self._differences):
            return False
        return self.role(unit[0]) == "moment" and len(unit) == self._moments[self._holder(unit[0], "moment")]

    def _lost_together(self, unit: Unit) -> bool:
        """Whether trials are dear and all of a unit is missing in one object."""
        if not self.frugal or self._divided is None:
            return False
        if any(path not in self._differences or self._differences[path].kind != "missing" for path in unit):
            return False
        holders = {self._divided(path, self.role(path)) for path in unit}
        return len(holders) == 1 and "/" in holders.pop()


def _lists_of_many(objects: Iterable[str]) -> list[str]:
    """Lists that many of these objects are items of: one loss, as the list was not saved."""
    places = (path.rpartition("/") for path in dict.fromkeys(objects))
    number = Counter(holder for holder, _, name in places if name.isdigit())
    return [holder for holder, count in number.items() if count >= MANY]
