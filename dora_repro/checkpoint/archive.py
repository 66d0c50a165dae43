"""Torch's two file formats: where the pickle lies, where each storage lies, and whether the bytes are all there.

`ZipArchive`: what `torch.save` writes since 1.6, a zip of `data.pkl` and one record per storage. The
directory is read by the standard library's `zipfile`; everything it claims is checked against the file before
memory is taken, and every record against its CRC when it is read. `LegacyFile`: the older stream of pickles
followed by raw storages; it has no checksums, so a flipped bit in a storage cannot be seen there. Neither
executes anything.
"""

import os
import struct
import sys
import zipfile
import zlib
from io import BufferedIOBase, BytesIO, RawIOBase

import torch

from dora_repro.checkpoint.budget import Budget
from dora_repro.checkpoint.guard import Malformed, Opener

LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
LEGACY_PROTOCOL = 1001
MAX_RECORDS = 2_000_000
MAX_RATIO = 200  # of a compressed record above MAX_SMALL; torch itself never compresses
MAX_SMALL = 1 << 20
MAX_LINE = 1 << 16
OF_A_RECORD = 10  # work
_CHUNK = 1 << 22
_AT_ONCE = 1 << 24  # bytes of a window that is read whole: a pickle of so many asks a million times
_AHEAD = 1 << 16  # bytes that a window reads at once, since a pickle asks for few at a time


class Window(RawIOBase):
    """A read-only part of a file, with the size of every read bounded by the bytes that are there.

    Args:
        file: open for reading.
        start: where in it the part begins, in bytes.
        length: bytes of the part.
    """

    def __init__(self, file: BufferedIOBase, start: int, length: int) -> None:
        self.file, self.start, self.length, self.position = file, start, length, 0
        self._ahead, self._ahead_at = b"", 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self.position, os.SEEK_END: self.length}[whence]
        if base + offset < 0:
            raise Malformed(f"it points to byte {base + offset}")
        self.position = base + offset
        return self.position

    def tell(self) -> int:
        return self.position

    def read(self, size: int | None = -1) -> bytes:
        begin = self.position - self._ahead_at
        if size is not None and 0 <= begin and 0 <= size <= len(self._ahead) - begin:
            self.position += size
            return self._ahead[begin : begin + size]
        rest = max(self.length - self.position, 0)
        size = rest if size is None or size < 0 else min(size, rest)
        self.file.seek(self.start + self.position)
        data = self.file.read(min(max(size, _AHEAD), rest))
        if len(data) <= _AHEAD:
            self._ahead, self._ahead_at = data, self.position
        data = data[:size]
        self.position += len(data)
        return data

    def readline(self, size: int | None = -1) -> bytes:
        # pickletools asks for lines without a limit; no line of a pickle that means anything is long.
        self.file.seek(self.start + self.position)
        line = self.file.readline(min(MAX_LINE, max(self.length - self.position, 0)))
        self.position += len(line)
        return line


class Whole(BytesIO):
    """A window that was read whole: reads of a few bytes, of which a pickle consists, cost nothing then.

    Args:
        file: open for reading.
        start: where in it the part begins, in bytes.
        length: bytes of the part.
    """

    def __init__(self, file: BufferedIOBase, start: int, length: int) -> None:
        file.seek(start)
        super().__init__(file.read(length))
        self.start, self.length = start, length


def window_of(file: BufferedIOBase, start: int, length: int) -> Window | Whole:
    """A part of a file that pickles are read from: whole where it is small.

    Args:
        file: open for reading.
        start: where in it the part begins, in bytes.
        length: bytes of the part.
    """
    return Whole(file, start, length) if length <= _AT_ONCE else Window(file, start, length)


class ZipArchive:
    """A zip file of torch, or one inside of a longer file.

    Args:
        opener: opens the file afresh for each access, so that nothing stays open between them.
        start: where in it the zip file begins, in bytes.
        length: bytes of the zip file.
        budget: what reading it may take.

    Raises:
        Malformed: the directory claims what the bytes do not bear out; or no checkpoint of torch.
    """

    def __init__(self, opener: Opener, start: int, length: int, budget: Budget) -> None:
        self.opener, self.start, self.length, self.budget = opener, start, length, budget
        self._whole: set[str] = set()  # records whose checksum was found to fit
        with opener() as file:
            window = Window(file, start, length)
            with zipfile.ZipFile(window) as archive:
                infos = archive.infolist()
            self.records = self._checked(infos, window)
            roots = [name for name in self.records if name == "data.pkl" or name.endswith("/data.pkl")]
            if len(roots) != 1:
                raise Malformed(f"it is a zip file with {len(roots)} records data.pkl, so no checkpoint of torch")
            self.root = roots[0].removesuffix("data.pkl")
            code = self.root + "constants.pkl", self.root + "code/"
            if code[0] in self.records or any(name.startswith(code[1]) for name in self.records):
                raise Malformed("it is a TorchScript program, not a checkpoint; save the state_dict() of the module")
            # The small records are read here, so that damage in those that nothing refers to is seen as well.
            for name, (info, _) in self.records.items():
                small = name != roots[0] and info.file_size <= MAX_SMALL
                if small and not name.startswith(self.root + "data/"):
                    self._bytes(name, file)
            self.pickle = self._bytes(roots[0], file)
            byteorder = self.root + "byteorder"
            order = self._bytes(byteorder, file) if byteorder in self.records else b"little"
        if order not in (b"little", b"big"):
            raise Malformed(f"its byte order is {order[:20]!r}, neither little nor big")
        self.swapped = order.decode() != sys.byteorder

    def _checked(self, infos: list[zipfile.ZipInfo], window: Window) -> dict[str, tuple[zipfile.ZipInfo, int]]:
        """The records by name, each with the place of its bytes, or Malformed."""
        if len(infos) > MAX_RECORDS:
            raise Malformed(f"it lists {len(infos)} records")
        self.budget.take(OF_A_RECORD * len(infos))
        records: dict[str, tuple[zipfile.ZipInfo, int]] = {}
        places = []
        for info in infos:
            name = info.filename
            if name in records:
                raise Malformed(f"it holds the record {name!r} twice")
            if info.flag_bits & 0x1:
                raise Malformed(f"its record {name!r} is encrypted")
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise Malformed(f"its record {name!r} is compressed by method {info.compress_type}")
            if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
                raise Malformed(f"its record {name!r} claims {info.file_size} bytes and {info.compress_size}")
            if info.file_size > max(MAX_SMALL, MAX_RATIO * info.compress_size):
                raise Malformed(f"its record {name!r} claims to unpack {info.compress_size} bytes to {info.file_size}")
            window.seek(info.header_offset)
            header = window.read(30)
            if len(header) < 30 or header[:4] != b"PK\x03\x04":
                raise Malformed(f"its record {name!r} is not where the directory says")
            name_length, extra_length = struct.unpack("<HH", header[26:30])
            encoding = "utf-8" if info.flag_bits & 0x800 else "cp437"
            if window.read(name_length) != info.orig_filename.encode(encoding):
                raise Malformed(f"its record {name!r} has another name in the file than in the directory")
            start = info.header_offset + 30 + name_length + extra_length
            if start + info.compress_size > self.length:
                raise Malformed(f"its record {name!r} ends {start + info.compress_size - self.length} bytes behind it")
            records[name] = info, start
            places.append((info.header_offset, start + info.compress_size, name))
        # Records that share bytes would let a small file stand for a large one.
        end = 0
        for start, stop, name in sorted(places):
            if start < end:
                raise Malformed(f"its record {name!r} overlaps another")
            end = stop
        return records

    def size(self, key: str) -> int:
        """Bytes of a storage, as unpacked."""
        try:
            return self.records[f"{self.root}data/{key}"][0].file_size
        except KeyError:
            raise Malformed(f"the storage {key!r} is not in the file") from None

    def load(self, key: str, dtype: torch.dtype) -> torch.UntypedStorage:
        size = self.size(key)
        tensor = torch.empty(size, dtype=torch.uint8)
        if size:
            with self.opener() as file:
                self._into(f"{self.root}data/{key}", file, tensor.numpy().data)
        storage = tensor.untyped_storage()
        if self.swapped and dtype.itemsize > 1:
            storage.byteswap(dtype)
        return storage

    def part(self, key: str, start: int, length: int) -> torch.UntypedStorage | None:
        name = f"{self.root}data/{key}"
        info, begin = self.records[name]
        if self.swapped or info.compress_type != zipfile.ZIP_STORED:
            return None
        part = torch.empty(length, dtype=torch.uint8)
        with self.opener() as file:
            if name not in self._whole:
                self.budget.take_bytes(info.file_size)
                self._into(name, file, None)
            file.seek(self.start + begin + start)
            if file.readinto(part.numpy().data) != length:
                raise Malformed(f"its record {name!r} ends early")
        return part.untyped_storage()

    def _bytes(self, name: str, file: BufferedIOBase) -> bytes:
        size = self.records[name][0].file_size
        self.budget.take(memory=size)
        self.budget.take_bytes(size)
        data = bytearray(size)
        self._into(name, file, memoryview(data))
        return bytes(data)

    def _into(self, name: str, file: BufferedIOBase, buffer: memoryview | None) -> None:
        """Check a record's bytes against its CRC, and fill `buffer` with them where one is given."""
        info, start = self.records[name]
        file.seek(self.start + start)
        crc = 0
        if info.compress_type != zipfile.ZIP_STORED:
            self.budget.take(memory=max(info.file_size - info.compress_size, 0))
        if buffer is None:
            for place in range(0, info.file_size, _CHUNK):
                crc = zlib.crc32(file.read(min(_CHUNK, info.file_size - place)), crc)
        elif info.compress_type == zipfile.ZIP_STORED:
            for place in range(0, len(buffer), _CHUNK):
                part = buffer[place : place + _CHUNK]
                if file.readinto(part) != len(part):
                    raise Malformed(f"its record {name!r} ends early")
                crc = zlib.crc32(part, crc)
        else:
            data = zlib.decompressobj(-15).decompress(file.read(info.compress_size), len(buffer) + 1)
            if len(data) != len(buffer):
                raise Malformed(f"its record {name!r} unpacks to {len(data)} bytes or more, not {len(buffer)}")
            buffer[:] = data
            crc = zlib.crc32(data)
        if crc != info.CRC:
            raise Malformed(f"its record {name!r} is damaged (its checksum does not fit its bytes)")
        self._whole.add(name)


class LegacyFile:
    """The storages of a file in torch's older format, found behind its pickles by `place`.

    Args:
        opener: opens the file afresh for each access.
        little_endian: byte order of the elements, as the file says.
    """

    def __init__(self, opener: Opener, little_endian: bool) -> None:
        self.opener = opener
        self.places: dict[str, tuple[int, int]] | None = None
        self.swapped = little_endian != (sys.byteorder == "little")

    def place(self, keys: list[str], dtypes: dict[str, torch.dtype], window: Window | Whole) -> None:
        """Find the storages, from where the window stands: for each 8 bytes of count, then the elements.

        Args:
            keys: of the storages, in the order in which they lie.
            dtypes: of their elements, by key.
            window: the file, to its end.

        Raises:
            Malformed: they are not all there, or something else follows.
        """
        self.places = {}
        for key in keys:
            if key not in dtypes:
                raise Malformed(f"the storage {key!r} belongs to no tensor")
            head = window.read(8)
            if len(head) < 8:
                raise Malformed(f"it ends before storage {key!r}")
            count = struct.unpack("<q", head)[0]
            size = count * dtypes[key].itemsize
            if count < 0 or window.tell() + size > window.length:
                raise Malformed(f"its storage {key!r} claims {count} elements, which are not there")
            self.places[key] = window.start + window.tell(), size
            window.seek(size, os.SEEK_CUR)
        if window.tell() != window.length:
            raise Malformed(f"{window.length - window.tell()} bytes follow its last storage")

    def size(self, key: str) -> int | None:
        if self.places is None:
            return None
        try:
            return self.places[key][1]
        except KeyError:
            raise Malformed(f"the storage {key!r} is not in the file") from None

    def load(self, key: str, dtype: torch.dtype) -> torch.UntypedStorage:
        size = self.size(key) or 0
        tensor = torch.empty(size, dtype=torch.uint8)
        if size and self.places is not None:
            with self.opener() as file:
                file.seek(self.places[key][0])
                if file.readinto(tensor.numpy().data) != size:
                    raise Malformed(f"it ends inside of storage {key!r}")
        storage = tensor.untyped_storage()
        if self.swapped and dtype.itemsize > 1:
            storage.byteswap(dtype)
        return storage

    def part(self, key: str, start: int, length: int) -> torch.UntypedStorage | None:
        if self.swapped or self.places is None:
            return None
        part = torch.empty(length, dtype=torch.uint8)
        with self.opener() as file:
            file.seek(self.places[key][0] + start)
            if file.readinto(part.numpy().data) != length:
                raise Malformed(f"it ends inside of storage {key!r}")
        return part.untyped_storage()
