"""One round of restoring: each leaf that differs is overwritten, made, removed or tied again, once.

What it changes may bring another difference to light, so `restoring.py` walks the run again and begins another round.
"""

import copy
import queue
import weakref
from collections import deque
from collections.abc import Mapping, MutableMapping
from typing import Any, TypeAlias

import numpy as np
import torch

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import buffers_of, parameters_of
from dora_repro.state import rng
from dora_repro.state.attributes import set_attribute
from dora_repro.state.forms import Form, form_of
from dora_repro.state.frames import NotRunning, Variables
from dora_repro.state.hooks import add_hook, names_hook, remove_hook
from dora_repro.state.key_order import put_in_place, reorder
from dora_repro.state.keys import key_text, unescaped
from dora_repro.state.leaves import Leaf, Leaves, SavedLeaf
from dora_repro.state.making import NotRestorable, remade
from dora_repro.state.members import in_order_again
from dora_repro.state.objects import Objects
from dora_repro.state.places import with_folders
from dora_repro.state.rebuild import Kind, Maker, copied
from dora_repro.state.torch_objects import AbsentState, parameters_named
from dora_repro.state.views import keep_apart

Roots: TypeAlias = MutableMapping[str, Value]
"""Live objects by name; setting or deleting a name does so in the run that they are of."""


class Round:
    """One time through the leaves that differ.

    Args:
        wanted: the leaves of the snapshot by path.
        kinds: its containers by path.
        roots: name -> live object.
        live: a walk over these.
        now: its leaves by path, and the global generators and flags.
        chosen: paths of the leaves that are to be put back.
        forms: path -> form that what is there is to have, where it has another.
        wanted_forms: the forms of the snapshot by path.
        objects: what the other run had and this one may lack, whole.
    """

    def __init__(
        self,
        wanted: Mapping[str, SavedLeaf],
        kinds: Mapping[str, Kind],
        roots: Roots,
        live: Leaves,
        now: dict[str, Leaf],
        chosen: set[str],
        forms: Mapping[str, Form] | None = None,
        objects: Objects | None = None,
        wanted_forms: Mapping[str, Form] | None = None,
    ):
        self._forms, self._objects, self._wanted_forms = forms or {}, objects or Objects(), wanted_forms or {}
        self.wanted, self.kinds, self.roots, self.live, self.now, self.chosen = wanted, kinds, roots, live, now, chosen
        self._make_anew = Maker(wanted, kinds, chosen, lambda path: self._object_at(path, None), self._made)
        self._replaced: list[str] = []  # what lies below these waits for the next round

    def restore(self, wrong: list[str]) -> dict[str, str]:
        """Put back what differs; path -> reason, of what could not be."""
        failed: dict[str, str] = {}
        for path in sorted(wrong, key=self._rank):
            if not path.startswith(tuple(self._replaced)):
                try:
                    self._restore_leaf(path)
                except Exception as error:  # whatever a user's object raises when set
                    failed[path] = _reason(error)
        # The last item of a list goes first.
        for path in reversed([path for path in wrong if path not in self.wanted]):
            if path not in failed and not f"{path}/".startswith(tuple(self._replaced)):
                try:
                    self._remove(path)
                except Exception as error:
                    failed[path] = _reason(error)
        in_order_again(self.live.objects, wrong)
        self._generators_last(wrong, failed)
        return failed

    def _rank(self, path: str) -> int:
        """Containers and aliases before what is in them, flags after all else."""
        if path.startswith("flags/"):
            return 2
        return 0 if path in self.kinds or self.wanted.get(path) is None or self.wanted[path].role == "alias" else 1

    def _generators_last(self, wrong: list[str], failed: dict[str, str]) -> None:
        for path in wrong:
            if path.startswith("rng/") and path in self.wanted:
                try:
                    rng.restore_global(path.removeprefix("rng/"), copied(self.wanted[path].value))
                except Exception as error:
                    failed[path] = f"{type(error).__name__}: {error}"

    # --- one leaf --------------------------------------------------------------------------------------------------

    def _restore_leaf(self, path: str) -> None:
        if path.startswith("rng/"):
            return
        saved, slot = self.wanted.get(path), self.now.get(path)
        if saved is None and path in self._forms:
            self._remake(path)
        elif saved is None:
            self._make_container(path, self.now[path])
        elif not saved.kept:
            raise NotRestorable("stored by digest alone")
        elif saved.role == "alias":
            if slot is not None or not self._made_around(path):
                self._hold(path, self._object_at(str(saved.value)[2:], slot))
        elif slot is None:
            self._make(path)
        elif path in self._forms and isinstance(saved.value, torch.Tensor):
            self._remake_tensor(path, saved.value)
        elif path in self._forms and isinstance(self.live.objects.get(path), (set, frozenset)):
            self._remake(path)
        elif (
            slot.role == "alias"
            or (saved.role == "generator") is not (slot.role == "generator")
            or path in self._forms
            or self._kind_name(path) != getattr(self.kinds.get(path), "name", None)
        ):
            self._hold(path, self._make_anew(path))
        elif slot.put is None:
            raise NotRestorable("its holder does not let it be set")
        else:
            keep_apart(slot, saved.value, self.now, {at: self.wanted[at] for at in self.chosen if at in self.wanted})
            slot.put(with_folders(copied(saved.value), getattr(self.roots, "owner", None)))

    def _kind_name(self, path: str) -> str | None:
        """What is live at a path, as `Kind.name` has it."""
        kind = Kind.of(self.live.objects.get(path))
        return kind.name if kind is not None else self.live.kinds.get(path)

    def _remake(self, path: str) -> None:
        """What is live at a path in the form that it is to have, with what it holds; or the object itself."""
        live, form = self.live.objects.get(path), self._forms[path]
        if isinstance(live, dict) and form == form_of(live, self.live.key_types.get(path)):
            reorder(live, self.live.orders[path], form.order)
            return
        if path in self._objects:
            self._hold(path, self._make_anew(path))
            return
        kind = self.kinds.get(path)
        keys: dict[str, Value] = dict(kind.keys or ()) if kind is not None else {}
        self._hold(path, remade(self._forms[path], self.live.objects[path], keys))

    def _remake_tensor(self, path: str, value: torch.Tensor) -> None:
        name = self._forms[path].name
        if name not in ("torch.Tensor", "torch.nn.parameter.Parameter"):
            raise NotRestorable(f"a {name} cannot be made")
        tensor = copied(value)
        trained = self.wanted.get(f"{path}/requires_grad")
        needs = trained is not None and bool(trained.value)
        self._hold(path, torch.nn.Parameter(tensor, needs) if "Parameter" in name else tensor.requires_grad_(needs))

    def _made(self, path: str) -> Any:
        return self._objects.make(path, lambda at: self._object_at(at, None), getattr(self.roots, "owner", None))

    def _make_container(self, path: str, slot: Leaf) -> None:
        """Where a snapshot has a container and the run another object, a None or another name of one."""
        if isinstance(there := self.live.objects.get(path), NotRunning):
            raise NotRestorable(f"a {there.what} is there, and cannot be moved to where it was")
        if path in self._objects:
            self._hold(path, self._make_anew(path))
        elif path in self.kinds and not (slot.role != "alias" and path in self.live.objects and self._is_kind(path)):
            self._hold(path, self._make_anew(path))
        elif slot.role == "alias" and any(other.startswith(f"{path}/") for other in self.wanted):
            target = self._object_at(str(slot.value)[2:], slot)
            if not isinstance(target, torch.nn.Module):
                raise NotRestorable(f"a {type(target).__name__} of its own cannot be made")
            self._hold(path, copy.deepcopy(target))

    def _is_kind(self, path: str) -> bool:
        """Whether the live container can take the items one by one: not a list of numbers that is to hold objects."""
        return isinstance(self.live.objects[path], dict) and self.kinds[path].name in ("dict", "OrderedDict")

    def _object_at(self, path: str, slot: Leaf | None) -> Any:
        """The live object or tensor of a path, for another name to be tied to.

        Raises:
            NotRestorable: there is none.
        """
        path = self._first_name(path)
        for known in (self.live.objects, self.live.others):
            if path in known:
                return known[path]
        value = self.live.leaves[path].value if path in self.live.leaves else None
        if not isinstance(value, (torch.Tensor, np.ndarray)):
            raise NotRestorable(f"there is no object {path!r} to tie it to")
        if isinstance(value, torch.Tensor) and value.requires_grad and slot is not None:
            # The names of a state_dict() stand for the parameters' data, not for the parameters.
            there = self.now.get(self._first_name(slot.path), slot).value
            return value.detach() if isinstance(there, torch.Tensor) and not there.requires_grad else value
        return value

    def _first_name(self, path: str) -> str:
        """The name that another name stands for at present."""
        while path in self.now and self.now[path].role == "alias":
            path = str(self.now[path].value)[2:]
        return path

    def _hold(self, path: str, value: Value) -> None:
        """Make the holder of a path hold another object there."""
        slot = self.now.get(path)
        hold = slot.hold if slot is not None else self.live.holds.get(path)
        if hold is not None:
            hold(value)
        elif slot is not None:
            raise NotRestorable("its holder takes no other object")
        else:
            self._put_into(path, value)
        self._replaced += [f"{path}/", f"{path}."] if isinstance(value, torch.nn.Module) else [f"{path}/"]

    # --- what is missing -------------------------------------------------------------------------------------------

    def _make(self, path: str) -> None:
        parent, _, name = path.rpartition("/")
        tensor = self._holder(parent)
        if self.wanted[path].role == "generator" and self._objects.around(path) is None:
            raise NotRestorable("there is no generator to put it into")
        if self._made_around(path):
            return
        if path in self.live.holds:
            self._hold(path, self._make_anew(path))
        elif isinstance(tensor, torch.Tensor) and name == "grad":
            tensor.grad = self._make_anew(path).to(tensor.device)
        elif isinstance(tensor, torch.Tensor) and name == "requires_grad":
            tensor.requires_grad_(self.wanted[path].value)
        elif isinstance(tensor, torch.Tensor):
            setattr(tensor, unescaped(name), self._make_anew(path))
        else:
            # The highest container that is missing, with all that was in it.
            while parent and self._holder(parent) is None:
                path, (parent, _, _) = parent, parent.rpartition("/")
            self._put_into(path, self._make_anew(path))
            self._replaced.append(f"{path}/")

    def _made_around(self, path: str) -> bool:
        """Make the object that a path lies in, where it is missing as a whole, and say whether that was so."""
        around = self._objects.around(path)
        if around is None or around in self.live.objects:
            return False
        self._hold(around, self._make_anew(around))
        return True

    def _put_into(self, path: str, value: Any) -> None:
        """A new item, attribute, buffer or parameter of the live object that holds it."""
        parent_path, _, name = path.rpartition("/")
        if not parent_path:
            self.roots[unescaped(path)] = value
            return
        parent: Any = self._holder(parent_path)
        if names_hook(parent, name):
            add_hook(parent, name, value)
        elif isinstance(parent, (AbsentState, Variables)):
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
            module, name = _module_of(self.live, parent_path, name)
            role = self.wanted[path].role if path in self.wanted else ""
            if role == "buffer":
                module.register_buffer(name, value) if name not in buffers_of(module) else setattr(module, name, value)
            else:
                if role != "parameter" and name in parameters_of(module):  # as pruning has it: the weight is computed
                    del parameters_of(module)[name]
                setattr(module, name, torch.nn.Parameter(value) if role == "parameter" else value)
        elif isinstance(parent, torch.optim.Optimizer) and name == f"group.{len(parent.param_groups)}":
            options = {option: held for option, held in value.items() if option != "params"}
            stepped = parameters_named(self.live, value.get("params", ()))
            parent.add_param_group({"params": stepped, **options})
        elif parent is None:
            raise NotRestorable(f"there is no object {parent_path!r} to hold it")
        elif isinstance(parent, (tuple, set, frozenset, torch.optim.Optimizer)):
            raise NotRestorable(f"a {type(parent).__name__} takes no {name}")
        else:
            set_attribute(parent, unescaped(name), value)

    def _key(self, path: str, name: str) -> Any:
        """The key that a dict has under this text in paths."""
        kind = self.kinds.get(path)
        try:
            return self._make_anew.key(kind, name) if kind is not None else unescaped(name)
        except KeyError:
            return unescaped(name)

    def _later_keys(self, path: str, name: str) -> list[Value]:
        """The keys of a dict that come after one in the snapshot's."""
        form = self._wanted_forms.get(path)
        order = form.order if form is not None else ()
        after = order[order.index(name) + 1 :] if name in order else ()
        return [self._key(path, text) for text in after]

    # --- what is too much ------------------------------------------------------------------------------------------

    def _remove(self, path: str) -> None:
        """Take away a leaf that was not there when the snapshot was taken, and the containers that held only such."""
        if path in self.kinds or path not in self.now:
            return
        path = self._with_its_container(path)
        parent_path, _, name = path.rpartition("/")
        self._replaced.append(f"{path}/")
        tensor = parent = self._holder(parent_path)
        if not parent_path:
            del self.roots[unescaped(path)]
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
        elif isinstance(parent, torch.optim.Optimizer):
            live = self.live.objects.get(path)
            del parent.state[next(key for key, state in parent.state.items() if state is live)]
        elif isinstance(parent, (set, weakref.WeakSet)):
            parent.discard(self._object_at(path, None))
        elif isinstance(parent, (dict, weakref.WeakKeyDictionary, weakref.WeakValueDictionary)):
            of_object = self.live.keyed.get(parent_path, {}).get(name)
            its = None if of_object is None else self._make_anew.object_key(of_object)
            del parent[next(key for key in list(parent) if (key_text(key) == name if its is None else _is(key, its)))]
        elif isinstance(parent, (list, deque)) and int(name) == len(parent) - 1:
            parent.pop()
        elif isinstance(parent, torch.nn.Module):
            module, name = _module_of(self.live, parent_path, name)
            tensors: tuple[dict[str, Any], ...] = (buffers_of(module), parameters_of(module))
            for of_kind in tensors:
                if name in of_kind:
                    of_kind[name] = None
                    return
            delattr(module, name)
        elif parent is None or isinstance(parent, (list, deque, tuple, set, frozenset, AbsentState, Variables)):
            raise NotRestorable("it cannot be taken out of what holds it")
        else:
            object.__delattr__(parent, unescaped(name))

    def _with_its_container(self, path: str) -> str:
        """The highest container or hook around an extra leaf of which nothing is wanted, and all is chosen."""
        above, highest = path, path
        while above := above.rpartition("/")[0]:
            hook = self._is_hook(above)
            if not hook and not isinstance(self.live.objects.get(above), (dict, list, tuple, deque)):
                if not self._is_member(above):
                    continue  # what a hook's function or object holds goes with the hook
            emptied = isinstance(self.live.objects.get(above), tuple) and above not in self.wanted
            if (above in self.kinds and not emptied) or self._make_anew.is_above_wanted(above):
                break
            inside = [other for other in self.now if other.startswith(f"{above}/")]
            if not self.chosen.issuperset(inside):
                break
            if hook or above == highest.rpartition("/")[0] or self._is_member(above):
                highest = above
        return highest

    def _is_member(self, path: str) -> bool:
        """Whether an object is an item of a set or a sequence, with which all that it holds goes."""
        holder = self.live.objects.get(path.rpartition("/")[0])
        return path in self.live.objects and isinstance(holder, (set, list, deque))

    def _is_hook(self, path: str) -> bool:
        holder, _, name = path.rpartition("/")
        return names_hook(self._holder(holder), name)

    def _holder(self, path: str) -> Value:
        """The live object, tensor, array or generator of a path; None where there is none."""
        if path in self.live.objects:
            return self.live.objects[path]
        leaf = self.live.leaves.get(path)
        candidates = (self.live.others.get(path), leaf.value if leaf is not None else None)
        kinds = (torch.Tensor, np.ndarray, *rng.PRIVATE_GENERATORS)
        return next((value for value in candidates if isinstance(value, kinds)), None)


def _module_of(live: Leaves, root: str, name: str) -> tuple[torch.nn.Module, str]:
    """(module, attribute) for `layer.0.weight` below the path of a root module."""
    inside, _, attribute = name.rpartition(".")
    module = live.objects.get(f"{root}/{inside}" if inside else root)
    if not isinstance(module, torch.nn.Module):
        raise NotRestorable(f"there is no module {root}/{inside}")
    return module, attribute


def _is(key: Value, other: Value) -> bool:
    """Whether two keys are one: the same object, or the same id of one."""
    return key is other or (type(key) is int and type(other) is int and key == other)


def _reason(error: Exception) -> str:
    return str(error) if isinstance(error, NotRestorable) else f"{type(error).__name__}: {error}"
