"""Files of safetensors: a header of JSON with names, dtypes, shapes and places, then the bytes of the tensors.

Read here and not by the library, which maps the file: a tensor of its would change as the file does, and a file that
another process shortens would end the reader (SIGBUS). What is refused is what the library refuses. Source of the
format: https://github.com/huggingface/safetensors#format, as of version 0.8.
"""

import math
import sys
from dataclasses import dataclass
from itertools import pairwise

import torch

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import FileValue, Malformed, Opener
from dora_repro.checkpoint.json_files import json_value
from dora_repro.checkpoint.tensors import Finish, TensorEntry, checked_sizes

MAX_HEADER = 100_000_000  # bytes, as the library has it
OF_A_TENSOR = 10  # work

DTYPES = {
    "BOOL": torch.bool,
    "U8": torch.uint8,
    "I8": torch.int8,
    "U16": torch.uint16,
    "I16": torch.int16,
    "U32": torch.uint32,
    "I32": torch.int32,
    "U64": torch.uint64,
    "I64": torch.int64,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "F32": torch.float32,
    "F64": torch.float64,
    "C64": torch.complex64,
    "F8_E4M3": torch.float8_e4m3fn,
    "F8_E5M2": torch.float8_e5m2,
    "F8_E8M0": torch.float8_e8m0fnu,
}


@dataclass(frozen=True, eq=False, repr=False)
class SafetensorsEntry(TensorEntry):
    """A tensor of a safetensors file.

    Attributes:
        opener: opens the file.
        start: where in it the elements begin, in bytes.
    """

    opener: Opener
    start: int

    def _load(self) -> torch.Tensor:
        if not self.nbytes:
            return torch.empty(self.shape, dtype=self.dtype)
        flat = torch.empty(self.nbytes, dtype=torch.uint8)
        with self.opener() as file:
            file.seek(self.start)
            if file.readinto(flat.numpy().data) != self.nbytes:
                raise Malformed("it ends inside of a tensor")
        if sys.byteorder == "big" and self.dtype.itemsize > 1:
            flat.untyped_storage().byteswap(self.dtype)
        return flat.view(self.dtype).view(self.shape)


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins as the format does: the header's length, then JSON.

    Args:
        head: its first bytes, at least nine where it has as many.
        size: bytes of the whole file.
    """
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def safetensors_root(opener: Opener, size: int, finish: Finish, budget: Budget) -> dict[str, FileValue]:
    """The tensors of a file by name, with `finish(entry)` in place of each.

    Args:
        opener: opens the file.
        size: bytes of the file.
        finish: makes what stands for a tensor, out of its entry.
        budget: what reading the file may take.

    Raises:
        Malformed: the header does not fit the file, or names an unknown dtype.
    """
    with opener() as file:
        length = int.from_bytes(file.read(8), "little")
        if length > min(size - 8, MAX_HEADER):
            raise Malformed(f"its header does not fit (it claims {length} bytes)")
        text = file.read(length)
    if not text.startswith(b"{"):
        raise Malformed("its header does not fit (it is no JSON object)")
    try:
        header = json_value(text, budget, once=True)
    except (ValueError, RecursionError) as error:
        raise Malformed(f"its header does not fit ({error})") from error
    entries, places = {}, []
    for name, about in header.items() if isinstance(header, dict) else ():
        if name != "__metadata__":
            entries[name], begin, end = _entry(name, about, opener, 8 + length)
            places.append((begin, end))
        elif not isinstance(about, dict) or not all(isinstance(value, str) for value in about.values()):
            raise Malformed("its header does not fit (its metadata are not texts by name)")
    budget.take(OF_A_TENSOR * len(entries))
    places.sort()
    if any(end != begin for (_, end), (begin, _) in pairwise([(0, 0), *places, (size - 8 - length, 0)])):
        raise Malformed("its header does not fit (its tensors do not lie one after the other to the end of the file)")
    return {name: finish(entry) for name, entry in entries.items()}


def _entry(name: str, about: FileValue, opener: Opener, above: int) -> tuple[SafetensorsEntry, int, int]:
    """A tensor, and where it begins and ends behind the header.

    Args:
        name: of the tensor.
        about: what the header says of it.
        opener: opens the file.
        above: bytes of the file before the tensors.
    """
    if not isinstance(about, dict) or about.keys() != {"dtype", "shape", "data_offsets"}:
        raise Malformed(f"its header does not fit (of the tensor {name!r}, dtype, shape or place are missing)")
    dtype = DTYPES.get(about["dtype"]) if isinstance(about["dtype"], str) else None
    if dtype is None:
        raise Malformed(f"its tensor {name!r} is of the unknown dtype {str(about['dtype'])[:40]}")
    shape, place = checked_sizes(about["shape"]), checked_sizes(about["data_offsets"])
    if len(place) != 2 or place[1] - place[0] != math.prod(shape) * dtype.itemsize:
        raise Malformed(f"its header does not fit (the tensor {name!r} claims {list(place)} for {list(shape)})")
    return SafetensorsEntry(dtype, shape, opener, above + place[0]), *place
