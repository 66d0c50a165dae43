"""What is recorded of a private name."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class PrivateName:
    """One private name of another project.

    Attributes:
        name: dotted, from the module down; of an attribute of instances, below their class.
        read_in: the version whose source it was read in.
        used_for: what the kit does with it.
    """

    name: str
    read_in: str
    used_for: str


def listed(read_in: str, names: dict[str, str]) -> tuple[PrivateName, ...]:
    """Names (name -> what it is used for) that were read in one version."""
    return tuple(PrivateName(name, read_in, used_for) for name, used_for in names.items())
