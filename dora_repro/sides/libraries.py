"""Which training libraries a run uses, recognised by the classes of its own attributes; none of them is imported."""

from collections.abc import Mapping

from dora_repro.contracts import Value
from dora_repro.state.frames import Variables
from dora_repro.state.snapshot import run_roots
from dora_repro.state.walk import walk

# Library -> the packages that it is imported from, and the class that shows its use.
_MARKS = {
    "accelerate": (("accelerate",), "Accelerator"),
    "fabric": (("lightning", "lightning_fabric"), "Fabric"),
    "ignite": (("ignite",), "Engine"),
    "lightning": (("lightning", "pytorch_lightning"), "Trainer"),
    "peft": (("peft",), "PeftModel"),
    "trainer": (("transformers",), "Trainer"),
}


def libraries_of(run: Value) -> dict[str, str]:
    """Find the training libraries that a run uses: in its attributes, or in the variables of the function that it is.

    Returns:
        library -> the path of what shows it.
    """
    held = {path: value for path, value in walk(run_roots(run)).objects.items() if isinstance(value, Variables)}
    # Those of the user's own function before those of the library's, which hold it as `self`.
    inside = {
        f"{path}/{name}": item
        for path, variables in sorted(held.items(), key=lambda named: named[0].count("/"))
        for name, item in variables.frame.f_locals.items()
    }
    return libraries({**run_roots(run), **inside})


def libraries(roots: Mapping[str, Value]) -> dict[str, str]:
    """Find the training libraries that a run uses; classes derived from a library's own count, too.

    Args:
        roots: the run's attributes by name.

    Returns:
        library -> the first attribute that shows it.
    """
    found: dict[str, str] = {}
    for name, value in roots.items():
        classes = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(value).__mro__}
        for library, (packages, name_of_class) in _MARKS.items():
            if any((package, name_of_class) in classes for package in packages):
                found.setdefault(library, name)
    return found
