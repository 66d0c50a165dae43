"""Walk live objects into leaves: the smallest pieces of state, each with a readable path and a way to put it back.

`walk(roots)` visits everything reachable from some named objects. What `state_dict()` admits plays no part. Here all
that is known of types is put into one table: `torch_objects.py` before `python_objects.py`, for classes that are both.
"""

from collections.abc import Mapping

from dora_repro.contracts import Value
from dora_repro.private_names.of_torch import DisableTorchFunctionSubclass
from dora_repro.state import frames, holders, library_objects, members, python_objects, torch_objects
from dora_repro.state.leaves import Leaves
from dora_repro.state.type_dispatch import Table
from dora_repro.state.walker import Reader, Walker

TABLE: Table[Reader] = Table(
    readers=(*torch_objects.READERS, *python_objects.READERS, *holders.READERS, *members.READERS, *frames.READERS),
    readers_by_name=frames.READERS_BY_NAME | library_objects.READERS_BY_NAME,
    unshared=python_objects.UNSHARED_TYPES,
    in_place=holders.BUFFERS,
    plumbing=(*torch_objects.PLUMBING, *python_objects.PLUMBING),
    plumbing_modules=(*torch_objects.PLUMBING_MODULES, *python_objects.PLUMBING_MODULES),
)


def walk(roots: Mapping[str, Value], *, moving_only: bool = False) -> Leaves:
    """All state reachable from some objects. Whatever these are, it raises nothing of theirs.

    Args:
        roots: name -> object; for a run without `components()`, its attributes: `vars(run)`.
        moving_only: leave out what training does not change from step to step, which is most of a walk: parameters,
            gradients, settings of modules, names of functions, and what datasets hold, and all setters. The rest is
            the *memory* of a step.
    """
    walker = Walker(TABLE, moving_only)
    with DisableTorchFunctionSubclass():  # attributes of tensors, not what a subclass makes of them
        walker.walk(roots, getattr(roots, "owner", None))
    return walker.result
