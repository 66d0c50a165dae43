"""Tensors as they are read, against torch: values, dtypes, attributes, gradients asked for, memory that is shared."""

import random
import warnings
from collections import OrderedDict, defaultdict, deque

import numpy
import pytest
import torch

from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.comparison.leaves import compare
from dora_repro.errors import BadInput
from dora_repro.state.digest import digest

warnings.filterwarnings("ignore", message=".*nested tensors.*")  # torch may change them: no matter here


class Ordinary:
    """Files as scripts write them, drawn from a seed: every kind of tensor, in every kind of container."""

    def __init__(self, seed: int):
        self.draw = random.Random(seed)
        torch.manual_seed(seed)
        self.made: list[torch.Tensor] = []

    def value(self, depth: int = 0) -> object:
        draw = self.draw
        if depth < 3 and draw.random() < 0.45:
            items = [self.value(depth + 1) for _ in range(draw.randrange(4))]
            named = {self.key(): item for item in items}
            make = draw.choice([list, tuple, deque, dict, OrderedDict, lambda _: defaultdict(list, named)])
            return make(named if make in (dict, OrderedDict) else items)
        return self.tensor() if draw.random() < 0.7 else self.plain()

    def key(self) -> object:
        draw = self.draw
        return draw.choice([f"a/b{draw.random()}", draw.randrange(99), (1, draw.randrange(9)), "w", 2.5, None, True])

    def plain(self) -> object:
        draw = self.draw
        array = numpy.array([0, 1, 0, 1], dtype=draw.choice(["<f4", ">i8", "?", "<c8"])).reshape(2, 2)
        return draw.choice(
            [
                1,
                2.5,
                -0.0,
                "text",
                b"bytes",
                None,
                True,
                {1, 2},
                torch.float16,
                array,
                array[0, 1],
                numpy.asfortranarray(array),
            ]
        )

    def tensor(self) -> torch.Tensor:
        draw = self.draw
        if self.made and draw.random() < 0.3:
            return draw.choice(self.made)
        base = torch.randn([draw.randrange(1, 4) for _ in range(draw.randrange(1, 4))])
        tensor = draw.choice(
            [
                lambda: base,
                lambda: base.to(draw.choice([torch.bfloat16, torch.float64, torch.int16, torch.bool, torch.complex64])),
                lambda: base.transpose(0, -1),
                lambda: base[..., :1].expand(*base.shape),
                lambda: base.to(torch.complex64).conj(),
                lambda: base.to(torch.complex64).conj().imag,
                lambda: base.to(torch.complex128).mH if base.dim() == 2 else base,
                lambda: torch.nn.Parameter(base, requires_grad=draw.random() < 0.5),
                lambda: torch.nn.Parameter(base.to(torch.complex64).conj()),
                lambda: torch.nn.Buffer(base),
                lambda: base.requires_grad_(),
                lambda: base.to_sparse(),
                lambda: torch.empty(2, 3, device="meta").T,
                lambda: torch.nested.nested_tensor([base.flatten(), base.flatten()[:1]]),
            ]
        )()
        if draw.random() < 0.3:
            tensor.scale = draw.choice([1, "text", [1, 2]])
        self.made.append(tensor)
        return tensor


def assert_alike(one: object, other: object, where: str = "") -> None:
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        assert type(one) is type(other), where
        assert (one.dtype, one.layout, one.requires_grad) == (other.dtype, other.layout, other.requires_grad), where
        assert (one.is_conj(), one.is_neg(), one.is_meta) == (other.is_conj(), other.is_neg(), other.is_meta), where
        assert digest(one) == digest(other), where
        if one.layout is torch.strided and not one.is_nested:
            assert one.stride() == other.stride(), where
        assert_alike(vars(one), vars(other), f"{where}.__dict__")
    elif isinstance(one, dict) and isinstance(other, dict):
        assert type(one) is type(other) and list(one) == list(other), where
        assert list(map(type, one)) == list(map(type, other)), where
        for key in one:
            assert_alike(one[key], other[key], f"{where}/{key}")
    elif isinstance(one, (list, tuple, deque)) and isinstance(other, (list, tuple, deque)):
        assert type(one) is type(other) and len(one) == len(other), where
        for place, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_alike(a, b, f"{where}/{place}")
    elif isinstance(one, (numpy.ndarray, numpy.generic)):
        one, other = (side.astype(side.dtype.newbyteorder("=")) for side in (one, other))  # numpy swaps as it loads
        assert type(one) is type(other) and one.dtype == other.dtype and one.tobytes() == other.tobytes(), where
        assert one.flags.f_contiguous == other.flags.f_contiguous, where
    else:
        assert type(one) is type(other) and repr(one) == repr(other), where


def memory(value: object, found: list[int]) -> list[int]:
    """Where the bytes of each tensor lie, in the order in which they are met, as small numbers."""
    if isinstance(value, torch.Tensor) and value.layout is torch.strided and not value.is_meta and not value.is_nested:
        found.append(value.untyped_storage().data_ptr() + value.storage_offset() * value.element_size())
    elif isinstance(value, (dict, list, tuple, deque)):
        for item in value.values() if isinstance(value, dict) else value:
            memory(item, found)
    return found


def shared(value: object) -> list[int]:
    places = memory(value, [])
    return [places.index(place) for place in places]


@pytest.mark.parametrize("zipped", [True, False])
def test_ordinary_files_read_as_torch_loads_them(zipped, tmp_path):
    for seed in range(30):
        path = tmp_path / "file.pt"
        value = Ordinary(seed).value()
        try:
            torch.save(value, path, _use_new_zipfile_serialization=zipped)
            expected = torch.load(path, weights_only=False)
        except (RuntimeError, AttributeError):  # torch itself cannot: nested tensors in the older format
            continue
        assert_alike(expected, read(path), f"seed {seed}: ")
        assert shared(expected) == shared(read(path)), seed
        assert compare(path, path).equal or not len(leaves_of_file(path)), seed


def saved(value: object, path) -> object:
    torch.save(value, path)
    return path


COMPLEX = torch.tensor([1 + 2j, 3 - 1j])


def tensor(**attributes) -> torch.Tensor:
    made = torch.ones(2)
    vars(made).update(attributes)
    return made


DIFFERENT = {
    "conjugated": (COMPLEX, COMPLEX.conj()),
    "negated": (COMPLEX.imag, COMPLEX.conj().imag),
    "a parameter, conjugated": (torch.nn.Parameter(COMPLEX), torch.nn.Parameter(COMPLEX.conj())),
    "an attribute": (tensor(scale=1), tensor(scale=2)),
    "an attribute of a list, and of a tuple": (tensor(scale=[1]), tensor(scale=(1,))),
    "an attribute that one lacks": (tensor(scale=1), tensor()),
    "a tensor as an attribute": (tensor(other=torch.zeros(1)), tensor(other=torch.ones(1))),
    "a gradient asked for, without bytes": (
        torch.empty(2, device="meta"),
        torch.empty(2, device="meta", requires_grad=True),
    ),
    "a key that is a tensor": ({torch.ones(2): 1}, {torch.zeros(2): 1}),
    "a member of a set": ({torch.ones(2)}, {torch.zeros(2)}),
    "a key that holds a tensor": ({(torch.ones(2), 1): 1}, {(torch.zeros(2), 1): 1}),
    "places in shared memory": (list(torch.ones(4).split(2)), [(half := torch.ones(4)[:2]), half]),
    "a nested tensor": tuple(
        torch.nested.nested_tensor([torch.arange(float(size)) for size in sizes]) for sizes in ((2, 3), (3, 2))
    ),
}


@pytest.mark.parametrize("name", DIFFERENT)
def test_tensors_that_differ_beside_their_bytes_differ(name, tmp_path):
    one, other = DIFFERENT[name]
    first, second = saved({"w": one}, tmp_path / "a.pt"), saved({"w": other}, tmp_path / "b.pt")
    assert not compare(first, second).equal
    assert compare(first, first).equal and compare(second, second).equal


def test_an_attribute_never_hides_a_method(tmp_path):
    saved(tensor(numpy=1, shape=2, scale=3), tmp_path / "a.pt")
    found = read(tmp_path / "a.pt")
    assert found.numpy().tolist() == [1, 1] and found.shape == (2,) and found.scale == 3
    assert leaves_of_file(tmp_path / "a.pt")["__dict__/numpy"] == 1


def test_a_tensor_of_whole_numbers_that_requires_grad_is_refused_where_it_is_listed(tmp_path):
    saved(torch.nn.Parameter(torch.ones(2, dtype=torch.int64), requires_grad=False), tmp_path / "a.pt")
    data = (tmp_path / "a.pt").read_bytes()
    code = data[data.find(b"\x80\x02") :].split(b"PK")[0]
    assert code.count(b"\x89") == 2  # of the tensor, of the parameter
    from tests.checkpoint.test_hostile_files import zip_of  # a zip with checksums that fit

    changed = code[: code.rfind(b"\x89")] + b"\x88" + code[code.rfind(b"\x89") + 1 :]
    zip_of(changed[: changed.rfind(b".") + 1], tmp_path / "b.pt", storages={"0": bytes(16)})
    with pytest.raises(BadInput, match=r"a tensor of torch\.int64 requires grad"):
        leaves_of_file(tmp_path / "b.pt")
