"""Files of safetensors: read by the library itself, which checks the header against the bytes that are there."""

from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open

from dora_repro.checkpoint.guard import FileValue, Malformed
from dora_repro.checkpoint.tensors import Finish, TensorEntry

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


@dataclass(frozen=True, eq=False)
class SafetensorsEntry(TensorEntry):
    """A tensor of a safetensors file; the library has checked its place when the file was opened."""

    path: Path
    name: str

    def load(self) -> torch.Tensor:
        try:
            with safe_open(self.path, framework="pt") as file:
                tensor: torch.Tensor = file.get_tensor(self.name)
                return tensor
        except SafetensorError as error:
            raise Malformed(str(error)) from error


def looks_like_safetensors(head: bytes, size: int) -> bool:
    """Whether a file of `size` bytes begins as the format does: the header's length, then JSON.

    Args:
        head: its first bytes, at least nine where it has as many.
        size: bytes of the whole file.
    """
    return len(head) > 8 and head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= size - 8


def safetensors_root(path: Path, finish: Finish) -> dict[str, FileValue]:
    """The tensors of a file by name, with `finish(entry)` in place of each.

    Raises:
        Malformed: the header does not fit the file, or names an unknown dtype.
    """
    entries = {}
    try:
        with safe_open(path, framework="pt") as file:
            for name in file.keys():  # no mapping: it cannot be iterated
                part = file.get_slice(name)
                if part.get_dtype() not in DTYPES:
                    raise Malformed(f"its tensor {name!r} is of the unknown dtype {part.get_dtype()}")
                entries[name] = SafetensorsEntry(DTYPES[part.get_dtype()], tuple(part.get_shape()), path, name)
    except SafetensorError as error:
        raise Malformed(f"its header does not fit ({error})") from error
    return {name: finish(entry) for name, entry in entries.items()}
