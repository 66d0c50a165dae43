"""What a search begins with: all that differs, in components, the likely ones first.

A component is what is lost together as a rule: the moments of an optimizer, the options of its groups, what an
attribute of the run holds. Where all hang under one function, as in a script, that attribute is the function: moments
and options are then told apart by their optimizer, and the rest of a role is one component, divided by objects where it
is needed.
"""

from collections.abc import Callable, Container, Iterable, Mapping, Sequence
from itertools import takewhile

from dora_repro.difference import LeafDifference

Holder = Callable[[str, str], str]  # of a leaf, by its path and role

MARKS = "what marks a resume"
GIVEN = "what the next step is given"
_DEEP = 3  # names: function, object, and an object of that, as the schedule of a trainer
_BELOW = {"moment": 2, "option": 2}  # names below the optimizer: of a parameter or a group, and of the leaf
ASKS = "/requires_grad"  # what the leaf of a parameter ends with that says whether it trains
_ALONE = ("rng", "flags")

# Roles that are likely behind a first difference in a phase come first, so that the cause is found soon.
_LIKELY = {
    "batch": ("generator", "memory", "data"),
    "forward": ("parameter", "buffer", "generator", "structure", "flag"),
    "backward": ("gradient", "structure", "flag", "parameter"),
    "update": ("moment", "option", "memory", "gradient"),
    "schedule": ("option", "memory"),
    "step_end": ("memory", "generator", "buffer", "parameter"),
}


def by_first_name(path: str, role: str) -> str:
    """The holder of a leaf by the first name of its path; each generator and each flag by itself."""
    first = path.partition("/")[0]
    return path if first in _ALONE else first


def by_optimizer(path: str, role: str) -> str:
    """The holder of a leaf by the first name of its path; of moments and options the optimizer."""
    return by_object(path, role) if role in _BELOW else by_first_name(path, role)


def by_object(path: str, role: str) -> str:
    """The holder of a leaf as the object under a function's name, or one of its attributes, as far as names tell."""
    first, *names = path.split("/")
    if first in _ALONE:
        return path
    below = _BELOW.get(role, 2 if path.endswith(ASKS) else 1)
    above = names[: max(0, len(names) - below)]
    return "/".join((first, *takewhile(lambda name: not name.isdigit(), above[: _DEEP - 1])))


def components_of(
    differences: Iterable[LeafDifference],
    phase: str,
    holder: Holder = by_first_name,
    objects: Mapping[str, str] = {},
    marks: Container[str] = (),
    given: Container[str] = (),
) -> dict[str, tuple[str, ...]]:
    """The paths of differences by component and role.

    Args:
        differences: of the reference's state at the save and the resumed run's after loading.
        phase: phase of the first differing effect.
        holder: tells a leaf's component.
        objects: path -> object that the resumed run lacks, which is a component by itself.
        marks: paths that mark a resume, or were told otherwise: rarely a cause, so one component, and tried last.
        given: paths of what the next step's modules are given: one component, and tried first.
    """
    groups: dict[tuple[str, str], list[str]] = {}
    for each in differences:
        whole = objects.get(each.path)
        key = (whole, "object") if whole is not None else (holder(each.path, each.role), each.role)
        key = (GIVEN, "") if each.path in given else (MARKS, "") if each.path in marks else key
        groups.setdefault(key, []).append(each.path)
    likely = _LIKELY.get(phase, ())
    # What comes first is preferred; other names of an object late, since a value may do without them, and gradients,
    # which most steps clear before they use them.
    places = {
        "gradient": len(likely) + 1,
        **{role: place for place, role in enumerate(likely)},
        "alias": len(likely) + 1,
    }
    order = sorted(groups, key=lambda key: (key[0] == MARKS, key[0] != GIVEN, places.get(key[1], len(likely))))
    return {", ".join(filter(None, key)): tuple(groups[key]) for key in order}


def likely_of(
    units: Sequence[tuple[str, ...]], phase: str, role: Callable[[str], str], also: Container[str]
) -> tuple[tuple[str, ...], ...]:
    """The units that are likely behind a first difference, each by its first leaf.

    Args:
        units: of leaves that are put back together.
        phase: phase of the first differing effect.
        role: tells the role of a leaf.
        also: leaves that are likely wherever the runs differ.
    """
    roles = [name for name in _LIKELY.get(phase, ()) if name != "memory"]  # which is all plain variables of a script
    return tuple(unit for unit in units if unit[0] in also or role(unit[0]) in roles)
