"""The options of a check as users write them: typed, completed by editors, and refused by name where misspelt."""

import difflib
import functools
import inspect
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import ParamSpec, TypedDict, TypeVar, get_type_hints

from dora_repro.checks.request import Request, as_tolerance
from dora_repro.contracts import Factory

Parameters = ParamSpec("Parameters")
Result = TypeVar("Result")


class SideOptions(TypedDict, total=False):
    """How the sides of a check run and what is compared; `check` describes each."""

    ignore: str | Iterable[str]
    tolerance: float | str | None
    control: str
    timeout: float
    in_process: bool
    folder: str | Path | None
    values: str | Iterable[str]


class Options(SideOptions, total=False):
    """All options of a check."""

    explain: bool


DEFAULTS: Options = {
    "ignore": (),
    "tolerance": None,
    "control": "auto",
    "timeout": 3600.0,
    "in_process": False,
    "folder": None,
    "values": (),
    "explain": True,
}


def request_of(
    factory: Factory,
    steps: int,
    points: Iterable[int],
    options: Options,
    *,
    title: str,
    expected_loss: Iterable[str] = (),
) -> Request:
    """The request that a user's options amount to.

    Args:
        factory: as for `check`.
        steps: as for `check`.
        points: the steps to save after.
        options: as the user gave them.
        title: the name of the report.
        expected_loss: globs of what the caller knows to be left out of the checkpoint on purpose.

    Raises:
        BadInput: an impossible request.
    """
    given: Options = {**DEFAULTS, **options}
    folder = given["folder"]
    return Request(
        factory,
        steps,
        tuple(points),
        ignore=_globs(given["ignore"]),
        tolerance=as_tolerance(given["tolerance"]),
        control=given["control"],
        timeout=given["timeout"],
        in_process=given["in_process"],
        folder=Path(folder) if folder is not None else None,
        values=_globs(given["values"]),
        explain=given["explain"],
        title=title,
        expected_loss=tuple(expected_loss),
    )


def _globs(given: str | Iterable[str]) -> tuple[str, ...]:
    return (given,) if isinstance(given, str) else tuple(given)


def lists_its_options(function: Callable[Parameters, Result]) -> Callable[Parameters, Result]:
    """A decorator: the signature lists each of `Options`, and a misspelt one is refused with the nearest name.

    Type checkers read `**options: Unpack[Options]` themselves; this is for notebooks and `help()`, which do not.

    Raises:
        TypeError: (when the function is called) an option that it does not have.
    """
    signature = _with_options(inspect.signature(function))

    @functools.wraps(function)
    def called(*args: Parameters.args, **kwargs: Parameters.kwargs) -> Result:
        for name in kwargs:
            if name not in signature.parameters:
                near = difflib.get_close_matches(name, signature.parameters, n=1, cutoff=0.5)
                hint = f": did you mean {near[0]!r}?" if near else f": it has {', '.join(signature.parameters)}"
                raise TypeError(f"{function.__name__}() got an unexpected option {name!r}{hint}")
        return function(*args, **kwargs)

    called.__signature__ = signature  # type: ignore[attr-defined]  # the documented way to tell inspect.signature
    return called


def _with_options(signature: inspect.Signature) -> inspect.Signature:
    """The signature with the entries of `Options` in place of `**options`."""
    known, annotations = list(signature.parameters.values()), get_type_hints(Options)
    if known and known[-1].kind is inspect.Parameter.VAR_KEYWORD:
        del known[-1]
        known += [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=annotations[name])
            for name, default in DEFAULTS.items()
            if name not in signature.parameters
        ]
    return signature.replace(parameters=known)
