"""Lines of code that keep one kind of state: for the user's save and load, in plain torch.

Lines of save fill a dict `state`, lines of load read it; objects have the names that the run gives them.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch

from dora_repro.explain.addresses import Addresses, common, dotted, quoted
from dora_repro.explain.rereading import Rereading
from dora_repro.explain.switches import ARRAYS, flag_lines, generator_lines, has_arrays
from dora_repro.state.snapshot import SavedLeaf

MANY = 8  # lines, of which each copies one tensor
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
        further: sentences on what lines alone do not mend.
        file: of a checkpoint of several files, the one that the lines of load read; empty for that at `path`.
    """

    save: tuple[str, ...] = ()
    load: tuple[str, ...] = ()
    sentence: str = ""
    further: tuple[str, ...] = ()
    file: str = ""


class Mender:
    """Advice on leaves of one cause.

    Args:
        paths: of the leaves.
        saved, kinds: the reference's leaves at the save, and what its containers were.
        reread: how the checkpoint is read, where it has the leaves' values; None where it has not.
        lost: whether the resumed run has nothing of their kind in their place.
    """

    def __init__(
        self,
        paths: tuple[str, ...],
        saved: Mapping[str, SavedLeaf],
        kinds: Mapping[str, object],
        reread: Rereading | None,
        lost: bool,
    ):
        self._paths, self._first, self._saved, self._kinds = paths, paths[0], saved, kinds
        self._value = self._value_of(self._first)
        self._reread, self._lost = reread, lost
        self._root = self._first.partition("/")[0]
        self._addresses = Addresses(kinds)
        self._code, self._inside = self._addresses.code, self._addresses.inside

    def _value_of(self, path: str) -> object:
        leaf = self._saved.get(path)
        return None if leaf is None else leaf.value

    def _key(self, path: str) -> str:
        """Where a leaf's value is: in the file, or under its own path in what the lines of save fill."""
        return self._reread.value(path) if self._reread else f"state[{quoted(path)}]"

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

    # --- objects with a state_dict ------------------------------------------------------------------------------

    def _whole(self, path: str, sentence: str = "") -> Advice:
        """All of an object that has a state_dict."""
        code = self._code(path)
        key = self._reread.whole(self._first, path) if self._reread else f"state[{quoted(path)}]"
        return Advice((f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key})",), sentence)

    def _weights(self, role: str) -> Advice:
        owner = self._first.rpartition("/")[0]
        if role == "buffer" and not self._reread:  # it may be one that no state_dict has
            code, key = self._code(owner), f"state[{quoted(f'{owner} buffers')}]"
            return Advice(
                (f"{key} = {{name: b.clone() for name, b in {code}.named_buffers()}}",),
                (f"for name, b in {code}.named_buffers(): b.copy_({key}[name])",),
                f"{code}.state_dict() has them too, but for buffers registered with persistent=False.",
            )
        # What hangs on an object that is no module has no dots in its name; copying in place is right for both.
        if not owner or owner in self._kinds or (role == "parameter" and not any(map(dotted, self._paths))):
            return self._in_place()
        return self._module(owner)

    def _module(self, owner: str) -> Advice:
        code = self._code(owner)
        if self._reread is None:
            key = f"state[{quoted(owner)}]"
            return Advice(
                (f"{key} = {code}.state_dict()",), (f"{code}.load_state_dict({key}, strict=True)",), _STRICT
            )
        held = self._reread.module(self._first, owner)
        if not held.named_alike and len(self._paths) > MANY:
            name, key = self._first.removeprefix(f"{owner}/"), self._key(self._first)
            return Advice(
                sentence=f"The file has other names: `{name}` of {code} is {key}. Load it with what belongs to the "
                "function that wrote it, or rename its keys."
            )
        if not held.named_alike:
            return self._in_place()
        if held.complete:
            return Advice((), (*held.before, f"{code}.load_state_dict({held.code}, strict=True)"), _STRICT)
        loaded = f"left_out = {code}.load_state_dict({held.code}, strict=False).unexpected_keys"
        return Advice(
            (),
            (*held.before, loaded, "assert not left_out, left_out"),
            "strict=False leaves as it is what the file has not, and passes over keys that the model has not: "
            "no such key may be left.",
        )

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
        pairs = [(self._key(path), self._code(path)) for path in self._paths]
        return Advice(
            tuple(f"{key} = {code}.detach().clone()" for key, code in pairs),
            tuple(f"{code}.data.copy_({key})" for key, code in pairs),
            "Copy into the tensor that is there: an optimizer holds that very tensor.",
        )

    # --- generators and flags -----------------------------------------------------------------------------------

    def _generators(self) -> Advice:
        save, load, wide = [], [], False
        for path in self._paths:
            key = self._reread.generator(path) if self._reread else f"state[{quoted(path)}]"
            get, put = generator_lines(path, self._value_of(path), self._code(path), key)
            save.append(f"{key} = {get}")
            load.append(put)
            wide = wide or has_arrays(self._value_of(path), get)
        return Advice(tuple(save), tuple(load), f"{LAST} {ARRAYS}" if wide else LAST)

    def _flags(self) -> Advice:
        save, load = [], []
        for path in self._paths:
            flag, key = path.removeprefix("flags/"), self._key(path)
            get, put = flag_lines(flag, key)
            if put:
                save.append(f"{key} = {get}")
                load.append(put)
        sentence = "Better: set it at the start of the program, the same each time."
        return Advice(tuple(save), tuple(load), sentence if save else f"Set {self._first} the same in both processes.")

    # --- models ---------------------------------------------------------------------------------------------------

    def _alias(self) -> Advice:
        targets = {path: str(self._value_of(path) or "").removeprefix("= ") for path in self._paths}
        if not all(targets.values()):
            return Advice(sentence=f"Make {', '.join(self._paths)} the same object again after loading, as it was.")
        first = targets[self._first]
        if f"{(owner := self._optimizer())}/group.0/params" in self._saved:
            return Advice(
                sentence=f"{self._code(owner)} and {self._code(first.rpartition('/')[0].rpartition('/')[0])} step the "
                f"very same tensors until the save: {_REFERENCES} load_state_dict(copy.deepcopy(…))."
            )
        sentence = f"`{self._first}` is the very object `{first}`: tie them after loading, before an optimizer is made."
        ties = tuple(f"{self._inside(path)} = {self._inside(to)}" for path, to in targets.items())
        kept_apart = self._first.rpartition("/")[0] in self._kinds  # in a dict, and not in a model
        return Advice((), ties, sentence, (f"Or {_REFERENCES} copy.deepcopy(….state_dict()).",) if kept_apart else ())

    def _gradients(self) -> Advice:
        owner = self._first.removesuffix("/grad").rpartition("/")[0]
        if not owner or owner in self._kinds or not any(dotted(path.removesuffix("/grad")) for path in self._paths):
            pairs = [(self._key(path), f"{self._code(path.removesuffix('/grad'))}.grad") for path in self._paths]
            save, load = zip(*((f"{key} = {code}", f"{code} = {key}") for key, code in pairs), strict=True)
            return Advice(save, load, _WINDOW)
        code, key = self._code(owner), f"state[{quoted(f'{owner} gradients')}]"
        return Advice(
            (f"{key} = {{name: p.grad for name, p in {code}.named_parameters() if p.grad is not None}}",),
            (f"for name, p in {code}.named_parameters(): p.grad = {key}.get(name)",),
            _WINDOW,
        )

    def _structure(self) -> Advice:
        above, _, last = self._first.rpartition("/")
        if last == "training":
            whole = self._outermost(common(path.rpartition("/")[0] for path in self._paths) or above)
            code, key = self._inside(whole), f"state[{quoted(f'{whole} training')}]"
            return Advice(
                (f"{key} = {{name: m.training for name, m in {code}.named_modules()}}",),
                (f"for name, m in {code}.named_modules(): m.training = {key}[name]",),
                f"Or call {code}.train() before the loop goes on, and after every evaluation.",
            )
        if last == "requires_grad":
            owner = above.rpartition("/")[0]
            freeze = "Freeze the same parameters before the optimizer is made, in a new run and in a resumed one."
            if not owner or owner in self._kinds or not dotted(above):
                pairs = [(self._key(path), self._code(path)) for path in self._paths]
                save = tuple(f"{key} = {code}" for key, code in pairs)
                return Advice(save, tuple(f"{code} = {key}" for key, code in pairs), freeze)
            code, key = self._code(owner), f"state[{quoted(f'{owner} requires_grad')}]"
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
        if self._keyed(at):
            return self._by_parameter(at)
        code, key = self._code(at), f"state[{quoted(at)}]" if at != self._first else self._key(at)
        sentence = ""
        if "sampler" in at and names & {"epoch"}:
            sentence = "Set the epoch before the loader's iterator is made: an iterator's order is fixed then."
        if at not in self._paths or (isinstance(self._value, (list, dict, set))):
            return Advice((f"{key} = copy.deepcopy({code})",), self._refilled(at, code, key), sentence)
        pairs = [(self._key(path), self._code(path)) for path in self._paths]
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

    def _keyed(self, path: str) -> dict[str, str]:
        """Text -> path of the object, for a dict whose keys are objects."""
        return dict(getattr(self._kinds.get(path), "keyed", ()))

    def _by_parameter(self, path: str) -> Advice:
        """A dict whose keys are a model's parameters: other objects in the next process, of the same names."""
        if self._reread:
            pairs = [(self._code(leaf), self._key(leaf)) for leaf in self._paths]
            return Advice((), tuple(f"{code} = {key}" for code, key in pairs))
        model = common(at.rpartition("/")[0] for at in self._keyed(path).values())
        if not model or f"{model}/training" not in self._saved:
            return Advice(sentence=f"Keep {self._code(path)} by names: its keys are objects, others in each process.")
        code, module, key = self._code(path), self._code(model), f"state[{quoted(path)}]"
        named = f"for name, p in {module}.named_parameters() if"
        return Advice(
            (f"{key} = {{name: {code}[p] {named} p in {code}}}",),
            (f"{code}.update({{p: {key}[name] {named} name in {key}}})",),
            f"The keys of {code} are parameters: other objects in the next process, under the same names.",
        )

    def _refilled(self, path: str, code: str, key: str) -> tuple[str, ...]:
        """A container gets what it held; the same one, since something else may have it, as a sampler has its order."""
        name = getattr(self._kinds.get(path), "name", type(self._value_of(path)).__name__)
        if self._lost or name not in ("list", "dict", "set"):
            return (f"{code} = copy.deepcopy({key})",)
        if name == "list":
            return (f"{code}[:] = copy.deepcopy({key})",)
        return f"{code}.clear()", f"{code}.update(copy.deepcopy({key}))"

    def _holder(self) -> str:
        """The list or dict that holds all leaves, where there is one; else the first leaf."""
        above = self._first
        while above := above.rpartition("/")[0]:
            if above in self._kinds and all(path.startswith(f"{above}/") for path in self._paths):
                return above
        return self._first

    def _outermost(self, path: str) -> str:
        """The path of the outermost module that a module lies in; its own where it lies in none."""
        parts = path.split("/")
        above = ("/".join(parts[:index]) for index in range(1, len(parts)))
        return next((module for module in above if f"{module}/training" in self._saved), path)


_REFERENCES = "a state_dict holds references. If it is to be one of its own, take a copy:"
_STRICT = "strict=True raises where a key is lacking or has another name."
_WINDOW = "Or save only where an accumulation window has ended, when there are no gradients to keep."
