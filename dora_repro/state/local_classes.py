"""Classes that no module has: a function makes them each time that it runs, so each run has its own.

They cannot be imported, but they can be found: by the name of the module and of the function that made them.
"""

from dora_repro.state.attributes import name_of_type


def is_named(kind: type, name: str) -> bool:
    """Whether a class has this name, as `name_of_type` gives it."""
    return name.endswith(kind.__name__) and name_of_type(kind) == name


def youngest(name: str, base: type = object, below: bool = True) -> type | None:
    """The class of a name that was made last, of those that exist in this process; None where there is none.

    Args:
        name: `module.function.<locals>.Class`, as `name_of_type` gives it.
        base: a class that it derives from.
        below: whether it may derive from a class that derives from that one.
    """
    found: type | None = None
    waiting, known = [base], {base}
    for above in waiting:  # which grows: those of one depth come in the order in which they were made
        kinds: list[type] = type.__subclasses__(above)
        for kind in kinds:
            if is_named(kind, name):
                found = kind
            if below and kind not in known:
                known.add(kind)
                waiting.append(kind)
    return found
