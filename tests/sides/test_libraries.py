"""The library that a run uses, recognised by the classes of its attributes."""

import pytest

from dora_repro.sides.libraries import libraries, libraries_of


def of(package: str, name: str) -> object:
    """An object of a class that a library would have."""
    return type(name, (), {"__module__": f"{package}.somewhere"})()


KNOWN = {
    "accelerate": of("accelerate", "Accelerator"),
    "fabric": of("lightning", "Fabric"),
    "ignite": of("ignite", "Engine"),
    "lightning": of("pytorch_lightning", "Trainer"),
    "peft": of("peft", "PeftModel"),
    "trainer": of("transformers", "Trainer"),
}


@pytest.mark.parametrize(("library", "thing"), KNOWN.items(), ids=KNOWN)
def test_a_library_is_known_by_a_class_of_its_own_or_one_derived_from_it(library, thing):
    derived = type("Mine", (type(thing),), {"__module__": "train"})()
    assert libraries({"count": 1, "it": thing}) == {library: "it"}
    assert libraries({"it": derived, "again": thing}) == {library: "it"}


def test_a_name_alone_tells_no_library():
    assert libraries({"trainer": of("train", "Trainer"), "model": of("transformers.models.clip", "CLIPModel")}) == {}


def test_a_library_is_known_by_a_variable_of_a_function_that_is_half_done():
    def loop(thing):
        accelerator = thing
        yield accelerator

    run = type("Run", (), {})()
    run.loop = loop(KNOWN["accelerate"])
    next(run.loop)
    assert libraries_of(run) == {"accelerate": "loop/thing"}
