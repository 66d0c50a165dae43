"""The gallery: each fault is told whole, found where it was declared to be, and no clean run is accused."""

import collections
import copy
import importlib
import random
import re

import numpy as np
import pytest
import torch

from dora_repro import check
from dora_repro.errors import BadInput
from dora_repro.faults import gallery
from dora_repro.faults.gallery import Fault, every, fault, find
from dora_repro.faults.plain import Training
from dora_repro.faults.trying import PACKAGES, missing, try_fault

FAULTS = tuple(every().values())
STUDY = (
    "study-dora-only", "study-reseed", "study-split-after-rng", "study-optimizer-missing", "study-early-stopping",
    "study-image-noise", "study-persistent-workers", "study-rng-replayed",
)  # fmt: skip  # S1 to S8
PHASES = ("load", "batch", "forward", "backward", "update", "schedule", "step_end", "epoch_end", "save")


def named(fault: Fault) -> str:
    return fault.name


@pytest.fixture(autouse=True)
def as_it_was(monkeypatch):
    """One thread, which is quickest for runs so small; afterwards as many as before. Loaders wait less long for workers
    that are told to end while garbage is collected."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    monkeypatch.setattr("torch.utils.data._utils.MP_STATUS_CHECK_INTERVAL", 0.2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def registry(monkeypatch):
    """A copy of what is registered, to register more in."""
    monkeypatch.setattr(gallery, "_REGISTERED", dict(gallery._REGISTERED))


# --- what is declared


def test_there_are_enough_of_each_kind():
    assert sum(not fault.clean for fault in FAULTS) >= 145
    assert sum(fault.clean for fault in FAULTS) >= 68
    runnable = [fault for fault in FAULTS if not fault.needs]
    assert sum(not fault.clean for fault in runnable) >= 135
    assert sum(fault.clean for fault in runnable) >= 65
    assert sum(bool(fault.threads) for fault in FAULTS) >= 60  # the study's, and some kin of others, have none
    assert {fault.name for fault in FAULTS if fault.family == "study"} == set(STUDY)
    assert {fault.family for fault in FAULTS} == set(gallery.FAMILIES)


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_a_fault_is_told_whole(fault):
    assert re.fullmatch("[a-z0-9-]+", fault.name)
    assert fault.lesson.endswith((".", ".)")) and len(fault.lesson.split()) >= 5
    assert 0 <= fault.save_at < fault.steps
    if fault.clean:
        assert (fault.verdict, fault.step, fault.phase, fault.causes) == ("EXACT", None, None, ())
        return
    assert fault.fix and fault.causes
    assert fault.verdict in ("DIFFERENT", "LATENT", "INCONCLUSIVE")
    assert all(re.fullmatch(r"[\w.-]+/[\w.-]+#\d+", thread) for thread in fault.threads)
    if fault.verdict == "DIFFERENT":
        assert fault.phase.partition("[")[0] in PHASES
        assert fault.step == fault.save_at if fault.phase in ("load", "save") else fault.step > fault.save_at
    else:
        assert (fault.step, fault.phase) == (None, None)


@pytest.mark.parametrize("fault", FAULTS, ids=named)
def test_a_new_interpreter_finds_the_class_of_a_fault(fault):
    kind = fault.factory
    assert getattr(importlib.import_module(kind.__module__), kind.__qualname__) is kind
    assert kind.__module__ == f"dora_repro.faults.{gallery.FAMILIES[fault.family]}"


def test_a_fault_is_found_by_name_and_a_misspelt_one_told_its_nearest():
    assert find("opt-missing").family == "optimizer"
    with pytest.raises(BadInput, match=r"no fault 'opt-mising': did you mean 'opt-missing'\?"):
        find("opt-mising")


def test_a_name_is_given_once(registry):
    fault("opt-missing-again", verdict="EXACT")(Training)
    with pytest.raises(ValueError, match="has a fault 'opt-missing' already"):
        fault("opt-missing", verdict="EXACT")(Training)


def test_the_lesson_is_the_docstring_in_one_line(registry):
    class Told(Training):
        """Something is lost.

        And it is learnt from.
        """

    fault("told", verdict="LATENT")(Told)
    assert gallery._REGISTERED["told"].lesson == "Something is lost. And it is learnt from."


# --- what is found


def on_a_gpu(fault: Fault):
    marks = pytest.mark.gpu if fault.needs == "cuda" else ()
    return pytest.param(fault, marks=marks, id=fault.name)


# No line of save or load mends these: the place in the data (another loader does), what is made or drawn at the wrong
# time, what raises, and what is no state of the run.
NO_LINES = {
    "worker-const-seed", "worker-stale-epoch", "order-rebuilt-sampler", "order-from-global",
    "order-of-transformed", "opt-set-of-parameters",
    "partial-as-complete", "skip-one-too-many", "second-resume",
    "order-epoch-not-set", "iter-before-load", "loader-edge", "reads-ahead", "function-ahead-lost",
    "opt-trainable-shift", "opt-orphaned", "tensors-replaced", "opt-alias", "ema-swap", "peft-merged",
    "peft-double-wrap",
    "dora-mag-untrained", "non-atomic-torn", "weights-only", "compile-prefix", "environment-variable",
    "loop-patience-lost", "loop-fade-in-lost", "opt-group-added", "stateful-loader-late", "schedulefree-eval-to-save",
    "closure-count-lost", "iterators-in-a-zip", "shared-by-methods", "hook-lost", "ema-in-a-hook", "pruning-not-remade",
    "kept-in-a-default", "config-changed",
    "opt-keyed-by-id",
}  # fmt: skip
# The model must be built otherwise before it is loaded: load_state_dict keeps dtypes, and refuses other shapes.
NOT_LINES_ALONE = {"peft-dtype", "dora-mag-bf16", "dora-mag-axis"}


@pytest.mark.parametrize("fault", [on_a_gpu(fault) for fault in FAULTS])
def test_a_fault_is_found_where_it_was_declared_to_be_and_its_cause_is_the_declared_one(fault):
    if why := missing(fault.needs):
        pytest.skip(f"what it would take is not here: {why}")
    tried = try_fault(fault, in_process=True)
    assert tried.as_declared, tried.report
    found = tried.report.explanation
    if found is None or not found.causes:
        return
    assert found.confirmed or not found.trials
    assert (found.lines_tried is None) == (fault.name in NO_LINES)
    if found.lines_tried is not None:  # the advice is held to what the transplant is: the reference's very bytes
        assert found.lines_tried.restores == (fault.name not in NOT_LINES_ALONE), found.lines_tried


def test_a_fault_of_a_package_that_is_not_there_is_skipped_and_says_how_to_get_it(monkeypatch):
    needed = {fault.needs for fault in FAULTS} - {"", "cuda", "processes"}
    assert needed == set(PACKAGES)
    assert missing("torch") and not missing("")  # a need that nobody knows is none that is met
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert missing("torchdata") == "needs the package 'torchdata': pip install torchdata"
    assert missing("greenlet") == "needs the package 'greenlet': pip install 'dora-repro[stepwise]'"
    assert try_fault(find("clean-schedule-free")).skipped


LIBRARIES = {"collections": collections, "copy": copy, "np": np, "random": random, "torch": torch}
MENDED = (
    "opt-missing", "sched-missing", "ema-missing", "rng-missing-numpy", "order-in-place", "accum-grads-lost",
    "buffer-not-persistent", "strict-false", "peft-keys", "aux-state", "modules-in-a-list", "opt-state-cast",
    "deque-bound-lost",
)  # fmt: skip


@pytest.mark.parametrize("name", MENDED)
def test_a_run_with_the_advised_lines_in_its_save_and_load_passes_the_check(name):
    """Not as the kit tries them, but as a reader does: pasted at the end of both methods."""
    fault = every()[name]
    added = check(fault.factory, fault.steps, fault.save_at, in_process=True).explanation.lines

    class Mended(fault.factory):
        def save(self, path):
            super().save(path)
            state = {}
            exec("\n".join(added.save), {**LIBRARIES, "self": self, "state": state})
            torch.save(state, f"{path}.more")

        def load(self, path):
            super().load(path)
            state = torch.load(path, weights_only=False) | torch.load(f"{path}.more", weights_only=False)
            exec("\n".join(line for _, line in added.load), {**LIBRARIES, "self": self, "state": state})

    assert str(check(Mended, fault.steps, fault.save_at, in_process=True).verdict) == "EXACT"


def test_what_is_not_as_declared_is_seen(registry):
    class Harmless(Training):
        """Nothing is wrong."""

    fault("wrongly-accused", verdict="DIFFERENT", step=4, phase="update", causes=(("optimizer/*",),))(Harmless)
    tried = try_fault(gallery._REGISTERED["wrongly-accused"], in_process=True)
    assert not (tried.verdict_right or tried.place_right or tried.cause_right or tried.as_declared)
