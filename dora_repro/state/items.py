"""Items of live holders, put in and taken out: attributes, entries, buffers, hooks, groups of options, roots."""

import queue
import weakref
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeAlias

import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import buffers_of, parameters_of
from dora_repro.state.attributes import set_attribute
from dora_repro.state.forms import Form
from dora_repro.state.frames import NotRunning, Variables
from dora_repro.state.hooks import add_hook, names_hook, remove_hook
from dora_repro.state.key_order import put_in_place
from dora_repro.state.keys import key_text, unescaped
from dora_repro.state.leaves import Leaves, SavedLeaf
from dora_repro.state.live_objects import LiveObjects
from dora_repro.state.making import NotRestorable
from dora_repro.state.rebuild import Kind, Maker
from dora_repro.state.torch_objects import AbsentState, make_own, parameters_named
from dora_repro.state.waiting_call import WaitingCall
from dora_repro.state.walker import OPTIMIZER_PARTS

Roots: TypeAlias = MutableMapping[str, Value]
_PUTTING = (AbsentState, Variables, WaitingCall)  # what stands for values, and puts them in their places itself
"""Live objects by name; setting or deleting a name does so in the run that they are of."""


class Items:
    """Makes live holders hold what a snapshot's did.

    Args:
        roots: name -> live object.
        live: a walk over these.
        there: what is live at each path.
        wanted: the leaves of the snapshot by path.
        kinds: its containers by path.
        forms: its forms by path.
        maker: makes what is missing.
    """

    def __init__(
        self,
        roots: Roots,
        live: Leaves,
        there: LiveObjects,
        wanted: Mapping[str, SavedLeaf],
        kinds: Mapping[str, Kind],
        forms: Mapping[str, Form],
        maker: Maker,
    ):
        self._roots, self._live, self._there = roots, live, there
        self._wanted, self._kinds, self._forms, self._maker = wanted, kinds, forms, maker

    def put(self, path: str, value: Any) -> None:
        """Make a value a new item, attribute, buffer or parameter of the live object that is to hold it.

        Raises:
            NotRestorable: that takes none there.
        """
        parent_path, _, name = path.rpartition("/")
        if not parent_path:
            self._roots[unescaped(path)] = value
            return
        parent: Any = self._there.holder(parent_path)
        if names_hook(parent, name):
            add_hook(parent, name, value)
        elif isinstance(parent, _PUTTING):
            parent.put(unescaped(name), value)
        elif isinstance(parent, NotRunning):
            raise NotRestorable(f"a {parent.what} has no variables")
        elif isinstance(parent, (set, weakref.WeakSet)):
            parent.add(value)
        elif isinstance(parent, (weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
            parent[self._key(parent_path, name)] = value
        elif isinstance(parent, queue.SimpleQueue):
            parent.put(value)
        elif isinstance(parent, dict):
            key = self._key(parent_path, name)
            if key in parent:  # of another type, as 2 is beside 2.0: a dict would keep that one
                del parent[key]
            parent[key] = value
            put_in_place(parent, key, self._later_keys(parent_path, name))
        elif isinstance(parent, (list, deque)):
            if not (name.isdigit() and int(name) == len(parent)):
                raise NotRestorable(f"position {name} of a sequence of {len(parent)}")
            parent.append(value)
        elif isinstance(parent, torch.nn.Module):
            module, name = self._there.module_of(parent_path, name)
            role = self._wanted[path].role if path in self._wanted else ""
            if role == "buffer":
                module.register_buffer(name, value) if name not in buffers_of(module) else setattr(module, name, value)
            else:
                if role != "parameter" and name in parameters_of(module):  # as pruning has it: the weight is computed
                    del parameters_of(module)[name]
                setattr(module, name, torch.nn.Parameter(value) if role == "parameter" else value)
        elif isinstance(parent, torch.optim.Optimizer) and name == f"group.{len(parent.param_groups)}":
            options = {option: held for option, held in value.items() if option != "params"}
            stepped = parameters_named(self._live, value.get("params", ()))
            parent.add_param_group({"params": stepped, **options})
        elif parent is None:
            raise NotRestorable(f"there is no object {parent_path!r} to hold it")
        elif isinstance(parent, (tuple, set, frozenset, torch.optim.Optimizer)):
            raise NotRestorable(f"a {type(parent).__name__} takes no {name}")
        else:
            set_attribute(parent, unescaped(name), value)

    def remove(self, path: str) -> None:
        """Take away what is at a path.

        Raises:
            NotRestorable: its holder does not give it up.
        """
        parent_path, _, name = path.rpartition("/")
        tensor = parent = self._there.holder(parent_path)
        if not parent_path:
            del self._roots[unescaped(path)]
        elif isinstance(tensor, torch.Tensor) and name == "grad":
            tensor.grad = None
        elif isinstance(tensor, torch.Tensor) and name == "requires_grad":
            tensor.requires_grad_(False)
        elif names_hook(parent, name):
            remove_hook(parent, name)
        elif isinstance(tensor, torch.Tensor):
            delattr(tensor, unescaped(name))
        elif isinstance(parent, torch.optim.Optimizer) and name == f"group.{len(parent.param_groups) - 1}":
            parent.param_groups.pop()
        elif isinstance(parent, torch.optim.Optimizer) and name in OPTIMIZER_PARTS:
            make_own(parent, name)
        elif isinstance(parent, torch.optim.Optimizer):
            live = self._live.objects.get(path)
            del parent.state[next(key for key, state in parent.state.items() if state is live)]
        elif isinstance(parent, (set, weakref.WeakSet)):
            parent.discard(self._there.at(path))
        elif isinstance(parent, (dict, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
            of_object = self._live.keyed.get(parent_path, {}).get(name)
            its = None if of_object is None else self._maker.object_key(of_object)
            del parent[next(key for key in list(parent) if (key_text(key) == name if its is None else _is(key, its)))]
        elif isinstance(parent, (list, deque)) and int(name) == len(parent) - 1:
            parent.pop()
        elif isinstance(parent, torch.nn.Module):
            module, name = self._there.module_of(parent_path, name)
            tensors: tuple[dict[str, Any], ...] = (buffers_of(module), parameters_of(module))
            for of_kind in tensors:
                if name in of_kind:
                    of_kind[name] = None
                    return
            delattr(module, name)
        elif parent is None or isinstance(parent, (list, deque, tuple, set, frozenset, *_PUTTING)):
            raise NotRestorable("it cannot be taken out of what holds it")
        else:
            object.__delattr__(parent, unescaped(name))

    def _key(self, path: str, name: str) -> Any:
        """The key that a dict has under this text in paths."""
        kind = self._kinds.get(path)
        try:
            return self._maker.key(kind, name) if kind is not None else unescaped(name)
        except KeyError:
            return unescaped(name)

    def _later_keys(self, path: str, name: str) -> list[Value]:
        """The keys of a dict that come after one in the snapshot's."""
        form = self._forms.get(path)
        order = form.order if form is not None else ()
        after = order[order.index(name) + 1 :] if name in order else ()
        return [self._key(path, text) for text in after]


def _is(key: Value, other: Value) -> bool:
    """Whether two keys are one: the same object, or the same id of one."""
    return key is other or (type(key) is int and type(other) is int and key == other)
