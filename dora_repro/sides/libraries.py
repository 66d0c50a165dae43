"""Which training libraries a run uses, told by the classes of its own attributes: none of them is imported here."""

from collections.abc import Mapping

# Library -> the packages that it is imported from, and the classes that tell it.
_MARKS = {
    "accelerate": (("accelerate",), "Accelerator"),
    "fabric": (("lightning", "lightning_fabric"), "Fabric"),
    "lightning": (("lightning", "pytorch_lightning"), "Trainer"),
    "peft": (("peft",), "PeftModel"),
    "trainer": (("transformers",), "Trainer"),
}


def libraries(roots: Mapping[str, object]) -> dict[str, str]:
    """Library -> the attribute that shows it; a class of one's own that is derived from the library's counts, too."""
    found: dict[str, str] = {}
    for name, value in roots.items():
        classes = {(kind.__module__.partition(".")[0], kind.__name__) for kind in type(value).__mro__}
        for library, (packages, mark) in _MARKS.items():
            if any((package, mark) in classes for package in packages):
                found.setdefault(library, name)
    return found
