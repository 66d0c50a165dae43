"""Objects of a training library that no variable of a script leads to, under the library's own words for them."""

from collections.abc import Mapping
from dataclasses import dataclass

from dora_repro.contracts import Value
from dora_repro.state.attributes import attributes_of


@dataclass(frozen=True)
class Part:
    """One of them.

    Attributes:
        value: the object, or a plain value, when it was named.
        code: that reads it, in the library's words: `trainer.state`.
        holder: whose attribute it is, to put another one in its place; None where it is put back in place alone.
        attribute: the name of that attribute.
    """

    value: Value
    code: str
    holder: Value = None
    attribute: str = ""

    @property
    def current(self) -> Value:
        """What is there now: a plain attribute changes with the steps."""
        return (attributes_of(self.holder) or {}).get(self.attribute) if self.attribute else self.value


class Parts:
    """One root of a script's state: the parts that a library consists of, as `trainer/state`.

    A part has this name where no variable of the script leads to it directly: the script's own names come first.

    Args:
        parts: by name.
    """

    def __init__(self, parts: Mapping[str, Part]):
        self.parts = dict(parts)

    @property
    def coded(self) -> tuple[tuple[str, str], ...]:
        """(name, code that reads it) of each part."""
        return tuple((name, part.code) for name, part in self.parts.items())
