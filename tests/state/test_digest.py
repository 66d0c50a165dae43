"""Equal digests for equal dtype, shape and bytes, and for nothing else."""

import ast
import itertools
import math
import os
import struct
import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as nps

from dora_repro.state.digest import (
    MAX_DEPTH,
    bytes_of,
    digest,
    digest_array,
    digest_plain,
    digest_tensor,
    is_dense,
    is_plain,
    reader,
)

FLOATS = [torch.float64, torch.float32, torch.float16, torch.bfloat16, torch.float8_e4m3fn, torch.float8_e5m2]
DTYPES = [
    *FLOATS, torch.float8_e4m3fnuz, torch.float8_e8m0fnu, torch.uint8, torch.int8, torch.int16, torch.uint16,
    torch.int32, torch.uint32, torch.int64, torch.uint64, torch.bool, torch.complex32, torch.complex64,
    torch.complex128,
]  # fmt: skip
# What torch says of the tensors that these tests make, not of reading them.
pytestmark = [
    pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental:UserWarning"),  # as above
    pytest.mark.filterwarnings("ignore:Sparse CSR tensor support is in beta:UserWarning"),  # as above
    pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning"),  # as above
    pytest.mark.filterwarnings("ignore:torch.quantize_per_tensor:UserWarning"),  # as above
    pytest.mark.filterwarnings("ignore:Sparse invariant checks are implicitly disabled:UserWarning"),  # as above
]


def from_bytes(data: bytes, dtype: torch.dtype) -> torch.Tensor:
    return torch.frombuffer(bytearray(data), dtype=torch.uint8).view(dtype)


def all_differ(values) -> bool:
    digests = [digest(value) for value in values]
    return len(set(digests)) == len(digests)


# --- tensors -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
def test_a_copy_has_the_same_digest_and_one_other_bit_another(dtype):
    data = bytearray(range(1, 33)) if dtype != torch.bool else bytearray([0, 1] * 16)
    tensor = from_bytes(data, dtype)
    assert digest(tensor) == digest(tensor.clone())
    data[7] ^= 1
    assert digest(from_bytes(data, dtype)) != digest(tensor)


def test_the_same_bytes_under_other_dtypes_and_shapes_are_other_values():
    data = bytes(range(1, 17))
    wide = [dtype for dtype in DTYPES if dtype not in (torch.bool,)]
    assert all_differ(from_bytes(data, dtype) for dtype in wide)
    flat = torch.arange(12.0)
    shapes = [(12,), (3, 4), (4, 3), (1, 12), (12, 1), (2, 2, 3)]
    assert all_differ(flat.reshape(shape) for shape in shapes)


def test_empty_and_scalar_tensors_keep_dtype_and_shape():
    shapes = [(), (0,), (1,), (0, 3), (3, 0), (1, 1)]
    assert all_differ(torch.zeros(shape, dtype=dtype) for shape in shapes for dtype in (torch.float32, torch.int32))
    assert digest(torch.zeros(0, 3)) == digest(torch.ones(0, 3))


def test_zeros_of_either_sign_differ_and_bit_identical_nans_do_not():
    assert digest(torch.tensor([-0.0])) != digest(torch.tensor([0.0]))
    nan = from_bytes(struct.pack("<f", math.nan), torch.float32)
    other = from_bytes(bytes([1, 0, 0xC0, 0x7F]), torch.float32)
    assert torch.isnan(other).all()
    assert digest(nan) == digest(nan.clone())
    assert digest(nan) != digest(other)


def test_what_an_xor_and_a_norm_cannot_tell_apart_differs():
    some = torch.tensor([1.0, 2.0, 3.0, 4.0])
    assert digest(some) != digest(some[[1, 0, 2, 3]])
    assert digest(torch.tensor([1.5, 1.5, 2.5, 2.5])) != digest(torch.zeros(4))
    assert digest(some.bfloat16()) != digest(some)
    assert digest(-some) != digest(some)


def test_strides_offset_device_of_origin_and_gradients_do_not_count():
    base = torch.arange(24.0).reshape(4, 6)
    assert digest(base.T) == digest(base.T.contiguous()) != digest(base)
    assert digest(base[1:3, ::2]) == digest(base[1:3, ::2].clone())
    assert digest(torch.ones(1).expand(3, 5)) == digest(torch.ones(3, 5))
    assert digest(torch.nn.Parameter(base)) == digest(base.clone().requires_grad_()) == digest(base)
    image = torch.randn(2, 3, 4, 5)
    assert digest(image.to(memory_format=torch.channels_last)) == digest(image)


def test_the_conjugate_and_negative_bits_are_resolved():
    value = torch.tensor([1 + 2j, 3 - 4j])
    lazy = value.conj()
    assert lazy.is_conj()
    assert digest(lazy) == digest(torch.tensor([1 - 2j, 3 + 4j])) != digest(value)
    negative = lazy.imag
    assert negative.is_neg()
    assert digest(negative) == digest(torch.tensor([-2.0, 4.0])) != digest(value.imag)


def test_sparse_tensors_are_digested_by_their_parts():
    dense = torch.tensor([[0.0, 2.0], [3.0, 0.0]])
    layouts = [
        dense.to_sparse_coo(),
        dense.to_sparse_csr(),
        dense.to_sparse_csc(),
        dense.to_sparse_bsr((1, 1)),
        dense.to_sparse_bsc((1, 1)),
    ]
    assert all_differ([dense, *layouts])
    for sparse in layouts:
        assert digest(sparse) == digest(sparse.clone())
        assert digest(sparse) != digest(sparse * 2)
    coo = torch.sparse_coo_tensor([[0, 1], [1, 0]], [2.0, 3.0], (2, 2))
    assert digest(coo) != digest(torch.sparse_coo_tensor([[0, 1], [1, 1]], [2.0, 3.0], (2, 2)))
    assert digest(coo) != digest(torch.sparse_coo_tensor([[0, 1], [1, 0]], [2.0, 3.0], (3, 2)))


def test_a_sparse_tensor_that_is_coalesced_is_another_than_one_with_the_same_lists():
    listed = torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (2,))
    coalesced = torch.sparse_coo_tensor([[0, 1]], [1.0, 2.0], (2,), is_coalesced=True)
    assert digest(listed) == digest(listed.clone()) != digest(coalesced) == digest(listed.coalesce())


def test_quantized_tensors_count_scale_and_zero_point():
    values = torch.tensor([1.0, 2.0, 3.0])
    tensors = [
        torch.quantize_per_tensor(values, 0.1, 0, torch.qint8),
        torch.quantize_per_tensor(values, 0.1, 1, torch.qint8),
        torch.quantize_per_tensor(values, 0.2, 0, torch.qint8),
        torch.quantize_per_tensor(values, 0.1, 0, torch.quint8),
        torch.quantize_per_channel(values, torch.full((3,), 0.1), torch.zeros(3, dtype=torch.int64), 0, torch.qint8),
    ]
    assert all_differ(tensors)
    assert all(digest(tensor) == digest(tensor.clone()) for tensor in tensors)


def test_nested_and_meta_tensors_have_digests():
    jagged = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)], layout=torch.jagged)
    again = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)], layout=torch.jagged)
    other = torch.nested.nested_tensor([torch.ones(3), torch.zeros(2)], layout=torch.jagged)
    assert digest(jagged) == digest(again) != digest(other)
    meta = torch.empty(3, 4, device="meta")
    assert digest(meta) == digest(torch.empty(3, 4, device="meta"))
    assert all_differ([meta, torch.empty(4, 3, device="meta"), torch.zeros(3, 4)])


def test_a_jagged_tensor_is_its_rows_and_not_what_it_has_computed_of_their_lengths():
    def rows():
        return torch.nested.nested_tensor_from_jagged(torch.arange(7.0), offsets=torch.tensor([0, 3, 7]))

    asked = rows()
    before = digest(asked)
    asked._max_seqlen  # noqa: B018  # asking keeps the answer inside
    assert digest(asked) == before == digest(rows())
    holes = torch.nested.nested_tensor_from_jagged(
        torch.arange(7.0), offsets=torch.tensor([0, 3, 7]), lengths=torch.tensor([2, 4])
    )
    square = torch.nested.nested_tensor([torch.ones(2, 2), torch.ones(2, 2)], layout=torch.jagged)
    assert all_differ([rows(), holes, square, square.transpose(1, 2)])


# Said by torch when such tensors are made.
@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_a_strided_nested_tensor_counts_dtype_rows_and_bytes():
    def nested(*rows, dtype=torch.float32):
        return torch.nested.nested_tensor([torch.tensor(row, dtype=dtype) for row in rows])

    assert digest(nested([1.0], [2.0, 3.0])) == digest(nested([1.0], [2.0, 3.0]))
    kinds = [nested([1.0], [2.0, 3.0]), nested([1.0, 2.0], [3.0]), nested([1.0], [2.0, -3.0]), nested(), nested([])]
    assert all_differ([*kinds, torch.nested.nested_tensor([], dtype=torch.float64)])


def test_a_masked_array_counts_what_it_fills_holes_with_and_is_left_as_it_is():
    def masked(**options):
        return np.ma.MaskedArray([1.0, 2.0], [True, False], **options)

    array = masked()
    before = dict(vars(array))
    assert digest(array) == digest(masked())
    assert {name: value for name, value in vars(array).items() if value is not before[name]} == {}
    assert all_differ([array, masked(fill_value=5.0), masked(hard_mask=True)])


@pytest.mark.parametrize("length", [1, 1023, 1024, 1025, 5000])
def test_short_and_long_tensors_are_digested_alike(length):
    tensor = torch.arange(length, dtype=torch.float32)
    changed = tensor.clone()
    changed[-1] += 1
    assert digest(tensor) == digest(tensor[:].clone()) != digest(changed)


def test_a_digest_changes_nothing_of_a_tensor():
    tensor = torch.randn(5, requires_grad=True)
    (tensor * 2).sum().backward()
    before = tensor._version, tensor.grad._version, tensor.requires_grad, tensor.data_ptr()
    digest(tensor), digest(tensor.grad)
    assert (tensor._version, tensor.grad._version, tensor.requires_grad, tensor.data_ptr()) == before


FEW_ARRAYS = nps.arrays(st.sampled_from([np.float32, np.int16, np.uint8, np.float64]), nps.array_shapes(max_side=4))


@given(FEW_ARRAYS, st.data())
def test_any_single_flipped_bit_is_seen(array, data):
    tensor = torch.from_numpy(array.copy())
    raw = bytearray(array.tobytes())
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    raw[bit // 8] ^= 1 << bit % 8
    changed = np.frombuffer(bytes(raw), array.dtype).reshape(array.shape).copy()
    assert digest_tensor(tensor) == digest_tensor(torch.from_numpy(array.copy()))
    assert digest_tensor(torch.from_numpy(changed)) != digest_tensor(tensor)
    assert digest_array(changed) != digest_array(array)


class OnDevice(torch.Tensor):
    """Says that it is on an accelerator, and is on the host once it was copied there."""

    is_cpu = False

    def cpu(self):
        return self.as_subclass(torch.Tensor) + 1


def test_bytes_on_a_device_are_those_of_a_copy_on_the_host():
    assert bytes_of(torch.zeros(2).as_subclass(OnDevice)).tolist() == [1.0, 1.0]
    assert bytes_of(torch.zeros(2)).tolist() == [0.0, 0.0]


def test_bytes_of_shares_memory_where_it_can():
    tensor = torch.arange(6.0)
    assert bytes_of(tensor).ctypes.data == tensor.data_ptr()
    assert bytes_of(tensor.bfloat16()).nbytes == 12


class Named(torch.Tensor):
    """A subclass that adds nothing to the numbers, as those of many libraries."""


class Pair(torch.Tensor):
    """A subclass whose numbers lie in two tensors that it wraps."""

    @staticmethod
    def __new__(cls, low, high):
        pair = torch.Tensor._make_wrapper_subclass(cls, low.shape, dtype=low.dtype)
        pair.low, pair.high = low, high
        return pair

    def __tensor_flatten__(self):
        return ["low", "high"], None

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        raise AssertionError(f"{func}: a digest computes nothing")


def test_a_subclass_is_its_numbers_or_the_tensors_that_it_wraps():
    assert digest(torch.arange(3.0).as_subclass(Named)) == digest(torch.arange(3.0))
    low, high = torch.zeros(2), torch.ones(2)
    pair = Pair(low, high)
    assert digest(pair) == digest(Pair(low.clone(), high.clone()))
    assert all_differ([pair, Pair(high, low), low, high])
    read = reader(pair)
    assert read() == read() == digest(pair)
    high.add_(1)
    assert read() == digest(Pair(low, torch.full((2,), 2.0)))


def test_a_tensor_in_a_layout_of_a_library_is_its_numbers():
    if not torch.backends.mkldnn.is_available():
        pytest.skip("this build of torch has no mkldnn")
    opaque = torch.arange(4.0).to_mkldnn()
    assert digest(opaque) == digest(torch.arange(4.0).to_mkldnn())
    assert all_differ([opaque, torch.ones(4).to_mkldnn(), torch.arange(4.0)])


# --- arrays ------------------------------------------------------------------------------------------------------


def test_arrays_keep_dtype_byte_order_and_fields():
    base = np.array([1, 256], "<i4")
    fields = np.zeros(2, [("a", "i4"), ("b", "f4")])
    arrays = [
        base,
        base.astype(">i4"),
        base.view("<f4"),
        base.reshape(1, 2),
        fields,
        np.zeros(2, [("x", "i4"), ("b", "f4")]),
        np.zeros(2, "V8"),
        np.zeros(2, "M8[s]"),
        np.zeros(2, "M8[D]"),
        np.zeros(2, "U3"),
        np.zeros(2, "S3"),
        np.array([], "f4"),
        np.array([], "f8"),
        np.array(1.0),
        np.array([1.0]),
    ]
    assert all_differ(arrays)
    assert all(digest(array) == digest(array.copy()) for array in arrays)


def test_an_array_and_a_tensor_of_the_same_bytes_differ():
    array = np.arange(4, dtype=np.float32)
    assert digest(array) != digest(torch.from_numpy(array))


def test_the_order_of_memory_does_not_count_and_a_mask_does():
    array = np.arange(6.0).reshape(2, 3)
    assert digest(np.asfortranarray(array)) == digest(array) == digest(array[::-1][::-1])
    masked = np.ma.MaskedArray(array, mask=array > 4)
    assert digest(masked) != digest(np.ma.MaskedArray(array, mask=array > 3))
    assert digest(masked) == digest(masked.copy())


def test_an_array_of_objects_is_refused():
    with pytest.raises(TypeError, match="addresses"):
        digest(np.array([object()]))


# --- plain data --------------------------------------------------------------------------------------------------


def test_plain_values_differ_by_type_order_and_bits():
    values = [
        None, False, True, 0, 1, -1, 10**30, 1.0, 0.0, -0.0, 5e-324, math.inf, -math.inf, math.nan, 1j, 1 + 0j,
        "", "1", "é", "e\u0301", b"1", b"", [], (), {}, set(), frozenset(), [1], (1,), {1}, frozenset({1}), {1: 1},
        [True], [1.0], [1, 2], [2, 1], [[1], 2], [1, [2]], [(1, 2)], [[1, 2]], [{1}], ["set", (1,)], ("set", (1,)),
        {"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": [1]}, {"a": (1,)}, {1: {2}}, {1: frozenset({2})}, {(1, 2): 3},
    ]  # fmt: skip
    assert all(map(is_plain, values))
    for one, two in itertools.combinations(values, 2):
        assert digest(one) != digest(two), (one, two)


def test_equal_plain_values_made_differently_have_one_digest():
    joined = "".join(["some", "_", "name"])
    assert digest([joined, joined]) == digest([sys.intern("some_name"), "".join(["some_", "name"])])
    inner = [1, 2]
    assert digest([inner, inner]) == digest([[1, 2], [1, 2]])
    assert digest({3, 1, 2}) == digest({2, 3, 1})
    assert digest({frozenset("abc"): {"x", "y"}}) == digest({frozenset("cba"): {"y", "x"}})
    assert digest(math.nan) == digest(float("nan"))
    nan = struct.unpack("<d", struct.pack("<Q", 0x7FF8000000000001))[0]
    assert digest(nan) != digest(math.nan)


def test_what_is_not_plain_is_told_and_refused():
    ring: list = [1]
    ring.append(ring)
    pair: list = []
    pair += [pair, pair]
    deep: object = 1
    for _ in range(500):
        deep = [deep]
    huge: list = [1]
    for _ in range(60):
        huge = [huge, huge]
    for value in (
        object(),
        [object()],
        {"a": object()},
        {object(): 1},
        ring,
        pair,
        deep,
        huge,
        np.float64(1.0),
        {1: {2: ring}},
    ):
        assert not is_plain(value)
        with pytest.raises(TypeError):
            digest(value)


def test_digests_are_the_same_under_another_hash_seed():
    program = (
        "from dora_repro.state.digest import digest; import torch, numpy as np\n"
        "v = [{'b', 'a', 'c'}, {frozenset({'x', 'y'}): {'q', 'r'}}, [{'s', 't'}], {'k': {'z', 'w'}},\n"
        "     ('é', 1.5, None), torch.arange(3.0), np.arange(3), {('a', frozenset('pq')): 1}]\n"
        "print([digest(x).hex() for x in v], hash('a'))"
    )
    outputs = []
    for seed in ("1", "2"):
        run = subprocess.run(
            [sys.executable, "-c", program], env={**os.environ, "PYTHONHASHSEED": seed}, capture_output=True, text=True
        )
        assert run.returncode == 0, run.stderr
        outputs.append(run.stdout.rpartition("] ")[::2])
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][1] != outputs[1][1]  # the seeds did differ


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
SCALARS |= st.text() | st.binary()


@given(st.recursive(SCALARS, lambda inner: st.lists(inner, max_size=3) | st.tuples(inner, inner), max_leaves=6))
def test_a_value_that_went_through_its_text_has_the_same_digest(value):
    again = ast.literal_eval(repr(value))
    assert digest_plain(again) == digest(value)


# --- a reader, which looks at one tensor time and again


def _changes(live: torch.Tensor):
    """Each thing that can happen to a live tensor, by name."""

    def through_numpy():
        live.detach().numpy()[0] = 5.0

    def other_storage():
        live.data = live.data.clone() + 1

    def other_dtype():
        live.data = live.data.to(torch.bfloat16)

    def other_shape_same_storage():
        live.data = live.data.view(3, 2)

    def other_strides_same_storage():
        live.data = live.data.view(3, 2).t()

    def resized():
        live.data = torch.arange(70_000.0).reshape(7, 10_000)

    return {
        "in place": lambda: live.data.add_(1),
        "through numpy": through_numpy,
        "other storage": other_storage,
        "other shape": other_shape_same_storage,
        "other strides": other_strides_same_storage,
        "other dtype": other_dtype,
        "resized": resized,
    }


CHANGES = ["in place", "through numpy", "other storage", "other shape", "other strides", "other dtype", "resized"]


@pytest.mark.parametrize("how", CHANGES)
@pytest.mark.parametrize("kind", [torch.Tensor, torch.nn.Parameter])
def test_a_reader_sees_whatever_happens_to_its_tensor(how, kind):
    live = torch.arange(6.0).reshape(2, 3)
    live = kind(live) if kind is torch.nn.Parameter else live
    read = reader(live)
    before = [read(), read()]
    assert before == [digest(live)] * 2
    _changes(live)[how]()
    after = [read(), read()]
    assert after == [digest(live)] * 2
    assert after[0] != before[0]


UNUSUAL = {
    "empty": lambda: torch.zeros(0),
    "scalar": lambda: torch.tensor(2.5),
    "transposed": lambda: torch.arange(12).reshape(3, 4).t(),
    "meta": lambda: torch.empty(3, device="meta"),
    "sparse": lambda: torch.ones(2).to_sparse(),
}


@pytest.mark.parametrize("kind", UNUSUAL)
def test_a_reader_of_an_unusual_tensor_says_what_its_digest_is(kind):
    tensor = UNUSUAL[kind]()
    read = reader(tensor)
    assert [read(), read()] == [digest(tensor)] * 2


def test_a_reader_keeps_what_it_reads_alive():
    live = torch.zeros(4)
    read = reader(live)
    read()
    live.data = torch.ones(4)  # the first storage may be given to somebody else now, were it not for the view
    others = [torch.full((4,), 7.0) for _ in range(50)]
    assert read() == digest(torch.ones(4)) and len(others) == 50


def test_plain_data_of_too_many_values_is_none(monkeypatch):
    """Of lists in lists each counts, and each value in them."""
    for most, plain in ((4, True), (3, False)):
        monkeypatch.setattr("dora_repro.state.digest.MAX_ITEMS", most)
        assert is_plain([[1], 2]) is plain


def test_the_order_in_which_a_set_was_filled_does_not_count():
    one, other = (set(numbers) for numbers in ([0, 8], [8, 0]))
    assert [*one] != [*other] and digest(one) == digest(other)
    assert digest({"a": [one]}) == digest({"a": [other]}) != digest({"a": [frozenset(one)]})


def test_only_a_strided_tensor_with_a_shape_and_plain_numbers_is_dense():
    dense = torch.ones(2, 2)
    assert is_dense(dense) and is_dense(dense.T)
    nested = torch.nested.nested_tensor([torch.ones(2), torch.zeros(3)], layout=torch.strided)
    others = (dense.to_sparse(), torch.quantize_per_tensor(dense, 0.1, 0, torch.qint8), nested)
    assert not any(map(is_dense, others))


def test_a_reader_tells_what_a_digest_tells_of_odd_tensors_and_after_a_change_of_dtype():
    negative = torch.tensor([1 + 2j, 3 - 4j]).conj().imag
    for tensor in (torch.ones(3, device="meta"), negative, torch.ones(2).to_sparse()):
        read = reader(tensor)
        assert read() == read() == digest(tensor)
    tensor = torch.ones(4)
    read = reader(tensor)
    assert read() == read() == digest(tensor)
    tensor.data = tensor.data.view(torch.int32)  # the same bytes at the same address
    assert read() == digest(tensor) != digest(torch.ones(4))


@pytest.mark.parametrize("lazy_first", [False, True])
def test_a_reader_sees_that_the_same_bytes_stand_for_other_numbers(lazy_first):
    numbers = torch.tensor([1 + 2j])
    square = torch.arange(4.0).reshape(2, 2)
    changes = [
        (numbers, numbers.conj()),
        (numbers.imag, numbers.conj().imag),  # of one element, which is contiguous and yet negated as it is read
        (square, square.t()),
    ]
    for plain, lazy in changes:
        assert plain.data_ptr() == lazy.data_ptr() and plain.shape == lazy.shape
        first, second = (lazy, plain) if lazy_first else (plain, lazy)
        live = torch.empty(0, dtype=first.dtype)
        live.data = first
        read = reader(live)
        assert read() == read() == digest(first.clone())
        live.data = second
        assert read() == read() == digest(second.clone()) != digest(first.clone())


def test_a_reader_of_an_ordinary_tensor_looks_only_at_its_bytes_once_it_knows_it(monkeypatch):
    """A step of a small model is short beside all that a digest has to ask a tensor."""
    live = torch.arange(6.0)
    read = reader(live)
    before, changed = read(), digest(torch.tensor([7.0, 1, 2, 3, 4, 5]))

    def asked(tensor):
        raise AssertionError("asked anew")

    monkeypatch.setattr("dora_repro.state.digest.bytes_of", asked)
    assert read() == before
    live[0] = 7
    assert read() == changed


@pytest.mark.gpu
def test_a_reader_follows_its_tensor_to_another_device():
    live = torch.arange(4.0)
    read = reader(live)
    assert read() == read() == digest(torch.arange(4.0))
    live.data = live.data.cuda()
    assert read() == read() == digest(torch.arange(4.0))
    live.add_(1)
    assert read() == digest(torch.arange(1.0, 5.0))


# --- digests that were written down ----------------------------------------------------------------------------------

KEPT = {
    "none": lambda: None,
    "numbers": lambda: [1, 2.5, -0.0, True, 1j],
    "text in a tuple": lambda: ("a", b"b", "é"),
    "sets": lambda: {"a": {3, 1}, "b": frozenset({"x"})},
    "nested lists": lambda: [[1, [2]], (3, {4: [5]})],
    "sets in lists": lambda: [{3, 1}, [frozenset({"y", "x"}), (1,)]],
    "short tensor": lambda: torch.arange(6.0).reshape(2, 3),
    "tensor of 4096 bytes": lambda: torch.arange(1024.0),
    "long tensor": lambda: torch.arange(2000),
    "bfloat16": lambda: torch.arange(4.0).bfloat16(),
    "meta": lambda: torch.empty(2, 3, device="meta"),
    "coo": lambda: torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse_coo(),
    "csr": lambda: torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse_csr(),
    "csc": lambda: torch.tensor([[0.0, 2.0], [3.0, 0.0]]).to_sparse_csc(),
    "quantized": lambda: torch.quantize_per_tensor(torch.arange(3.0), 0.5, 1, torch.qint8),
    "per channel": lambda: torch.quantize_per_channel(
        torch.ones(2, 2), torch.tensor([0.5, 0.25]), torch.tensor([0, 1]), 1, torch.qint8
    ),
    "strided rows": lambda: torch.nested.nested_tensor([torch.ones(1), torch.zeros(2)]),
    "jagged rows": lambda: torch.nested.nested_tensor([torch.ones(1), torch.zeros(2)], layout=torch.jagged),
    "array": lambda: np.arange(4, dtype="<i4").reshape(2, 2),
    "empty array": lambda: np.zeros((0, 2), "<f8"),
    "fields": lambda: np.zeros(2, [("a", "<i4"), ("b", "<f4")]),
    "masked": lambda: np.ma.MaskedArray([1.0, 2.0], [True, False], fill_value=5.0),
}
DIGESTS = {
    "none": "9a636589c7ec96b0502f93ce42be185f",
    "numbers": "399e987d9da386b07fcac3c8bc4fc773",
    "text in a tuple": "21733d47fcfffe23c3f9b3b1715660a0",
    "sets": "9d38cb9ac9837b2ec0f86c4c3eb25def",
    "nested lists": "77fa57af9f676ca71c32ab786f8ae6ab",
    "sets in lists": "9c3ef0ce18f7ec5649cef35e1abd56b3",
    "short tensor": "eaa684fa1ccbbbc42d26877c0423cd51",
    "tensor of 4096 bytes": "75f11a3857f41f85c92ac41e9ee55c72",
    "long tensor": "cc34529227a3d95f6669e01ea303f01d",
    "bfloat16": "76cacabf099abc5b5651a7388ba500f0",
    "meta": "3c97553c354378bcff0eabb697c4d9ee",
    "coo": "9b9630db32faa93b0df143638d62babb",
    "csr": "b53fdecb66f1a6ad4249c09be3486501",
    "csc": "33d7e799e7443bfe34f9d48367fca3ce",
    "quantized": "ef4079b26c5a783a6cf4c430a1e0dcfb",
    "per channel": "c062d7a79be6552e5450495b945f763d",
    "strided rows": "f7e87816f0e171f09151a44e2163e593",
    "jagged rows": "df03425577c176a1740cf3f027275c68",
    "array": "3ce931e1ba3abe10f73d02e7a41fadf4",
    "empty array": "0ea4bf8e45d1f686b58097a8afc40d5f",
    "fields": "6304dfa511f74b7ffe98fa74dc67fd2a",
    "masked": "9d2a78f39b7854455ed6fa6bdf099361",
}


@pytest.mark.parametrize("name", KEPT)
def test_a_digest_that_was_kept_is_the_digest_of_today(name):
    """Journals and kept evidence hold digests of earlier days, which are compared with those of a run of today."""
    value = KEPT[name]()
    assert digest(value).hex() == DIGESTS[name]
    if isinstance(value, torch.Tensor):
        read = reader(value)
        assert [read().hex() for _ in range(3)] == [DIGESTS[name]] * 3
        assert digest_tensor(value).hex() == DIGESTS[name]
    elif not isinstance(value, np.ndarray):
        assert digest_plain(value).hex() == DIGESTS[name]


def test_plain_data_is_so_deep_and_no_deeper():
    def nested(depth):
        value = [object]  # looked into one by one, as no list of scalars is
        value[:] = [1]
        for _ in range(depth - 1):
            value = [value]
        return value

    assert is_plain(nested(MAX_DEPTH)) and MAX_DEPTH == 100
    assert not is_plain(nested(MAX_DEPTH + 1))


def test_a_small_list_stands_for_20_million_values_and_no_more():
    shared = [0] * 19_999
    assert is_plain([shared] * 1000)  # 1000 lists, and the 19,999 values of each
    assert not is_plain([shared] * 1000 + [[]])


def test_a_list_of_nothing_but_numbers_may_be_of_any_length(monkeypatch):
    monkeypatch.setattr("dora_repro.state.digest.MAX_ITEMS", 2)
    assert is_plain([1, 2, 3]) and is_plain((1, 2, 3)) and not is_plain([1, [2]])


def test_a_list_that_several_lists_hold_counts_in_each(monkeypatch):
    shared = [1, 2, 3]
    several = [shared, shared, {"a": shared}]  # 3, then three times 3, and a dict of 1
    for most, plain in ((13, True), (12, False)):
        monkeypatch.setattr("dora_repro.state.digest.MAX_ITEMS", most)
        assert is_plain(several) is plain


def test_what_is_not_plain_may_be_a_key_or_lie_in_the_values_of_a_dict():
    for value in ({(1, object()): 1}, {1: (2, object())}, [{"a": [object()]}], (1, [2, (3, object())])):
        assert not is_plain(value)
    assert is_plain({(1, (2,)): [3, {4}]}) and not is_plain(object()) and not is_plain(range(3))


def test_a_reader_does_not_keep_the_bytes_of_what_is_no_longer_dense():
    live = torch.tensor([1 + 2j, 3 - 4j])
    read = reader(live)
    assert read() == read() == digest(live)
    live.data = live.data.conj()  # the same bytes at the same address, which stand for other numbers
    assert live.is_conj() and read() == read() == digest(live)
    matrix = torch.arange(4.0).reshape(2, 2)
    read = reader(matrix)
    assert read() == read() == digest(matrix)
    matrix.data = matrix.data.t()  # of one shape and address
    assert read() == read() == digest(matrix) != digest(torch.arange(4.0).reshape(2, 2))
