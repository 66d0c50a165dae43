"""What the kit does in the midst of a run: where that fails, the run is not at fault, and is not called so."""

import traceback
from types import TracebackType

from dora_repro.errors import Defect
from dora_repro.state.attributes import comes_from, is_around_runs, is_users_module

_OWN = __name__.partition(".")[0]  # whose exceptions mean something


class _OwnWork:
    """A context that raises `Defect` in place of an exception of the kit's code, or of a library that it called.

    What code of the user's raised, which the kit may call there (`components()`, an advised line), comes out as it is.
    """

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Exception) and not comes_from(type(error), (_OWN,)) and _raised_by_the_kit(trace):
            raise Defect(f"recording failed: {type(error).__name__}: {error}") from error


own_work = _OwnWork()


def _raised_by_the_kit(trace: TracebackType | None) -> bool:
    """Whether, of all frames that are of no library, the innermost is of the kit's."""
    for frame, _ in reversed([*traceback.walk_tb(trace)]):
        module = str(frame.f_globals.get("__name__", "__main__"))  # a line of code that was given has none
        if is_around_runs(module):
            return True
        if is_users_module(module):
            return False
    return False
