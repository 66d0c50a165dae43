"""Lines of code that keep one kind of state: for the user's save and load, in plain torch.

Lines of save fill a dict `state`, lines of load read it; objects have the names that the run gives them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import takewhile

import numpy as np
import torch

from dora_repro.explain.switches import flag_lines

LAST = (
    "Restore generators last, after everything that draws: building modules, splitting data, making an iterator of a "
    "loader."
)
_OF_SCHEDULER = frozenset(
    {"last_epoch", "base_lrs", "_last_lr", "_step_count", "T_max", "T_cur", "num_bad_epochs", "cooldown_counter"}
    | {"total_steps", "lr_lambdas", "milestones", "step_size"}
)
_OF_SCALER = frozenset({"growth_tracker", "growth_interval", "growth_factor", "backoff_factor"})


@dataclass(frozen=True)
class Advice:
    """What to add.

    Attributes:
        save, load: lines of code; sentence: what they cannot say.
    """

    save: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    sentence: str = ""


class Mender:
    """Advice on leaves of one cause.

    Args:
        paths: of the leaves; value: of the first; kinds: as for `advise`.
        in_file: whether their values are in the checkpoint; lost: whether the resumed run has nothing in their place.
    """

    def __init__(
        self, paths: tuple[str, ...], value: object, kinds: Mapping[str, object], in_file: bool, lost: bool
    ):
        self._paths, self._first, self._value, self._kinds = paths, paths[0], value, kinds
        self._in_file, self._lost = in_file, lost
        self._root = self._first.partition("/")[0]

    def of(self, role: str) -> Advice:
        if self._root == "flags" or role == "flag":
            return self._flags()
        if role == "generator" or self._root == "rng":
            return self._generators()
        if role == "alias":
            return self._alias()
        if role in ("moment", "option"):
            return self._whole(self._optimizer(), "Load it after the model was built, and into an optimizer over "
                               "the same parameters in the same order.")  # fmt: skip
        if role == "gradient":
            return self._gradients()
        if role in ("parameter", "buffer"):
            return self._weights(role)
        if role == "structure":
            return self._structure()
        return self._memory()

    def _code(self, path: str) -> str:
        """A path as an expression: `self.feed.sampler.epoch`."""
        code, at = "self", ""
        for part in path.removeprefix("run.").split("/"):
            inside = getattr(self._kinds.get(at), "name", "")
            keys = getattr(self._kinds.get(at), "keys", None) or ()
            at = f"{at}/{part}" if at else part
            part = part.replace("~1", "/").replace("~0", "~")
            if inside in ("list", "tuple", "deque") or (not inside and part.isdigit()):
                code += f"[{part}]"
            elif held := re.fullmatch(r"group\.(\d+)\.params\.(\d+)", part):
                return f'{code}.param_groups[{held[1]}]["params"][{held[2]}]'  # a tensor that only the optimizer has
            elif self._kinds and not inside and "." in part:
                code += _dotted(part)
            elif inside or not part.isidentifier():
                code += f"[{dict(keys).get(part, part)!r}]"
            else:
                code += f".{part}"
        return code

    # --- objects with a state_dict ------------------------------------------------------------------------------

    def _whole(self, path: str, sentence: str = "", strict: str = "") -> Advice:
        code, key = self._code(path), f'state["{path}"]'
        return Advice((f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key}{strict})",), sentence)

    def _weights(self, role: str) -> Advice:
        owner = self._first.rpartition("/")[0]
        if role == "buffer" and not self._in_file:  # it may be one that no state_dict has
            code, key = self._code(owner), f'state["{owner} buffers"]'
            return Advice(
                (f"{key} = {{name: b.clone() for name, b in {code}.named_buffers()}}",),
                (f"for name, b in {code}.named_buffers(): b.copy_({key}[name])",),
                f"{code}.state_dict() has them too, but for buffers registered with persistent=False.",
            )
        # What hangs on an object that is no module has no dots in its name; copying in place is right for both.
        if not owner or owner in self._kinds or (role == "parameter" and not any(map(_is_dotted, self._paths))):
            return self._in_place()
        return self._whole(owner, "strict=True raises where a key is lacking or has another name.", ", strict=True")

    def _optimizer(self) -> str:
        """The path of the optimizer that the first leaf belongs to."""
        before, group, _ = self._first.partition("/group.")
        if group:
            return before
        state = self._first.rpartition("/")[0]  # of one parameter: a dict, which may hold others
        while state.rpartition("/")[0] in self._kinds:
            state = state.rpartition("/")[0]
        return state.rpartition("/")[0] if state in self._kinds else self._root

    def _in_place(self) -> Advice:
        """Tensors that hang on the run itself: their values are copied, so that an optimizer goes on stepping them."""
        pairs = [(f'state["{path}"]', self._code(path)) for path in self._paths]
        return Advice(
            tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
            tuple(f"{code}.data.copy_({key})" for key, code in pairs),
            "Copy into the tensor that is there: an optimizer holds that very tensor.",
        )

    # --- generators and flags -----------------------------------------------------------------------------------

    def _generators(self) -> Advice:
        lines = [self._generator(path, self._value if path == self._first else None) for path in self._paths]
        save, load = zip(*lines, strict=True)
        arrays = isinstance(self._value, tuple) and any(":" in str(name) for name in self._value[::2])
        wide = any("bit_generator.state" in line for line in save) and arrays
        return Advice(tuple(save), tuple(load), f"{LAST} {_ARRAYS}" if wide else LAST)

    def _generator(self, path: str, value: object) -> tuple[str, str]:
        key = f'state["{path}"]'
        if path in _GLOBAL:
            get, put = _GLOBAL[path]
            return f"{key} = {get}", put.format(key)
        if path.startswith("rng/torch."):
            backend, _, index = path.removeprefix("rng/torch.").partition(":")
            if backend == "mps":
                return f"{key} = torch.mps.get_rng_state()", f"torch.mps.set_rng_state({key})"
            device = index or "0"
            return (
                f"{key} = torch.{backend}.get_rng_state({device})",
                f"torch.{backend}.set_rng_state({key}, {device})",
            )
        code = self._code(path)
        kind = self._value if value is None else value  # several of one cause are of one kind
        if isinstance(kind, tuple) and kind[:1] == ("bit_generator",):
            if "has_gauss" in kind:  # numpy.random.RandomState
                return f"{key} = {_LISTED.format(f'{code}.get_state()')}", f"{code}.set_state({key})"
            return f"{key} = {code}.bit_generator.state", f"{code}.bit_generator.state = {key}"
        if isinstance(kind, tuple):
            return f"{key} = {code}.getstate()", f"{code}.setstate({key})"
        return f"{key} = {code}.get_state()", f"{code}.set_state({key})"

    def _flags(self) -> Advice:
        save, load = [], []
        for path in self._paths:
            flag, key = path.removeprefix("flags/"), f'state["{path}"]'
            get, put = flag_lines(flag, key)
            if put:
                save.append(f"{key} = {get}")
                load.append(put)
        sentence = "Better: set it at the start of the program, the same each time."
        return Advice(tuple(save), tuple(load), sentence if save else f"Set {self._first} the same in both processes.")

    # --- models ---------------------------------------------------------------------------------------------------

    def _alias(self) -> Advice:
        target = str(self._value).removeprefix("= ") if self._value is not None else ""
        if not target:
            return Advice(sentence=f"Make {', '.join(self._paths)} the same object again after loading, as it was.")
        sentence = (
            f"`{self._first}` is the very object `{target}`: tie them after loading, before an optimizer is made."
        )
        return Advice((), (f"{self._inside(self._first)} = {self._inside(target)}",), sentence)

    def _inside(self, path: str) -> str:
        """The code of a module or tensor by its name in a module, which may have dots."""
        owner, _, last = path.rpartition("/")
        if not owner or owner in self._kinds or "." not in last:
            return self._code(path)
        return self._code(owner) + _dotted(last)

    def _gradients(self) -> Advice:
        owner = self._first.removesuffix("/grad").rpartition("/")[0]
        if not owner or owner in self._kinds or not any(_is_dotted(path.removesuffix("/grad")) for path in self._paths):
            pairs = [(f'state["{path}"]', f"{self._code(path.removesuffix('/grad'))}.grad") for path in self._paths]
            save, load = zip(*((f"{key} = {code}", f"{code} = {key}") for key, code in pairs), strict=True)
            return Advice(save, load, _WINDOW)
        code, key = self._code(owner), f'state["{owner} gradients"]'
        return Advice(
            (f"{key} = {{name: p.grad for name, p in {code}.named_parameters() if p.grad is not None}}",),
            (f"for name, p in {code}.named_parameters(): p.grad = {key}.get(name)",),
            _WINDOW,
        )

    def _structure(self) -> Advice:
        above, _, last = self._first.rpartition("/")
        if last == "training":
            whole = _common([path.rpartition("/")[0] for path in self._paths])
            code, key = self._inside(whole), f'state["{whole} training"]'
            return Advice(
                (f"{key} = {{name: m.training for name, m in {code}.named_modules()}}",),
                (f"for name, m in {code}.named_modules(): m.training = {key}[name]",),
                f"Or call {code}.train() before the loop goes on, and after every evaluation.",
            )
        if last == "requires_grad":
            owner = above.rpartition("/")[0]
            freeze = "Freeze the same parameters before the optimizer is made, in a new run and in a resumed one."
            if not owner or owner in self._kinds or not _is_dotted(above):
                pairs = [(f'state["{path}"]', self._code(path)) for path in self._paths]
                save = tuple(f"{key} = {code}" for key, code in pairs)
                return Advice(save, tuple(f"{code} = {key}" for key, code in pairs), freeze)
            code, key = self._code(owner), f'state["{owner} requires_grad"]'
            return Advice(
                (f"{key} = {{name: p.requires_grad for name, p in {code}.named_parameters()}}",),
                (f"for name, p in {code}.named_parameters(): p.requires_grad_({key}[name])",),
                freeze,
            )
        if re.search(r"/group\.\d+/params$", self._first):
            where = self._code(self._optimizer())
            return Advice(
                sentence=f"Make {where} over the same parameters in the same order before its state is loaded: a "
                "state_dict tells them by position alone."
            )
        if isinstance(self._value, (torch.Tensor, list, tuple)) or type(self._value) in (int, float):
            kept = self._memory()
            why = "A plain attribute of a module is not in its state_dict(): save it, or register it as a buffer."
            return Advice(kept.save, kept.load, f"{why} {kept.sentence}".strip())
        return Advice(sentence=f"Build the run with the same settings: {', '.join(self._paths[:3])} differ.")

    # --- all else ---------------------------------------------------------------------------------------------------

    def _memory(self) -> Advice:
        names = {path.rpartition("/")[2] for path in self._paths}
        above = self._first.rpartition("/")[0]
        if above and above not in self._kinds and self._root not in self._kinds:
            if names & _OF_SCHEDULER or "sched" in self._root.lower():
                whole = self._root if "sched" in self._root.lower() else above
                return self._whole(whole, "Save it after its step(), and load it after the optimizer.")
            if names & _OF_SCALER or "scaler" in self._root.lower():
                return self._whole(self._root if "scaler" in self._root.lower() else above)
        if names == {"spawned"}:
            return Advice(sentence="Pickle the numpy generator whole: what spawn() gives next is not in its state.")
        at = self._holder()
        code, key = self._code(at), f'state["{at}"]'
        sentence = ""
        if "sampler" in at and names & {"epoch"}:
            sentence = "Set the epoch before the loader's iterator is made: an iterator's order is fixed then."
        if at not in self._paths or (isinstance(self._value, (list, dict, set))):
            return Advice((f"{key} = copy.deepcopy({code})",), (f"{code} = copy.deepcopy({key})",), sentence)
        pairs = [(f'state["{path}"]', self._code(path)) for path in self._paths]
        if isinstance(self._value, torch.Tensor) and not self._lost:
            return self._in_place()
        if isinstance(self._value, torch.Tensor):  # there is none to copy into, and no optimizer holds it
            return Advice(
                tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
                tuple(f"{code} = {key}" for key, code in pairs),
            )
        if isinstance(self._value, np.ndarray):  # torch.load refuses numpy's by default: as tensors and numbers
            if all(path in self._kinds for path in self._paths):  # numpy's scalars
                return Advice(
                    tuple(f"{key} = {code}.item()" for key, code in pairs),
                    tuple(f"{code} = type({code})({key})" for key, code in pairs),
                )
            return Advice(
                tuple(f"{key} = torch.from_numpy({code}.copy())" for key, code in pairs),
                tuple(f"{code}[...] = torch.as_tensor({key}).numpy()" for key, code in pairs),
            )
        return Advice(
            tuple(f"{key} = {code}" for key, code in pairs), tuple(f"{code} = {key}" for key, code in pairs), sentence
        )

    def _holder(self) -> str:
        """The list or dict that holds all leaves, where there is one; else the first leaf."""
        above = self._first
        while above := above.rpartition("/")[0]:
            of_all = all(path.startswith(f"{above}/") for path in self._paths)
            guessed = not self._kinds and len(self._paths) > 1 and all("." in p.rpartition("/")[2] for p in self._paths)
            if of_all and (above in self._kinds or guessed):
                return above
        return self._first


_WINDOW = "Or save only where an accumulation window has ended, when there are no gradients to keep."

# torch.load refuses numpy's arrays by default (weights_only=True); numpy takes lists back.
_LISTED = "[part.tolist() if isinstance(part, np.ndarray) else part for part in {}]"
_ARRAYS = "Its state holds arrays of numpy, which torch.load reads with weights_only=False alone."

_GLOBAL = {
    "rng/torch.cpu": ("torch.get_rng_state()", "torch.set_rng_state({})"),
    "rng/numpy": (_LISTED.format("np.random.get_state()"), "np.random.set_state({})"),
    "rng/python": ("random.getstate()", "random.setstate({})"),
}


def _is_dotted(path: str) -> bool:
    """Whether a tensor's name has dots: it lies in a module inside a module."""
    return "." in path.rpartition("/")[2]


def _dotted(name: str) -> str:
    """The code of what a module has under a name with dots."""
    module, _, last = name.rpartition(".")
    return f'.get_submodule("{module}")' + (f".{last}" if last.isidentifier() else f"[{last}]")


def _common(paths: list[str]) -> str:
    """The one of these that all others lie in, or else what all have in common."""
    parts = [path.split("/") for path in paths]
    shared = takewhile(lambda names: len(set(names)) == 1, zip(*parts, strict=False))
    return "/".join(names[0] for names in shared) or paths[0]
