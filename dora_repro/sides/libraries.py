"""Which training libraries a run uses, recognised by the classes of its own attributes; none of them is imported."""

from collections.abc import Mapping

from dora_repro.contracts import Value

# Library -> the packages that it is imported from, and the class that shows its use.
_MARKS = {
    "accelerate": (("accelerate",), "Accelerator"),
    "fabric": (("lightning", "lightning_fabric"), "Fabric"),
    "lightning": (("lightning", "pytorch_lightning"), "Trainer"),
    "peft": (("peft",), "PeftModel"),
    "trainer": (("transformers",), "Trainer"),
}


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
