"""A training that is one function, as a run that is stepped from outside."""

import shutil
import weakref
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from dora_repro.contracts import Value
from dora_repro.driving.arguments import NEWEST, OUT, Places, changed
from dora_repro.driving.drive import At, Drive, What
from dora_repro.driving.folders import Folders
from dora_repro.driving.no_checkpoint import no_checkpoint
from dora_repro.driving.written import Moment, Written, newest
from dora_repro.errors import BadInput
from dora_repro.state.keys import key_text
from dora_repro.state.places import forget_place, name_place

_AT = ("update", "batch")


def stepwise(
    function: Callable[..., object],
    *args: Value,
    at: At = "update",
    resumed: Mapping[str, Value] | Callable[[str], object] | None = None,
    **kwargs: Value,
) -> "Stepwise":
    """A training that is one function, as what `check` checks: it runs until its next step, and waits there.

    The function trains, evaluates and saves as it always does. Each side of a check calls it with a folder of its own
    in place of `{out}`, and what it has written there is its checkpoint. Its local variables, and those of the
    functions that it calls, are state like any other: `train_model/best_loss`, `train_model/train_epoch()/total`.

    Args:
        function: the training function.
        args: its arguments. `{out}` in any string or path among them, also inside dicts, lists, namespaces and
            dataclasses, is the folder that it writes its checkpoints to.
        at: where a step ends: "update", before the forward pass that follows an update; "batch", before every training
            forward pass, so that a step is one batch of several that are accumulated.
        resumed: what is different when it is called to resume. None: nothing, it finds its checkpoint in `{out}` by
            itself. A dict: parameters of the function, or entries of the one argument that is a configuration, with
            their values then; `{newest}` in a value is the youngest checkpoint in `{out}`. A function: it is called
            with the path of that folder in place of the training function.
        kwargs: its keyword arguments, treated as `args`.

    Returns:
        a factory of runs, for `check`, `every_step` and `twice`.

    Raises:
        BadInput: no argument says `{out}`, or `at` is unknown.

    Example:
        ::

            config = {**config, "save_path": "{out}"}
            training = dora_repro.stepwise(train_model, config, resumed={"resume_from": "{newest}"})
            print(dora_repro.check(training, steps=8, save_at=4))
    """
    if at not in _AT:
        raise BadInput(f"at={at!r}: a step ends at 'update' or at 'batch'")
    return Stepwise(function, args, dict(kwargs), at, resumed)


class Stepwise:
    """Builds runs of one training function: what `stepwise` returns."""

    def __init__(
        self,
        function: Callable[..., object],
        args: tuple[Value, ...],
        kwargs: dict[str, Value],
        at: At,
        resumed: Mapping[str, Value] | Callable[[str], object] | None,
    ):
        self._function, self._args, self._kwargs = function, args, kwargs
        self._at, self._resumed = at, resumed
        self._folders = Folders()
        places = Places({OUT: str, NEWEST: str})
        args_there, kwargs_there = places.fill((args, kwargs))
        self._name = getattr(function, "__name__", type(function).__name__)
        if OUT not in places.met:
            raise BadInput(
                f"stepwise({self._name}, …): no argument says where it writes: put '{{out}}' in place of the folder, "
                f"as in stepwise({self._name}, {{**config, 'save_path': '{{out}}'}})"
            )
        if isinstance(resumed, Mapping):
            changed(function, args_there, kwargs_there, resumed)  # raises for a name that it does not have

    def __repr__(self) -> str:
        return f"stepwise({self._name})"

    def __call__(self) -> "StepwiseRun":
        """Call the function, up to its first step."""
        out = self._folders.make()
        places = Places({OUT: lambda: str(out)})
        args, kwargs = places.fill((self._args, self._kwargs))
        return self._begun(out, lambda: self._function(*args, **kwargs))

    @property
    def told(self) -> tuple[str, ...] | None:
        """The arguments and entries that a resumed call is given otherwise; None where a function decides."""
        return None if callable(self._resumed) else tuple(self._resumed or ())

    def resume(self, path: str) -> "StepwiseRun":
        """Call the function to resume from what a run of it had saved to `path`, up to its first step.

        Raises:
            BadInput: `{newest}` was asked for, and there is no checkpoint in the folder.
        """
        out = self._folders.make()
        shutil.copytree(path, out, dirs_exist_ok=True)  # with the times of the files: the youngest stays so
        if callable(self._resumed):
            call = self._resumed
            return self._begun(out, lambda: call(str(out)), resumed=True)
        places = Places({OUT: lambda: str(out), NEWEST: lambda: self._newest(out)})
        args, kwargs, changes = places.fill((self._args, self._kwargs, dict(self._resumed or {})))
        args, kwargs = changed(self._function, args, kwargs, changes)
        return self._begun(out, lambda: self._function(*args, **kwargs), resumed=True)

    def _newest(self, out: Path) -> str:
        found = newest(out)
        if found is None:
            raise BadInput(f"{self._name}: there is no checkpoint in its folder to resume from")
        return str(found)

    def _begun(self, out: Path, call: Callable[[], object], *, resumed: bool = False) -> "StepwiseRun":
        inside = _Inside(self._name, out, self._folders, Drive(call, self._at), resumed)
        run = _class_for(self._function)(inside)
        run.advance()
        return run


class StepwiseRun:
    """One call of a training function. Its one attribute, by the function's name, is the suspended call.

    Args:
        inside: what it knows besides its state.
    """

    def __init__(self, inside: "_Inside"):
        vars(self)[key_text(inside.name)] = inside.drive.greenlet
        _INSIDE[self] = inside
        name_place(self, str(inside.out), OUT)
        weakref.finalize(self, _end, inside.drive, inside.out)

    def batches_in_hand(self) -> list[Value]:
        """What loaders have handed out for the next step: a step ends before a forward pass, when that is there."""
        return list(_INSIDE[self].drive.batches)

    def hand_over(self, batches: Sequence[Value]) -> None:
        """Hold another run's batches in hand in place of its own, where a generator that looks ahead holds these."""
        _INSIDE[self].drive.hand_over(batches)

    def advance(self) -> bool:
        """Run up to the next step; False where the function has returned."""
        return _INSIDE[self].advance()

    def step(self) -> None:
        """Do one step.

        Raises:
            StopIteration: the function has returned.
        """
        before = _INSIDE[self].steps
        self.advance()
        if _INSIDE[self].steps == before:
            raise StopIteration

    def save(self, path: str) -> None:
        """Copy what the function has written.

        Raises:
            BadInput: it wrote no checkpoint after the step that was done last, or inside it.
        """
        inside = _INSIDE[self]
        wrote = list(inside.written.checkpoints().values())
        if Moment(inside.steps) not in wrote:
            raise BadInput(no_checkpoint(inside.name, inside.at, inside.steps, wrote, inside.resumed))
        shutil.copytree(inside.out, path)

    def load(self, path: str) -> None:
        """Not called: a side that resumes calls the function anew (`Stepwise.resume`)."""
        raise NotImplementedError("a training function resumes by being called: Stepwise.resume(path)")


class _Inside:
    """What a run knows besides its state.

    Args:
        name: of the function.
        out: the folder that it writes to; it goes when the run does.
        folders: what made that.
        drive: the call.
        resumed: whether it was called to resume.

    Attributes:
        steps: number of steps that it has done.
    """

    def __init__(self, name: str, out: Path, folders: Folders, drive: Drive, resumed: bool):
        self.name, self.out, self.drive, self.resumed, self._folders = name, out, drive, resumed, folders
        self.at = drive.at
        self.written = Written(out)
        self.steps = -1  # it has not come to its first one
        self._passes_before = 0
        drive.going_on = self._look_inside

    def advance(self) -> bool:
        """Run up to the next step; False where the function has returned."""
        drive = self.drive
        before, self._passes_before = self._progress, drive.passes
        waits = False
        try:
            waits = drive.advance()
        finally:
            if waits or self._progress > before or self.steps < 0:
                self.steps += 1
            self.written.look(Moment(self.steps))
        return waits

    @property
    def _progress(self) -> int:
        """What grows with each step, the last one included, after which the function does not wait."""
        return self.drive.updates if self.at == "update" else self.drive.passes

    def _look_inside(self, what: What) -> None:
        """Note what was written since the step began."""
        passes = self.drive.passes
        moment = Moment(self.steps + 1, passes - self._passes_before, passes, what == "update", what == "forward")
        self.written.look(moment)


_INSIDE: "weakref.WeakKeyDictionary[StepwiseRun, _Inside]" = weakref.WeakKeyDictionary()


def _class_for(function: Callable[..., object]) -> type[StepwiseRun]:
    """A class of runs that has the function, so that variables of modules which its code uses are found by it."""
    inner: Any = getattr(function, "__func__", function)
    names = {"function": staticmethod(inner), "__module__": getattr(inner, "__module__", __name__)}
    return type("StepwiseRun", (StepwiseRun,), names)


def _end(drive: Drive, out: Path) -> None:
    drive.close()
    forget_place(str(out))
    Folders.give_back(out)
