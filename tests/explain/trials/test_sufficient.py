"""Which sets are tried to begin with: all state, then batches, draws, a loop that has begun, iterators."""

import pytest

from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, ITERATORS, LOOP, PASSED, POSITION
from tests.explain.trials.searches import Rule, frugal, lost, moments, searched


def test_what_the_resumed_run_alone_has_is_removed_where_the_rest_does_not_do():
    """Before batches are handed over: a mark that the steps read is nearer to the cause."""
    mark, epoch = lost("resumed", kind="unexpected"), lost("epoch")

    def found(*sets, harmful=()):
        return searched(Rule(*sets, harmful=harmful), [epoch], "batch", streams=True, surplus=[mark])

    assert found({"resumed"}, {DATA}).names == {"resumed"}
    assert found({"resumed"}).parts[0].role == "memory"
    assert found({"epoch"}).names == {"epoch"}
    assert all("resumed" not in trial.names for trial, _ in found({"epoch"}).trials), "not needed, so left alone"
    assert found({"resumed", DATA}).names == {"resumed", DATA}
    assert found({"resumed", DATA}, harmful={DRAWS}).names == {"resumed", DATA}
    assert found({"nothing"}).names == frozenset()


def test_batches_are_tried_where_all_state_does_not_suffice():
    found = searched(Rule({DATA}), [lost("epoch"), lost("rng/torch.cpu", "generator")], "batch", streams=True)
    assert found.names == {DATA}
    assert searched(Rule({DATA}), [lost("epoch")], "batch", streams=False).parts == ()


def test_draws_and_lost_state_can_be_needed_together():
    rule = Rule({DRAWS, "scheduler/last_epoch"})
    found = searched(rule, [lost("scheduler/last_epoch"), lost("epoch")], "forward", streams=True)
    assert found.names == {DRAWS, "scheduler/last_epoch"}


def test_memory_that_does_harm_when_it_is_put_back_is_left_out():
    differences = [lost("position"), lost("rng/numpy", "generator"), *moments()]
    found = searched(Rule({"rng/numpy"}, harmful={"position"}), differences, "batch")
    assert found.names == {"rng/numpy"}


def test_a_samplers_place_is_left_alone_where_the_first_batch_was_the_references():
    """`load()` has told it how many samples to leave out: put back, it would begin anew, and nothing would be found."""
    differences = [lost("sampler/start"), lost("scaler/scale")]
    rule = Rule({"scaler/scale"}, harmful={"sampler/start"})
    found = searched(rule, differences, "backward", feeding={"sampler/start"}, budget=6, streams=True)
    assert found.proved and found.names == {"scaler/scale"}
    rule = Rule({"sampler/start"})
    found = searched(rule, differences, "batch", feeding={"sampler/start"}, streams=True)
    assert found.names == {"sampler/start"}
    rule = Rule({DATA})
    assert searched(rule, differences, "batch", feeding={"sampler/start"}, streams=True).names == {DATA}
    assert {"scaler/scale"} not in [trial.names for trial in rule.asked]  # where it was not, its place is what is wrong


def test_variables_of_a_loop_are_tried_in_one_that_has_begun_and_the_needed_ones_named():
    variables = [lost("loop/bad", kind="missing"), lost("loop/loss", kind="missing")]
    found = searched(Rule({LOOP, "loop/bad"}), [lost("epoch")], "epoch_end", variables=variables)
    assert found.names == {"loop/bad"} and found.trial_names == {"loop/bad", LOOP} and found.proved
    assert found.parts[0].necessary and {"epoch", "loop/loss"} == {*found.harmless}
    assert found.parts[0].role == "memory" and "loop, variables" in found.candidates
    assert all("loop/bad" not in trial.names or LOOP in trial.names for trial, _ in found.trials)


def test_one_variable_of_a_loop_is_enough_and_one_that_restores_nothing_is_no_cause():
    variables = [lost("loop/bad", kind="missing")]
    assert searched(Rule({LOOP, "loop/bad"}), [lost("epoch")], variables=variables).names == {"loop/bad"}
    found = searched(Rule({"elsewhere"}), [lost("epoch")], variables=variables)
    assert found.parts == () and found.base == ()
    rule = Rule({"elsewhere"})
    assert searched(rule, [lost("epoch")]).parts == () and not any(LOOP in trial.names for trial in rule.asked)


def test_a_loop_that_restores_by_having_begun_explains_nothing():
    variables = [lost("loop/bad", kind="missing")]
    found = searched(Rule({LOOP}), [lost("epoch")], "epoch_end", variables=variables)
    assert found.parts == () and found.base == ()


def test_where_state_suffices_no_loop_is_begun():
    rule = Rule({"epoch"})
    found = searched(rule, [lost("epoch")], "forward", variables=[lost("loop/bad", kind="missing")])
    assert found.names == {"epoch"} and not any(LOOP in trial.names for trial in rule.asked)


def test_a_batch_in_hand_goes_with_the_batches():
    differences = [lost("rng/torch.cpu", "generator"), lost("train/x"), lost("train/best")]
    rule = Rule({DATA, "train/x", "rng/torch.cpu"})
    found = searched(rule, differences, "batch", streams=True, in_hand=("train/x",))
    assert {part.name for part in found.parts} == {DATA, "rng/torch.cpu"}
    assert found.names == {DATA, "train/x", "rng/torch.cpu"} and found.harmless == ("train/best",)


def test_what_the_resumed_run_alone_holds_is_left_where_a_step_needs_it():
    aside = [lost("pending/optimizer/step", kind="unexpected"), lost("pending/epoch", kind="unexpected")]
    rule = Rule({"scheduler/last_epoch"}, harmful=["pending/optimizer/step"])
    found = searched(rule, [*aside, lost("scheduler/last_epoch"), *moments()], "schedule")
    assert found.names == {"scheduler/last_epoch"} and found.proved and found.parts[0].necessary
    assert not {difference.path for difference in aside}.intersection(found.harmless)


def test_what_the_resumed_run_alone_holds_is_the_cause_where_removing_it_restores_the_run():
    found = searched(Rule({"extra/key"}), [lost("extra/key", kind="unexpected"), lost("epoch")])
    assert found.names == {"extra/key"} and found.harmless == ("epoch",)


def test_nothing_is_named_where_leaving_what_waits_does_not_help_either():
    differences = [lost("pending/epoch", kind="unexpected"), lost("epoch")]
    assert searched(Rule({"elsewhere"}), differences).parts == ()


def test_iterators_are_the_cause_where_a_run_without_them_does_what_the_resumed_one_did():
    differences = [lost("epoch"), lost("position")]
    found = searched(Rule({ITERATORS}, {CONTROL}), differences, "batch", iterators=True)
    assert found.names == {ITERATORS} and found.proved
    # Else it is that the trial's objects were never loaded into, and not the iterators.
    assert searched(Rule({ITERATORS}), differences, "batch", iterators=True).parts == ()
    # Of a run that has nothing half done there, the control says nothing.
    found = searched(Rule({ITERATORS}), differences, "batch", iterators=True, resettable=False)
    assert found.names == {ITERATORS} and not any(CONTROL in trial.names for trial, _ in found.trials)
    assert searched(Rule({ITERATORS}, {CONTROL}), differences, "batch").parts == ()
    rule = Rule({ITERATORS, "epoch"}, {CONTROL})
    assert searched(rule, differences, "batch", iterators=True).names == {ITERATORS, "epoch"}
    assert "epoch" in next(trial.names for trial in rule.asked if ITERATORS in trial.names)  # with all state at first


def test_what_waits_is_left_in_the_run_with_batches_too():
    differences = [lost("pending/x", kind="unexpected"), lost("epoch")]
    found = searched(Rule({DATA, "epoch"}, harmful=["pending/x"]), differences, "batch", streams=True)
    assert found.names == {DATA, "epoch"}


def test_what_waits_is_removed_with_batches_before_iterators_are_tried():
    rule = Rule({DATA, "pending/x"}, {ITERATORS}, {CONTROL})
    differences = [lost("pending/x", kind="unexpected"), lost("epoch")]
    found = searched(rule, differences, "batch", streams=True, iterators=True)
    assert found.names == {DATA, "pending/x"}


def test_where_nothing_differs_batches_alone_are_tried_and_nothing_is_no_set():
    assert searched(Rule({DATA}), [], "batch", streams=True).names == {DATA}
    rule = Rule(set())
    assert not frugal(rule, []).run().proved and rule.asked == []


@pytest.mark.parametrize(
    ("phase", "options", "first"),
    [("batch", {}, DATA), ("epoch_end", {}, DATA), ("forward", {}, DRAWS), ("batch", {"draws_first": True}, DRAWS)],
)
def test_batches_are_tried_before_draws_where_batches_differ_first(phase, options, first):
    rule = Rule({DATA}, {DRAWS})
    found = searched(rule, [lost("epoch")], phase, streams=True, **options)
    assert found.names == {first}
    assert [first in trial.names for trial in rule.asked[:3]] == [False, False, True]


def test_batches_and_draws_are_tried_together_last():
    rule = Rule({DATA, DRAWS})
    assert searched(rule, [lost("epoch")], "forward", streams=True).names == {DATA, DRAWS}
    assert [{DATA, DRAWS} & trial.names for trial in rule.asked[:5]] == [set(), set(), {DRAWS}, {DATA}, {DATA, DRAWS}]


def test_a_run_that_passes_over_batches_does_so_in_its_trials_too():
    found = searched(Rule({DATA, PASSED}), [lost("epoch")], "batch", streams=True, passes_over=True)
    assert found.names == {DATA, PASSED} and len(found.parts) == 1
    assert all((PASSED in trial.names) is (DATA in trial.names) for trial, _ in found.trials[:3])
    assert searched(Rule({DATA, PASSED}), [lost("epoch")], "batch", streams=True).parts == ()
    assert searched(Rule({DATA, PASSED}), [lost("epoch")], "batch", passes_over=True).parts == ()


def test_what_a_run_that_passes_over_batches_needs_besides_is_found_whatever_does_harm():
    passed = {DATA, PASSED}

    def names(rule, *differences):
        return searched(rule, differences, "batch", streams=True, passes_over=True).names

    generator, epoch = lost("rng/torch.cpu", "generator"), lost("epoch")
    assert names(Rule(passed, harmful=["rng/torch.cpu"]), generator) == passed
    assert names(Rule({*passed, "epoch"}), epoch) == {*passed, "epoch"}
    waiting = lost("pending/x", kind="unexpected")
    assert names(Rule({*passed, "pending/x"}), waiting) == {*passed, "pending/x"}
    assert names(Rule({*passed, "epoch"}, harmful=["pending/x"]), epoch, waiting) == {*passed, "epoch"}
    rule = Rule({*passed, "rng/torch.cpu"}, harmful=["epoch"])
    assert names(rule, generator, epoch) == {*passed, "rng/torch.cpu"}


def test_the_place_in_an_epoch_that_began_anew_is_tried_before_draws_and_batches():
    differences = [lost("rng/torch.cpu", "generator"), lost("epoch")]

    def found(*sets, **options):
        rule = Rule(*sets)
        names = frugal(rule, differences, "batch", streams=True, draws_first=True, **options).run().names
        return names, [trial.names & {POSITION, DRAWS, DATA} for trial in rule.asked]

    names, asked = found({POSITION, "rng/torch.cpu"}, {POSITION, DRAWS}, began_anew=True)
    assert names == {POSITION, "rng/torch.cpu"} and not any({DRAWS, DATA} & some for some in asked)
    assert found({POSITION, DRAWS}, {DATA}, began_anew=True)[0] == {POSITION, DRAWS}
    assert found({DATA}, began_anew=True)[0] == {DATA}
    names, asked = found({DATA})
    assert names == {DATA} and not any(POSITION in some for some in asked)


def test_other_batches_are_put_back_alone_first_where_trials_are_dear():
    """All that differed went into the set with them, and no trial was left to take it out: 54 lines were advised."""
    differences = [lost("data/buffer/0", "data"), lost("train/loss", kind="missing"), lost("train/best")]
    rule = Rule({DATA})
    found = frugal(rule, differences, "batch", streams=True, draws_first=True, budget=4).run()
    assert found.names == {DATA} and found.proved and len(rule.asked) == 4
    both = Rule({DATA, "train/best"})
    assert frugal(both, differences, "batch", streams=True, draws_first=True).run().names == {DATA, "train/best"}


def test_batches_are_put_back_with_all_that_differs_where_trials_are_cheap_or_batches_were_right():
    differences = [lost("train/loss", kind="missing"), lost("train/best")]

    def first(search, phase):
        rule = Rule({DATA})
        search(rule, differences, phase)
        return next(trial.names for trial in rule.asked if DATA in trial.names)

    def dear(rule, differences, phase):
        return frugal(rule, differences, phase, streams=True).run()

    def cheap(rule, differences, phase):
        return searched(rule, differences, phase, streams=True)

    assert first(dear, "batch") == {DATA}
    assert "train/best" in first(cheap, "batch") and "train/best" in first(dear, "forward")
    found = dear(Rule({"elsewhere"}), differences, "batch")
    assert found.parts == () and not found.proved  # batches alone are no cause unless they restore exact resume
