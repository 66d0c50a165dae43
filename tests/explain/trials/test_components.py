"""What a search begins with: grouped by what holds it, the likely first, and what marks a resume last."""

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.components import MARKS, by_first_name, by_object, components_of
from dora_repro.explain.trials.search import Search
from dora_repro.explain.trials.trial import Outcome, TrialResult
from dora_repro.trace import Divergence


def lost(path, role="memory", kind="value"):
    return LeafDifference(path, kind, role=role)


PARAMETERS = [f"h.{index}.weight" for index in range(8)]
MOMENTS = [lost(f"main/trainer/optimizer/{one}/{n}", "moment", "missing") for one in PARAMETERS for n in ("step", "m")]
RATES = [lost(f"main/trainer/optimizer/group.{index}/lr", "option") for index in range(2)]
MARKED = [lost(f"main/trainer/_{name}") for name in ("first", "second", "third")]
SCRIPT = [
    lost("main/args/resume"),
    *MARKED,
    lost("main/config/dtype"),
    lost("main/trainer/mesh"),
    lost("main/trainer/loss", "log"),
    lost("main/trainer/schedule/last_epoch"),
    lost("rng/torch.cpu", "generator"),
    *RATES,
    lost("main/trainer/handler/loader/iteration"),
    *MOMENTS,
]
MARK_PATHS = {"main/args/resume", *(each.path for each in MARKED)}


def test_what_hangs_under_a_function_is_grouped_by_the_object_that_holds_it():
    found = components_of(SCRIPT, "update", by_object, marks=MARK_PATHS)
    assert list(found)[:2] == ["main/trainer/optimizer, moment", "main/trainer/optimizer, option"]
    assert found["main/trainer/schedule, memory"] == ("main/trainer/schedule/last_epoch",)
    assert found["rng/torch.cpu, generator"] == ("rng/torch.cpu",)
    assert found["main/trainer/handler, memory"] == ("main/trainer/handler/loader/iteration",)
    assert list(found)[-1] == MARKS and set(found[MARKS]) == MARK_PATHS
    assert sum(map(len, found.values())) == len(SCRIPT)


def test_the_attributes_of_a_run_are_its_components():
    paths = ["optimizer/w/m", "optimizer/group.0/lr", "ema/shadow/w", "ema/step"]
    assert [by_first_name(path, "memory") for path in paths] == ["optimizer", "optimizer", "ema", "ema"]
    assert [by_object(path, "memory") for path in ("main/epoch", "main/items/0/obs", "main/items/1/obs")] == [
        "main",
        "main/items",
        "main/items",
    ]


def test_moments_and_a_schedule_of_a_script_are_found_by_eleven_launches_and_nothing_is_named_beside_them():
    """The Trainer without optimizer.pt: much else differs in its objects, and means nothing."""
    needed = {*(each.path for each in (*MOMENTS, *RATES)), "main/trainer/schedule/last_epoch"}

    def run(trial):
        if needed <= trial.names:
            return TrialResult(Outcome.SAME, steps=1)
        return TrialResult(Outcome.DIFFERENT, Divergence(16, "update", "main/model/w"), 1)

    roles = {each.path: each.role for each in SCRIPT}
    found = Search(run, SCRIPT, roles, "update", False, budget=11, holder=by_object, marks=MARK_PATHS).run()
    assert found.names == needed and found.proved
    assert {part.name for part in found.parts} == {
        "main/trainer/optimizer/*/{step, m}",
        "main/trainer/optimizer/*/lr",
        "main/trainer/schedule/last_epoch",
    }
