"""The comparison with rivals: what counts as right, the table's arithmetic, and that none of them need be installed."""

import importlib.util
import json
import types
from pathlib import Path

import pytest

from dora_repro.faults import gallery
from dora_repro.faults.gallery import Fault
from dora_repro.faults.plain import Training

FOLDER = Path(__file__).parents[2] / "benchmarks"


@pytest.fixture
def rivals(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The benchmark, as Python runs it: its own folder comes first where it imports."""
    monkeypatch.syspath_prepend(str(FOLDER))
    return importlib.import_module("rivals")


def a_fault(name: str, causes: tuple = (), *, verdict: str = "DIFFERENT", step: int | None = 4, family: str = "data"):
    return Fault(name, family, Training, 6, 3, "", "", verdict, step, "forward" if step else None, causes)


class ForgetsTheOptimizer(Training):
    def load_optimizer(self, state: dict) -> None:
        self.scheduler.load_state_dict(state["scheduler"])


@pytest.mark.parametrize(
    ("path", "component"),
    [
        ("optimizer/*/exp_avg", "optimizer"),
        ("optimizer.state[0]", "optimizer"),
        ("scheduler/last_epoch", "scheduler"),
        ("lr_scheduler/*", "scheduler"),
        ("model/*.weight", "model"),
        ('model["0.weight"]', "model"),
        ("rng/torch.cpu", "rng"),
        ("random number generators (torch) not restored", "rng"),
        ("data/batches", "data"),
        ("loader/sampler/generator", "data"),
        ("generator", "data"),
        ("ema/0.weight", "average"),
        ("flags/torch.num_threads", "environment"),
        ("scaler/_scale", "scaler"),
        ("steps", "steps"),
        ("run/exception", "run"),
    ],
)
def test_paths_and_names_are_told_as_components(rivals, path, component):
    assert rivals.component(path) == component


def test_blame_is_right_first_among_others_or_alone(rivals):
    def blamed(causes: tuple, *named: str) -> tuple:
        return rivals.blamed(a_fault("x", causes), rivals.Found("tool", "x", "detected", named=named))

    optimizer = (("optimizer/*/exp_avg", "optimizer/*/exp_avg_sq"),)
    assert blamed(optimizer, "optimizer") == (True, True, True)
    assert blamed(optimizer, "model", "optimizer") == (False, True, False)
    assert blamed(optimizer, "optimizer", "rng") == (True, True, False)
    assert blamed(optimizer) == (False, False, False)
    assert blamed((("optimizer/*", "rng/python"),), "rng") == (True, False, False)
    assert blamed((("optimizer/*",), ("scheduler/*",)), "scheduler") == (True, True, True)
    assert blamed(((),), rivals.OUTSIDE) == (True, True, True)
    assert blamed(((),), "model") == (False, False, False)
    assert blamed((("data/batches",),), rivals.OUTSIDE) == (True, True, True)
    assert blamed((("generator",),), rivals.OUTSIDE) == (False, False, False)


def test_what_cannot_take_part_is_counted_apart(rivals):
    faults = [
        a_fault("seen", (("rng/python",),)),
        a_fault("missed", (("rng/python",),)),
        a_fault("latent", (("ema/*",),), verdict="LATENT", step=None),
        a_fault("unsteady", verdict="INCONCLUSIVE", step=None),
        a_fault("refused", (("model/*",),)),
        a_fault("clean", verdict="EXACT", step=None, family="clean"),
    ]
    told = [
        rivals.Found("tool", "seen", "detected", (3, 4), ("model", "rng"), 1.0),
        rivals.Found("tool", "missed", "passed", (), (), 2.0),
        rivals.Found("tool", "latent", "detected", (3,), ("average",), 3.0),
        rivals.Found("tool", "unsteady", "no verdict", (), (), 4.0),
        rivals.Found("tool", "refused", "cannot take part", says="no word for it"),
        rivals.Found("tool", "clean", "passed", (), (), 5.0),
    ]
    found = {one.fault: one for one in told}
    assert rivals.row("tool", faults, found) == {
        "tool": "tool",
        "detected": "2/3",
        "step": "1/2",
        "component first": "1/3",
        "among": "2/3",
        "alone": "1/3",
        "clean passed": "1/1",
        "median s": 3.0,
        "no verdict": 1,
        "cannot take part": 1,
    }
    assert rivals.reasons({"tool": found}) == {"tool, no word for it": ["refused"]}
    nothing = rivals.row("tool", faults[4:5], found)
    assert (nothing["detected"], nothing["clean passed"], nothing["median s"]) == ("–", "–", None)


def test_messages_of_pytest_torch_are_read(rivals):
    text = (
        "Resuming from a checkpoint saved after step 3 does not reproduce the uninterrupted run:\n"
        "  first divergence at step 4: loss 1 after resuming, 2 without interruption\n"
        "State after loading vs when saving:\n"
        "  optimizer 'optimizer': state differs (e.g. state missing): optimizer state not restored\n"
        "  ema: state differs (e.g. ema.value): not saved or not restored\n"
        "  random number generators (python, torch) not restored: this matters\n"
        "Hint: save and restore model, optimizer, scheduler, GradScaler and RNG state together"
    )
    assert rivals.read_message(text, 3) == ((3, 5), ("optimizer", "average", "rng"))
    text = (
        "first divergence at step 3: loss 1\nThe state after loading matches the saved one, so the difference comes "
        "from outside the checkpoint: a stateful data pipeline\nHint: save"
    )
    assert rivals.read_message(text, 3) == ((4,), (rivals.OUTSIDE,))
    assert rivals.read_message("", 3) == ((), ())


def test_rivals_see_all_that_a_run_holds(rivals):
    held = rivals.observed(Training())
    assert {"model", "optimizer", "scheduler", "generator", "position", "steps", "rng"} <= set(held)
    assert "batches" not in held
    assert rivals.stated([0.5, 0.25]) is None  # losses told so far
    assert rivals.plain({0: {1, 2}}) == {"0": "set"}
    ring = [1]
    ring.append(ring)
    assert rivals.plain(ring) == [1, "itself"]


def test_missing_rivals_are_left_out_with_what_to_install(rivals, monkeypatch, capsys, tmp_path):
    there = importlib.util.find_spec
    absent = {"trainparity", "pytest_torch"}
    monkeypatch.setattr(importlib.util, "find_spec", lambda name, *rest: None if name in absent else there(name, *rest))
    fault = Fault(
        "forgetful", "optimizer", ForgetsTheOptimizer, 4, 2, "", "", "DIFFERENT", 2, "load", (("optimizer/*",),)
    )
    monkeypatch.setattr(gallery, "find", {"forgetful": fault}.__getitem__)
    file = tmp_path / "figures.json"
    rivals.main(["--only", "forgetful", "--in-process", "--json", str(file)])
    content = json.loads(file.read_text(encoding="utf-8"))
    assert [row["tool"] for row in content["rows"]] == ["dora-repro"]
    assert (content["rows"][0]["detected"], content["rows"][0]["alone"]) == ("1/1", "1/1")
    assert [(found["tool"], found["outcome"]) for found in content["found"]] == [("dora-repro", "detected")]
    words = capsys.readouterr().err
    assert "trainparity is left out: pip install --no-deps trainparity==0.1.0" in words
    assert "pytest-torch is left out: pip install --no-deps pytest-torch==1.1.1" in words
