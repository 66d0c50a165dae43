"""What is lost together is one loss: it is put back whole, and named once."""

from tests.explain.trials.searches import OTHERS, Rule, exp_avgs, frugal, lost, moments, searched

ORDER = "optimizer/group.0/params"


def listed(count, holder="buffer/items"):
    return [lost(f"{holder}/{index}/{name}", kind="missing") for index in range(count) for name in ("obs", "reward")]


def test_a_whole_kind_of_moments_is_one_loss_and_is_not_taken_apart():
    differences = [*moments("value", ("exp_avg",)), lost("epoch")]
    found = searched(Rule({difference.path for difference in differences[:-1]}), differences)
    assert [part.name for part in found.parts] == ["optimizer/*/exp_avg"]
    assert len(found.trials) <= 6


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
