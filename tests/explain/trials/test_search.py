"""The search, with trials answered by a rule: which sets restore exact resume, and what the search makes of it."""

import pytest

from dora_repro.explain.trials.trial import CONTROL, DATA, DRAWS, ITERATORS, LOOP, Outcome, TrialResult
from dora_repro.trace import Divergence
from tests.explain.trials.searches import OTHERS, Rule, exp_avgs, frugal, lost, moments, searched


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
    assert all(part.alone.parameter_distance == 0.5 for part in found.parts)  # of several, to the end


def test_moments_of_one_parameter_are_found_among_all_that_are_wrong():
    differences = moments("value", ("exp_avg",))
    wanted = "optimizer/layer.4.weight/exp_avg"
    rule = Rule({wanted})
    found = searched(rule, differences, others={f"optimizer/{n}/exp_avg": "moment" for n in ("a.weight", "b.weight")})
    assert [part.leaves for part in found.parts] == [(wanted,)]


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


def test_what_is_needed_of_several_components_is_found_beside_what_is_needed_of_the_others():
    names = ("feed/position", "feed/epoch", "clock/tick", "clock/zone", "count/a", "count/b")
    found = searched(Rule({"feed/position", "clock/tick", "count/b"}), [lost(name) for name in names])
    assert found.names == {"feed/position", "clock/tick", "count/b"} and len(found.parts) == 3


def test_a_set_that_was_proved_stays_though_a_smaller_one_does():
    def found(**options):
        differences = [lost(f"{name}/x") for name in "abcd"]
        return searched(Rule({"c/x"}, {"a/x", "b/x"}), differences, **options)

    whole = found()
    assert whole.proved and not whole.stopped and whole.names == {"a/x", "b/x"} and whole.other == ("c/x",)
    stopped = [found(budget=budget) for budget in range(1, len(whole.trials))]
    assert {each.names for each in stopped if each.proved} == {whole.names} and not stopped[0].proved
    assert {each.stopped for each in stopped} == {"budget"}


def test_what_is_likely_is_not_tried_by_itself_where_trials_are_cheap():
    rule = Rule({"rng/torch.cpu"})
    searched(rule, [lost("rng/torch.cpu", "generator"), *(lost(f"part{index}/x") for index in range(20))])
    assert [len(trial.names) for trial in rule.asked[:4]] == [0, 21, 10, 5]


def test_forty_trials_are_done_where_no_number_is_given():
    wanted = {f"part{index}/x" for index in range(0, 40, 3)}
    found = searched(Rule(wanted), [lost(f"part{index}/x") for index in range(40)])
    assert found.stopped == "budget" and len(found.trials) == 40 and wanted <= found.names


def test_what_is_one_piece_is_not_tried_without_itself_again():
    rule = Rule({"c0/a", "c1/a"})
    frugal(rule, [lost(path) for path in ("c0/a", "c0/b", "c0/c", "c1/a")]).run()
    assert [trial.names for trial in rule.asked][1:] == [{"c0/a", "c0/b", "c0/c"}, {"c1/a"}, {"c0/a", "c1/a"}]


def test_what_did_harm_is_not_put_back_again_when_another_set_is_looked_for():
    one, other = (each.path for each in exp_avgs(2))
    rule = Rule({one}, {other}, harmful=("epoch",))
    found = searched(rule, [lost("epoch"), *exp_avgs(2)], others=OTHERS)
    assert found.names == {one} and found.other == (other,)
    assert [trial.names for trial in rule.asked if "epoch" in trial.names] == [{"epoch", one, other}]


# --- leaf by leaf -----------------------------------------------------------------------------------------------------


def test_from_five_leaves_of_a_kind_on_they_are_halved():
    paths = [each.path for each in exp_avgs(5)]
    assert searched(Rule({paths[0], paths[4]}), exp_avgs(5), others=OTHERS).names == set(paths)


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


# --- where each trial costs a process ---------------------------------------------------------------------------------


def test_where_trials_are_dear_nothing_put_back_is_tried_only_when_it_is_asked_for():
    rule = Rule({"rng/torch.cpu"})
    search = frugal(rule, [lost("rng/torch.cpu", "generator"), lost("epoch")])
    found = search.run()
    assert found.names == {"rng/torch.cpu"} and found.parts[0].without is None and found.parts[0].alone is None
    search.try_nothing()
    assert found.reproduced
    search.examine(len(rule.asked) + 5)
    assert found.parts[0].necessary and found.parts[0].alone is None and found.parts[0].without is not None


def test_where_trials_are_dear_and_a_set_was_found_nothing_put_back_is_never_tried():
    rule = Rule({"a/x", "b/x"})
    search = frugal(rule, [lost("a/x"), lost("b/x")])
    search.run()
    search.try_nothing()
    assert [trial.names for trial in rule.asked] == [{"a/x", "b/x"}, {"a/x"}, {"b/x"}]


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


def test_of_what_was_not_proved_no_part_is_examined():
    differences = [lost(f"part{index}/x") for index in range(16)]
    rule = Rule({"part1/x", "part2/x"})
    search = frugal(rule, differences, budget=3)
    found = search.run()
    assert found.parts and not found.proved
    search.examine(100)
    assert len(rule.asked) == 3 and all(part.without is None for part in found.parts)


def test_where_trials_are_dear_what_is_likely_is_tried_by_itself():
    differences = [lost("rng/torch.cpu", "generator"), *(lost(f"part{index}/x") for index in range(20))]
    rule = Rule({"rng/torch.cpu"})
    assert frugal(rule, differences).run().names == {"rng/torch.cpu"}
    assert len(rule.asked) <= 4 and frozenset({"rng/torch.cpu"}) in [trial.names for trial in rule.asked[:3]]


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


# --- where a search is stopped ----------------------------------------------------------------------------------------


def test_a_search_that_is_stopped_never_names_the_control_or_what_that_refuted():
    differences = [lost(f"part{index}/x") for index in range(6)]
    needed = {ITERATORS, "part1/x", "part2/x"}
    whole = searched(Rule(needed, {CONTROL}), differences, iterators=True)
    assert whole.proved and whole.names == needed
    for budget in range(4, len(whole.trials)):
        stopped = searched(Rule(needed, {CONTROL}), differences, iterators=True, budget=budget)
        assert stopped.stopped and needed <= stopped.names and CONTROL not in stopped.names
    # A loop that has begun does by itself: its variables are no cause, and neither is its having begun.
    begun = {"variables": [lost("train/best")], "iterators": True}
    for budget in range(4, 9):
        stopped = searched(Rule({LOOP}, {ITERATORS, "part1/x"}, {CONTROL}), differences, budget=budget, **begun)
        assert stopped.stopped and LOOP not in stopped.names and (not stopped.parts or ITERATORS in stopped.names)
