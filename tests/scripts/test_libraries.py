"""What training libraries hold, by the library's words: found from frames, with classes named as theirs are.

The libraries themselves are in `tests/integrations`, where they are installed.
"""

import sys
import types
import weakref
from collections import defaultdict

import pytest
import torch

from dora_repro.scripts import libraries
from dora_repro.scripts.libraries import libraries_in, parts_around, watch_accelerate


def of_library(package: str, name: str, *bases: type, **attributes: object) -> type:
    """A class that is named as one of a library's."""
    return type(name, bases, {"__module__": f"{package}.part", **attributes})


class EarlyStopping:
    def __init__(self):
        self.counter = 0


class Trained:
    """Calls `here` from inside a method, as a library's trainer calls the training step."""

    def train(self, here):
        return here(sys._getframe())


def found_inside(trainer, module=None):
    return trainer.train(lambda frame: parts_around(frame, module))


@pytest.fixture(autouse=True)
def prepared(monkeypatch):
    """No accelerator of another test."""
    monkeypatch.setattr(libraries, "_prepared", [])


def test_the_trainer_of_transformers():
    trainer = of_library("transformers", "Trainer", Trained)()
    trainer.state, trainer.optimizer, trainer.lr_scheduler = types.SimpleNamespace(global_step=3), None, object()
    stops = [EarlyStopping(), EarlyStopping()]
    trainer.callback_handler = types.SimpleNamespace(callbacks=stops)
    found = found_inside(trainer)
    assert {root: dict(parts.coded) for root, parts in found.items()} == {
        "trainer": {"state": "trainer.state", "lr_scheduler": "trainer.lr_scheduler"},
        "callback": {
            "EarlyStopping": "trainer.callback_handler.callbacks[0]",
            "EarlyStopping#2": "trainer.callback_handler.callbacks[1]",
        },
    }
    assert found["trainer"].parts["state"].value is trainer.state
    assert libraries_in(found) == {"trainer": "script/trainer"}


def test_what_a_class_of_the_users_adds_to_a_trainer_is_a_part_as_well():
    class Averaging(of_library("transformers", "Trainer", Trained)):
        def training_step(self):
            self.average = 0.9 * self.average

    trainer = Averaging()
    trainer.average, trainer.is_fsdp_enabled = 1.0, False  # the latter is the library's: no code of the user's names it
    part = found_inside(trainer)["trainer"].parts["average"]
    assert (part.value, part.code, part.holder, part.attribute) == (1.0, "trainer.average", trainer, "average")
    assert [*found_inside(trainer)["trainer"].parts] == ["average"]


@pytest.mark.parametrize("package", ["lightning", "pytorch_lightning"])
def test_lightning_whose_properties_may_raise(package):
    def scaler(self):
        raise RuntimeError("not attached")

    trainer = of_library(package, "Trainer", Trained, scaler=property(scaler))()
    trainer.callbacks, trainer.optimizers = [EarlyStopping()], [object()]
    found = found_inside(trainer)
    assert dict(found["lightning"].coded) == {"optimizers": "trainer.optimizers", "trainer": "trainer"}
    assert dict(found["callback"].coded) == {"EarlyStopping": "trainer.callbacks[0]"}


def test_ignite_whose_handlers_may_be_wrapped_and_are_the_engines_own():
    engine = of_library("ignite", "Engine", Trained)()
    engine.state, stops, kept = types.SimpleNamespace(epoch=1), EarlyStopping(), EarlyStopping()
    EarlyStopping.seen = lambda self: None
    wrapper = lambda: kept  # noqa: E731  # a function with the mark that Ignite gives its wrappers
    wrapper._parent = weakref.ref(kept)
    handlers = [(stops.seen, (), {}), (wrapper, (), {}), (engine.train, (), {}), (stops.seen, (), {})]
    engine._event_handlers = defaultdict(list, {"started": handlers})
    found = found_inside(engine)
    assert [part.value for part in found["ignite"].parts.values()] == [engine.state]
    assert [part.value for part in found["handler"].parts.values()] == [stops, kept]
    assert found["handler"].parts["EarlyStopping"].code == "early_stopping"


def test_an_accelerator_is_known_by_what_it_prepared_and_a_trainers_own_is_not_named(monkeypatch):
    class Accelerator:
        step = 2

        def prepare(self, *objects):
            self._optimizers, self._custom_objects = [*objects], []
            return objects

    monkeypatch.setitem(sys.modules, "accelerate", types.ModuleType("accelerate"))
    module = types.ModuleType("accelerate.accelerator")
    module.Accelerator = Accelerator
    monkeypatch.setitem(sys.modules, "accelerate.accelerator", module)
    watch_accelerate()
    assert parts_around(None) == {}
    accelerator, optimizer = Accelerator(), object()
    assert accelerator.prepare(optimizer) == (optimizer,) and Accelerator.prepare.__name__ == "prepare"
    found = parts_around(None)
    assert dict(found["accelerate"].coded) == {"optimizers": "accelerator._optimizers", "step": "accelerator.step"}
    trainer = of_library("transformers", "Trainer", Trained)()
    trainer.state = object()
    assert [*found_inside(trainer)] == ["trainer"]
    del accelerator
    assert parts_around(None) == {}  # it is not kept alive


def test_an_adapter_inside_the_module_that_is_called():
    adapter = of_library("peft", "PeftModel", torch.nn.Module)()
    adapter.peft_config, adapter.active_adapter = {"default": object()}, "default"
    found = parts_around(None, torch.nn.Sequential(adapter))
    assert dict(found["peft"].coded) == {
        "peft_config": "model.peft_config",
        "active_adapter": "model.active_adapter",
    }
    assert parts_around(None, torch.nn.Sequential(torch.nn.Linear(1, 1))) == {}


def test_a_script_without_a_library_has_no_parts():
    assert found_inside(Trained()) == {}
