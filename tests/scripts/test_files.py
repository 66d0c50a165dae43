"""The ledger of a process: what it wrote and read in `{out}`, and at which step."""

import os
import sys
import threading

import pytest
import torch
from safetensors.torch import save_file

from dora_repro.scripts.files import Files, read_ledger


@pytest.fixture
def watched(tmp_path):
    """A ledger of a folder, and the position that it notes: (step, backwards), to be set by a test."""
    out = tmp_path / "out"
    out.mkdir()
    position = [0, 0]
    files = Files(out, lambda: (position[0], position[1]))
    yield files, out, position
    files.close()


def ledger(files, out):
    files.write_to(out.parent / "files.jsonl")
    files.close()
    return [(entry["kind"], os.path.relpath(entry["path"], out), entry["step"]) for entry in read(out)]


def read(out):
    return read_ledger(out.parent / "files.jsonl")


def test_what_is_written_counts_for_the_step_at_which_it_was_begun(watched):
    files, out, position = watched
    position[0] = 3
    with open(out / "slow.pt", "wb") as file:
        position[0] = 5  # written in the background, while training goes on
        file.write(b"0" * 10)
    torch.save({"a": 1}, out / "now.pt")
    assert files.look()
    assert not files.look()
    assert sorted(ledger(files, out)) == [("wrote", "now.pt", 5), ("wrote", "slow.pt", 3)]


def test_a_file_that_is_renamed_keeps_its_step(watched):
    files, out, position = watched
    position[0] = 2
    (out / "tmp").mkdir()
    with open(out / "tmp" / "model.pt", "wb") as file:
        file.write(b"0")
    position[0] = 4
    os.rename(out / "tmp", out / "checkpoint-2")
    files.look()
    assert ledger(files, out) == [("wrote", "checkpoint-2/model.pt", 2)]


def test_what_this_thread_saves_is_told_from_logs_and_from_what_is_written_in_the_background(watched):
    files, out, _ = watched

    def saved():
        files.look()
        return files.saved

    (out / "log.txt").write_text("loss 1.0")
    assert not saved()
    assert not files.wrote_now()
    torch.save({"a": 1}, out / "now.pt")
    assert saved() and not saved()

    def in_background():
        with open(out / "tmp.pt", "wb") as file:
            file.write(b"0")
        os.rename(out / "tmp.pt", out / "slow.pt")

    thread = threading.Thread(target=in_background)
    thread.start()
    thread.join()
    assert not saved()
    with open(out / "slow.pt", "wb") as file:
        file.write(b"00")
    assert files.wrote_now()
    assert saved()


def test_reading_is_noted_once_and_elsewhere_only_of_what_may_be_a_checkpoint(watched, tmp_path_factory):
    files, out, _ = watched
    far = tmp_path_factory.mktemp("far")
    for path in (out / "a.pt", far / "elsewhere.pt"):
        torch.save({"a": 1}, path)
    (out / "optimizer.bin").write_bytes(b"0")
    (far / "notes.txt").write_text("no checkpoint")
    files.look()
    for _ in range(2):
        torch.load(out / "a.pt")
        torch.load(far / "elsewhere.pt")
        (out / "optimizer.bin").read_bytes()
        (far / "notes.txt").read_text()
    elsewhere = os.path.relpath(far / "elsewhere.pt", out)
    here = [("read", "a.pt", 0), ("read", elsewhere, 0), ("read", "optimizer.bin", 0)]
    assert [entry for entry in ledger(files, out) if entry[0] == "read"] == here


def test_what_safetensors_reads_is_noted(watched, monkeypatch):
    import safetensors
    import safetensors.torch

    files, out, _ = watched
    for module in (safetensors, safetensors.torch):
        for name in ("safe_open", "load_file"):
            if hasattr(module, name):
                monkeypatch.setattr(module, name, getattr(module, name))
    files.watch_safetensors()
    save_file({"a": torch.ones(1)}, out / "a.safetensors")
    save_file({"a": torch.ones(2)}, out / "b.safetensors")
    assert safetensors.torch.load_file(out / "a.safetensors")["a"].shape == (1,)
    with safetensors.safe_open(out / "b.safetensors", "pt") as file:
        assert list(file.keys()) == ["a"]
    files.write_to(out.parent / "files.jsonl")
    names = [(entry["kind"], os.path.relpath(entry["path"], out)) for entry in read(out)]
    assert names == [("read", "a.safetensors"), ("read", "b.safetensors")]


def test_the_line_that_writes_a_file_is_noted_by_whatever_function(watched, monkeypatch):
    import safetensors.torch

    files, out, _ = watched
    heard = []
    files.listeners.append(lambda kind, path, frame: heard.append((kind, os.path.relpath(path, out))))
    monkeypatch.setattr(torch, "save", torch.save)
    monkeypatch.setattr(safetensors.torch, "save_file", safetensors.torch.save_file)
    files.watch_torch()
    files.watch_safetensors()
    first = sys._getframe().f_lineno
    safetensors.torch.save_file({"a": torch.ones(1)}, out / "a.safetensors")
    with open(out / "b.pt", "wb") as file:
        torch.save({"a": 1}, file)
    files.look()
    files.write_to(out.parent / "files.jsonl")
    by = {os.path.relpath(entry["path"], out): entry["by"]["line"] - first for entry in read(out)}
    assert by == {"a.safetensors": 1, "b.pt": 3}
    assert heard == [("wrote", "a.safetensors"), *[("wrote", "b.pt")] * 2]


def test_a_line_that_was_cut_off_is_passed_over(watched):
    files, out, _ = watched
    torch.save({"a": 1}, out / "a.pt")
    files.look()
    files.write_to(out.parent / "files.jsonl")
    with open(out.parent / "files.jsonl", "ab") as file:
        file.write(b'{"kind": "wro')
    assert [entry["kind"] for entry in read(out)] == ["wrote"]


def test_who_wrote_a_file_is_told_by_its_frame(watched, monkeypatch):
    files, out, _ = watched
    library = {"__name__": "accelerate.checkpointing"}
    exec("def save(path):\n    with open(path, 'w') as file:\n        file.write('{}')\n", library)

    def own(name):
        files.look()
        return next(entry["own"] for entry in files._waiting if entry["path"].endswith(name))

    (out / "mine.json").write_text("{}")
    with open(out / "made.pt", "wb") as file:
        file.write(b"0")
    library["save"](out / "theirs.json")
    assert own("mine.json") and own("made.pt") and not own("theirs.json")
    with open(out / "tmp.json", "w") as file:
        file.write("{}")
    os.rename(out / "tmp.json", out / "named.json")
    assert own("named.json")
