"""What a search begins with: grouped by what holds it, the likely first, and what marks a resume last."""

from dora_repro.explain.trials.components import (
    GIVEN,
    MARKS,
    by_first_name,
    by_object,
    by_optimizer,
    components_of,
    likely_of,
)
from dora_repro.explain.trials.trial import DRAWS, Outcome, TrialResult
from dora_repro.trace import Divergence
from tests.explain.trials.searches import lost, search_of

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
    found = search_of(run, SCRIPT, roles, "update", False, budget=11, **OPTIONS).run()
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
    found = search_of(run, differences, roles, "batch", True, budget=11, draws_first=True, **options).run()
    assert found.names == {DRAWS} and found.proved


def test_what_the_next_step_is_given_is_one_component_before_all_others():
    differences = [lost("rng/torch.cpu", "generator"), lost("train.py/X"), lost("train.py/best"), lost("train.py/Y")]
    found = components_of(differences, "forward", by_optimizer, given=("train.py/X", "train.py/Y"))
    assert list(found) == [GIVEN, "rng/torch.cpu, generator", "train.py, memory"]
    assert found[GIVEN] == ("train.py/X", "train.py/Y")


def test_plain_variables_of_a_script_are_not_likely_by_their_role():
    role = {"m": "moment", "best": "memory", "g": "generator", "X": "memory"}
    units = tuple((path,) for path in role)
    assert likely_of(units, "update", role.__getitem__, ("X",)) == (("m",), ("X",))
    assert likely_of(units, "forward", role.__getitem__, ()) == (("g",),)


def fetched_ahead(needed, **options):
    """A script with everything in its module, whose batch was fetched before the save: many variables differ."""
    names = ("X", "Y", "best", "lossf", "t", "it", "losses", "arg", "val")
    differences = [lost("rng/torch.cpu", "generator"), *(lost(f"train.py/{name}") for name in names)]

    def run(trial):
        if needed <= trial.names:
            return TrialResult(Outcome.SAME, steps=1)
        return TrialResult(Outcome.DIFFERENT, Divergence(9, "forward", "outputs/train.py/model"), 1)

    roles = {each.path: each.role for each in differences}
    options = {**OPTIONS, "marks": {"train.py/arg", "train.py/val"}, "given": ("train.py/X", "train.py/Y"), **options}
    return search_of(run, differences, roles, "forward", False, frugal=True, budget=10, **options)


def test_a_batch_fetched_ahead_and_a_generator_are_found_by_four_launches():
    needed = {"rng/torch.cpu", "train.py/X", "train.py/Y"}
    search = fetched_ahead(needed)
    found = search.run()
    assert (found.names, found.proved, len(found.trials)) == (needed, True, 4)
    assert [part.name for part in found.parts] == ["train.py/{X, Y}", "rng/torch.cpu"]
    assert found.parts[0].without is None
    search.examine(6)
    assert [part.necessary for part in found.parts] == [True, True]
    assert len(found.trials) == 6


def test_examining_ends_with_the_launches_that_are_left_and_leaves_the_proof_as_it_is():
    search = fetched_ahead({"rng/torch.cpu", "train.py/X", "train.py/Y"})
    found = search.run()
    search.examine(5)
    assert ([part.necessary for part in found.parts], found.proved, found.stopped) == ([True, None], True, "")


def test_one_cause_is_proved_by_the_run_with_nothing_put_back():
    found = fetched_ahead({"train.py/best"}).run()
    assert found.names == {"train.py/best"} and found.proved
    assert any(not trial.names for trial, _ in found.trials)


def test_a_run_that_nothing_put_back_restores_has_its_difference_outside_its_state():
    found = fetched_ahead(set()).run()
    assert (found.reproduced, found.parts) == (False, ())


def test_entries_that_a_buffer_has_lost_are_one_loss_with_the_empty_buffer_in_their_place():
    names = [f"main/memory/entries/{n}/{name}" for n in range(4) for name in ("state", "reward")]
    whole = [f"main/memory/entries/{n}" for n in range(4)]
    marked = [lost("main/loss", kind="missing"), lost("main/start")]
    differences = [
        lost("main/memory/entries", kind="unexpected"),
        *(lost(name, kind="missing") for name in names),
        *marked,
    ]
    needed = {"main/memory/entries", *names}

    def run(trial):
        if needed <= trial.names:
            return TrialResult(Outcome.SAME, steps=1)
        return TrialResult(Outcome.DIFFERENT, Divergence(9, "forward", "outputs/main/model"), 1)

    options = {**OPTIONS, "marks": {each.path for each in marked}, "frugal": True}
    roles = {each.path: each.role for each in differences}
    found = search_of(run, differences, roles, "forward", False, objects=whole, budget=9, **options).run()
    (part,) = found.parts
    assert (part.name, part.role, set(part.leaves), found.proved) == ("main/memory/entries/*", "object", needed, True)
    found = search_of(run, differences, roles, "forward", False, budget=9, **options).run()
    assert found.names == needed and found.proved


def test_whether_a_run_differs_at_all_is_tried_last_where_trials_are_dear():
    done = []

    def run(trial):
        done.append(trial.names)
        return TrialResult(Outcome.DIFFERENT, Divergence(9, "forward", "outputs/main/model"), 1)

    search = search_of(run, [lost("main/a")], {"main/a": "memory"}, "forward", False, frugal=True)
    assert search.run().parts == () and done == [{"main/a"}]
    search.try_nothing()
    assert search.result.reproduced and done[-1] == frozenset()
