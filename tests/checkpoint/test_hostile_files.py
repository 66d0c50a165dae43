"""No file runs code, takes memory that it only claims, or ends in anything but values or a BadInput."""

import io
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile

import numpy
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.checkpoint.contents import inspect
from dora_repro.checkpoint.reading import leaves_of_file, read
from dora_repro.checkpoint.stub import Stub
from dora_repro.errors import BadInput


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def zip_of(pickled: bytes, path, *, storages: dict[str, bytes] | None = None, compressed: bool = False) -> None:
    """A file as torch.save writes it, around a pickle of our own."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED if compressed else zipfile.ZIP_STORED) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, data in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", data)


def attacks(canary) -> dict[str, bytes]:
    """Pickles that make `canary` when they are loaded in the ordinary way, one for each opcode that can."""
    shell = f"touch {canary}"
    call = text(shell) + b"\x85"
    return {
        "GLOBAL": b"\x80\x02cos\nsystem\n" + call + b"R.",
        "STACK_GLOBAL": b"\x80\x04" + text("os") + text("system") + b"\x93" + call + b"R.",
        "INST": b"\x80\x02(" + text(shell) + b"ios\nsystem\n.",
        "OBJ": b"\x80\x02(cos\nsystem\n" + text(shell) + b"o.",
        "NEWOBJ": b"\x80\x02csubprocess\nPopen\n" + text(shell) + b"\x85\x81.",
        "BUILD": b"\x80\x02cbuiltins\nobject\n)R}" + text("__setstate__") + b"cos\nsystem\nsb" + text(shell) + b"b.",
        "BUILD of a class": b"\x80\x02ccollections\nOrderedDict\n}"
        + text("__init__")
        + b"cos\nsystem\nsb"
        + call
        + b"R.",
        "getattr": b"\x80\x02cbuiltins\ngetattr\ncos\nsystem\n" + text("__call__") + b"\x86R" + call + b"R.",
        "eval": b"\x80\x02cbuiltins\neval\n" + text(f"__import__('os').system('{shell}')") + b"\x85R.",
        "default factory": b"\x80\x02ccollections\ndefaultdict\ncos\nsystem\n\x85R" + text(shell) + b"K\x01s.",
        "rebuild with a function of the file": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n("
        + b"cos\nsystem\n" * 2
        + call
        + b"NtR.",
        "numpy reconstruct": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cos\nsystem\nK\x00\x85C\x01btR"
        + call
        + b"b.",
    }


@pytest.mark.parametrize("name", attacks("x"))
@pytest.mark.parametrize("wrap", ["pickle", "zip", "legacy"])
def test_no_opcode_runs_what_a_file_names(name, wrap, tmp_path):
    canary, path = tmp_path / "canary", tmp_path / "file.pt"
    code = attacks(canary)[name]
    if wrap == "zip":
        zip_of(code, path)
    else:
        head = b"" if wrap == "pickle" else legacy_head()
        path.write_bytes(head + code + (pickle.dumps([], 2) if wrap == "legacy" else b""))
    for look in (read, inspect, lambda p: dict(leaves_of_file(p))):
        try:
            look(path)
        except BadInput as error:
            assert str(path) in str(error)
    assert not canary.exists()


def test_the_canary_of_these_tests_is_made_by_the_ordinary_reader(tmp_path):
    for name in ("GLOBAL", "STACK_GLOBAL", "INST", "OBJ", "eval"):
        canary = tmp_path / name
        pickle.loads(attacks(canary)[name])
        assert canary.exists(), name


def test_a_call_comes_back_as_a_stub_that_names_it(tmp_path):
    zip_of(attacks("x")["GLOBAL"], tmp_path / "file.pt")
    value = read(tmp_path / "file.pt")
    assert type(value) is Stub and value.name == "os.system" and value.args == ("touch x",)
    assert inspect(tmp_path / "file.pt").stubs == ("os.system",)


def test_reading_imports_no_module_of_the_files_choosing(tmp_path, monkeypatch):
    (tmp_path / "planted.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(tmp_path)
    zip_of(b"\x80\x02cplanted\nThing\n)\x81.", tmp_path / "file.pt")
    assert read(tmp_path / "file.pt").name == "planted.Thing"
    assert "planted" not in sys.modules


def legacy_head() -> bytes:
    from dora_repro.checkpoint.archive import LEGACY_MAGIC

    system = {"protocol_version": 1001, "little_endian": True, "type_sizes": {}}
    return b"".join(pickle.dumps(value, 2) for value in (LEGACY_MAGIC, 1001, system))


# --- claims beyond what is there


def tensor_pickle(shape, stride, *, count: int, offset: int = 0, kind: str = "FloatStorage") -> bytes:
    """The pickle of one tensor with the sizes that are asked for."""

    class Storage:
        pass

    class Writer(pickle._Pickler):
        def persistent_id(self, value):
            return ("storage", Name("torch", kind), "0", "cpu", count) if isinstance(value, Storage) else None

        def save_global(self, value, name=None):
            self.write(f"c{value.module}\n{value.name}\n".encode())

        def save(self, value, save_persistent_id=True):
            if isinstance(value, Name):
                self.save_global(value)
            elif isinstance(value, Call):
                self.save(value.function)
                self.save(value.args)
                self.write(b"R")
            else:
                super().save(value, save_persistent_id)

    buffer = io.BytesIO()
    rebuild = Name("torch._utils", "_rebuild_tensor_v2")
    Writer(buffer, 2).dump({"a": Call(rebuild, (Storage(), offset, shape, stride, False, None))})
    return buffer.getvalue()


class Name:
    def __init__(self, module, name):
        self.module, self.name = module, name


class Call:
    def __init__(self, function, args):
        self.function, self.args = function, args


def test_the_pickle_writer_of_these_tests_writes_what_torch_reads(tmp_path):
    zip_of(
        tensor_pickle((2,), (1,), count=2),
        tmp_path / "file.pt",
        storages={"0": numpy.float32([1, 2]).tobytes()},
    )
    assert read(tmp_path / "file.pt")["a"].tolist() == [1, 2]


CLAIMS = {
    "terabytes of shape": {"shape": (1 << 40,), "stride": (1,), "count": 2},
    "terabytes of storage": {"shape": (2,), "stride": (1,), "count": 1 << 40},
    "terabytes by a stride of nothing": {"shape": (1 << 40,), "stride": (0,), "count": 2},
    "more than a machine counts": {"shape": (1 << 62, 1 << 62), "stride": (0, 0), "count": 2},
    "no elements, but 2**80 of them": {"shape": (0, 1 << 40, 1 << 40), "stride": (1, 1, 1), "count": 2},
    "a negative size": {"shape": (-1,), "stride": (1,), "count": 2},
    "a negative stride": {"shape": (2,), "stride": (-1,), "count": 2},
    "a negative offset": {"shape": (1,), "stride": (1,), "count": 2, "offset": -1},
    "a negative count": {"shape": (1,), "stride": (1,), "count": -2},
    "one element too many": {"shape": (3,), "stride": (1,), "count": 2},
    "an offset beyond the end": {"shape": (1,), "stride": (1,), "count": 2, "offset": 2},
    "a stride beyond the end": {"shape": (2,), "stride": (2,), "count": 2},
    "fewer strides than sizes": {"shape": (1, 1), "stride": (1,), "count": 2},
    "sizes that are no numbers": {"shape": ("a",), "stride": (1,), "count": 2},
    "sizes that are floats": {"shape": (1.0,), "stride": (1,), "count": 2},
    "too many dimensions": {"shape": (1,) * 65, "stride": (1,) * 65, "count": 2},
    "an unknown storage": {"shape": (1,), "stride": (1,), "count": 2, "kind": "EvilStorage"},
}


@pytest.mark.parametrize("claim", CLAIMS.values(), ids=CLAIMS)
def test_claims_that_the_bytes_do_not_bear_out_are_refused(claim, tmp_path):
    path = tmp_path / "file.pt"
    zip_of(tensor_pickle(**claim), path, storages={"0": bytes(8)})
    assert path.stat().st_size < 2000
    for look in (read, inspect, leaves_of_file):
        with pytest.raises(BadInput, match=r"cannot read .*file\.pt: "):
            look(path)


def test_the_words_of_a_refusal_name_the_file_the_thing_and_the_next_move(tmp_path):
    path = tmp_path / "file.pt"
    zip_of(tensor_pickle((3,), (1,), count=2), path, storages={"0": bytes(8)})
    with pytest.raises(BadInput) as caught:
        read(path)
    assert str(caught.value) == (
        f"cannot read {path}: a tensor of torch.float32[3] needs 12 bytes of storage 0, which has 8; "
        "take another copy, or an earlier checkpoint"
    )


def test_a_storage_that_is_not_there_is_refused(tmp_path):
    zip_of(tensor_pickle((2,), (1,), count=2), tmp_path / "file.pt", storages={"1": bytes(8)})
    with pytest.raises(BadInput, match="the storage '0' is not in the file"):
        read(tmp_path / "file.pt")


def test_a_modest_expanded_tensor_is_no_bomb(tmp_path):
    torch.save({"a": torch.ones(1).expand(1 << 20)}, tmp_path / "file.pt")
    assert read(tmp_path / "file.pt")["a"].shape == (1 << 20,)


def test_a_compressed_file_reads_and_a_bomb_does_not(tmp_path):
    values = numpy.random.default_rng(0).standard_normal(1 << 10, dtype="float32")
    code = tensor_pickle((1 << 10,), (1,), count=1 << 10)
    zip_of(code, tmp_path / "file.pt", storages={"0": values.tobytes()}, compressed=True)
    assert read(tmp_path / "file.pt")["a"].numpy().tobytes() == values.tobytes()
    zip_of(
        tensor_pickle((1 << 26,), (1,), count=1 << 26),
        tmp_path / "bomb.pt",
        storages={"0": bytes(1 << 28)},
        compressed=True,
    )
    with pytest.raises(BadInput, match=r"claims to unpack \d+ bytes to 268435456"):
        read(tmp_path / "bomb.pt")


def test_records_of_the_same_name_or_over_each_other_are_refused(tmp_path):
    path = tmp_path / "file.pt"
    with pytest.warns(UserWarning, match="Duplicate"), zipfile.ZipFile(path, "w") as archive:
        archive.writestr("archive/data.pkl", b"\x80\x02N.")
        archive.writestr("archive/data.pkl", b"\x80\x02K\x01.")
    with pytest.raises(BadInput, match=r"holds the record 'archive/data\.pkl' twice"):
        read(path)
    zip_of(b"\x80\x02N.", path, storages={"0": bytes(8), "1": bytes(8)})
    data = bytearray(path.read_bytes())
    first, second = (data.find(b"archive/data/" + key, data.find(b"PK\x01\x02")) for key in (b"0", b"1"))
    data[second - 4 : second] = data[first - 4 : first]  # where the record begins
    path.write_bytes(data)
    with pytest.raises(BadInput, match=r"another name in the file|overlaps"):
        read(path)


PICKLE_BOMBS = {
    "a memo of four thousand million": b"\x80\x02Nr\xff\xff\xff\xff.",
    "bytes of 2**62": b"\x80\x04\x8e" + struct.pack("<Q", 1 << 62) + b"x.",
    "a frame of 2**62": b"\x80\x04\x95" + struct.pack("<Q", 1 << 62) + b"N.",
    "text of 4 GiB": b"\x80\x02X\xff\xff\xff\xffabc.",
    "a number of many digits": b"\x80\x02L" + b"9" * 5000 + b"L\n.",
    "a number of many bits": b"\x80\x02\x8b" + struct.pack("<i", 5000) + b"\x7f" * 5000 + b".",
    "tuples nested in a key": b"\x80\x02}" + b")" + b"\x85" * 100_000 + b"Ns.",
    "a key that doubles forty times": b"\x80\x02})" + b"2\x86" * 40 + b"Ns.",
    "a set of it": b"\x80\x04\x8f()" + b"2\x86" * 40 + b"\x90.",
    "bytes of a length": b"\x80\x02cbuiltins\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R.",
    "a deep list": b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".",
    "lists that double forty times": b"\x80\x02]" + b"2\x86" * 40 + b".",
    "an array of a terabyte": b"\x80\x02cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n"
    + b"K\x00\x85U\x01btR(K\x01"
    + b"\x8a\x06\x00\x00\x00\x00\x00\x01\x85cnumpy\ndtype\nU\x02f8\x85R\x89U\x00tb.",
    "an array that copies itself": b"\x80\x02]"
    + b"("
    + b"K\x01" * 100_000
    + b"e"
    + b"q\x00"
    + b"cbuiltins\ntuple\nh\x00\x85R0" * 2000
    + b".",
    "a buffer from outside": b"\x80\x05\x97.",
    "an extension code": b"\x80\x02\x82\x01.",
    "nothing on the stack": b"\x80\x02.",
    "no end": b"\x80\x02N",
    "an end without a beginning": b"\x80\x02t.",
    "items for a number": b"\x80\x02K\x01(K\x02e.",
    "an open mark": b"\x80\x02((N.",
    "a memo never filled": b"\x80\x02h\x05.",
    "an unhashable key": b"\x80\x02}]Ns.",
    "an unknown operation": b"\x80\x02\xff.",
    "a call of a number": b"\x80\x02K\x01)R.",
    "a state for a number": b"\x80\x02K\x01}b.",
    "a file within a file within a file": b"\x80\x02ctorch.storage\n_load_from_bytes\n"
    + b"B\x04\x00\x00\x00abcd\x85R.",
}


def limited(path) -> subprocess.CompletedProcess:
    """Read `path` in a process with little memory and time, and print what happened."""
    script = (
        "import resource, sys, torch\n"
        "from dora_repro.checkpoint.reading import read, leaves_of_file\n"
        "from dora_repro.checkpoint.contents import inspect\n"
        "from dora_repro.errors import BadInput\n"
        "now = int(open('/proc/self/statm').read().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (now + (1 << 28),) * 2)\n"
        "for path in sys.argv[1:]:\n"
        "    for look in (read, inspect, leaves_of_file):\n"
        "        try:\n"
        "            look(path)\n"
        "        except BadInput as error:\n"
        "            if 'MemoryError' in str(error): print('memory', path)\n"
    )
    return subprocess.run([sys.executable, "-c", script, *path], capture_output=True, text=True, timeout=60)


def test_pickle_bombs_neither_crash_nor_fill_the_memory(tmp_path):
    """All in one process with 256 MiB to spare: a crash (deep recursion in C) would show as its exit code."""
    paths = []
    for number, (name, code) in enumerate(PICKLE_BOMBS.items()):
        if name in SHARED:  # ends only at the limit of values, which takes its time; below, with a lower one
            continue
        for wrap in ("pickle", "zip"):
            path = tmp_path / f"{number} {name}.{wrap}.pt".replace("*", "")
            path.write_bytes(code) if wrap == "pickle" else zip_of(code, path)
            paths.append(path)
    done = limited(paths)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


HARMLESS = {
    "a memo of four thousand million",
    "a frame of 2**62",
}  # numbers that are not believed, so not refused
SHARED = {
    "a deep list",
    "lists that double forty times",
}  # read as they are, refused where every place is listed


@pytest.mark.parametrize("name", [name for name in PICKLE_BOMBS if name not in HARMLESS | SHARED])
def test_pickle_bombs_are_bad_input(name, tmp_path):
    zip_of(PICKLE_BOMBS[name], tmp_path / "file.pt")
    with pytest.raises(BadInput, match=r"cannot read .*file\.pt: "):
        read(tmp_path / "file.pt")


@pytest.mark.parametrize("name", sorted(SHARED))
def test_what_is_too_deep_or_too_entangled_to_list_is_bad_input(name, tmp_path, monkeypatch):
    monkeypatch.setattr("dora_repro.checkpoint.budget.FREE_WORK", 200_000)
    zip_of(PICKLE_BOMBS[name], tmp_path / "file.pt")
    assert type(read(tmp_path / "file.pt")) in (list, tuple)
    for look in (inspect, leaves_of_file):
        with pytest.raises(BadInput, match=r"nested deeper than 200|too much (work|memory)"):
            look(tmp_path / "file.pt")


@given(st.binary(max_size=200))
def test_random_pickles_end_in_values_or_bad_input(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "random.pt"
    path.write_bytes(b"\x80\x02" + data)
    try:
        read(path)
    except BadInput:
        pass


_CODES = [opcode.code.encode("latin-1") for opcode in pickletools.opcodes]


@given(
    st.lists(st.sampled_from([*_CODES, b"ctorch\nSize\n", b"cnumpy\ndtype\n", b"K\x02", b"U\x02f8", b")R", b"\x85R"]))
)
def test_random_programs_of_opcodes_end_in_values_or_bad_input(tmp_path_factory, codes):
    path = tmp_path_factory.getbasetemp() / "program.pt"
    path.write_bytes(b"\x80\x02" + b"".join(codes) + b".")
    try:
        inspect(path)
    except BadInput:
        pass


@given(st.binary(max_size=300))
def test_random_bytes_are_bad_input(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "bytes.pt"
    for head in (b"", b"PK\x03\x04", struct.pack("<Q", len(data)) + b"{"):
        if (head + data).startswith(b"\x80"):
            continue
        path.write_bytes(head + data)
        with pytest.raises(BadInput):
            read(path)


PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.binary()
NESTED = st.recursive(
    PLAIN, lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner)
)


@given(NESTED)
def test_any_plain_value_comes_back_equal(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "plain.pt"
    torch.save(value, path)
    assert repr(read(path)) == repr(value)
    path.write_bytes(pickle.dumps(value))
    assert repr(read(path)) == repr(value)


def test_a_legacy_file_cannot_claim_storage_it_lacks(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"a": torch.zeros(4)}, path, _use_new_zipfile_serialization=False)
    data = path.read_bytes()
    place = len(data) - 16 - 8
    assert struct.unpack("<q", data[place : place + 8]) == (4,)
    for count in (1 << 40, -1, 3, 5):
        path.write_bytes(data[:place] + struct.pack("<q", count) + data[place + 8 :])
        with pytest.raises(BadInput, match=r"claims|bytes follow its last storage"):
            read(path)


def test_rights_of_the_process_show_in_the_words(tmp_path):
    path = tmp_path / "file.pt"
    torch.save({"a": 1}, path)
    path.chmod(0)
    if os.access(path, os.R_OK):
        pytest.skip("this user may read everything")
    with pytest.raises(BadInput, match="Permission denied"):
        read(path)
