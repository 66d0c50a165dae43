"""What is lost together is one loss: it is put back whole, and named once."""

from dora_repro.explain.trials.losses import Losses
from dora_repro.explain.trials.trial import DATA
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
    assert searched(some, moments(), others={"optimizer/group.0/lr": "option"}).names == paths
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


# --- one question at a time ------------------------------------------------------------------------------------------


def losses(*differences, frugal=False, **options):
    roles = {each.path: each.role for each in differences}
    return Losses(differences, roles, "forward", frugal=frugal, **options)


def test_what_is_not_among_the_differences_has_no_role_until_it_is_added():
    found = losses(lost("a/x", "generator"), lost("a/y", "option", "unexpected"))
    assert [found.role(path) for path in ("a/x", "a/y", "b/z")] == ["generator", "option", ""]
    assert [found.only_resumed(path) for path in ("a/x", "a/y", "b/z")] == [False, True, False]
    found.add({"b/z": lost("b/z", "memory", "unexpected")})
    assert found.role("b/z") == "memory" and found.only_resumed("b/z") and found.role("a/x") == "generator"


def test_what_a_sampler_holds_is_told_from_all_else():
    found = losses(lost("sampler/start"), lost("epoch"), feeding={"sampler/start"})
    assert found.feeds("sampler/start") and not found.feeds("epoch")


def test_what_is_left_out_is_in_no_component():
    found = losses(lost("a/x"), lost("a/y"), lost("b/z"))
    assert [*found.components(without=("a/y", "b/z")).values()] == [("a/x",)]
    assert sum(map(len, found.components(without=()).values())) == 3


def test_from_three_on_the_objects_of_a_list_are_one_loss():
    objects = [f"buffer/items/{index}" for index in range(3)]
    many, few = (losses(*listed(count), objects=objects[:count]) for count in (3, 2))
    assert {*many.objects.values()} == {"buffer/items/*"} and {*few.objects.values()} == {*objects[:2]}
    named = [*objects[:2], "buffer/items/last"]  # of a class with such attributes
    assert {*losses(*listed(2), lost("buffer/items/last/n"), objects=named).objects.values()} == {*named}


def test_an_empty_list_in_place_of_its_entries_comes_after_them_where_trials_are_dear():
    differences = [lost("buffer/items", kind="unexpected"), *listed(3)]
    objects = [f"buffer/items/{index}" for index in range(3)]
    assert losses(*listed(3), objects=objects, frugal=True).components(without=())  # where none is there
    for frugal_one, place in ((True, -1), (False, 0)):
        found = losses(*differences, objects=objects, frugal=frugal_one)
        (unit,) = found.components(without=()).values()
        assert unit[place] == "buffer/items" and found.objects["buffer/items"] == "buffer/items/*" and len(unit) == 7


def test_an_order_misplaces_the_moments_of_its_own_optimizer_and_only_where_it_is_put_back():
    other = "other/group.0/params"
    units = ((ORDER,), ("optimizer/w/exp_avg",), ("other/w/exp_avg",), ("epoch",))
    found = losses(
        lost(ORDER, "structure"), lost(other, "structure"), lost("optimizer/w/exp_avg", "moment"),
        lost("other/w/exp_avg", "moment"), lost("epoch"),
    )  # fmt: skip
    assert found.without_misplaced(units, (ORDER, other)) == (units[0], units[2], units[3])
    assert found.without_misplaced(units, (other,)) == units == found.without_misplaced(units, ())
    assert found.without_misplaced(((ORDER, "epoch"), ("epoch", "optimizer/w/exp_avg")), (ORDER,)) == (
        (ORDER, "epoch"), ("epoch", "optimizer/w/exp_avg"),
    )  # fmt: skip  # told by its first leaf


def test_a_unit_is_divided_by_objects_unless_it_is_one_or_no_state():
    differences = [lost(path) for path in ("a/x/p", "a/x/q", "a/y/p", "o/1")]
    unit = ("a/x/p", "a/x/q", "a/y/p")
    found = losses(*differences, objects=["o"], divided=lambda path, role: path.rpartition("/")[0])
    assert found.by_object(unit) == [unit[:2], unit[2:]] and losses(*differences).by_object(unit) == [unit]
    assert found.by_object((DATA, *unit)) == [(DATA, *unit)] and found.by_object(("o/1", *unit)) == [("o/1", *unit)]
    assert len(found.by_object(("a/x/p", DATA))) == len(found.by_object(("a/x/p", "o/1"))) == 2


def test_a_unit_is_divided_by_kinds_and_leaves_unless_it_is_one():
    differences = [lost(path) for path in ("a/1/p", "a/2/p", "a/1/q", "o/1", "o/2")]
    unit = ("a/1/p", "a/2/p", "a/1/q")
    found = losses(*differences, objects=["o"], given=("a/1/p", "a/1/q"))
    assert found.by_kind(unit) == [unit[:2], unit[2:]] and found.by_leaf(unit) == [("a/1/p",), ("a/2/p",), ("a/1/q",)]
    for whole in (("o/1", "o/2"), ("a/1/p", "a/1/q"), (DATA, "a/1/p")):
        assert found.by_kind(whole) == found.by_leaf(whole) == [whole]
    rate = losses(lost("optimizer/group.0/lr", "option"))
    assert rate.by_leaf(("optimizer/group.0/lr",)) == [("optimizer/group.0/lr",)]
    for apart in (("a/1/p", "o/1"), ("a/1/p", DATA), ("a/1/q", "a/1/p")):
        assert len(found.by_leaf(apart)) == 2


def test_moments_are_one_loss_where_all_of_an_optimizer_are_missing():
    def divided(kind="missing", more=(), role="moment"):
        differences = [lost(f"optimizer/w/{name}", role, kind) for name in ("exp_avg", "exp_avg_sq")]
        found = losses(*differences, *more)
        return len(found.by_kind(tuple(each.path for each in differences)))

    assert losses(lost("o/w/a", "moment", "missing"), lost("o/w/b", "moment")).by_kind(("o/w/a", "o/w/b")) != [
        ("o/w/a", "o/w/b")
    ]
    assert divided() == 1 and divided("value") == 2 and divided(role="memory") == 2
    others = [lost(f"optimizer/v/{name}", "moment", "missing") for name in ("exp_avg", "exp_avg_sq")]
    assert divided(more=others, role="memory") == 2  # as many, and no moments
    one = losses(lost("o/w/a", "moment", "missing"))
    assert one.by_kind(("o/w/a",)) == one.by_leaf(("o/w/a",)) == [("o/w/a",)]
    assert divided(more=[lost("optimizer/v/exp_avg", "moment", "missing")]) == 2
    assert divided(more=[lost("other/v/exp_avg", "moment", "missing")]) == 1


def test_what_is_missing_in_one_object_is_one_loss_where_trials_are_dear_and_objects_are_known():
    def divided(*differences, frugal=True, **options):
        found = losses(*differences, frugal=frugal, **options)
        return len(found.by_kind(tuple(each.path for each in differences)))

    def holder(path, role):
        return path.rpartition("/")[0]

    missing = [lost(f"run/buffer/{name}", kind="missing") for name in ("obs", "done")]
    assert divided(*missing, divided=holder) == 1
    assert divided(*missing, divided=holder, frugal=False) == divided(*missing) == 2
    assert divided(missing[0], lost("run/buffer/x"), divided=holder) == 2  # one of them is there
    assert divided(missing[0], lost("run/other/x", kind="missing"), divided=holder) == 2  # in two objects
    assert divided(*(lost(f"run/{name}", kind="missing") for name in "ab"), divided=holder) == 2  # in the run itself
    found = losses(*missing, frugal=True, divided=holder)
    assert len(found.by_kind(("run/buffer/obs", "run/buffer/unknown"))) == 2


def test_what_asks_for_gradients_is_one_loss_where_all_that_a_model_has_differs():
    asking = [lost(f"model/{index}.weight/requires_grad", "structure") for index in range(3)]
    paths = {each.path for each in asking}
    assert searched(Rule({"model/1.weight/requires_grad"}), asking).names == paths
    others = {"model/3.weight/requires_grad": "structure"}  # which is as it was
    assert searched(Rule({"model/1.weight/requires_grad"}), asking, others=others).names < paths
