"""Many leaves in few lines."""

from dora_repro.difference import LeafDifference
from dora_repro.show.groups import grouped, grouped_paths, pattern
from tests.show.made import differs, missing


def test_leaves_of_one_kind_share_a_line_and_one_alone_keeps_its_path():
    assert grouped([missing("optimizer/a/exp_avg"), missing("optimizer/b/exp_avg"), missing("optimizer/a/step")]) == [
        "2 × optimizer/*/exp_avg  missing",
        "optimizer/a/step  missing (expected f32[64])",
    ]


def test_different_kinds_and_roles_do_not_share_a_line():
    found = [missing("o/a/x"), differs("o/b/x", 2.0, role="moment"), differs("o/c/x", 3.0, role="moment")]
    assert grouped(found) == ["o/a/x  missing (expected f32[64])", "2 × o/*/x  max diff = 3.00e+00"]


def test_values_that_are_no_numbers_have_no_largest_difference():
    texts = [LeafDifference(f"o/{name}/x", "value", "'a'", "'b'") for name in "ab"]
    assert grouped(texts) == ["2 × o/*/x  different values"]
    assert grouped([differs("o/a/x", 1.0), differs("o/b/x", 1.0, nan=1)]) == ["2 × o/*/x  different values"]


def test_the_state_of_a_generator_is_no_number():
    for draws, told in {None: "different state", 1: "1 draw ahead", -49152: "49,152 draws behind"}.items():
        found = differs("rng/torch.cpu", 254.0, role="generator", draws=draws)
        assert grouped([found]) == [f"rng/torch.cpu  {told}"]


def test_names_are_given_to_paths_that_are_shown_whole():
    assert grouped([missing("a/b")], str.upper) == ["A/B  missing (expected f32[64])"]
    assert grouped_paths(["a/b", "o/x/m", "o/y/m"], str.upper) == ["A/B", "2 × o/*/m"]


def test_a_pattern_keeps_both_ends():
    assert pattern(["optimizer/a.m/exp_avg", "optimizer/b.m/exp_avg"]) == "optimizer/*/exp_avg"
    assert pattern(["model/a.running_mean", "model/b.running_mean"]) == "model/*.running_mean"
    assert pattern(["history/0", "history/1"]) == "history/*"
    assert pattern(["a.m", "b.m"]) == "*.m"
    assert pattern(["alone/0"]) == "alone/0"
