"""What a search begins with: grouped by what holds it, the likely first, and what marks a resume last."""

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.components import MARKS, by_first_name, by_object, by_optimizer, components_of
from dora_repro.explain.trials.search import Search
from dora_repro.explain.trials.trial import DRAWS, Outcome, TrialResult
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
OPTIONS = {"holder": by_optimizer, "divided": by_object, "marks": MARK_PATHS}


def test_what_hangs_under_a_function_is_grouped_by_optimizer_and_divided_by_object():
    found = components_of(SCRIPT, "update", by_optimizer, marks=MARK_PATHS)
    assert list(found)[:3] == ["main/trainer/optimizer, moment", "main/trainer/optimizer, option", "main, memory"]
    assert found["rng/torch.cpu, generator"] == ("rng/torch.cpu",)
    divided = {by_object(path, "memory") for path in found["main, memory"]}
    assert divided == {"main/config", "main/trainer", "main/trainer/schedule", "main/trainer/handler"}
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
    found = Search(run, SCRIPT, roles, "update", False, budget=11, **OPTIONS).run()
    assert found.names == needed and found.proved
    assert {part.name for part in found.parts} == {
        "main/trainer/optimizer/*/{step, m}",
        "main/trainer/optimizer/*/lr",
        "main/trainer/schedule/last_epoch",
    }


def test_draws_of_a_script_are_found_by_eleven_launches_though_many_objects_differ():
    """Accelerate within an epoch: a loader that is made anew differs in dozens of leaves, and in part breaks a run."""
    roles = ("memory", "structure", "alias")
    others = [lost(f"main/active/{part}/{role}{n}", role) for role in roles for part in "abcd" for n in "12"]
    differences = [lost("rng/torch.cpu", "generator"), *others, lost("main/skip"), lost("main/args/resume")]

    def run(trial):
        put = [each for each in others if each.path in trial.names]
        if DRAWS in trial.names and len(put) in (0, 8, 16, 24):
            return TrialResult(Outcome.SAME, steps=1)
        return TrialResult(Outcome.DIFFERENT, Divergence(16, "batch", "batch/0"), 1)

    roles = {each.path: each.role for each in differences}
    options = {**OPTIONS, "marks": {"main/args/resume", "main/skip"}}
    found = Search(run, differences, roles, "batch", True, budget=11, draws_first=True, **options).run()
    assert found.names == {DRAWS} and found.proved
