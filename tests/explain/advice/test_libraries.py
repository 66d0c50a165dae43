"""The library that a run uses: known by its classes, and what it would have kept told beside the plain lines."""

import pytest

from dora_repro import check
from dora_repro.explain.advice.libraries import library_advice
from dora_repro.explain.trials.trial import DATA, DRAWS
from tests import runs


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
        ("ignite", ("optimizer/*/step", "moment", ("optimizer/w/step",)), "load_objects(to_load, checkpoint)"),
        ("ignite", (DATA, "", ()), "DeterministicEngine"),
        ("peft", ("it/*.weight", "parameter", ("it/a.weight",)), "set_peft_model_state_dict(self.it, state)"),
    ],
)
def test_what_a_library_keeps_is_told_by_what_was_lost(library, cause, words):
    (sentence,) = library_advice({library: "it"}, *cause)
    assert words in sentence


@pytest.mark.parametrize("library", ["trainer", "lightning"])
def test_a_copy_of_the_model_that_a_callback_keeps_is_not_said_to_come_back_by_itself(library):
    lost = ("callbacks/0/average/*.weight", "parameter", ("callbacks/0/average/a.weight",))
    (sentence,) = library_advice({library: "it"}, *lost)
    assert "what a callback keeps" in sentence


@pytest.mark.parametrize(
    ("at", "words"),
    [
        ("train/wrapped", "wrapped.register_for_checkpointing"),
        ("train/run()/self", "trainer.register_for_checkpointing"),
        ("wrapped", "self.wrapped.register_for_checkpointing"),
    ],
)
def test_it_is_called_what_the_function_calls_it(at, words):
    (sentence,) = library_advice({"accelerate": at}, "seen", "memory", ("train/seen",))
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
    assert list(library_advice({library: "it"}, *cause)) == []


class Accelerated(runs.Forgetful):
    def __init__(self):
        super().__init__("optimizer")
        self.accelerator = type("Accelerator", (), {"__module__": "accelerate.accelerator"})()


@pytest.mark.parametrize(("factory", "times"), [(Accelerated, 1), (lambda: runs.Forgetful("optimizer"), 0)])
def test_a_report_tells_of_the_library_in_use_and_of_no_other(factory, times):
    report = check(factory, 6, 3, in_process=True)
    (cause,) = report.causes
    assert " ".join(cause.advice).count("self.accelerator.save_state(folder)") == times
    assert "self.optimizer.load_state_dict" in " ".join(cause.load)
