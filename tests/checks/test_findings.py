"""What differs between two sides, on evidence made of a few words: in which list it stands, and what comes first."""

from dataclasses import replace

import numpy as np
import pytest

from dora_repro.checks.findings import compare_sides, wrong_from_the_start
from dora_repro.difference import LeafDifference
from dora_repro.state.forms import Form
from dora_repro.trace import Divergence, Trace
from tests.checks.made import FACTS, RESUMED, WRONG, W, judged
from tests.evidence import STEPS, side, snapshot
from tests.traces import trace


def paths(differences):
    return [difference.path for difference in differences]


# --- what differs ----------------------------------------------------------------------------------------------------


def test_of_equal_sides_nothing_is_found(tmp_path):
    found, _, _ = judged(tmp_path)
    assert found.divergence is None and not found.any_byte
    assert (found.lost, found.end, found.healed, found.bookkeeping, found.settings) == ((), (), (), (), ())
    assert (found.set_by_load, found.reordered, found.put_aside, found.returned) == ((), (), (), ())
    assert found.save_changed == () and found.steps_compared == 2
    assert [(each.name, each.equal) for each in found.comparisons] == [("load", True), ("parameters", True)]


def test_an_effect_that_differs_comes_before_what_the_resumed_side_raised(tmp_path):
    other = trace(STEPS[2], ["batch x z"], first=3)
    failure = {"error": "E", "traceback": "E"}
    found, _, _ = judged(tmp_path, None, {"end": None, "failure": failure, "where": "step"}, resumed_steps=other)
    assert found.divergence == Divergence(4, "batch", "x") and found.any_byte


@pytest.mark.parametrize(
    ("where", "step", "phase", "expected"),
    [
        ("build", 0, "batch", (2, "load")),
        ("load", 0, "batch", (2, "load")),
        ("step", 2, "forward", (3, "forward")),
        ("step", 3, "forward", (4, "forward")),
        ("save", 3, "save", (4, "save")),
        ("end", 2, "batch", (2, "load")),  # saved at the last step: nothing was done since
    ],
)
def test_where_the_resumed_side_raised_is_the_divergence(tmp_path, where, step, phase, expected):
    done = trace(*STEPS[2 : max(step, 2)], first=3)
    failure = {"error": "E", "traceback": "E"}
    said = {"end": None, "failure": failure, "where": where, "step": step, "phase": phase}
    found, _, _ = judged(tmp_path, None, said, resumed_steps=done)
    assert found.divergence == Divergence(*expected, "run/exception", "raised")


def test_lost_at_the_end_and_healed_leaves_stand_in_lists_of_their_own(tmp_path):
    reference = {"saved": {"a": 1, "b": 1, "c": 1}, "end": {"a": 2, "b": 2, "c": 2, "d": 1}}
    found, _, _ = judged(tmp_path, reference, {"loaded": {"a": 5, "b": 5, "c": 1}, "end": {"a": 5, "b": 2, "c": 9}})
    assert paths(found.lost) == ["a", "b"]
    assert paths(found.end) == ["a", "c", "d"] and found.any_byte and found.divergence is None
    assert found.healed == ("b",)


def test_without_an_end_nothing_has_healed(tmp_path):
    found, _, _ = judged(tmp_path, {"saved": {"a": 1}, "end": {"a": 1}}, {"loaded": {"a": 2}, "end": None})
    assert paths(found.lost) == ["a"] and found.healed == () and found.end == ()
    assert [each.name for each in found.comparisons] == ["load"]


def test_a_parameter_that_no_step_showed_before_the_end_that_never_came_was_wrong_from_the_start(tmp_path):
    failure = {"error": "E", "traceback": "E"}
    wrong = {"w": (W + 1, "parameter"), "mark": 1}
    said = {"loaded": wrong, "end": None, "failure": failure, "where": "step", "step": 2, "phase": "batch"}
    found, _, _ = judged(tmp_path, None, said, resumed_steps=trace(first=3))
    assert (found.divergence.phase, found.divergence.leaf) == ("load", "w") and found.put_aside == ()


def test_a_parameter_that_no_step_showed_before_the_end_was_not_wrong_where_it_is_right_there(tmp_path):
    elsewhere = trace(["update v d", "update w d"], *STEPS[1:])
    leaves = {"v": (W, "parameter")}
    said = {"loaded": {"v": (W + 1, "parameter")}, "end": leaves}
    found, _, _ = judged(tmp_path, {"saved": leaves, "end": leaves}, said, steps=elsewhere)
    assert found.divergence is None and found.healed == ("v",)


def test_without_a_load_there_is_nothing_lost(tmp_path):
    found, _, _ = judged(tmp_path, {"end": {"a": 1}}, {"loaded": None, "end": {"a": 2}})
    assert found.lost == () and paths(found.end) == ["a"]
    assert found.bookkeeping == () and found.set_by_load == () and found.settings == ()
    assert [each.name for each in found.comparisons] == ["parameters"]


@pytest.mark.parametrize(("role", "total"), [("parameter", 2), ("option", 0), ("generator", 0), ("memory", 3)])
def test_what_save_changed_and_a_step_works_with_is_a_difference_of_the_save(tmp_path, role, total):
    changed = (LeafDifference("noted"), LeafDifference("x", "value", total=total, role=role))
    found, _, _ = judged(tmp_path, {"saved": {"x": 1}, "end": {"x": 1}, "changed": changed}, {"loaded": {"x": 1}})
    assert (found.divergence.step, found.divergence.phase, found.divergence.leaf) == (2, "save", "x")
    assert found.divergence.difference == changed[1]
    assert found.save_changed == changed[:1]


def test_a_helper_that_save_made_where_there_was_none_is_bookkeeping(tmp_path):
    changed = (LeafDifference("helper", "missing"), LeafDifference("helper/w", "unexpected", role="parameter"))
    reference = {"saved": {"helper": None}, "end": {"helper/w": 3, "helpers": 1}, "changed": changed}
    found, _, _ = judged(tmp_path, reference, {"loaded": {"helper": None}, "end": {"helper": None, "helpers": 2}})
    assert found.divergence is None
    assert set(found.bookkeeping) == {"helper", "helper/w"} and paths(found.end) == ["helpers"]


def test_what_the_resumed_run_alone_has_in_such_a_helper_is_bookkeeping_and_no_mark_of_a_resume(tmp_path):
    reference = {"saved": {"helper": None}, "end": {"helper/w": 3}, "changed": (LeafDifference("helper", "missing"),)}
    found, _, _ = judged(tmp_path, reference, {"loaded": {"helper/u": 1}, "end": {"helper/u": 1}})
    assert set(found.bookkeeping) == {"helper/w", "helper/u"} and "helper/u" not in found.set_by_load


def test_what_save_gave_a_value_or_took_away_unseen_is_no_helper(tmp_path):
    changed = (LeafDifference("x", "type", role="option"),)
    found, _, _ = judged(tmp_path, {"saved": {"x": None}, "changed": changed}, {"loaded": {"x": None}})
    assert (found.divergence.phase, found.divergence.leaf) == ("save", "x")
    found, _, _ = judged(tmp_path, {"changed": (LeafDifference("gone", "missing"),)}, {})
    assert found.divergence is None and found.bookkeeping == ()


@pytest.mark.parametrize("before", [(None, "memory", False), 0, (1, "memory")])
def test_what_save_took_away_is_no_helper(tmp_path, before):
    changed = (LeafDifference("x", "missing"), LeafDifference("x/w", "unexpected", role="parameter"))
    found, _, _ = judged(tmp_path, {"saved": {"x": before}, "changed": changed}, {"loaded": {"x": before}})
    assert found.divergence.phase == "save" and found.divergence.leaf == "x/w"


def test_gradients_left_over_from_a_step_that_was_never_resumed_are_no_loss(tmp_path):
    reference = {"saved": {"g": (W, "gradient"), "a": 1}, "end": {"g": (W, "gradient"), "a": 1}}
    for steps, expected in ((trace(first=3), ["a"]), (RESUMED, ["a", "g"])):
        said = {"loaded": {"a": 1, "g": (W, "gradient")}, "end": {"a": 2, "g": (W + 1, "gradient")}}
        found, _, _ = judged(tmp_path, {**reference}, said, resumed_steps=steps)
        assert sorted(paths(found.end)) == expected


def test_a_history_that_lost_its_beginning_does_not_count_and_one_that_was_changed_does(tmp_path):
    reference = {"saved": {"h": [1, 2], "k": [1, 2]}, "end": {"h": [1, 2, 3], "k": [1, 2, 3]}}
    said = {"loaded": {"h": [2], "k": [1, 9]}, "end": {"h": [2, 3], "k": [1, 9, 3]}}
    found, _, _ = judged(tmp_path, reference, said)
    assert found.bookkeeping == ("h",) and paths(found.end) == ["k"]


def test_histories_of_runs_that_went_apart_need_not_have_grown_by_the_same(tmp_path):
    def found(steps):
        reference = {"saved": {"h": [1, 2]}, "end": {"h": [1, 2, 3]}}
        said = {"loaded": {"h": [2]}, "end": {"h": [2, 4]}}
        return judged(tmp_path, reference, said, resumed_steps=steps)[0]

    assert found(RESUMED).bookkeeping == () and paths(found(RESUMED).end) == ["h"]
    apart = trace(STEPS[2], ["batch x z"], first=3)
    assert found(apart).bookkeeping == ("h",) and found(apart).end == ()


def test_a_list_whose_type_is_another_is_no_history(tmp_path):
    forms = {"forms": {"h": "list"}}, {"forms": {"h": "deque"}}
    reference = {"saved": {"h": [1]}, "end": {"h": [1, 2]}, "end_about": forms[0]}
    found, _, _ = judged(tmp_path, reference, {"loaded": {"h": []}, "end": {"h": [2]}, "end_about": forms[1]})
    assert found.bookkeeping == () and paths(found.end) == ["h"]


def ordered(*keys, by_order=False, name="dict"):
    return {"forms": {"d": Form(name, {}, True, keys, by_order)}}


@pytest.mark.parametrize(
    ("before", "counts"),
    [
        (ordered("a", "b", "c"), False),
        (ordered("a", "b", "c", by_order=True, name="OrderedDict"), True),
        (ordered("c", "a", "b"), True),  # the reference moved keys
        ({}, False),
    ],
)
def test_another_order_of_keys_counts_where_a_dict_is_kept_by_it(tmp_path, before, counts):
    leaves = {"d/a": 1, "d/b": 2, "d/c": 3}
    about = ordered("a", "b", "c", by_order=before.get("forms", {}).get("d", Form("")).by_order, name="dict")
    if about["forms"]["d"].by_order:
        about = ordered("a", "b", "c", by_order=True, name="OrderedDict")
    form = about["forms"]["d"]
    other = {"forms": {"d": replace(form, order=("b", "a", "c"))}}
    reference = {"saved": leaves, "saved_about": before, "end": leaves, "end_about": about}
    found, _, _ = judged(tmp_path, reference, {"loaded": leaves, "end": leaves, "end_about": other})
    assert paths(found.end) == (["d"] if counts else [])
    assert found.reordered == (() if counts else ("d",))


def test_what_loading_alone_set_marks_a_resume(tmp_path):
    found, _, _ = judged(
        tmp_path, None, {"loaded": {"resumed_from": "p", "n": 1}, "end": {"resumed_from": "p", "n": 2}}
    )
    assert found.set_by_load == ("resumed_from",) and paths(found.end) == ["n"]


def test_what_a_run_was_told_at_its_resume_is_configuration(tmp_path):
    reference = {"saved": {"workers": 4}, "end": {"workers": 4}}
    start = Trace(
        trace(*STEPS).steps, snapshot({"workers": 4}).leaves and {"workers": snapshot(workers=4)["workers"].digest}
    )
    said = {"loaded": {"workers": 2}, "end": {"workers": 2}, "told": ["workers"]}
    found, _, _ = judged(tmp_path, reference, said, steps=start)
    assert [(each.path, each.by) for each in found.settings] == [("workers", "resume")]
    assert found.set_by_load == ("workers",) and found.end == ()


def test_a_list_is_configuration_where_the_resumed_run_was_told_it_and_else_lost(tmp_path):
    """A constant number that differs was set by loading whoever says so; a list may be an order of samples."""
    steps = Trace(trace(*STEPS).steps, {"sizes": snapshot(sizes=[4, 2])["sizes"].digest})
    reference = {"saved": {"sizes": [4, 2]}, "end": {"sizes": [4, 2]}}
    resumed = {"loaded": {"sizes": [4, 3]}, "end": {"sizes": [4, 3]}}
    built = {"sizes": snapshot(sizes=[4, 3])["sizes"].digest.hex()}
    for said, by in (({"told": ["sizes"]}, "resume"), ({"built": built, "resumes": False}, "built")):
        found, _, _ = judged(tmp_path, {**reference}, {**resumed, **said}, steps=steps)
        assert [(each.path, each.by) for each in found.settings] == [("sizes", by)]
        assert found.set_by_load == (("sizes",) if by == "resume" else ())
        assert paths(found.end) == ([] if by == "resume" else ["sizes"])


def test_a_variable_that_a_function_has_only_where_it_resumes_is_no_loss_though_it_changes(tmp_path):
    about = {"kinds": {"train": "variables"}}
    both = {"train/epoch": 1}
    reference = {"saved": both, "saved_about": about, "end": both, "end_about": about}
    resumed = {"loaded": {**both, "train/read": 1}, "end": {**both, "train/read": 2}}
    found, _, _ = judged(tmp_path, reference, {**resumed, "loaded_about": about, "end_about": about})
    assert found.set_by_load == ("train/read",) and found.end == ()


def test_variables_that_are_given_another_value_before_they_are_read_are_no_loss(tmp_path):
    reference = {"saved": {"train/x": 1}, "end": {"train/x": 2, "train/y": 2}, "overwritten": ["train/x", "train/y"]}
    resumed = {"loaded": {"train/x": 1}, "end": {"train/x": 3, "train/y": 3, "n": 1}, "overwritten": ["train/x"]}
    found, _, _ = judged(tmp_path, reference, resumed)
    assert found.overwritten == ("train/x",) and sorted(paths(found.end)) == ["n", "train/y"]
    # What is set aside for another reason is told with that one.
    marked = {"loaded": {"train/from": "p"}, "end": {"train/from": "p"}, "overwritten": ["train/from"]}
    found, _, _ = judged(tmp_path, {"overwritten": ["train/from"]}, marked)
    assert found.set_by_load == ("train/from",) and found.overwritten == ()


@pytest.mark.parametrize("loaded", [{}, None], ids=["loaded", "never loaded"])
def test_an_equal_object_that_a_library_made_anew_was_set_by_load(tmp_path, loaded):
    about = {"kinds": {"main": "variables"}}
    reference = {"end": {"main/given/n": 1, "callback/T": ("= main/given", "alias")}, "end_about": about}
    resumed = {"loaded": loaded, "end": {"main/given/n": 2, "callback/T/n": 1}, "end_about": about}
    both = {"overwritten": ["main/given"]}
    found, _, _ = judged(tmp_path, {**reference, **both}, {**resumed, **both})
    assert {*found.set_by_load} == {"callback/T", "callback/T/n"} and found.overwritten == ("main/given/n",)
    assert found.end == ()


def test_what_was_put_aside_for_the_first_step_is_listed_once_it_is_gone(tmp_path):
    said = {"loaded": {"pending/a": 1, "kept": 1}, "end": {"kept": 1}}
    found, _, _ = judged(tmp_path, {"end": {"kept": 1}}, said)
    assert found.put_aside == ("pending/a",)
    for steps in (trace(first=3),):
        found, _, _ = judged(tmp_path, {"end": {"kept": 1}}, {**said, "loaded": {"pending/a": 1}}, resumed_steps=steps)
        assert found.put_aside == ()


def test_of_a_run_that_did_not_come_to_its_end_nothing_is_known_to_have_been_put_aside(tmp_path):
    failure = {"error": "E", "traceback": "E"}
    said = {"loaded": {"pending": 1}, "end": None, "failure": failure, "where": "step", "step": 3, "phase": "update"}
    found, _, _ = judged(tmp_path, None, said, resumed_steps=trace(STEPS[2], first=3))
    assert found.put_aside == () and found.steps_compared == 1


def test_variables_that_went_with_a_function_were_not_put_aside(tmp_path):
    about = {"kinds": {"train": "variables"}}
    for end_about, expected in (({}, ()), (about, ("train/x",))):
        said = {"loaded": {"train/x": 1}, "loaded_about": about, "end": {}, "end_about": end_about}
        assert judged(tmp_path, None, said)[0].put_aside == expected
    said = {"loaded": {"train/x": 1}, "loaded_about": {"kinds": {"train": "dict"}}, "end": {}}
    assert judged(tmp_path, None, said)[0].put_aside == ("train/x",)


def test_what_a_run_lacks_or_has_at_the_end_was_not_put_aside(tmp_path):
    reference = {"saved": {"a": 1}, "end": {"b": 1}}
    said = {"loaded": {"b": 1, "c": 1}, "end": {"c": 1}}
    assert judged(tmp_path, reference, said)[0].put_aside == ()


def test_a_function_that_returned_meanwhile_is_named(tmp_path):
    from dora_repro.state.frames import FINISHED_CALL

    reference = {"saved": {"before": FINISHED_CALL}, "end": {"before": FINISHED_CALL, "train": FINISHED_CALL, "x": "y"}}
    reference["end"]["array"] = np.ones(2)
    assert judged(tmp_path, reference, {})[0].returned == ("train",)


def test_trained_parameters_and_outputs_are_compared_as_the_study_does(tmp_path):
    outputs = snapshot(y=W), snapshot(y=W + 1)
    buffer = {"b": (W, "buffer")}
    reference = {"saved": {"m": (W, "parameter"), "f": (W, "parameter", False), **buffer}, "outputs": outputs[0]}
    reference["end"] = dict(reference["saved"])
    facts = {**FACTS, "trainable": {"w": 2, "f": 2, "b": 1}}
    said = {"loaded": {"m": (W + 1, "parameter"), **buffer}, "end": {"m": (W + 1, "parameter"), **buffer}}
    said["outputs"] = outputs[1]
    found, _, _ = judged(tmp_path, {**reference, "facts": facts}, said)
    assert [(each.name, each.compared, each.equal) for each in found.comparisons] == [
        ("load", ("w",), True),
        ("parameters", ("w",), True),
        ("outputs", ("y",), False),
    ]


@pytest.mark.parametrize("given", [{}, {"reference"}, {"resumed"}], ids=["neither", "one", "the other"])
def test_outputs_are_compared_where_both_runs_have_some(tmp_path, given):
    reference, resumed = ({"outputs": snapshot(y=W)} if name in given else {} for name in ("reference", "resumed"))
    found, _, _ = judged(tmp_path, reference, resumed)
    assert [each.name for each in found.comparisons] == ["load", "parameters"]


def test_parameters_that_went_with_a_function_are_not_compared(tmp_path):
    one = side(tmp_path / "a", saved=snapshot(w=(W, "parameter")), end=snapshot(x=1), facts=FACTS)
    other = side(tmp_path / "b", RESUMED, loaded=snapshot(w=(W, "parameter")), end=snapshot(w=(W, "parameter")), step=4)
    assert [each.name for each in compare_sides(one, other, 2, 4).comparisons] == ["load"]
    without = {**FACTS, "trainable": {}}
    one = side(tmp_path / "c", saved=snapshot(x=1), end=snapshot(x=1), facts=without)
    other = side(tmp_path / "d", RESUMED, loaded=snapshot(x=1), end=snapshot(x=1), step=4)
    assert [each.name for each in compare_sides(one, other, 2, 4).comparisons] == ["load", "parameters"]


# --- wrong from the start --------------------------------------------------------------------------------------------


def wrong(difference=WRONG, actual=RESUMED, at_end=frozenset({"w"}), late=(), expected=None, save_at=2):
    found = wrong_from_the_start((difference,), expected or trace(*STEPS), actual, save_at, at_end, late)
    return found is not None and (found.step, found.phase, found.leaf, found.difference) == (
        save_at, "load", difference.path, difference
    )  # fmt: skip


def test_a_parameter_that_is_wrong_when_it_is_next_recorded_was_so_from_the_start():
    otherwise = trace(["update w z"], STEPS[3], first=3)
    assert wrong(actual=otherwise, at_end=frozenset())
    assert not wrong()  # as the reference's when it is next recorded: it has healed
    assert not wrong(replace(WRONG, role="memory"), otherwise)
    assert not wrong(replace(WRONG, role="buffer"), otherwise)
    assert wrong(replace(WRONG, role="option"), otherwise)
    assert not wrong(replace(WRONG, expected="digest alone"), otherwise)
    assert not wrong(replace(WRONG, path="copy"), otherwise, frozenset({"copy"}))
    assert not wrong(actual=otherwise, late={"w"})


def test_one_that_is_never_recorded_again_was_wrong_where_it_is_so_at_the_end():
    elsewhere, expected = trace(["update v d"], first=3), trace(*STEPS[:2], ["update v d"])
    assert wrong(actual=elsewhere, expected=expected)
    assert not wrong(actual=elsewhere, expected=expected, at_end=frozenset({"v"}))
    assert wrong(actual=elsewhere, expected=expected, at_end=None)  # the resumed run did not come to its end
    assert wrong(actual=elsewhere, at_end=frozenset())  # only one of the runs records it again


def test_a_run_saved_at_its_last_step_is_judged_by_its_end():
    nothing = trace(first=5)
    assert wrong(actual=nothing, save_at=4)
    assert not wrong(actual=nothing, save_at=4, at_end=frozenset())
    assert wrong(replace(WRONG, path="copy"), nothing, frozenset({"copy"}), expected=trace())


def test_only_steps_after_the_save_that_both_runs_have_tell():
    assert wrong(actual=trace(["update w z"], *STEPS[2:], first=2), at_end=frozenset()) is False
    longer = trace(["update w z"], first=9)
    assert not wrong(actual=longer, at_end=frozenset())
    assert wrong(actual=longer)


def test_options_that_are_set_before_the_first_step_are_not_wrong(tmp_path):
    steps = trace(["schedule lr z", "update w d"], STEPS[3], first=3)
    expected = trace(*STEPS[:2], ["schedule lr a", "update w d"], STEPS[3])
    reference = {"saved": {"lr": (0.1, "option")}, "end": {"lr": (0.1, "option")}}

    def found(**options):
        said = {"loaded": {"lr": (0.2, "option")}, "end": {"lr": (0.2, "option")}, **options.pop("said", {})}
        return judged(tmp_path, {**reference}, said, steps=expected, resumed_steps=steps, **options)[0].divergence

    assert found() == Divergence(2, "load", "lr", "value", found().difference)
    assert found(set_later=("lr",)).phase == "schedule"
    as_saved = snapshot(lr=(0.1, "option"))["lr"].digest.hex()
    assert found(said={"at_work": {"lr": as_saved, "gone": as_saved}}).phase == "schedule"
    assert found(said={"at_work": {"lr": "00"}}).phase == "load"
