"""Comparisons of snapshots, traces, mappings and files: paired by path, decided by bytes, measured, worded."""

import copy
import math
import re
import struct
import tracemalloc
import weakref

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.checkpoint.reading import Leaves, leaves_of_file
from dora_repro.checks.request import TIERS
from dora_repro.comparison.leaves import compare, compare_leaf, describe
from dora_repro.errors import BadInput
from dora_repro.state.digest import digest
from dora_repro.state.distance import CHUNK
from dora_repro.state.snapshot import SavedLeaf, Snapshot, run_roots
from dora_repro.trace import Effect, Step, Trace
from tests import runs
from tests.evidence import snapshot


def saved(value, role="memory", kept=True) -> SavedLeaf:
    return SavedLeaf("x", role, digest(value), value if kept else None, kept)


def trace(*losses: float) -> Trace:
    return Trace([Step(n, x, (), (Effect("forward", "loss", digest(x)),), {}) for n, x in enumerate(losses, 1)])


# --- one leaf ----------------------------------------------------------------------------------------------------

EQUAL = [
    torch.tensor([1.0, math.nan, -0.0]),
    torch.zeros(0),
    torch.tensor(3),
    torch.tensor([1 + 2j]),
    np.arange(3),
    np.array(["a"]),
    np.zeros(2, [("a", "i4")]),
    np.array([1, 2], ">f4"),
    math.nan,
    -0.0,
    10**400,
    "text",
    None,
    [1, 2.0, [math.nan]],
    {"a": {1}},
    b"x",
]


@pytest.mark.parametrize("value", EQUAL, ids=lambda value: describe(value)[:20])
def test_what_is_equal_by_bytes_does_not_differ(value):
    again = copy.deepcopy(value)
    assert compare_leaf("x", value, again) is None
    assert compare_leaf("x", saved(value), saved(again)) is None
    assert compare_leaf("x", saved(value, kept=False), saved(again)) is None
    assert compare_leaf("x", saved(value, kept=False), again) is None


NAN = math.nan
DIFFERENT = {  # (expected, actual, kind, what is told)
    "a bit": (torch.tensor([1.0, 2.0]), torch.tensor([1.0, 2.0 + 2**-22]), "value", (2, 1, 2**-22, 1, 0, (1,))),
    "the sign of zero": (torch.zeros(2), -torch.zeros(2), "value", (2, 2, 0.0, 0, 0, (0,))),
    "nan for a number": (torch.tensor([1.0]), torch.tensor([NAN]), "value", (1, 1, None, None, 1, (0,))),
    "infinity": (torch.tensor([1.0]), torch.tensor([math.inf]), "value", (1, 1, math.inf, 0x40000000, 0, (0,))),
    "integers": (torch.tensor([[1, 5]]), torch.tensor([[1, 2]]), "value", (2, 1, 3.0, None, 0, (0, 1))),
    "truth": (torch.tensor(True), torch.tensor(False), "value", (1, 1, 1.0, None, 0, ())),
    "a complex number": (torch.tensor([3j]), torch.tensor([4 + 0j]), "value", (1, 1, 5.0, 0x40800000, 0, (0,))),
    "dtype": (torch.zeros(2), torch.zeros(2).double(), "dtype", (0, 0, None, None, 0, ())),
    "dtype of the same bytes": (torch.zeros(2), torch.zeros(2, dtype=torch.int32), "dtype", (0, 0, None, None, 0, ())),
    "shape": (torch.zeros(2), torch.zeros(1, 2), "shape", (0, 0, None, None, 0, ())),
    "shape of nothing": (torch.zeros(0, 2), torch.zeros(2, 0), "shape", (0, 0, None, None, 0, ())),
    "an array": (np.array([1.0, 2.0]), np.array([1.0, 2.5]), "value", (2, 1, 0.5, 1 << 50, 0, (1,))),
    "an array's dtype": (np.zeros(2), np.zeros(2, "f4"), "dtype", (0, 0, None, None, 0, ())),
    "an array's byte order": (np.zeros(2, "<f4"), np.zeros(2, ">f4"), "dtype", (0, 0, None, None, 0, ())),
    "an array's shape": (np.zeros(2, "U1"), np.zeros((2, 1), "U1"), "shape", (0, 0, None, None, 0, ())),
    "an array of text": (np.array(["a"]), np.array(["b"]), "value", (0, 0, None, None, 0, ())),
    "a tensor for an array": (torch.zeros(2).double(), np.zeros(2), "type", (0, 0, None, None, 0, ())),
    "an array for a tensor": (np.zeros(2), torch.zeros(2).double(), "type", (0, 0, None, None, 0, ())),
    "a mask": (
        np.ma.MaskedArray([1, 2], [True, False]),
        np.ma.MaskedArray([1, 2], [False, False]),
        "value",
        (0, 0, None, None, 0, ()),
    ),
    "a number": (1.0, 1.5, "value", (0, 0, 0.5, 1 << 51, 0, ())),
    "the sign of a number": (0.0, -0.0, "value", (0, 0, 0.0, 0, 0, ())),
    "a number that is none": (1.0, NAN, "value", (0, 0, None, None, 1, ())),
    "a count": (2**60, 2**60 + 1, "value", (0, 0, 1.0, None, 0, ())),
    "a huge count": (10**400, -(10**400), "value", (0, 0, math.inf, None, 0, ())),
    "a bool": (True, False, "value", (0, 0, None, None, 0, ())),
    "a bool for a count": (True, 1, "type", (0, 0, None, None, 0, ())),
    "a count for a number": (1, 1.0, "type", (0, 0, None, None, 0, ())),
    "none": (None, 0, "type", (0, 0, None, None, 0, ())),
    "text": ("a", "b", "value", (0, 0, None, None, 0, ())),
    "a list": ([1, 2], [2, 1], "value", (0, 0, None, None, 0, ())),
    "a tuple for a list": ([1, 2], (1, 2), "type", (0, 0, None, None, 0, ())),
    "a bool in a list": ([True], [1], "value", (0, 0, None, None, 0, ())),
}  # fmt: skip


@pytest.mark.parametrize(("one", "two", "kind", "told"), DIFFERENT.values(), ids=DIFFERENT)
@pytest.mark.parametrize("wrap", [lambda value: value, saved], ids=["values", "saved"])
def test_a_difference_is_seen_and_measured(one, two, kind, told, wrap):
    found = compare_leaf("x", wrap(one), wrap(two))
    assert found.kind == kind
    assert (found.total, found.differing, found.max_abs, found.max_ulp, found.nan, found.at) == told
    assert (found.expected, found.actual) == (describe(one), describe(two))


@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning")  # of making one
def test_layouts_that_have_no_rows_of_elements_are_compared_by_digest():
    sparse = torch.tensor([0.0, 1.0]).to_sparse()
    assert compare_leaf("x", sparse, sparse.clone()) is None
    assert compare_leaf("x", sparse, sparse * 2).kind == "value"
    assert compare_leaf("x", sparse, torch.tensor([0.0, 1.0])).kind == "value"
    meta = torch.zeros(2, device="meta")
    assert compare_leaf("x", meta, meta.clone()) is None
    assert compare_leaf("x", meta, torch.zeros(2)).kind == "value"
    jagged = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)], layout=torch.jagged)
    assert compare_leaf("x", jagged, jagged.clone()) is None
    assert compare_leaf("x", jagged, torch.zeros(2)).kind == "value"
    assert compare_leaf("x", torch.zeros(2), jagged).kind == "value"


def test_numbers_of_numpy_are_measured_as_arrays_of_one():
    found = compare_leaf("x", np.float32(1), np.float32(1.5))
    assert (found.kind, found.max_abs, found.max_ulp) == ("value", 0.5, 1 << 22)
    assert compare_leaf("x", np.float32(1), np.float32(1)) is None


def test_what_was_kept_by_digest_is_compared_by_digest():
    frozen, other = saved(torch.zeros(2), "parameter", False), saved(torch.ones(2), "parameter", False)
    found = compare_leaf("x", frozen, other)
    assert (found.by_digest, found.role, found.max_abs) == (True, "parameter", None)
    assert str(found).endswith("  different bytes (stored by digest alone)")
    assert compare_leaf("x", frozen, torch.zeros(2)) is None
    assert compare_leaf("x", torch.zeros(2), frozen) is None
    assert compare_leaf("x", frozen, torch.ones(2)) is not None and compare_leaf("x", torch.ones(2), frozen) is not None
    assert compare_leaf("x", frozen, object()) is not None
    assert [each.kind for each in compare({"x": frozen}, {"y": frozen}).differences] == ["missing", "unexpected"]


def test_what_one_side_alone_kept_is_compared_by_digest_and_what_both_have_is_measured():
    for one, two in [(saved(1.0), saved(1.5, kept=False)), (saved(1.0, kept=False), saved(1.5))]:
        assert compare_leaf("x", one, two).by_digest
    for one, two in [(saved(1.0), 1.5), (1.0, saved(1.5))]:
        assert compare_leaf("x", one, two).max_abs == 0.5


def test_the_role_is_told_where_a_side_has_one():
    assert compare_leaf("x", saved(1.0, "option"), saved(2.0, "option")).role == "option"
    assert compare_leaf("x", saved(1.0, "option"), 2.0).role == "option"
    assert compare_leaf("x", 1.0, 2.0).role == ""


def test_two_numbers_that_are_none_by_other_bytes_differ():
    one, two = (struct.unpack("<d", struct.pack("<Q", 0x7FF8 << 48 | payload))[0] for payload in (1, 2))
    assert compare_leaf("x", one, two).kind == "value" and compare_leaf("x", one, one) is None


def test_digests_that_differ_are_a_difference_whatever_the_values_show():
    found = compare_leaf("x", SavedLeaf("x", "memory", b"1", 1.0), SavedLeaf("x", "memory", b"2", 1.0))
    assert found is not None and found.kind == "value"


# --- words -------------------------------------------------------------------------------------------------------


def test_values_are_described_shortly():
    described = {
        "f32[2, 3]": torch.zeros(2, 3), "bf16[]": torch.zeros((), dtype=torch.bfloat16), "c64[1]": torch.zeros(1) + 0j,
        "i64[1]": torch.tensor([1]), "u8[1]": torch.zeros(1, dtype=torch.uint8), "bool[1]": torch.tensor([True]),
        "f64[2]": np.zeros(2), "float8_e5m2[1]": torch.zeros(1).to(torch.float8_e5m2), "True": True, "'a'": "a",
    }  # fmt: skip
    for text, value in described.items():
        assert describe(value) == text
    assert describe(torch.nested.nested_tensor([torch.ones(2)], layout=torch.jagged)) == "nested tensor"
    assert describe("x" * 58) == repr("x" * 58) and describe("x" * 59) == f"'{'x' * 39}… (61 characters)"
    assert describe(saved(torch.zeros(2))) == "f32[2]"
    assert re.fullmatch(r"digest [0-9a-f]{16}…", describe(saved(torch.zeros(2), kept=False)))


def test_a_comparison_reads_line_by_line():
    found = compare({"a": 1, "b": torch.zeros(2), "c": 3}, {"a": 1, "b": torch.ones(2)}, name="after loading")
    assert str(found).splitlines() == [
        "after loading: 1 of 3 equal by bytes",
        "  b  f32[2]  2/2 (100 %)  max diff = 1.00e+00  max 1065353216 ULP at [0]",
        "  c  missing (expected 3)",
    ]


# --- many leaves -------------------------------------------------------------------------------------------------


def test_leaves_are_paired_by_path_in_the_order_expected():
    found = compare({"b": 1, "a": 2, "c": 3}, {"d": 5, "a": 3, "b": 1})
    assert found.compared == ("b", "a", "c", "d")
    assert [(d.path, d.kind) for d in found.differences] == [("a", "value"), ("c", "missing"), ("d", "unexpected")]
    assert not found.equal


def test_equal_means_something_was_compared():
    assert compare({"a": 1}, {"a": 1}).equal
    assert not compare({}, {}).equal and not compare({}, {}).within_tolerance
    assert not compare({"a": 1}, {"a": 1}, only=["b"]).equal


def test_globs_and_names_choose_and_ignore():
    one = {"a/x": 1, "a/y": 2, "b[0]": 3}
    two = {"a/x": 5, "a/y": 6, "b[0]": 7}
    assert compare(one, two, only=["a/*"]).compared == ("a/x", "a/y")
    assert compare(one, two, ignore=["*/x", "b[0]"]).compared == ("a/y",)
    assert compare(one, two, only=["b[0]"]).compared == ("b[0]",)
    assert compare(one, two, only=iter(["a/*"]), ignore=iter(["*y"])).compared == ("a/x",)


def test_two_snapshots_of_one_run():
    run = runs.Plain()
    before = Snapshot.capture(run_roots(run))
    assert compare(before, Snapshot.capture(run_roots(run))).equal
    run.step()
    found = compare(before, Snapshot.capture(run_roots(run)))
    kinds = {d.path: d.kind for d in found.differences}
    assert kinds["model/0.weight"] == "value" and kinds["optimizer/0.weight/exp_avg"] == "unexpected"
    assert (
        kinds["model/0.weight/grad"] == "unexpected" and kinds["count"] == "value" and kinds["rng/torch.cpu"] == "value"
    )
    assert {d.role for d in found.differences} >= {"parameter", "moment", "gradient", "memory", "generator"}


def test_an_attribute_that_its_class_gives_as_well_may_be_missing():
    class Given:
        best = 1

    def captured(**attributes):
        run = Given()
        vars(run).update(attributes)
        return Snapshot.capture({"run": run})

    def kinds(*sides):
        return [(each.path, each.kind) for each in compare(*sides).differences]

    assert kinds(captured(best=1), captured()) == kinds(captured(), captured(best=1)) == []
    assert kinds(captured(best=2), captured()) == [("run/best", "missing")]
    assert kinds(captured(), captured(best=2)) == [("run/best", "unexpected")]
    assert kinds(captured(best=1), captured(best=2)) == [("run/best", "value")]
    # Where no object tells of its class, what is missing is missing.
    assert ("run/best", "missing") in kinds(captured(best=1), {})
    assert ("run/best", "unexpected") in kinds({}, captured(best=1))


def test_two_forms_in_one_place_are_a_difference_of_types_unless_the_values_say_it():
    def found(*sides):
        return [(d.path, d.kind, d.expected, d.actual, d.role) for d in compare(*sides).differences]

    containers = [snapshot({"x/0": 1}, forms={"x": name}) for name in ("list", "tuple")]
    assert found(*containers) == [("x", "type", "list", "tuple", "memory")]
    assert compare(*containers).compared == ("x/0", "x") and found(containers[0], containers[0]) == []
    named = (("a.Rate", "option"), ("b.Rate", "memory"))
    of_a_class = [snapshot({"x": (2.0, role)}, forms={"x": name}) for name, role in named]
    assert found(*of_a_class) == [("x", "type", "a.Rate", "b.Rate", "option")]
    of_two_types = [snapshot({"x": value}, forms={"x": name}) for value, name in ((2.0, "a.Rate"), (2, "b.Count"))]
    assert found(*of_two_types) == [("x", "type", "2.0", "2", "memory")]
    assert found(containers[0], {"x/0": 2}) == [("x/0", "value", "1", "2", "memory")]
    assert found({"x/0": 2}, containers[0]) == [("x/0", "value", "2", "1", "memory")]


def test_what_is_compared_is_named_in_a_line():
    assert compare({}, {}, name="a\nb").name == "a\\nb"


# --- tolerance ---------------------------------------------------------------------------------------------------


def test_tolerance_is_absolute_and_never_takes_nan_or_another_shape():
    def within(one, two, tolerance):
        return compare({"a": one}, {"a": two}).within(tolerance)

    zero = torch.zeros(2)
    assert within(zero, zero + 1e-9, 1e-8) and not within(zero, zero + 1e-7, 1e-8)
    assert within(zero, -zero, 0.0)
    assert within(1.0, 1.5, 0.5) and not within(1.0, 1.5, 0.49) and within(3, 4, 1.0)
    for bad in (torch.tensor([0.0, NAN]), torch.zeros(3), zero.double(), 0.0, None):
        assert not within(zero, bad, math.inf)
    assert not within(torch.tensor([NAN, 1.0]), torch.tensor([1.0, 1.0]), math.inf)
    assert within(zero, torch.tensor([0.0, math.inf]), math.inf) and not within(
        zero, torch.tensor([0.0, math.inf]), 1e300
    )
    assert not within("a", "b", math.inf) and not within(0.0, NAN, math.inf)
    assert not within(zero, zero + 1, NAN)


def test_within_is_of_every_difference():
    found = compare({"a": 0.0, "b": 0.0}, {"a": 1.0, "b": 3.0})
    assert found.within(3.0) and not found.within(2.0)


def test_a_tier_describes_and_does_not_decide():
    found = compare({"a": torch.zeros(1)}, {"a": torch.full((1,), 1e-9)}, tolerance=TIERS["parameters"])
    assert found.within_tolerance and not found.equal
    assert found.max_abs == pytest.approx(1e-9)
    assert not compare({"a": torch.zeros(1)}, {"a": torch.full((1,), 1e-9)}).within_tolerance
    assert TIERS == {"load": 1e-12, "parameters": 1e-8, "outputs": 1e-6}


def test_the_largest_difference_of_all_is_nan_where_any_is_no_number():
    one = {"a": torch.zeros(2), "b": 1.0}
    assert compare(one, {"a": torch.ones(2) * 3, "b": 2.0}).max_abs == 3.0
    assert compare(one, one).max_abs == 0.0
    assert math.isnan(compare(one, {"a": torch.ones(2), "b": NAN}).max_abs)
    assert math.isnan(compare(one, {"a": torch.ones(2)}).max_abs)
    assert math.isnan(compare(one, {"a": torch.ones(3), "b": 1.0}).max_abs)


@given(st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=5), st.floats(0, 1))
def test_within_holds_exactly_from_the_largest_difference_on(numbers, shift):
    one = torch.tensor(numbers, dtype=torch.float64)
    found = compare({"a": one}, {"a": one + shift})
    if not found.equal:
        assert found.within(found.max_abs)
        assert not found.within(math.nextafter(found.max_abs, -1))


# --- traces and files --------------------------------------------------------------------------------------------


def test_two_traces_are_compared_effect_by_effect():
    assert compare(trace(1.0, 2.0), trace(1.0, 2.0)).equal
    found = compare(trace(1.0, 2.0), trace(1.0, 3.0, 4.0))
    assert [(d.path, d.kind) for d in found.differences] == [
        ("2/forward/loss", "value"),
        ("3/forward/loss", "unexpected"),
    ]
    told = re.findall(r"digest [0-9a-f]{16}…", str(found.differences[0]))
    assert str(found.differences[0]) == f"2/forward/loss  expected {told[0]}, got {told[1]}"


def test_sides_of_two_kinds_are_bad_input():
    snapshot = Snapshot.capture({"a": 1})
    with pytest.raises(BadInput, match="cannot compare a trace with a set of values: give two of a kind"):
        compare(trace(1.0), snapshot)
    with pytest.raises(BadInput, match="cannot compare a set of values with a trace"):
        compare({"a": 1}, trace(1.0))
    with pytest.raises(BadInput, match="cannot compare a int: give snapshots, traces, mappings or files"):
        compare(3, {})


def test_two_files_are_compared_leaf_by_leaf(tmp_path):
    state = {"model": {"w": torch.arange(4.0)}, "step": 3, "rng": np.random.get_state()}
    torch.save(state, tmp_path / "a.pt")
    torch.save(state, tmp_path / "b.pt")
    assert compare(tmp_path / "a.pt", str(tmp_path / "b.pt")).equal
    torch.save({**state, "model": {"w": torch.tensor([0.0, 1.0, 2.0, 3.5])}, "extra": 1}, tmp_path / "b.pt")
    found = compare(tmp_path / "a.pt", tmp_path / "b.pt")
    assert [(d.path, d.kind, d.at) for d in found.differences] == [
        ("model/w", "value", (3,)),
        ("extra", "unexpected", ()),
    ]


def test_a_file_is_compared_with_values_at_hand_and_as_what_it_is(tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pt")
    assert compare(tmp_path / "a.pt", {"w": torch.zeros(2)}).equal
    assert compare({"w": torch.zeros(2)}, tmp_path / "a.pt").equal
    snapshot = Snapshot.capture({"w": torch.zeros(2)})
    snapshot.write(tmp_path / "s.pt")
    assert compare(tmp_path / "s.pt", snapshot).equal and "w" in compare(tmp_path / "s.pt", snapshot).compared
    trace(1.0).write(tmp_path / "t.jsonl")
    assert compare(tmp_path / "t.jsonl", trace(1.0)).equal
    with pytest.raises(BadInput, match="cannot compare a trace with a set of values"):
        compare(tmp_path / "t.jsonl", tmp_path / "a.pt")


@pytest.mark.parametrize("content", [None, b"", b"text", b'{"format": "dora_repro/trace/2"'])
def test_files_that_cannot_be_read_are_bad_input(content, tmp_path):
    torch.save({"w": torch.zeros(2)}, tmp_path / "a.pt")
    if content is not None:
        (tmp_path / "b.pt").write_bytes(content)
    with pytest.raises(BadInput, match=r"b\.pt"):
        compare(tmp_path / "a.pt", tmp_path / "b.pt")


def test_files_are_compared_one_leaf_at_a_time(tmp_path, monkeypatch):
    """Of forty tensors a few are alive at once. The twin loads them all and is seen to."""
    for name in "ab":
        torch.save({f"w{index}": torch.full((1000,), index * 1.0) for index in range(20)}, tmp_path / f"{name}.pt")
    loaded: list[weakref.ref] = []
    most = 0
    real = Leaves.__getitem__

    def load(leaves, path):
        nonlocal most
        tensor = real(leaves, path)
        loaded.append(weakref.ref(tensor))
        most = max(most, sum(ref() is not None for ref in loaded))
        return tensor

    monkeypatch.setattr(Leaves, "__getitem__", load)
    assert compare(tmp_path / "a.pt", tmp_path / "b.pt").equal
    assert len(loaded) >= 40 and most <= 4
    sides = [dict(leaves_of_file(tmp_path / f"{name}.pt")) for name in "ab"]
    assert most >= 40 and compare(*sides).equal


def test_measuring_a_large_tensor_copies_a_chunk_at_a_time():
    """Numbers that all differ, eight chunks of them: numpy never holds what would be a copy of one side."""
    one = torch.zeros(8 * CHUNK)
    two = one + 1
    tracemalloc.start()
    try:
        assert compare_leaf("x", one, two).differing == 8 * CHUNK
        peak = tracemalloc.get_traced_memory()[1]
        copies = [tensor.double().numpy().copy() for tensor in (one, two)]  # the twin
        assert tracemalloc.get_traced_memory()[1] >= sum(whole.nbytes for whole in copies)
    finally:
        tracemalloc.stop()
    assert peak < 2 * one.numel() * 8 * 0.75


def test_two_states_of_a_generator_are_so_many_draws_apart():
    generator = torch.Generator().manual_seed(0)
    before = Snapshot.capture({"generator": generator})
    torch.rand(7, generator=generator)
    (found,) = compare(before, Snapshot.capture({"generator": generator}), only=["generator"]).differences
    assert (found.role, found.draws) == ("generator", 7)
    (found,) = compare(before, Snapshot.capture({"generator": torch.Generator().manual_seed(1)})).differences
    assert found.draws is None
    one, two = (torch.Generator().manual_seed(0) for _ in range(2))
    torch.rand(7, generator=two)
    states = one.get_state(), two.get_state()
    assert compare_leaf("x", *(saved(state, "generator") for state in states)).draws == 7
    assert compare_leaf("x", *(saved(state) for state in states)).draws is None  # a tensor of the user's


def test_the_largest_difference_is_no_number_where_one_leaf_differs_in_a_nan():
    sides = [{"a": torch.tensor([1.0, 2.0]), "b": torch.tensor([1.0, x])} for x in (2.0, math.nan)]
    sides[1]["b"][0] = 1.5
    compared = compare(*sides)
    assert compared.differences[0].max_abs == 0.5 and compared.differences[0].nan == 1
    assert math.isnan(compared.max_abs) and not compared.within(1.0)
