"""Private names of cloudpickle: the class that travelled by value must be found again, not be made once more."""

from typing import Any

from cloudpickle import cloudpickle

from dora_repro.private_names.names import listed

NAMES = listed(
    "cloudpickle 3.1.3",
    {
        "cloudpickle.cloudpickle._should_pickle_by_reference": "whether a class is found by its module and name",
        "cloudpickle.cloudpickle._get_or_create_tracker_id": "what a class is called in every process it was sent to",
        "cloudpickle.cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID": "the class of such a name",
    },
)


def name_of_class(kind: type) -> str | None:
    """The name that a class has in all processes that it was sent to by value; None where it is imported there."""
    by_reference: bool = cloudpickle._should_pickle_by_reference(kind)
    name: str | None = None if by_reference else cloudpickle._get_or_create_tracker_id(kind)
    return name


def is_made_here(kind: type) -> bool:
    """Whether a class is one that no module has, and that was never sent: a function made it in this process."""
    return not cloudpickle._should_pickle_by_reference(kind) and kind not in classes_by_value()


def class_of_name(name: str) -> Any:
    """The class that has such a name in this process.

    Raises:
        KeyError: there is none.
    """
    return cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID[name]


def classes_by_value() -> list[type]:
    """The classes that came to this process by value, or went from it."""
    return list(cloudpickle._DYNAMIC_CLASS_TRACKER_BY_ID.values())
