"""The library that a run uses: known by its classes, and what it would have kept told beside the plain lines."""

from types import MappingProxyType

import pytest

from dora_repro import check
from dora_repro.explain.advice.libraries import library_advice
from dora_repro.explain.trials.search_result import Part
from dora_repro.explain.trials.trial import DATA, DRAWS, POSITION
from dora_repro.state.leaves import SavedLeaf
from tests import runs


def told(library, name, role, leaves, saved=MappingProxyType({}), at="it", **options):
    return list(library_advice({library: at}, Part(name, leaves, role), saved, **options))


@pytest.mark.parametrize(
    ("library", "cause", "words"),
    [
        ("accelerate", ("optimizer/*/exp_avg", "moment", ("optimizer/w/exp_avg",)), "self.it.save_state(folder)"),
        ("accelerate", ("scheduler/last_epoch", "memory", ("scheduler/last_epoch",)), "self.it.load_state(folder)"),
        ("accelerate", ("rng/numpy", "generator", ("rng/numpy",)), "the global generators"),
        ("accelerate", ("noise", "generator", ("noise",)), "self.it.register_for_checkpointing(it)"),
        ("accelerate", (DATA, "", ()), "self.it.skip_first_batches(loader, used)"),
        ("trainer", (DATA, "", ()), "ignore_data_skip=False"),
        ("trainer", (POSITION, "", (POSITION,)), "ignore_data_skip=False"),
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
    (sentence,) = told(library, *cause)
    assert words in sentence


@pytest.mark.parametrize("library", ["trainer", "lightning"])
def test_a_copy_of_the_model_that_a_callback_keeps_is_not_said_to_come_back_by_itself(library):
    lost = ("callbacks/0/average/*.weight", "parameter", ("callbacks/0/average/a.weight",))
    (sentence,) = told(library, *lost)
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
    (sentence,) = told("accelerate", "seen", "memory", ("train/seen",), at=at)
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
    assert list(told(library, *cause)) == []


@pytest.mark.parametrize(
    ("library", "words"),
    [
        ("accelerate", "use_seedable_sampler=True"),
        ("trainer", "save_strategy='epoch'"),
        ("lightning", "set_epoch(epoch)"),
        ("ignite", "Events.EPOCH_COMPLETED"),
    ],
)
def test_an_order_that_a_script_draws_is_more_than_its_generator(library, words):
    (of_order,) = told(library, DRAWS, "", (DRAWS,), script=True)
    (of_generators,) = told(library, DRAWS, "", (DRAWS,))
    assert words in of_order
    assert library == "ignite" or words not in of_generators


def test_an_adapter_that_was_loaded_for_inference_is_known_by_the_model_around_which_it_is_put():
    leaves = ("main/base/a.lora_A.weight/requires_grad",)
    around = {"main/model/base_model.model": SavedLeaf("main/model/base_model.model", "alias", b"", "= main/base")}
    frozen = ("main/base/*/requires_grad", "structure", leaves)
    assert told("peft", *frozen, at="main/model") == []
    (sentence,) = told("peft", *frozen, around, at="main/model")
    assert "is_trainable=True) loads an adapter that goes on training" in sentence


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
