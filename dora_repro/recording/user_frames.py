"""Which line of the user's code is behind what torch runs now, and which library function is in between.

The user's code is what belongs neither to torch, nor to an installed package, nor to Python's own library, nor to this
kit, whose study and faults count as a user's. Where the project is itself installed, the outermost of its lines that
this kit called is taken. Frames are read, and nothing else is touched.
"""

import linecache
import os
import sysconfig
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any, TypeAlias

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import COMPILER, FRAMES_BETWEEN, MODULE_CALL, TorchDispatchMode

_KIT = os.path.dirname(os.path.dirname(os.path.abspath(__file__))) + os.sep
_TORCH = os.path.dirname(os.path.abspath(torch.__file__)) + os.sep
_STANDARD = tuple(sysconfig.get_path(name) + os.sep for name in ("stdlib", "platstdlib"))
_INSTALLED = (f"{os.sep}site-packages{os.sep}", f"{os.sep}dist-packages{os.sep}")

# The run's own work goes through these modules; what the rest of these two rooms runs only observes it.
_LOOKING = (f"state{os.sep}", f"recording{os.sep}")
_PASSING = {f"recording{os.sep}{name}.py" for name in ("hooks", "replay", "operators", "drawing", "user_frames")}
_USERS = (f"subject{os.sep}", f"faults{os.sep}")

_PHASES = {
    MODULE_CALL: "forward",
    ("torch.autograd", "backward"): "backward",
    ("torch.autograd", "grad"): "backward",
    ("torch.optim.optimizer", "Optimizer.profile_hook_step.<locals>.wrapper"): "update",
}


@dataclass(frozen=True, slots=True)
class Caller:
    """The line of the user's code that is running, and what it called.

    Attributes:
        file: of the innermost frame of the user's code; empty where there is none.
        line: the number of the line; 0 where there is none.
        text: the line itself; empty where the source is out of reach.
        function: the innermost library function below that line, as `torch.nn.functional.dropout`; else empty.
        phase: `forward` (in a module), `backward`, `update` (in an optimizer's step) or `batch` (in a loader), by the
            innermost frame that belongs to one; else empty.
    """

    file: str = ""
    line: int = 0
    text: str = ""
    function: str = ""
    phase: str = ""


@dataclass(frozen=True, slots=True)
class _Place:
    """What is known of a code object, determined once.

    Attributes:
        owner: `user`, `library` (torch, Python), `package` (another installed one), `kit`, or `looking` (the kit
            itself observing).
        function: as of `Caller`.
        phase: as of `Caller`.
    """

    owner: str
    function: str
    phase: str


_places: dict[CodeType, _Place] = {}


def caller(frame: FrameType | None) -> Caller | None:
    """The caller of what runs in a frame; None where the kit itself is observing (a digest that copies a tensor)."""
    function = phase = ""
    user: FrameType | None = None
    package: FrameType | None = None
    while frame is not None and not (user and phase):
        place = _places.get(frame.f_code) or _place(frame)
        phase = phase or place.phase
        if user is None:
            if place.owner == "looking":
                return None
            if place.owner == "user" or (place.owner == "kit" and package):
                user = package if place.owner == "kit" else frame
            elif not function:
                function = place.function
            if place.owner == "package":
                package = frame
        frame = frame.f_back
    if user is None:
        return Caller(function=function, phase=phase)
    return Caller(user.f_code.co_filename, user.f_lineno, line_text(user), function, phase)


def is_user(frame: FrameType) -> bool:
    """Whether a frame runs the user's code."""
    return (_places.get(frame.f_code) or _place(frame)).owner == "user"


def innermost_user(frame: FrameType | None) -> FrameType | None:
    """The frame itself or the nearest around it that runs the user's code."""
    while frame is not None and not is_user(frame):
        frame = frame.f_back
    return frame


def line_text(frame: FrameType, line: int | None = None) -> str:
    """The text of a frame's present line, or of a given line of its file; empty where the source is out of reach."""
    number = frame.f_lineno if line is None else line
    return linecache.getline(frame.f_code.co_filename, number or 0, frame.f_globals).strip()


def _place(frame: FrameType) -> _Place:
    code = frame.f_code
    module = str(frame.f_globals.get("__name__", ""))
    owner = _owner(code.co_filename, module, code.co_qualname)
    named = owner in ("library", "package") and module not in FRAMES_BETWEEN and not module.startswith(COMPILER)
    phase = _PHASES.get((module, code.co_qualname), "batch" if module == "torch.utils.data.dataloader" else "")
    return _places.setdefault(code, _Place(owner, f"{module}.{code.co_qualname}" if named else "", phase))


def _owner(file: str, module: str, function: str) -> str:
    if file.startswith("<"):  # frozen, or made from a string; `python -c` and the prompt are the user's
        return "user" if module == "__main__" else "library"
    file = os.path.abspath(file)
    if file.startswith(_KIT):
        inside = file[len(_KIT) :]
        if inside.startswith(_USERS):
            return "user"
        passing = inside in _PASSING or function == "Recorder.step" or not inside.startswith(_LOOKING)
        return "kit" if passing else "looking"
    if file.startswith(_TORCH):
        return "library"
    if any(part in file for part in _INSTALLED):
        return "package"
    return "library" if file.startswith(_STANDARD) else "user"


Operation: TypeAlias = Callable[..., Any]
"""An operator of torch, or a higher-order operator."""

Handle: TypeAlias = Callable[[Operation, tuple[Any, ...], dict[str, Any]], Any]


class Dispatched(TorchDispatchMode):
    """Passes every operator of this thread to a function, which must run it: `handle(func, args, kwargs)`.

    Autograd applies the mode on the threads that it runs backward on, too. What `torch.compile` has compiled is run as
    it is, and not taken apart. In a process forked meanwhile (a loader's worker) the mode does nothing.
    """

    supports_higher_order_operators = True

    def __init__(self, handle: Handle):
        super().__init__()
        self._handle, self._process = handle, os.getpid()

    @classmethod
    def ignore_compile_internals(cls) -> bool:
        return True  # else `torch.compile` would give way to eager mode, and so to other bytes

    def __torch_dispatch__(
        self, func: Operation, types: Value, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if os.getpid() != self._process:
            return func(*args, **(kwargs or {}))
        return self._handle(func, args, kwargs or {})


def draws_random_numbers(func: Operation) -> bool:
    """Whether an operator draws from a generator, by its tags."""
    return torch.Tag.nondeterministic_seeded in getattr(func, "tags", ())
