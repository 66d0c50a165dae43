"""Reports made by hand: what a check would find, without running one."""

from dataclasses import replace

from dora_repro.checks.report import Control, Report, Verdict
from dora_repro.comparison.leaves import Comparison
from dora_repro.difference import LeafDifference
from dora_repro.explain.explanation import Cause, Explanation, TrialRecord
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.trace import Divergence

LEAVES = ("model/a.m", "model/a.delta")


def differs(path: str, size: float = 1.23e-4, **more) -> LeafDifference:
    known = {"expected": "f32[64]", "actual": "f32[64]", "total": 64, "differing": 3, "max_ulp": 2, "at": (17,)}
    return LeafDifference(path, **{**known, "max_abs": size, "role": "parameter", **more})


def missing(path: str, role: str = "moment") -> LeafDifference:
    return LeafDifference(path, "missing", expected="f32[64]", role=role)


def comparisons(load=(), parameters=(), outputs=(), leaves=LEAVES) -> tuple[Comparison, ...]:
    return (
        Comparison("load", leaves, tuple(load), 1e-12),
        Comparison("parameters", leaves, tuple(parameters), 1e-8),
        Comparison("outputs", ("outputs",), tuple(outputs), 1e-6),
    )


def report(**changes) -> Report:
    """An exact report of 3 steps, resumed after 2; `changes` are its fields."""
    fields = {
        "verdict": Verdict.EXACT,
        "reason": "all effects of 1 step are equal by bytes, and so is the state at the end",
        "save_at": 2,
        "steps": 3,
        "comparisons": comparisons(),
        "title": "quick",
        "steps_done": {"reference": 3, "resumed": 1},
        "seconds": {"reference": 1.25, "resumed": 0.5},
        "environment": {"python": "3.11.7", "torch": "2.13.0"},
    }
    return Report(**{**fields, **changes})


def different(**changes) -> Report:
    found = differs("model/a.m")
    fields = {
        "verdict": Verdict.DIFFERENT,
        "reason": "first differs at step 3, phase update, model/a.m",
        "divergence": Divergence(3, "update", "model/a.m", "value", found),
        "first_memory": Divergence(3, "", "optimizer/a.m/exp_avg"),
        "comparisons": comparisons(parameters=[found], outputs=[differs("outputs", 5.67e-2, role="output")]),
        "lost": (
            *(missing(f"{path}/grad", "gradient") for path in LEAVES),
            *(missing(f"optimizer/{name}/{moment}") for name in ("a.m", "a.delta") for moment in ("step", "exp_avg")),
            differs("rng/torch.cpu", 254.0, role="generator", max_ulp=None, expected="u8[5056]"),
        ),
        "control": Control(("reference", "resumed"), True),
    }
    return report(**{**fields, **changes})


def latent(**changes) -> Report:
    lost = differs("ema/0.weight", role="buffer")
    fields = {"verdict": Verdict.LATENT, "reason": "ema/0.weight lost, no effect in 1 step", "lost": (lost,)}
    return report(
        **{**fields, "latent": ("ema/0.weight",), "control": Control(("reference", "resumed"), True), **changes}
    )


def inconclusive(**changes) -> Report:
    where = Divergence(1, "batch", "batch/0")
    reason = f"not deterministic: a repeat of the same side first differs at {where}"
    fields = {"verdict": Verdict.INCONCLUSIVE, "reason": reason, "control": Control(("reference",), False, where)}
    return different(**{**fields, **changes})


def tolerated(**changes) -> Report:
    return different(**{"verdict": Verdict.WITHIN_TOLERANCE, "tolerance": 0.1, **changes})


def explained(**changes) -> Report:
    """A report that says why: two parts, both needed, and what mends them."""
    failed = TrialResult(Outcome.DIFFERENT, Divergence(3, "update", "model/a.m"), 1, 1e-3, 2e-4)
    restored = TrialResult(Outcome.SAME, steps=1)
    moments = tuple(f"optimizer/{name}/exp_avg" for name in ("a.m", "a.delta"))
    explanation = Explanation(
        causes=(
            Cause("rng/torch.cpu", ("rng/torch.cpu",), "generator", "2 draws ahead", True, failed, failed,
                  ('state["rng"] = 1',), ('set(state["rng"])',), ("Restore generators last.",)),
            Cause("optimizer/*/exp_avg", moments, "moment", "lost; not in the checkpoint", True, failed, failed,
                  ('state["optimizer"] = 1',), ('load(state["optimizer"])',)),
        ),
        proof="Restoring these alone makes the remaining step identical; leaving any one of them out does not.",
        proved=True,
        confirmed=True,
        draws=("random_split: 2 draws (train.py:3: random_split(data, [1, 2]))",),
        keys=("strict=False ignored 2 of 2 keys: all begin with `module.`; strip the prefix",),
        trials=(
            TrialRecord("nothing", 0, failed),
            TrialRecord("all that was lost", 5, restored),
            TrialRecord("rng/torch.cpu", 1, TrialResult(Outcome.UNRESOLVED, error="KeyError: 'step'")),
        ),
        steps=3,
    )  # fmt: skip
    return different(**{"explanation": explanation, **changes})


def unexplained(**changes) -> Report:
    """A report whose cause is not in the captured state."""
    found = Explanation(
        unexplained="no captured state explains it",
        operator="aten.mul.Tensor: equal inputs, different output (train.py:12)",
        look_at=("ruled out: all 4 leaves", "look at what is no state of the run: time and dates, thread counts"),
        draws=("dropout: 7 draws (train.py:9)",),
    )
    return different(explanation=found, **changes)


def raised(**changes) -> Report:
    """A report of a load() that raised."""
    error = "Traceback (most recent call last):\n  File \"train.py\", line 3, in load\nKeyError: 'optimizer'\n"
    cause = Cause("run/exception", ("run/exception",), "", "KeyError: 'optimizer'")
    found = Explanation((cause,), "The resumed side raised before its state could be looked at.", proved=True)
    fields = {"divergence": Divergence(2, "load", "run/exception", "raised"), "comparisons": (), "lost": ()}
    return different(**{**fields, "error": error, "explanation": found, "first_memory": None, **changes})


def unfinished(**changes) -> Report:
    """A report of a resumed run that was killed."""
    fields = {"reason": "the resumed side did not finish: killed by SIGKILL\n  last words", "divergence": None}
    return inconclusive(**{**fields, "control": Control(), "steps_done": {}, "comparisons": (), "lost": (), **changes})


def untested(**changes) -> Report:
    """A report of a run that does not train."""
    reason = "nothing was tested: no trainable parameter changed in the reference"
    return inconclusive(**{"reason": reason, "divergence": None, "control": Control(), "lost": (), **changes})


def uncontrolled(**changes) -> Report:
    """A report without the control."""
    reason = "not controlled: it differs at step 3, phase update, model/a.m"
    return inconclusive(**{"reason": reason, "control": Control(), **changes})


def long_names(**changes) -> Report:
    """A report in which all is long: names, code, sentences, and the number of causes."""
    path = "optimizer/clip_model.visual.transformer.resblocks.22.attn.out_proj.delta_D_A.of.some.more.parts/exp_avg"
    one = explained().explanation
    causes = tuple(
        replace(one.causes[0], name=path, leaves=(f"{path}/{number}",), how="lost; not in the checkpoint " * 4,
                save=(f'state["{path}/{number}"] = self.optimizer.state[self.parameters["{path}"]]["exp_avg"]',),
                load=(f'self.optimizer.state[self.parameters["{path}"]]["exp_avg"] = state["{path}/{number}"]',))
        for number in range(9)
    )  # fmt: skip
    found = replace(one, causes=causes, lines_tried=TrialResult(Outcome.DIFFERENT, Divergence(3, "update", path)))
    divergence = Divergence(3, "update", path, "value", differs(path))
    return different(title="some/long/path/to/the/training/script.py:Training", divergence=divergence,
                     **{"explanation": found, **changes})  # fmt: skip


def every() -> dict[str, Report]:
    """A report of each kind, by its name."""
    kinds = (
        report, different, latent, inconclusive, tolerated, explained, unexplained, raised, unfinished, untested,
        uncontrolled, long_names,
    )  # fmt: skip  # a list of names
    return {kind.__name__: kind() for kind in kinds}
