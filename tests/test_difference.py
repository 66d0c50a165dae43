"""How one leaf differs, in words: the same ones wherever a leaf is named."""

import math

import pytest

from dora_repro.difference import BY_DIGEST, LeafDifference, Setting, generator_distance, sizes

MEASURED = {"expected": "f32[64]", "total": 64, "differing": 3, "at": (17,)}
# difference -> all that is said of it, and the few words for the middle of a sentence
WORDS = {
    "elements": (
        LeafDifference("a/m", **MEASURED, max_abs=2e-8, max_ulp=2),
        "f32[64]  3/64 (4.69 %)  max diff = 2.00e-08  max 2 ULP at [17]",
        "3/64 elements, max 2 ULP",
    ),
    "no number": (
        LeafDifference("a/m", **MEASURED, nan=1), "f32[64]  3/64 (4.69 %)  1 NaN at [17]", "3/64 elements, 1 NaN",
    ),
    "no ULP": (
        LeafDifference("a/m", **MEASURED, max_abs=math.inf),
        "f32[64]  3/64 (4.69 %)  max diff = inf at [17]",
        "3/64 elements",
    ),
    "missing": (LeafDifference("a/m", "missing", expected="f32[2]"), "missing (expected f32[2])", "missing"),
    "unexpected": (LeafDifference("a/m", "unexpected", actual="3"), "unexpected (3)", "unexpected"),
    "dtype": (
        LeafDifference("a/m", "dtype", "f32[2]", "bf16[2]"),
        "dtype changed: expected f32[2], got bf16[2]",
        "dtype changed",
    ),
    "text": (LeafDifference("a/m", "value", "1", "2", max_abs=1.0), "expected 1, got 2", "expected 1, got 2"),
    "digests": (
        LeafDifference("a/m", "value", BY_DIGEST, BY_DIGEST),
        "different bytes (stored by digest alone)",
        "different bytes (stored by digest alone)",
    ),
    "generator": (
        LeafDifference("a/m", **MEASURED, max_abs=9.0, role="generator", draws=-4), "4 draws behind", "4 draws behind",
    ),
    "generator, far": (
        LeafDifference("a/m", **MEASURED, max_abs=254.0, role="generator"), "different state", "different state",
    ),
    "generator, gone": (
        LeafDifference("a/m", "missing", expected="u8[5056]", role="generator"),
        "missing (expected u8[5056])",
        "missing",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("difference", "how", "brief"), WORDS.values(), ids=WORDS)
def test_a_difference_reads_in_one_line(difference, how, brief):
    assert (difference.how, difference.brief, str(difference)) == (how, brief, f"a/m  {how}")


def test_only_what_was_measured_is_said():
    assert sizes(1.23456e-4, 2, 1) == ("max diff = 1.23e-04", "max 2 ULP", "1 NaN")
    assert sizes(0.0, 0) == ("max diff = 0.00e+00", "max 0 ULP")
    assert sizes(None) == ()
    empty = LeafDifference("a", "missing")
    assert (empty.elements, empty.share, empty.sizes) == ("", "", ())


def test_a_generator_is_ahead_or_behind_by_draws():
    words = {None: "different state", 0: "different state", 1: "1 draw ahead", -49152: "49,152 draws behind"}
    assert {draws: generator_distance(draws) for draws in words} == words


def test_no_tolerance_holds_for_a_nan_or_for_what_has_no_size():
    assert LeafDifference("a", max_abs=1.0).within(1.0)
    assert not LeafDifference("a", max_abs=1.0).within(0.5)
    assert not LeafDifference("a", max_abs=0.0, nan=1).within(1.0)
    assert not LeafDifference("a").within(1.0) and not LeafDifference("a", "dtype", max_abs=0.0).within(1.0)


def test_only_numbers_are_within_a_tolerance_and_nan_never_is():
    within = LeafDifference("a/m", **MEASURED, max_abs=0.5)
    assert within.within(0.5) and within.within(1.0) and not within.within(0.25)
    assert not LeafDifference("a/m", **MEASURED, max_abs=0.0, nan=1).within(1.0)
    assert not LeafDifference("a/m", **MEASURED).within(math.inf)
    assert not LeafDifference("a/m", "shape", max_abs=0.0).within(1.0)


def test_a_difference_is_of_a_value_and_has_measured_nothing_until_it_is_told_otherwise():
    bare = LeafDifference("a/m")
    assert (bare.kind, bare.expected, bare.actual, bare.at, bare.role) == ("value", "", "", (), "")
    assert (bare.total, bare.differing, bare.nan, bare.max_abs, bare.max_ulp, bare.draws) == (0, 0, 0, None, None, None)
    assert not bare.by_digest and LeafDifference("a/m", expected=BY_DIGEST).by_digest


def test_an_order_a_structure_and_a_file_that_cannot_be_read_have_words_of_their_own():
    order = LeafDifference("a", "order", "x, y", "y, x")
    assert (order.how, order.brief) == ("keys in another order: expected x, y, got y, x", "keys in another order")
    structure = LeafDifference("a", "structure", "dict", "list", role="generator")
    assert (structure.how, structure.brief) == ("structure changed: expected dict, got list", "structure changed")
    for sides, how in {
        ("torn", ""): "of the first, torn",
        ("", "torn"): "of the second, torn",
        ("torn", "empty"): "of the first, torn; of the second, empty",
    }.items():
        unreadable = LeafDifference("a", "unreadable", *sides)
        assert (unreadable.how, unreadable.brief) == (f"not compared: {how}", "unreadable")


def test_the_share_of_elements_is_in_per_cent():
    assert LeafDifference("a", total=8, differing=1).share == "12.5 %"
    assert LeafDifference("a", total=1, differing=1).elements == "1/1"


def test_a_setting_says_what_it_was_and_who_changed_it():
    def words(*values, by="built"):
        setting = Setting("lr", *values, by)
        return setting.change, setting.words

    changed = "changed configuration: was 0.1, the resumed run was given 0.01"
    assert words("0.1", "0.01") == words("0.1", "0.01", by="resume") == ("0.1 → 0.01", changed)
    assert words("0.1", "0.01", by="load") == ("0.1 → 0.01", "changed by load(): 0.1 → 0.01")
    assert words("", "2") == ("none → 2", "changed configuration: was not there, the resumed run was given 2")
    assert words("2", "") == ("2 → none", "changed configuration: was 2, the resumed run was given none")
