"""A snapshot: what it keeps, that taking one changes nothing, and its file."""

import dataclasses
import json
import random
import zipfile
from collections import deque

import numpy as np
import pytest
import torch
from torch import nn

from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput
from dora_repro.state.digest import digest
from dora_repro.state.snapshot import FORMAT, SavedLeaf, Snapshot, choose, run_roots
from dora_repro.state.walk import walk
from tests import runs

EVERY_RUN = [
    runs.Plain, runs.Loader, runs.Ema, runs.Accumulating, runs.Lbfgs, runs.BatchNormSgd, runs.PrivateGenerators,
    runs.Tied, runs.Counters, runs.Generating, runs.HandMade,
]  # fmt: skip


def capture(run) -> Snapshot:
    return Snapshot.capture(run_roots(run))


def digests(snapshot) -> dict[str, bytes]:
    return {path: leaf.digest for path, leaf in snapshot.items()}


# --- looking must not disturb ------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", EVERY_RUN, ids=lambda make: make.__name__)
def test_capturing_between_steps_changes_no_byte_of_a_run(make):
    bare = make()
    losses = [bare.step() for _ in range(5)]
    expected = digests(capture(bare))
    watched, seen = make(), []
    for _ in range(5):
        capture(watched)
        seen.append(watched.step())
        capture(watched)
    assert seen == losses
    assert digests(capture(watched)) == expected


def test_the_comparison_above_sees_one_draw_one_bit_and_one_count():
    run = runs.Plain()
    run.step()
    before = digests(capture(run))
    for change in (
        lambda: torch.rand(1),
        lambda: random.random(),
        lambda: np.random.rand(),
        lambda: run.model[0].weight.data.neg_(),
        lambda: setattr(run, "count", 7),
        lambda: torch.set_num_threads(torch.get_num_threads() + 1),
    ):
        change()
        after = digests(capture(run))
        assert sum(after[path] != before.get(path) for path in after) == 1
        before = after
    torch.set_num_threads(torch.get_num_threads() - 1)


def test_capturing_moves_no_version_no_gradient_and_no_flag_of_a_tensor():
    run = runs.Plain()
    run.step()

    def facts():
        return [(id(p), p._version, p.requires_grad, id(p.grad), p.grad._version) for p in run.model.parameters()]

    before = facts()
    capture(run)
    assert facts() == before and torch.is_grad_enabled()


def test_a_copy_is_no_view_of_what_goes_on():
    run = runs.Counters()
    run.step()
    snapshot = capture(run)
    kept = {path: digest(leaf.value) for path, leaf in snapshot.items() if leaf.kept}
    assert all(kept[path] == snapshot[path].digest for path in kept)
    for _ in range(3):
        run.step()
    assert {path: digest(leaf.value) for path, leaf in snapshot.items() if leaf.kept} == kept


# --- what is kept ------------------------------------------------------------------------------------------------


def test_frozen_parameters_and_samples_are_kept_by_digest_alone():
    model = nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2))
    model[0].requires_grad_(False)
    loader = torch.utils.data.DataLoader(runs.made_data())
    snapshot = Snapshot.capture({"model": model, "loader": loader})
    by_digest = {path for path, leaf in snapshot.items() if not leaf.kept}
    assert by_digest == {"model/0.weight", "model/0.bias", "loader/dataset/tensors/0", "loader/dataset/tensors/1"}
    assert snapshot["model/0.weight"].value is None
    assert snapshot["model/0.weight"].digest == digest(model[0].weight)


def test_generators_and_flags_are_leaves_beside_those_of_the_run():
    snapshot = Snapshot.capture({"x": 1})
    assert {"rng/python", "rng/numpy", "rng/torch.cpu", "flags/torch.num_threads", "x"} <= snapshot.keys()
    assert next(iter(snapshot)).startswith("rng/")
    assert repr(snapshot) == f"Snapshot({len(snapshot)} leaves, 0 uncaptured)"


def test_what_cannot_be_read_is_listed_with_its_type():
    import threading

    snapshot = Snapshot.capture({"lock": threading.Lock(), "objects": np.array([object()]), "x": 1})
    assert snapshot.uncaptured.keys() == {"lock", "objects/0"} and snapshot["x"].value == 1


def test_a_tensor_of_a_class_that_raises_is_read_as_the_tensor_it_is():
    class Strange(torch.Tensor):
        @classmethod
        def __torch_function__(cls, function, types, args=(), kwargs=None):
            raise RuntimeError("not to be touched")

    strange = torch.arange(2.0).as_subclass(Strange)
    snapshot = Snapshot.capture({"strange": strange})
    assert snapshot["strange"].digest == digest(torch.arange(2.0)) != digest(torch.arange(3.0).as_subclass(Strange))


def test_a_tensor_of_a_class_that_cannot_be_read_is_listed():
    class Closed(torch.Tensor):
        @staticmethod
        def __new__(cls):
            return torch.Tensor._make_wrapper_subclass(cls, (2,))

        @classmethod
        def __torch_dispatch__(cls, function, types, args=(), kwargs=None):
            raise RuntimeError("closed")

    snapshot = Snapshot.capture({"closed": Closed(), "x": 1})
    assert snapshot.uncaptured == {"closed": "Closed: RuntimeError"} and snapshot["x"].value == 1


def test_another_digest_of_frozen_tensors_may_be_given():
    asked = []

    def remembering(value):
        asked.append(value)
        return digest(value)

    snapshot = Snapshot.capture({"x": 1, "t": torch.zeros(2)}, remembering)
    assert len(asked) == len(snapshot)


# --- the roots of a run ------------------------------------------------------------------------------------------


def test_the_roots_of_a_run_are_its_components_or_its_attributes():
    assert run_roots(runs.HandMade()).keys() == {"w", "velocity"}
    assert run_roots(runs.Plain()).keys() == {"model", "optimizer", "inputs", "targets", "count"}


def test_setting_and_deleting_a_root_does_so_to_the_run():
    run = runs.Plain()
    roots = run_roots(run)
    roots["count"] = 5
    del roots["inputs"]
    assert run.count == 5 and not hasattr(run, "inputs") and "inputs" not in roots


def test_the_names_of_generators_and_flags_are_not_shadowed():
    class Run:
        def __init__(self):
            self.rng, self.flags = {"python": 1}, {"x": 2}

    run = Run()
    snapshot = capture(run)
    assert snapshot["run.rng/python"].value == 1 and snapshot["run.flags/x"].value == 2
    run.rng["python"] = 3
    assert snapshot.restore(run_roots(run)) == {} and run.rng == {"python": 1}


def test_slots_and_what_the_class_keeps_are_roots_too():
    class Run:
        __slots__ = ("count",)
        history: list = []  # noqa: RUF012  # the trap itself

    run = Run()
    run.count = 1
    roots = run_roots(run)
    assert roots == {"count": 1, "history": []}
    roots["count"], roots["history"] = 2, [3]
    assert run.count == 2 and Run.history == [3]


def test_a_run_that_names_nothing_is_bad_input():
    with pytest.raises(BadInput, match="object has no attributes: give it a components"):
        run_roots(object())

    class Wrong:
        def components(self):
            return [1]

    with pytest.raises(BadInput, match=r"Wrong\.components\(\) returned a list: return a dict"):
        run_roots(Wrong())


# --- globs -------------------------------------------------------------------------------------------------------


def test_globs_choose_in_order_each_once_and_names_with_brackets_stand_for_themselves():
    paths = ["a/x", "a/y", "b/x", "c[0]"]
    assert choose(["*/x", "a/*"], paths) == ["a/x", "b/x", "a/y"]
    assert choose(["c[0]"], paths) == ["c[0]"]
    assert choose(["*"], []) == []
    with pytest.raises(BadInput, match="no leaf matches 'z': of 4 leaves the first is 'a/x'"):
        choose(["z"], paths)
    with pytest.raises(BadInput, match="of 0 leaves the first is 'none'"):
        choose(["z"], [])


# --- the file ----------------------------------------------------------------------------------------------------


@dataclasses.dataclass
class Settings:
    rate: float = 0.5


def all_kinds() -> dict:
    return {
        "floats": {
            str(dtype): torch.tensor([1.0, -0.0, 2.0]).to(dtype)
            for dtype in (torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn)
        },
        "nan": torch.tensor([float("nan"), float("inf")]),
        "ints": [torch.tensor([1, 2], dtype=dtype) for dtype in (torch.int8, torch.uint8, torch.int64, torch.uint16)],
        "bool": torch.tensor([True, False]),
        "complex": torch.tensor([1 + 2j]).conj(),
        "empty": torch.zeros(0, 3),
        "scalar": torch.tensor(3),
        "expanded": torch.ones(1).expand(4),
        "strided": torch.arange(6.0).reshape(2, 3).T,
        "array": np.arange(6, dtype=">i2").reshape(2, 3)[:, ::2],
        "fields": np.zeros(2, [("a", "i4"), ("b", "f8", (2,))]),
        "dates": np.array(["2026-01-01"], "M8[D]"),
        "nothing": np.zeros((0, 2)),
        "numpy scalar": np.float32(1.5),
        "numbers": [1, -0.0, float("inf"), float("nan"), 10**40, 1j, True, None],
        "text": ["é", "\ud800", "a\nb", b"\x00\xff"],
        "tuple": (1, (2, [3])),
        "set": {1, "a"},
        "frozen": frozenset("ab"),
        "keys": {1: {"x": torch.zeros(1)}, (1, 2): "pair", "~": 3, "a/b": 4},
        "tagged": [{"~": "tuple", "items": 1}],
        "deque": deque([1, 2], maxlen=4),
        "generators": [torch.Generator(), random.Random(1), np.random.default_rng(2), np.random.RandomState(3)],
        "object": Settings(),
        "dtype": torch.float16,
    }


def test_every_kind_of_leaf_survives_the_file(tmp_path):
    model = runs.Tied()
    model.step()
    snapshot = Snapshot.capture({"all": all_kinds(), **vars(model)})
    assert all(leaf.kept for leaf in snapshot.values())
    snapshot.write(tmp_path / "s.pt")
    again = Snapshot.read(tmp_path / "s.pt")
    assert digests(again) == digests(snapshot) and list(again) == list(snapshot)
    assert again.kinds == snapshot.kinds and again.uncaptured == snapshot.uncaptured
    for path, leaf in again.items():
        assert (leaf.role, leaf.kept) == (snapshot[path].role, True)
        assert digest(leaf.value) == snapshot[path].digest, path
        assert type(leaf.value) is type(snapshot[path].value), path


# Said by torch when such tensors are made.
@pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning")
# As above, of the sparse ones.
@pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning")
# As above, of the nested ones.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_what_a_file_cannot_hold_is_written_by_digest_alone(tmp_path):
    odd = {
        "sparse": torch.tensor([0.0, 1.0]).to_sparse(),
        "quantized": torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.qint8),
        "nested": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)]),
        "jagged": torch.nested.nested_tensor([torch.ones(2), torch.ones(3)], layout=torch.jagged),
        "meta": torch.zeros(2, device="meta"),
        "masked": np.ma.MaskedArray([1, 2], [True, False]),
    }
    snapshot = Snapshot.capture(odd)
    snapshot.write(tmp_path / "s.pt")
    again = Snapshot.read(tmp_path / "s.pt")
    assert digests(again) == digests(snapshot)
    assert not any(again[name].kept for name in odd)


def test_equal_tensors_are_stored_once(tmp_path):
    big = torch.randn(100_000)
    Snapshot.capture({"a": big}).write(tmp_path / "one.pt")
    Snapshot.capture({"a": big, "b": big.clone(), "c": [big.clone()]}).write(tmp_path / "three.pt")
    assert (tmp_path / "three.pt").stat().st_size < (tmp_path / "one.pt").stat().st_size * 1.1


def rewrite(path, change) -> None:
    """Change the plain content of a snapshot's file, as somebody might who makes one by hand."""
    content = torch.load(path, weights_only=True)
    change(content)
    torch.save(content, path)


def first(content, path="all/scalar") -> dict:
    return next(entry for entry in content["leaves"] if entry["path"] == path)


DAMAGE = {
    "no format": lambda c: c.pop("format"),
    "another format": lambda c: c.update(format="other/1"),
    "no leaves": lambda c: c.pop("leaves"),
    "leaves of another kind": lambda c: c.update(leaves={"a": 1}),
    "a leaf that is no entry": lambda c: c["leaves"].append(3),
    "a leaf without a path": lambda c: c["leaves"].append({}),
    "a path that is no text": lambda c: first(c).update(path=3),
    "a digest that is none": lambda c: first(c).update(digest="xyz"),
    "a tensor that is gone": lambda c: c["tensors"].clear(),
    "another tensor": lambda c: c["tensors"].update({first(c)["digest"]: torch.tensor(4)}),
    "another number": lambda c: first(c, "all/object/rate").update(value=0.25),
    "an unknown tag": lambda c: first(c, "all/tuple").update(value={"~": "os.system", "items": []}),
    "a tag without items": lambda c: first(c, "all/tuple").update(value={"~": "tuple"}),
    "an array of objects": lambda c: first(c, "all/array").update(
        value={"~": "array", "dtype": "|O", "shape": [1], "base64": "AAAAAAAAAAA="}
    ),
    "an array that is too short": lambda c: first(c, "all/array")["value"].update(shape=[1000, 1000]),
    "a set of lists": lambda c: first(c, "all/set").update(value={"~": "set", "items": [[1]]}),
    "a kind that is none": lambda c: c["kinds"].update(x=5),
    "uncaptured of another kind": lambda c: c.update(uncaptured=[1]),
}


@pytest.mark.parametrize("change", DAMAGE.values(), ids=DAMAGE)
def test_a_snapshot_that_was_tampered_with_is_bad_input(change, tmp_path):
    path = tmp_path / "s.pt"
    kinds = all_kinds()
    Snapshot.capture({"all": {name: kinds[name] for name in ("scalar", "tuple", "array", "set", "object")}}).write(path)
    Snapshot.read(path)
    rewrite(path, change)
    with pytest.raises(BadInput, match=r"s\.pt is not a (whole )?snapshot of this kit"):
        Snapshot.read(path)


def test_missing_torn_and_foreign_files_are_bad_input(tmp_path):
    path = tmp_path / "s.pt"
    with pytest.raises(BadInput, match=r"s\.pt"):
        Snapshot.read(path)
    Snapshot.capture({"a": torch.arange(1000.0)}).write(path)
    whole = path.read_bytes()
    for length in (0, 1, 100, len(whole) // 2, len(whole) - 1):
        path.write_bytes(whole[:length])
        with pytest.raises(BadInput, match=r"s\.pt"):
            Snapshot.read(path)
    with zipfile.ZipFile(tmp_path / "look.pt", "w") as archive:
        archive.writestr("x", "y")
    middle = whole.index(torch.arange(1000.0).numpy().tobytes()[400:440])
    path.write_bytes(whole[:middle] + bytes([whole[middle] ^ 1]) + whole[middle + 1 :])
    with pytest.raises(BadInput, match=r"s\.pt"):
        Snapshot.read(path)
    for foreign in (b"text", json.dumps({"format": FORMAT}).encode(), (tmp_path / "look.pt").read_bytes()):
        path.write_bytes(foreign)
        with pytest.raises(BadInput):
            Snapshot.read(path)
    torch.save({"weight": torch.zeros(1)}, path)
    with pytest.raises(BadInput, match="is not a snapshot of this kit"):
        Snapshot.read(path)
    torch.save([1], path)
    with pytest.raises(BadInput, match="is not a snapshot of this kit"):
        Snapshot.read(path)


def test_a_folder_that_is_not_there_is_bad_input(tmp_path):
    with pytest.raises(BadInput, match="does not exist"):
        Snapshot.capture({"a": 1}).write(tmp_path / "no" / "s.pt")


def test_a_snapshot_is_a_mapping_in_the_order_of_the_walk():
    saved = {name: SavedLeaf(name, "memory", digest(name), name) for name in "ba"}
    snapshot = Snapshot(saved)
    assert list(snapshot) == ["b", "a"] and len(snapshot) == 2 and snapshot["a"].value == "a" and "c" not in snapshot
    assert list(Snapshot.capture({"z": 1, "a": 2}))[-2:] == list(walk({"z": 1, "a": 2}))


class WithDefaults:
    """Names that its class gives, and one that it gives otherwise."""

    waiting, name, shared = 0, None, ()

    def __init__(self, **own):
        self.inner = type("Inner", (), {"skip": 0})()
        vars(self).update(own)


def test_an_attribute_that_the_class_gives_as_well_is_no_difference_by_being_there(tmp_path):
    def taken(run):
        path = tmp_path / "snapshot.pt"
        Snapshot.capture(run_roots(run)).write(path)
        return Snapshot.read(path)

    bare, set_there = WithDefaults(), WithDefaults(waiting=0, name=None)
    set_there.inner.skip = 0
    assert taken(set_there).defaults == {"waiting", "name", "inner/skip"}
    assert compare(taken(bare), taken(set_there)).equal and compare(taken(set_there), taken(bare)).equal
    # Another value, or one of another type, is one; and so is a name that no class has.
    for own in ({"waiting": 1}, {"waiting": False}, {"more": 0}):
        assert [d.kind for d in compare(taken(bare), taken(WithDefaults(**own))).differences] == ["unexpected"]
    assert not compare(taken(WithDefaults(waiting=0)), taken(WithDefaults(waiting=2))).equal


def test_of_a_dataset_what_may_be_an_order_is_stored_and_samples_are_not():
    class Ordered(torch.utils.data.Dataset):
        def __init__(self):
            self.active, self.by_class, self.rows = [3, 1, 2], [[1], {"a": 2}], torch.arange(4)
            self.mask, self.names = np.ones(3, bool), ("a", "b")
            self.many, self.values, self.table = list(range(20_000)), torch.randn(4), torch.ones(2, 2, dtype=int)
            self.floats, self.long = np.ones(3), torch.arange(20_000)

    snapshot = Snapshot.capture({"data": Ordered()})
    kept = {path.removeprefix("data/") for path, leaf in snapshot.items() if path.startswith("data/") and leaf.kept}
    assert kept == {"active", "by_class", "rows", "mask", "names"}
    assert snapshot["data/active"].value == [3, 1, 2]
