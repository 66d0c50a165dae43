"""Lines of code that would have kept what was lost: for the user's save and load, in plain torch.

Lines of save fill a dict `state`, lines of load read it; objects have the names that the run gives them. Which lines
those are is told by the role of the leaves and by their type, never by where the fault was planted.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch

from dora_repro.explain.trial import DATA, DRAWS

EXCEPTION = "run/exception"
_LAST = (
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


def advise(
    name: str,
    leaves: tuple[str, ...],
    role: str,
    in_file: bool,
    value: object = None,
    kinds: Mapping[str, object] | None = None,
) -> Advice:
    """What to add to save and load, so that a cause is one no more.

    Args:
        name: of the cause; leaves: their paths; role: of them.
        in_file: whether their values are in the checkpoint, so that only the lines of load are lacking.
        value: the first leaf's saved value: it tells torch's, numpy's and Python's generators apart, and names what an
            alias stands for.
        kinds: path -> kind of container (`Snapshot.kinds`): to index lists and dicts; without them a name that is no
            identifier is an item, and any other an attribute.
    """
    if name in _WITHOUT_STATE:
        return _WITHOUT_STATE[name]
    paths = leaves or (name,)
    found = _Adviser(paths, value, kinds or {}).of(role)
    if not in_file or not found.save:
        return found
    keep = "The values are in the checkpoint already: load them."
    return Advice((), found.load, f"{keep} {found.sentence}".strip())


_WITHOUT_STATE = {
    DATA: Advice(
        ('state["loader"] = self.loader.state_dict()  # torchdata.stateful_dataloader.StatefulDataLoader',),
        ('self.loader.load_state_dict(state["loader"])  # before iter(self.loader)',),
        "Save and restore where the data stands: the epoch, the state of the sampler or of the loader's generator at "
        "the epoch's beginning, and how many batches were used. torchdata's StatefulDataLoader does it in place of "
        "DataLoader; with DataLoader, restore the generator, make the iterator anew and take the used batches from it.",
    ),
    DRAWS: Advice(
        sentence="Something draws another number of random numbers after resuming than it did before. " + _LAST + " "
        "Between that and the next step draw nothing (no evaluation, no sample, no new model)."
    ),
    EXCEPTION: Advice(
        sentence="The resumed run raises: make load() run through on a file that save() wrote, without a try that "
        "swallows what it raises."
    ),
}


class _Adviser:
    """Advice on leaves of one cause."""

    def __init__(self, paths: tuple[str, ...], value: object, kinds: Mapping[str, object]):
        self._paths, self._first, self._value, self._kinds = paths, paths[0], value, kinds
        self._root = self._first.partition("/")[0]

    def of(self, role: str) -> Advice:
        if self._root == "flags" or role == "flag":
            return self._flags()
        if role == "generator" or self._root == "rng":
            return self._generators()
        if role == "alias":
            return self._alias()
        if role in ("moment", "option"):
            return self._whole(_optimizer(self._first), "Load it after the model was built, and into an optimizer over "
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
        for part in path.split("/"):
            inside = getattr(self._kinds.get(at), "name", "")
            keys = getattr(self._kinds.get(at), "keys", None) or ()
            at = f"{at}/{part}" if at else part
            part = part.replace("~1", "/").replace("~0", "~")
            if inside in ("list", "tuple", "deque") or (not inside and part.isdigit()):
                code += f"[{part}]"
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
        if "/" not in self._first or getattr(self._kinds.get(self._root), "name", ""):
            return self._in_place()
        sentence = "strict=True raises where a key is lacking or has another name."
        if role == "buffer":
            sentence += " A buffer that is registered with persistent=False is in no state_dict: save it by itself."
        return self._whole(self._root, sentence, ", strict=True")

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
        return Advice(tuple(save), tuple(load), _LAST)

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
                return f"{key} = {code}.get_state()", f"{code}.set_state({key})"
            return f"{key} = {code}.bit_generator.state", f"{code}.bit_generator.state = {key}"
        if isinstance(kind, tuple):
            return f"{key} = {code}.getstate()", f"{code}.setstate({key})"
        return f"{key} = {code}.get_state()", f"{code}.set_state({key})"

    def _flags(self) -> Advice:
        save, load = [], []
        for path in self._paths:
            flag, key = path.removeprefix("flags/"), f'state["{path}"]'
            get, put = _flag(flag, key)
            if put:
                save.append(f"{key} = {get}")
                load.append(put)
        sentence = "Better: set it at the start of the program, the same each time."
        return Advice(tuple(save), tuple(load), sentence if save else f"Set {self._first} the same in both processes.")

    # --- models ---------------------------------------------------------------------------------------------------

    def _module(self, path: str) -> str:
        """The code of a module or tensor inside a root module, by its name there."""
        root, _, inside = path.partition("/")
        module, _, last = inside.rpartition(".")
        inner = f'.get_submodule("{module}")' if module else ""
        return f"{self._code(root)}{inner}.{last}" if last.isidentifier() else f'{self._code(root)}["{inside}"]'

    def _alias(self) -> Advice:
        target = str(self._value).removeprefix("= ") if self._value is not None else ""
        if not target:
            return Advice(sentence=f"Make {', '.join(self._paths)} the same object again after loading, as it was.")
        sentence = (
            f"`{self._first}` is the very object `{target}`: tie them after loading, before an optimizer is made."
        )
        dotted = "." in self._first.partition("/")[2] or "." in target.partition("/")[2]
        code = self._module if dotted else self._code
        return Advice((), (f"{code(self._first)} = {code(target)}",), sentence)

    def _gradients(self) -> Advice:
        code, key = self._code(self._root), f'state["{self._root} gradients"]'
        if "/" not in self._first.removesuffix("/grad"):
            code, key = self._code(self._root), f'state["{self._first}"]'
            return Advice((f"{key} = {code}.grad",), (f"{code}.grad = {key}",), _WINDOW)
        return Advice(
            (f"{key} = {{name: p.grad for name, p in {code}.named_parameters() if p.grad is not None}}",),
            (f"for name, p in {code}.named_parameters(): p.grad = {key}.get(name)",),
            _WINDOW,
        )

    def _structure(self) -> Advice:
        code, last = self._code(self._root), self._first.rpartition("/")[2]
        if last == "training":
            key = f'state["{self._root} training"]'
            return Advice(
                (f"{key} = {{name: m.training for name, m in {code}.named_modules()}}",),
                (f"for name, m in {code}.named_modules(): m.training = {key}[name]",),
                f"Or call {code}.train() before the loop goes on, and after every evaluation.",
            )
        if last == "requires_grad":
            key = f'state["{self._root} requires_grad"]'
            return Advice(
                (f"{key} = {{name: p.requires_grad for name, p in {code}.named_parameters()}}",),
                (f"for name, p in {code}.named_parameters(): p.requires_grad_({key}[name])",),
                "Freeze the same parameters before the optimizer is made, in a new run and in a resumed one.",
            )
        if re.search(r"/group\.\d+/params$", self._first):
            where = self._code(_optimizer(self._first))
            return Advice(
                sentence=f"Make {where} over the same parameters in the same order before its state is loaded: a "
                "state_dict tells them by position alone."
            )
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
        if isinstance(self._value, torch.Tensor):
            return self._in_place()
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

_GLOBAL = {
    "rng/torch.cpu": ("torch.get_rng_state()", "torch.set_rng_state({})"),
    "rng/numpy": ("np.random.get_state()", "np.random.set_state({})"),
    "rng/python": ("random.getstate()", "random.setstate({})"),
}


def _optimizer(path: str) -> str:
    """The path of the optimizer that a moment, an option or the parameters of a group belong to."""
    before, group, _ = path.partition("/group.")
    return before if group else path.partition("/")[0]


# Flags that are set by a call: how to read, and how to set.
_BY_CALL = {
    "torch.default_dtype": ("torch.get_default_dtype()", "torch.set_default_dtype({})"),
    "torch.default_device": ("torch.get_default_device()", "torch.set_default_device({})"),
    "torch.deterministic_algorithms": (
        "torch.are_deterministic_algorithms_enabled()",
        "torch.use_deterministic_algorithms({})",
    ),
    "torch.fill_uninitialized_memory": (
        "torch.utils.deterministic.fill_uninitialized_memory",
        "torch.utils.deterministic.fill_uninitialized_memory = {}",
    ),
    "torch.float32_matmul_precision": (
        "torch.get_float32_matmul_precision()",
        "torch.set_float32_matmul_precision({})",
    ),
    "torch.num_threads": ("torch.get_num_threads()", "torch.set_num_threads({})"),
    "torch.grad_enabled": ("torch.is_grad_enabled()", "torch.set_grad_enabled({})"),
    "torch.anomaly_detection": ("torch.is_anomaly_enabled()", "torch.autograd.set_detect_anomaly({})"),
}
_NOT_READ = frozenset(
    {"torch.flush_denormal", "torch.num_interop_threads", "torch.inference_mode", "torch.backends.mkldnn.enabled"}
)


def _flag(name: str, key: str) -> tuple[str, str]:
    """How a flag is read, and the line that sets it; an empty line where a running process cannot."""
    if name in _NOT_READ:
        return "", ""
    if name in _BY_CALL:
        get, put = _BY_CALL[name]
        return get, put.format(key)
    if found := re.fullmatch(r"torch\.autocast\.(\w+)(\.dtype)?", name):
        device, of = found[1], "dtype" if found[2] else "enabled"
        get = "get_autocast_dtype" if found[2] else "is_autocast_enabled"
        return f'torch.{get}("{device}")', f'torch.set_autocast_{of}("{device}", {key})'
    if found := re.fullmatch(r"torch\.backends\.cuda\.(\w+_sdp)", name):
        return f"torch.backends.cuda.{found[1]}_enabled()", f"torch.backends.cuda.enable_{found[1]}({key})"
    return name, f"{name} = {key}"
