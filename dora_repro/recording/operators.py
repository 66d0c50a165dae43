"""Every tensor operator of one step, in order of execution, with digests of what went in and what came out.

Two such logs show the first operator that returned different bytes for equal inputs (`explain/logs/operators.py`).
Operators that only view memory (`view`) or reserve it (`empty`) compute nothing and are left out.
Modules are logged as well, when they return.

Not seen: what runs without torch's dispatcher (numpy, `torch.from_numpy`, a kernel called by hand), in other processes,
on threads that Python code starts, and inside an operator, a scripted or a compiled function.
"""

import threading
from bisect import bisect_right
from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn.modules.module import register_module_forward_hook, register_module_forward_pre_hook

from dora_repro.contracts import Value
from dora_repro.private_names.of_cpython import get_frame
from dora_repro.private_names.of_torch import current_autograd_node, next_node_number, node_number, parameters_of
from dora_repro.recording import jsonl
from dora_repro.recording.memory import BufferDigests
from dora_repro.recording.operands import (
    Blank,
    digest_of,
    digests_in,
    form_of,
    known_of,
    read_or_not,
    split_arguments,
    strides_of,
    tensors_in,
)
from dora_repro.recording.user_frames import Caller, Dispatched, Operation, caller
from dora_repro.state.digest import digest_plain
from dora_repro.state.snapshot import run_roots
from dora_repro.state.tree import flatten
from dora_repro.state.walk import walk

FORMAT = "dora_repro/operators/1"


@dataclass(frozen=True, slots=True)
class Operator:
    """One operator, or one call of a module, as it ran. Digests are hexadecimal; an empty one stands for bytes that
    must not be compared (memory that nothing was written to, or a tensor that cannot be read).

    Attributes:
        kind: `operator` or `module`.
        name: `aten.addmm.default`, or the module's class.
        module: path of the innermost module running; in backward, of the one whose forward made the node.
        phase: `batch`, `forward`, `backward`, `update` or `other`.
        inputs: digests of the tensors that went in, before it ran.
        outputs: digests of what came out or was changed.
        arguments: digest of all arguments but tensors and generators; of a module, of its parameters, buffers and mode.
        layout: digest of the strides of the inputs.
        random: whether it draws random numbers.
        file: of the user's line that was running; empty where there is none.
        line: its number; 0 where there is none.
        text: the line itself; empty where there is none.
        function: the innermost library function below that line.
    """

    kind: str
    name: str
    module: str
    phase: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    arguments: str
    layout: str
    random: bool
    file: str
    line: int
    text: str
    function: str


def read(path: str | Path) -> list[Operator]:
    """Read what `OperatorLog.write` wrote.

    Raises:
        BadInput: no such file, or not a whole log.
    """
    return jsonl.read(path, FORMAT, Operator)


def module_names(run: Value) -> dict[int, str]:
    """id -> path (`model/visual.3.out_proj`) of every module of a run.

    Raises:
        BadInput: the run has no attributes.
    """
    roots = walk(run_roots(run), moving_only=True).modules
    named = ((path, name, module) for path, root in roots.items() for name, module in root.named_modules())
    return {id(module): f"{path}/{name}" if name else path for path, name, module in named}


class OperatorLog(AbstractContextManager["OperatorLog"]):
    """Logs what runs on this thread while the context is open, as one step of a run, and changes nothing.

    Args:
        module_names: id -> path of the modules; others are logged by their class.

    Attributes:
        operators: in order of execution; a module when it has returned.
    """

    def __init__(self, module_names: Mapping[int, str] | None = None):
        self.operators: list[Operator] = []
        self._names = module_names or {}
        self._mode = Dispatched(self._run)
        self._blank = Blank()
        self._digests = BufferDigests()
        self._running: list[tuple[torch.nn.Module, str, tuple[str, ...], str]] = []
        self._outermost: list[torch.nn.Module] = []
        self._owners: dict[int, str] = {}  # id of a parameter of theirs -> path of its module
        # Nodes of the graph are numbered as they are made: from each of these numbers on, in which module.
        self._numbers: list[int] = []
        self._paths: list[str] = []

    def __enter__(self) -> "OperatorLog":
        self._thread = threading.get_ident()
        self._hooks = (
            register_module_forward_pre_hook(self._begin_module),
            register_module_forward_hook(self._end_module, with_kwargs=True, always_call=True),
        )
        self._mode.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._mode.__exit__(*error)
        for hook in self._hooks:
            hook.remove()
        self._running.clear()
        self._outermost.clear()

    def write(self, path: str | Path) -> None:
        """Write the log as lines of JSON, atomically."""
        jsonl.write(path, FORMAT, self.operators)

    # --- operators -----------------------------------------------------------------------------------------------

    def _run(self, func: Operation, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        known = known_of(func)
        called_by = None if known.left_out else caller(get_frame(0))
        if called_by is None:
            result = func(*args, **kwargs)
            if known.reserves:
                self._blank.reserved(tensors_in(result))
            return result
        tensors, plain = split_arguments(known, args, kwargs)
        blank = self._blank
        inputs = [
            read_or_not(form_of, tensor) if way == "over" or blank.holds(tensor) else read_or_not(digest_of, tensor)
            for tensor, way in tensors
        ]
        arguments = read_or_not(digest_plain, plain)
        layout = read_or_not(strides_of, [tensor for tensor, _ in tensors])
        phase, module = self._place(called_by, args)
        result = func(*args, **kwargs)
        for tensor, way in tensors:
            if way == "over":
                blank.written(tensor)
        made = [value for _, value in flatten(result) if value is not None]
        seen = {id(value) for value in made}
        made += [t for t, way in tensors if (way or known.writes_unsaid) and id(t) not in seen]
        outputs = ["" if blank.holds(value) else read_or_not(digest_of, value) for value in made]
        self._note(
            Operator("operator", known.name, module, phase, tuple(inputs), tuple(outputs), arguments, layout,
                     known.random, called_by.file, called_by.line, called_by.text, called_by.function)
        )  # fmt: skip
        return result

    def _note(self, operator: Operator) -> None:
        self.operators.append(operator)

    def _place(self, called_by: Caller, args: tuple[Any, ...]) -> tuple[str, str]:
        """The phase, and the module that is running, or whose forward made the node that runs."""
        running = self._running[-1][1] if self._running else ""
        node = current_autograd_node()
        if node is not None:
            # A forward pass done once more for its activations has modules running of its own.
            return "backward", running if called_by.phase == "forward" else self._module_of(node)
        if called_by.phase in ("forward", "backward"):
            return called_by.phase, running
        if torch.is_grad_enabled() and any(t.requires_grad for t in args if isinstance(t, torch.Tensor)):
            return "forward", running  # a loss, computed by functions; or what a closure of the optimizer does
        if called_by.phase == "update" and not running and args and isinstance(args[0], torch.Tensor):
            running = self._owner(args[0])
        return called_by.phase or "other", running

    def _module_of(self, node: torch.autograd.graph.Node) -> str:
        parameter = getattr(node, "variable", None)
        if parameter is not None:  # where a gradient is accumulated
            return self._owner(parameter)
        place = bisect_right(self._numbers, node_number(node)) - 1
        return self._paths[place] if place >= 0 else ""

    def _owner(self, parameter: torch.Tensor) -> str:
        while self._outermost:
            for module in self._outermost.pop().modules():
                for own in parameters_of(module).values():
                    self._owners.setdefault(id(own), self._name(module))
        return self._owners.get(id(parameter), "")

    # --- modules -------------------------------------------------------------------------------------------------

    def _begin_module(self, module: torch.nn.Module, args: tuple[Any, ...]) -> None:
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        if not self._running:
            self._outermost.append(module)
        self._running.append((module, self._name(module), digests_in(args), self._state(module)))
        self._turn()

    def _end_module(self, module: torch.nn.Module, args: tuple[Any, ...], *rest: Value) -> None:
        """Torch passes its keywords and output; where it raised, the output (None) alone."""
        if torch.compiler.is_compiling() or threading.get_ident() != self._thread:
            return
        if all(module is not running for running, *_ in self._running):
            return  # it began before this log did
        while (begun := self._running.pop())[0] is not module:
            pass  # one that raised before its own hook was reached
        self._turn()
        _, path, inputs, state = begun
        by = caller(get_frame(0)) or Caller()
        phase = "forward" if current_autograd_node() is None else "backward"
        bytes_in_and_out = (*inputs, *digests_in(rest[:-1])), digests_in(rest[-1])
        self._note(
            Operator("module", type(module).__name__, path, phase, *bytes_in_and_out, state, "", False,
                     by.file, by.line, by.text, function="")
        )  # fmt: skip

    def _turn(self) -> None:
        self._numbers.append(next_node_number())
        self._paths.append(self._running[-1][1] if self._running else "")

    def _name(self, module: torch.nn.Module) -> str:
        return self._names.get(id(module), type(module).__name__)

    def _state(self, module: torch.nn.Module) -> str:
        tensors = (*module.parameters(), *module.buffers())
        return digest_plain([module.training, *(read_or_not(self._digests, tensor) for tensor in tensors)]).hex()
