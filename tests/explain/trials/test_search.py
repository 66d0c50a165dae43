"""The search, with trials answered by a rule: which sets restore exact resume, and what the search makes of it."""

import pytest

from dora_repro.difference import LeafDifference
from dora_repro.explain.trials.search import Search
from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, ITERATORS, LOOP, PASSED, Outcome, TrialResult
from dora_repro.trace import Divergence

PARAMETERS = [f"layer.{index}.weight" for index in range(6)]


def lost(path, role="memory", kind="value"):
    return LeafDifference(path, kind, role=role)


def moments(kind="missing", names=("step", "exp_avg", "exp_avg_sq"), parameters=PARAMETERS):
    return [lost(f"optimizer/{parameter}/{name}", "moment", kind) for parameter in parameters for name in names]


class Rule:
    """Restores exact resume where one of the sets was put back; what else is put back does no harm, unless named."""

    def __init__(self, *sets, harmful=()):
        self.sets, self.harmful, self.asked = [set(one) for one in sets], set(harmful), []

    def __call__(self, trial):
        self.asked.append(trial)
        distance = 0.5 if trial.to_the_end else None
        if any(one <= trial.names for one in self.sets) and not self.harmful & trial.names:
            return TrialResult(Outcome.SAME, steps=1, parameter_distance=distance)
        return TrialResult(Outcome.DIFFERENT, Divergence(3, "forward", "loss"), 1, distance)


def searched(rule, differences, phase="forward", streams=False, **options):
    roles = {difference.path: difference.role for difference in differences if difference.kind != "unexpected"}
    return Search(rule, differences, {**roles, **options.pop("others", {})}, phase, streams, **options).run()


def test_one_lost_generator_is_named_alone_and_necessary():
    differences = [lost("rng/torch.cpu", "generator"), lost("epoch"), lost("best"), *moments()]
    found = searched(Rule({"rng/torch.cpu"}), differences)
    assert [(part.name, part.leaves, part.necessary) for part in found.parts] == [
        ("rng/torch.cpu", ("rng/torch.cpu",), True)
    ]
    assert found.proved and not found.stopped and not found.other
    assert found.parts[0].without.parameter_distance == 0.5
    assert set(found.harmless) == {"epoch", "best", *(each.path for each in moments())}
    assert len(found.trials) <= 8


def test_a_generator_and_all_moments_are_two_parts():
    differences = [lost("rng/torch.cpu", "generator"), lost("epoch"), *moments()]
    names = [difference.path for difference in moments()]
    found = searched(Rule({"rng/torch.cpu", *names}), differences, "update")
    assert {part.name for part in found.parts} == {"rng/torch.cpu", "optimizer/*/{step, exp_avg, exp_avg_sq}"}
    assert all(part.necessary for part in found.parts)
    assert all(part.alone.outcome is Outcome.DIFFERENT for part in found.parts)


def test_moments_of_one_parameter_are_found_among_all_that_are_wrong():
    differences = moments("value", ("exp_avg",))
    wanted = "optimizer/layer.4.weight/exp_avg"
    rule = Rule({wanted})
    found = searched(rule, differences, others={f"optimizer/{n}/exp_avg": "moment" for n in ("a.weight", "b.weight")})
    assert [part.leaves for part in found.parts] == [(wanted,)]


def test_a_whole_kind_of_moments_is_one_loss_and_is_not_taken_apart():
    differences = [*moments("value", ("exp_avg",)), lost("epoch")]
    found = searched(Rule({difference.path for difference in differences[:-1]}), differences)
    assert [part.name for part in found.parts] == ["optimizer/*/exp_avg"]
    assert len(found.trials) <= 6


def test_of_some_counters_exactly_those_needed_are_named():
    differences = [lost(f"feed/{name}") for name in ("epoch", "position", "seed", "length", "cursor")]
    found = searched(Rule({"feed/position", "feed/seed"}), differences, "batch")
    assert sorted(found.names) == ["feed/position", "feed/seed"]
    assert {part.name for part in found.parts} == {"feed/position", "feed/seed"}


def test_where_two_sets_suffice_neither_is_called_necessary_and_the_other_is_shown():
    differences = [lost("order", "memory"), lost("generator", "generator"), lost("epoch")]
    found = searched(Rule({"order"}, {"generator"}), differences, "batch")
    assert len(found.names) == 1
    assert found.parts[0].necessary is False
    assert set(found.other) | found.names == {"order", "generator"}
    assert found.harmless == ("epoch",)  # what restores exact resume as well is not harmless


def test_what_the_resumed_run_alone_has_is_removed_where_the_rest_does_not_do():
    """Before batches are handed over: a mark that the steps read is nearer to the cause."""
    mark, epoch = lost("resumed", kind="unexpected"), lost("epoch")

    def found(*sets):
        return searched(Rule(*sets), [epoch], "batch", streams=True, surplus=[mark])

    assert found({"resumed"}, {DATA}).names == {"resumed"}
    assert found({"epoch"}).names == {"epoch"}
    assert all("resumed" not in trial.names for trial, _ in found({"epoch"}).trials), "not needed, so left alone"
    assert found({"resumed", DATA}).names == {"resumed", DATA}
    assert found({"nothing"}).names == frozenset()


ORDER = "optimizer/group.0/params"


def listed(count, holder="buffer/items"):
    return [lost(f"{holder}/{index}/{name}", kind="missing") for index in range(count) for name in ("obs", "reward")]


def test_many_objects_of_a_list_are_one_loss():
    differences = [*listed(40), lost("buffer/pos"), lost("epoch")]
    rule = Rule({each.path for each in differences[:-1]})
    found = searched(rule, differences, objects=[f"buffer/items/{index}" for index in range(40)])
    assert {part.name for part in found.parts} == {"buffer/items/*", "buffer/pos"} and found.proved
    assert len(found.trials) <= 12


def test_what_differs_in_the_items_that_are_left_of_such_a_list_is_the_same_loss():
    differences = [*listed(40), *(lost(f"buffer/{name}") for name in ("items/40/obs", "items/41/obs", "pos"))]
    matter = {each.path for each in differences[:-1]}
    found = searched(Rule(matter), differences, objects=[f"buffer/items/{index}" for index in range(40)])
    assert [(part.name, set(part.leaves)) for part in found.parts] == [("buffer/items/*", matter)]


def test_an_empty_list_is_not_told_as_harmless_beside_its_entries_that_matter():
    entries = [lost(f"losses/{index}", kind="missing") for index in range(4)]
    differences = [*entries, lost("losses", kind="unexpected"), lost("loss", kind="unexpected")]
    found = searched(Rule({each.path for each in entries}), differences)
    assert found.names == {each.path for each in entries}
    assert found.harmless == ("loss",)  # whose name merely begins alike


def test_few_objects_and_those_of_no_list_are_named_each():
    objects = ["buffer/items/0", "buffer/items/1", "model/a", "model/b", "model/c"]
    differences = [lost(f"{path}/n", kind="missing") for path in objects]
    found = searched(Rule({each.path for each in differences}), differences, objects=objects)
    assert {part.name for part in found.parts} == set(objects)


def test_an_order_of_parameters_is_the_cause_where_it_restores_the_run_and_not_the_moments_it_misplaced():
    misplaced = moments("value", ("exp_avg",))
    differences = [lost(ORDER, "structure"), lost("epoch"), *misplaced]
    names = [difference.path for difference in misplaced]
    found = searched(Rule({ORDER}, set(names)), differences, "update", orders=(ORDER,))
    assert [part.leaves for part in found.parts] == [(ORDER,)] and found.parts[0].necessary is False
    found = searched(Rule({ORDER, "epoch"}), differences, "update", orders=(ORDER,))
    assert {part.name for part in found.parts} == {ORDER, "epoch"}
    # Where the order does not restore it, the moments are looked at as ever.
    found = searched(Rule(set(names)), differences, "update", orders=(ORDER,))
    assert found.names == set(names)


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


def test_a_difference_that_does_not_reproduce_is_said_to_be_none_of_the_state():
    found = searched(Rule(set()), [lost("epoch")])
    assert found.reproduced is False and found.parts == () and len(found.trials) == 1


def test_nothing_is_named_where_nothing_restores_the_run():
    found = searched(Rule({"elsewhere"}), [lost("epoch"), *moments()], streams=True)
    assert found.parts == () and found.reproduced


def test_no_more_trials_are_done_than_allowed_and_the_best_so_far_is_reported():
    differences = [lost(f"part{index}/x") for index in range(40)]
    found = searched(Rule({"part3/x", "part17/x", "part31/x"}), differences, budget=10)
    assert len(found.trials) == 10 and found.stopped == "budget" and not found.proved
    assert {"part3/x", "part17/x", "part31/x"} <= found.names


def test_of_the_sets_tried_the_smallest_that_restored_the_run_is_the_best_so_far():
    differences = [lost(f"part{index}/x") for index in range(16)]
    found = searched(Rule({"part1/x", "part2/x"}), differences, budget=4)
    tried = [trial.names for trial, result in found.trials if result.restores]
    assert found.stopped == "budget" and len(tried) > 1
    assert found.names == min(tried, key=len) and len(found.names) < len(differences)


def test_batches_that_do_by_themselves_are_tried_before_what_differs_besides_is_looked_at():
    differences = [lost(f"part{index}/x") for index in range(40)]
    found = searched(Rule({DATA}), differences, "batch", streams=True)
    assert found.names == {DATA} and found.proved and len(found.trials) <= 6


def test_an_interruption_gives_the_best_so_far():
    class Interrupting(Rule):
        def __call__(self, trial):
            if len(self.asked) == 3:
                raise KeyboardInterrupt
            return super().__call__(trial)

    found = searched(Interrupting({"a/x"}), [lost("a/x"), lost("b/x"), lost("c/x"), lost("d/x")])
    assert found.stopped == "interrupted" and "a/x" in found.names


@pytest.mark.parametrize("needed", [{"optimizer/layer.3.weight/exp_avg"}, {"rng/torch.cpu", "scheduler/last_epoch"}])
def test_five_hundred_differing_leaves_take_fewer_than_forty_trials(needed):
    parameters = [f"block.{index}.weight" for index in range(160)]
    differences = [
        *moments("value", parameters=[*parameters, "layer.3.weight"]),
        *(lost(f"model/{parameter}/grad", "gradient", "missing") for parameter in parameters),
        *(lost(name, role) for name, role in (("rng/torch.cpu", "generator"), ("scheduler/last_epoch", "memory"))),
    ]
    assert len(differences) > 500
    found = searched(Rule(needed), differences, "update", others={"optimizer/x.weight/exp_avg": "moment"})
    assert found.names == needed and found.proved
    assert len(found.trials) < 40


@pytest.mark.parametrize("divergence", [None, Divergence(3, "update", "w")])
def test_a_result_is_read_from_the_message_that_it_travelled_in(divergence):
    result = TrialResult(Outcome.DIFFERENT, divergence, 2, failed={"a": "why"})
    assert TrialResult.from_dict({"event": "answer", **result.to_dict()}) == result


# --- variables of a loop that begins with the first resumed step ------------------------------------------------------


def test_variables_of_a_loop_are_tried_in_one_that_has_begun_and_the_needed_ones_named():
    variables = [lost("loop/bad", kind="missing"), lost("loop/loss", kind="missing")]
    found = searched(Rule({LOOP, "loop/bad"}), [lost("epoch")], "epoch_end", variables=variables)
    assert found.names == {"loop/bad"} and found.trial_names == {"loop/bad", LOOP} and found.proved
    assert found.parts[0].necessary and {"epoch", "loop/loss"} == {*found.harmless}
    assert all("loop/bad" not in trial.names or LOOP in trial.names for trial, _ in found.trials)


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


# --- what load() put aside for the first step -------------------------------------------------------------------------


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


# --- iterators --------------------------------------------------------------------------------------------------------


def test_iterators_are_the_cause_where_a_run_without_them_does_what_the_resumed_one_did():
    differences = [lost("epoch"), lost("position")]
    found = searched(Rule({ITERATORS}, {CONTROL}), differences, "batch", iterators=True)
    assert found.names == {ITERATORS} and found.proved
    # Else it is that the trial's objects were never loaded into, and not the iterators.
    assert searched(Rule({ITERATORS}), differences, "batch", iterators=True).parts == ()
    # Of a run that has nothing half done there, the control says nothing.
    found = searched(Rule({ITERATORS}), differences, "batch", iterators=True, resettable=False)
    assert found.names == {ITERATORS} and not any(CONTROL in trial.names for trial, _ in found.trials)
    assert searched(Rule({ITERATORS}), differences, "batch").parts == ()


# --- leaf by leaf -----------------------------------------------------------------------------------------------------


def exp_avgs(count):
    """Moments of some parameters of a model that has more, so that they are not all of their kind."""
    return moments("value", ("exp_avg",), [f"layer.{index}.weight" for index in range(count)])


OTHERS = {f"optimizer/{name}/exp_avg": "moment" for name in ("x.weight", "y.weight", "z.weight")}


@pytest.mark.parametrize("count", [2, 4])
def test_of_few_leaves_of_a_kind_exactly_those_needed_are_named(count):
    paths = [each.path for each in exp_avgs(count)]
    needed = {paths[0], paths[-1]}  # not in one half
    found = searched(Rule(needed), exp_avgs(count), others=OTHERS)
    assert found.names == needed


def test_many_leaves_of_a_kind_are_halved_as_long_as_one_half_does():
    paths = [each.path for each in exp_avgs(6)]
    assert searched(Rule({paths[0]}), exp_avgs(6), others=OTHERS).names == {paths[0]}
    assert searched(Rule({paths[0], paths[2]}), exp_avgs(6), others=OTHERS).names == set(paths[:3])
    assert searched(Rule({paths[0], paths[5]}), exp_avgs(6), others=OTHERS).names == set(paths)


def test_all_leaves_of_a_kind_that_comes_by_parameter_are_one_loss_and_those_of_another_kind_are_not():
    paths = [each.path for each in exp_avgs(3)]
    assert searched(Rule({paths[1]}), exp_avgs(3)).names == set(paths)
    counters = [lost(f"feed/{index}/cursor") for index in range(3)]
    assert searched(Rule({"feed/1/cursor"}), counters).names == {"feed/1/cursor"}


def test_all_moments_that_an_optimizer_lacks_are_one_loss():
    paths = {each.path for each in moments()}
    some = Rule({each.path for each in moments(names=("exp_avg",))})
    found = searched(some, moments())
    assert found.names == paths and found.parts[0].name == "optimizer/*/{step, exp_avg, exp_avg_sq}"
    # Where there are others, or they are there and wrong, it could step with a part of them.
    assert searched(some, moments(), others=OTHERS).names < paths
    assert searched(some, moments("value")).names < paths


# --- the order of trials ----------------------------------------------------------------------------------------------


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


def test_a_trial_is_not_done_twice():
    rule = Rule({"a/x"})
    found = searched(rule, [lost("a/x"), lost("b/x")])
    done = [(trial.names, trial.to_the_end) for trial in rule.asked]
    assert len(done) == len(set(done)) == len(found.trials)
    assert not [names for names, to_the_end in done if not to_the_end and done.index((names, False)) > 0
                and (names, True) in done[: done.index((names, False))]]  # fmt: skip


# --- where each trial costs a process ---------------------------------------------------------------------------------


def frugal(rule, differences, phase="forward", **options):
    roles = {difference.path: difference.role for difference in differences}
    return Search(rule, differences, {**roles, **options.pop("others", {})}, phase, False, frugal=True, **options)


def test_where_trials_are_dear_nothing_put_back_is_tried_only_when_it_is_asked_for():
    rule = Rule({"rng/torch.cpu"})
    search = frugal(rule, [lost("rng/torch.cpu", "generator"), lost("epoch")])
    found = search.run()
    assert found.names == {"rng/torch.cpu"} and found.parts[0].without is None and found.parts[0].alone is None
    search.try_nothing()
    assert found.reproduced
    search.examine(len(rule.asked) + 5)
    assert found.parts[0].necessary and found.parts[0].alone is None and found.parts[0].without is not None


def test_where_nothing_was_found_nothing_put_back_is_tried():
    cured = frugal(Rule(set(), harmful=("epoch",)), [lost("epoch")])
    assert cured.run().parts == ()
    cured.try_nothing()
    assert cured.result.reproduced is False
    differing = frugal(Rule({"elsewhere"}), [lost("epoch")])
    differing.run()
    differing.try_nothing()
    assert differing.result.reproduced is True


def test_parts_are_examined_as_far_as_the_budget_goes():
    rule = Rule({"rng/torch.cpu"})
    search = frugal(rule, [lost("rng/torch.cpu", "generator"), lost("epoch")])
    search.run()
    search.examine(len(rule.asked))
    assert search.result.parts[0].without is None


def test_where_trials_are_dear_what_is_likely_is_tried_by_itself():
    differences = [lost("rng/torch.cpu", "generator"), *(lost(f"part{index}/x") for index in range(20))]
    rule = Rule({"rng/torch.cpu"})
    assert frugal(rule, differences).run().names == {"rng/torch.cpu"}
    assert len(rule.asked) <= 4 and frozenset({"rng/torch.cpu"}) in [trial.names for trial in rule.asked[:3]]


def test_entries_that_one_object_lacks_are_one_loss_where_trials_are_dear():
    missing = [lost(f"run/buffer/{name}", kind="missing") for name in ("obs", "reward", "done")]

    def holder(path, role):
        return path.rpartition("/")[0]

    rule = Rule({"run/buffer/obs"})
    assert frugal(rule, missing, divided=holder).run().names == {each.path for each in missing}
    assert searched(Rule({"run/buffer/obs"}), missing, divided=holder).names == {"run/buffer/obs"}
    wrong = [lost(each.path) for each in missing]
    assert frugal(Rule({"run/buffer/obs"}), wrong, divided=holder).run().names == {"run/buffer/obs"}


def test_a_component_is_divided_by_objects_before_kinds():
    differences = [lost(f"train/{holder}/{name}") for holder in ("one", "other") for name in ("x", "y")]

    def of_object(path, role):
        return path.rpartition("/")[0]

    rule = Rule({"train/one/x", "train/one/y"})
    found = searched(rule, differences, divided=of_object)
    assert found.names == {"train/one/x", "train/one/y"}
    assert frozenset({"train/one/x", "train/one/y"}) in [trial.names for trial in rule.asked]


def test_what_the_next_step_is_given_is_one_loss():
    given = ("train/inputs", "train/targets")
    differences = [*(lost(path) for path in given), lost("train/epoch")]
    found = searched(Rule({"train/inputs"}), differences, given=given)
    assert found.names == set(given) and len(found.parts) == 1


def test_marks_of_a_resume_are_tried_last():
    differences = [lost("mark"), lost("epoch")]
    found = searched(Rule({"mark"}, {"epoch"}), differences, marks=("mark",))
    assert found.names == {"epoch"}
    assert next(iter(found.candidates.values())) == ("epoch",)


def test_no_more_parts_are_examined_than_are_told():
    differences = [lost(f"part{index}/x") for index in range(8)]
    found = searched(Rule({each.path for each in differences}), differences, budget=200)
    assert len(found.parts) == 8
    assert [part.without is not None for part in found.parts] == [True] * 6 + [False] * 2
    assert all(part.alone.parameter_distance == 0.5 for part in found.parts[:6])  # to the end
    alone = searched(Rule({"a/x"}), [lost("a/x"), lost("b/x")]).parts[0].alone
    assert alone.parameter_distance is None  # the set itself: it has been tried


def test_a_set_that_does_without_a_part_is_shown_whole():
    found = searched(Rule({"a/x", "b/x"}, {"a/x", "c/x"}), [lost("a/x"), lost("b/x"), lost("c/x"), lost("d/x")])
    assert found.names == {"a/x", "b/x"} and found.other == ("a/x", "c/x")
    assert [part.necessary for part in found.parts] == [True, False]
    assert found.harmless == ("d/x",)


def test_other_sets_may_hold_batches_and_draws():
    differences = [lost("a/x"), lost("b/x")]
    found = searched(Rule({DATA, "a/x"}, {DATA, "b/x"}), differences, "batch", streams=True)
    assert found.names == {DATA, "a/x"} and set(found.other) == {DATA, "b/x"}
    found = searched(Rule({DRAWS, "a/x"}, {DRAWS, "b/x"}), differences, "forward", streams=True)
    assert found.names == {DRAWS, "a/x"} and set(found.other) == {DRAWS, "b/x"}
