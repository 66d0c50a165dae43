"""Advised lines of code, run on a run: they are generated here, from paths and keys, and are shown to be copied."""

import copy
import io
import random
import sys
from pathlib import Path

import numpy as np
import torch

from dora_repro.checkpoint.reading import read
from dora_repro.checkpoint.sharded import is_sharded
from dora_repro.explain.trials.trial import Lines
from dora_repro.state.module_variables import PREFIX, Variable, variables_of
from dora_repro.state.snapshot import run_roots


def fill(lines: Lines, run: object) -> dict[str, object]:
    """What the lines of save make of a run, as it comes back from a file."""
    state: dict[str, object] = {}
    exec("\n".join(lines.save), {**_names(run), "state": state})
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=False)  # written in this very function


def read_into(run: object, lines: Lines, filled: dict[str, object], load: Path) -> None:
    """Run the lines of load.

    Args:
        filled: what the lines of save made; load: the checkpoint, as `load(path)` was given it.
    """
    states: dict[str, object] = {}
    names = _names(run)  # and those that a line makes for the next
    for file, line in lines.load:
        if file not in states:
            states[file] = _state(load.parent / (file or load.name))
            if not file and isinstance(states[file], dict):
                states[file] = {**states[file], **filled}
        names["state"] = states[file]
        exec(line, names)
    for variable in _variables(run).values():
        variable.namespace[variable.name] = names[variable.name]  # a line that assigned one did so here


def _state(file: Path) -> object:
    if not file.is_file() and not is_sharded(file):
        return {}  # a folder of files: each line that reads one names it
    return read(file)


def _names(run: object) -> dict[str, object]:
    """What the lines may name besides `state`."""
    here = run if not callable(getattr(run, "components", None)) else _Named(run)
    of_modules = {one.name: one.namespace[one.name] for one in _variables(run).values()}
    return {**sys.modules, **of_modules, "copy": copy, "np": np, "random": random, "torch": torch, "self": here}


def _variables(run: object) -> dict[str, Variable]:
    """The variables of the run's own module; others are reached by the name of theirs."""
    found = variables_of(type(run))
    return {name: one for name, one in found.items() if name == f"{PREFIX}{one.name}" and one.name not in _TAKEN}


_TAKEN = ("copy", "np", "random", "torch", "self", "state")  # names of the lines' own


class _Named:
    """A run by the names that its `components()` has for its objects."""

    def __init__(self, run: object):
        object.__setattr__(self, "_run", run)

    def __getattr__(self, name: str) -> object:
        roots = run_roots(self._run)
        return roots[name] if name in roots else getattr(self._run, name)

    def __setattr__(self, name: str, value: object) -> None:
        getattr(self._run, name)  # a name that is no attribute is nothing that a line of load could set
        setattr(self._run, name, value)
