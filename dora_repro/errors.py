"""The exceptions of this kit: what its user can fix, and what is a defect of its own."""

from dora_repro.printable import printable


class BadInput(ValueError):
    """A file, name, shape or number that cannot be worked with.

    The message names the thing, the value got and the next move; the command line prints it alone (no traceback)
    and exits with code 2. What a terminal would obey or hide is escaped in it: most messages quote somebody's files.

    Args:
        message: one sentence or several lines.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(message))


class MissingExtra(ImportError):
    """An optional dependency is not installed; the message says what to install.

    Args:
        module: that could not be imported.
        extra: of this package that brings it.
        needed_for: what needs it, as the subject of a sentence.
    """

    def __init__(self, module: str, extra: str, needed_for: str) -> None:
        super().__init__(
            f"{needed_for} needs the package {module!r}, which is not installed: pip install 'dora-repro[{extra}]'"
        )


class Defect(RuntimeError):
    """The kit failed at its own work while it watched a run. The run is not at fault, and no verdict is given."""
