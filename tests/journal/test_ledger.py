"""Which checkpoints are written and what is read, however they are opened."""

import io
import os
import pickle
import shutil
import threading
from pathlib import Path

import pytest
import torch

from dora_repro.journal.ledger import JournalFiles, digest_of


@pytest.fixture(autouse=True)
def torch_as_it_was(monkeypatch):
    """What a ledger wraps is put back after the test."""
    monkeypatch.setattr(torch, "save", torch.save)
    monkeypatch.setattr(torch.optim.Optimizer, "state_dict", torch.optim.Optimizer.state_dict)


@pytest.fixture
def ledger(tmp_path):
    position = [3, 0]
    found = []
    files = JournalFiles(tmp_path / "journal", lambda: tuple(position), found.append)
    files.watch_torch()
    files.found, files.at = found, position
    yield files
    files.close()


def names(ledger):
    return [(Path(one.path).name, one.update, one.digest == digest_of(one.path)) for one in ledger.found]


def through_a_file(path):
    with open(path, "wb") as file:
        torch.save({"a": 1}, file)


def by_its_name(path):
    torch.save({"a": 1}, path)


def renamed(path):
    torch.save({"a": 1}, f"{path}.tmp")
    os.replace(f"{path}.tmp", path)


def in_a_folder_that_is_renamed(path):
    (path.parent / "tmp").mkdir()
    torch.save({"a": 1}, path.parent / "tmp" / path.name)
    os.rename(path.parent / "tmp", path.parent / "done")


def pickled(path):
    path.with_suffix("").write_bytes(pickle.dumps({"a": 1}))


@pytest.mark.parametrize("write", [through_a_file, by_its_name, renamed, in_a_folder_that_is_renamed, pickled])
def test_a_checkpoint_is_told_once_with_its_content(ledger, tmp_path, write):
    write(tmp_path / "last.ckpt")
    ledger.at[0] = 4  # it was opened after update 3, however late one looks
    assert ledger.look()
    assert ledger.saved
    ((path, update, digest),) = [(one.path, one.update, one.digest) for one in ledger.found]
    assert (update, digest) == (3, digest_of(next(str(file) for file in tmp_path.rglob("last*"))))
    assert Path(path).name.startswith("last")
    assert not ledger.look()
    assert len(ledger.found) == 1


def test_what_torch_saves_by_name_is_told_at_once(ledger, tmp_path):
    torch.save({"a": 1}, tmp_path / "new.pt")
    assert names(ledger) == [("new.pt", 3, True)]  # it may be killed before anybody looks
    assert ledger.look()
    assert len(ledger.found) == 1


def test_what_torch_serializes_in_memory_is_told_once_it_is_there(tmp_path):
    sizes, buffer = [], io.BytesIO()
    files = JournalFiles(tmp_path / "journal", lambda: (3, 0), lambda one: None, lambda: sizes.append(buffer.tell()))
    files.watch_torch()
    torch.save({"a": 1}, buffer)
    assert sizes == [len(buffer.getvalue())]
    torch.save({"a": 1}, tmp_path / "a.pt")
    thread = threading.Thread(target=torch.save, args=({"a": 1}, io.BytesIO()))
    thread.start()
    thread.join()
    files.close()
    torch.save({"a": 1}, buffer)
    assert len(sizes) == 1


def test_what_is_about_to_be_written_or_named_is_told_before(tmp_path):
    begun = []

    def begins(path, update, backwards):
        begun.append((Path(path).name, update, Path(path).exists()))

    files = JournalFiles(tmp_path / "journal", lambda: (3, 0), lambda one: None, begins=begins)
    files.watch_torch()
    torch.save({"a": 1}, tmp_path / "a.pt")
    through_a_file(tmp_path / "b.ckpt")
    through_a_file(tmp_path / "unnamed")
    os.replace(tmp_path / "unnamed", tmp_path / "c.pt")
    (tmp_path / "log.txt").write_text("no checkpoint")
    thread = threading.Thread(target=through_a_file, args=(tmp_path / "d.pt",))
    thread.start()
    thread.join()
    files.close()
    assert begun == [("a.pt", 3, False), ("b.ckpt", 3, False), ("c.pt", 3, False)]


def test_logs_tables_and_the_journal_are_no_checkpoints(ledger, tmp_path):
    (tmp_path / "journal").mkdir()
    for name in ("log.txt", "metrics.csv", "state.json", "notes", "journal/x.pt", "events.out.tfevents.1"):
        (tmp_path / name).write_bytes(b"some text")
    assert not ledger.look()


def test_a_file_that_is_only_read_is_none(ledger, tmp_path):
    torch.save({"a": 1}, tmp_path / "a.pt")
    ledger.look()
    torch.load(tmp_path / "a.pt")
    assert not ledger.look()


def test_what_a_thread_writes_counts_for_the_update_that_began_it(ledger, tmp_path):
    begun, go_on = threading.Event(), threading.Event()

    def slowly():
        with open(tmp_path / "slow.pt", "wb") as file:
            file.write(b"PK\x03\x04")
            file.flush()
            begun.set()
            go_on.wait()
            file.write(b"the rest")

    thread = threading.Thread(target=slowly)
    thread.start()
    begun.wait()
    assert ledger.look()
    assert [(one.update, one.digest) for one in ledger.found] == [(3, None)]  # it may not be complete
    ledger.at[0] = 5
    go_on.set()
    thread.join()
    os.utime(tmp_path / "slow.pt", (1, 1))  # a while ago
    assert not ledger.look()  # told already
    assert names(ledger)[1] == ("slow.pt", 3, True)


def test_a_thread_that_torch_saves_for_is_known_to_be_done(ledger, tmp_path):
    thread = threading.Thread(target=torch.save, args=({"a": 1}, tmp_path / "a.pt"))
    thread.start()
    thread.join()
    ledger.look()
    assert names(ledger) == [("a.pt", 3, True)]


def test_a_save_that_fails_fails_once_as_it_would(ledger, tmp_path):
    with pytest.raises(RuntimeError, match="Parent directory"):
        torch.save({"a": 1}, tmp_path / "none" / "a.pt")
    assert not ledger.look()


def test_what_is_read_before_the_first_update_is_noted_in_order(ledger, tmp_path):
    for name in ("one.pt", "two.pt", "three.pt"):
        torch.save({"a": 1}, tmp_path / name)
    for name in ("one.pt", "two.pt", "one.pt"):
        torch.load(tmp_path / name)
    assert [Path(path).name for path in ledger.reads] == ["two.pt", "one.pt"]
    assert [*ledger.reads.values()] == [(tmp_path / name).stat().st_size for name in ("two.pt", "one.pt")]
    ledger.write_to(tmp_path)
    torch.load(tmp_path / "three.pt")
    assert len(ledger.reads) == 2


def test_a_data_set_of_many_files_does_not_push_a_checkpoint_out(ledger, tmp_path, monkeypatch):
    monkeypatch.setattr("dora_repro.journal.ledger._MOST", 5)
    torch.save({"a": 1}, tmp_path / "first.pt")
    torch.load(tmp_path / "first.pt")
    for number in range(20):
        (tmp_path / f"image{number}.jpg").write_bytes(b"pixels")
        (tmp_path / f"image{number}.jpg").read_bytes()
    read = [Path(path).name for path in ledger.reads]
    assert read[0] == "first.pt"
    assert read[1:] == [f"image{number}.jpg" for number in range(15, 20)]


def test_safetensors_writes_and_reads_outside_of_python(ledger, tmp_path, monkeypatch):
    import safetensors
    from safetensors import torch as tensors

    for module in (safetensors, tensors):
        for name in ("save_file", "serialize_file", "load_file", "safe_open"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))
    ledger.watch_safetensors()
    tensors.save_file({"a": torch.ones(2)}, tmp_path / "model.safetensors")
    assert ledger.look()
    assert names(ledger) == [("model.safetensors", 3, True)]
    tensors.load_file(tmp_path / "model.safetensors")
    assert [Path(path).name for path in ledger.reads] == ["model.safetensors"]


def test_equal_files_have_equal_digests_and_a_copy_is_one(ledger, tmp_path):
    torch.save({"a": 1}, tmp_path / "last.pt")
    shutil.copy(tmp_path / "last.pt", tmp_path / "best.pt")
    ledger.look()
    assert len({one.digest for one in ledger.found}) == 1
    assert len(ledger.found) == 2
    assert digest_of(str(tmp_path / "none")) is None


def test_a_copy_of_an_optimizer_s_state_is_told_though_nothing_is_written_yet(ledger):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    optimizer.state_dict()
    optimizer.state_dict()
    assert ledger.look()
    assert not ledger.saved
    assert not ledger.look()
    assert ledger.found == []


@pytest.mark.parametrize(("updates", "told"), [(1, False), (7, False), (8, True), (100, True)])
def test_an_optimizer_that_is_asked_every_few_updates_is_not_being_saved(ledger, updates, told):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    optimizer.state_dict()
    ledger.look()
    for _ in range(3):
        ledger.at[0] += updates
        optimizer.state_dict()
        assert ledger.look() == told


def test_a_thread_that_asks_an_optimizer_copies_nothing(ledger):
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.ones(1))])
    thread = threading.Thread(target=optimizer.state_dict)
    thread.start()
    thread.join()
    assert not ledger.look()
