"""The library that a run uses: known by its classes, and what it would have kept told beside the plain lines."""

import pytest

from dora_repro import check
from dora_repro.explain.advice.libraries import told
from dora_repro.explain.trials.trial import DATA, DRAWS
from dora_repro.sides.libraries import libraries
from tests import runs


def of(package: str, name: str) -> object:
    """An object of a class that a library would have."""
    return type(name, (), {"__module__": f"{package}.somewhere"})()


KNOWN = {
    "accelerate": of("accelerate", "Accelerator"),
    "fabric": of("lightning", "Fabric"),
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


@pytest.mark.parametrize(
    ("library", "cause", "words"),
    [
        ("accelerate", ("optimizer/*/exp_avg", "moment", ("optimizer/w/exp_avg",)), "self.it.save_state(folder)"),
        ("accelerate", ("scheduler/last_epoch", "memory", ("scheduler/last_epoch",)), "self.it.load_state(folder)"),
        ("accelerate", ("rng/numpy", "generator", ("rng/numpy",)), "the global generators"),
        ("accelerate", ("noise", "generator", ("noise",)), "self.it.register_for_checkpointing(it)"),
        ("accelerate", (DATA, "", ()), "self.it.skip_first_batches(loader, used)"),
        ("trainer", (DATA, "", ()), "ignore_data_skip=False"),
        ("trainer", ("steps", "memory", ("steps",)), "ExportableState"),
        ("lightning", (DRAWS, "", ()), "on_save_checkpoint(self, checkpoint)"),
        ("lightning", ("optimizer/*/step", "moment", ("optimizer/w/step",)), "self.it.fit(model, ckpt_path=path)"),
        ("fabric", ("steps", "memory", ("steps",)), "self.it.save(path, state)"),
        ("peft", ("it/*.weight", "parameter", ("it/a.weight",)), "set_peft_model_state_dict(self.it, state)"),
    ],
)
def test_what_a_library_keeps_is_told_by_what_was_lost(library, cause, words):
    (sentence,) = told({library: "it"}, *cause)
    assert words in sentence


@pytest.mark.parametrize(
    ("library", "cause"),
    [
        ("peft", ("head/*.weight", "parameter", ("head/a.weight",))),  # no weight of the adapter
        ("fabric", (DATA, "", ())),  # of the place in the data it knows nothing
        ("accelerate", ("run/exception", "", ())),
        ("accelerate", ("flags/torch.num_threads", "flag", ("flags/torch.num_threads",))),
    ],
)
def test_where_a_library_has_nothing_for_it_nothing_is_said(library, cause):
    assert list(told({library: "it"}, *cause)) == []


class Accelerated(runs.Forgetful):
    def __init__(self):
        super().__init__("optimizer")
        self.accelerator = KNOWN["accelerate"]


@pytest.mark.parametrize(("factory", "times"), [(Accelerated, 1), (lambda: runs.Forgetful("optimizer"), 0)])
def test_a_report_tells_of_the_library_in_use_and_of_no_other(factory, times):
    report = check(factory, 6, 3, in_process=True)
    (cause,) = report.causes
    assert " ".join(cause.advice).count("self.accelerator.save_state(folder)") == times
    assert "self.optimizer.load_state_dict" in " ".join(cause.load)
