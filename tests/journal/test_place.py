"""Starts of a training under `dora-repro watch`: killed, and started again, rightly and wrongly."""

import json
import signal
import sys
from types import SimpleNamespace

import pytest
import torch
from tqdm import tqdm

from dora_repro.checks.report import Verdict
from dora_repro.journal.layout import LOG, saved_file, starts_of
from dora_repro.journal.ledger import Checkpoint
from dora_repro.journal.lines import read_lines
from dora_repro.journal.place import JournalPlace
from dora_repro.journal.reading import read_journal
from dora_repro.journal.setting import STRICT_EXIT, Setting
from dora_repro.journal.state import StateDigests
from tests.journal.trainings import TRAIN, UPDATES, start


@pytest.fixture(scope="module")
def started(tmp_path_factory):
    """Three starts: killed in the third epoch; resumed rightly, and killed; resumed without moments, schedule and
    generator, to the end."""
    folder = tmp_path_factory.mktemp("started")
    runs = [
        start(folder, str(2 * UPDATES + 3)),
        start(folder, str(UPDATES + 2)),
        start(folder, "0", "optimizer", "schedule", "rng", options=("--level", "full")),
    ]
    return folder, runs


def test_a_first_start_has_nothing_to_say(started):
    _, (first, *_) = started
    assert first.returncode == -signal.SIGKILL
    assert "dora_repro:" not in first.stderr


def test_a_right_resume_is_exact(started):
    folder, (_, second, _) = started
    assert second.returncode == -signal.SIGKILL
    said = [line for line in second.stderr.splitlines() if line.startswith("dora_repro:")]
    assert len(said) == 2
    assert said[0].startswith("dora_repro: resumed from epoch1.pt (update 12, start 1): ")
    assert said[0].endswith("leaves as when it was saved")
    assert said[1] == "dora_repro: updates 13 to 14 repeated bit for bit"
    one = read_journal(folder / "journal").starts[1]
    assert (one.verdict, one.repeated, one.updates) == (Verdict.EXACT, 2, (13, 19))


def test_a_wrong_resume_is_told_at_once_and_where_it_first_differs(started):
    folder, (*_, third) = started
    assert third.returncode == 0
    said = [line for line in third.stderr.splitlines() if line.startswith("dora_repro:")]
    assert said[0] == (
        "dora_repro: resumed from epoch2.pt (update 18, start 2): 12 moments of main/optimizer, "
        "main/optimizer/group.0/lr, main/schedule/last_epoch and rng/torch.cpu are not what they were when it was saved"
    )
    assert said[1] == "dora_repro: first differs at update 19, phase batch: batch/0"
    one = read_journal(folder / "journal").starts[2]
    assert one.verdict is Verdict.DIFFERENT
    assert (one.differs.step, one.differs.phase) == (19, "batch")
    assert one.state.lost["generator"] == ("rng/torch.cpu",)
    assert one.ended is not None


def test_a_checkpoint_of_the_end_is_known_too(started):
    folder, _ = started
    last = starts_of(folder / "journal")[3]
    state = json.loads((last / "state-24.json").read_text())
    assert state["moment"] == "end"
    assert (state["update"], state["backwards"]) == (24, 0)


def test_a_strict_job_is_ended_with_an_exit_code_of_its_own(started):
    folder, _ = started
    for name in ("epoch3.pt", "epoch2.pt"):
        (folder / "out" / name).unlink()
    found = start(folder, "0", "optimizer", options=("--strict",))
    assert found.returncode == STRICT_EXIT
    assert "(update 12, start 1): 12 moments of main/optimizer" in found.stderr
    assert "--strict: the job ends here" in found.stderr
    one = read_journal(folder / "journal").starts[3]
    assert one.refused
    assert one.updates is None
    assert one.verdict is Verdict.LATENT


def test_a_strict_job_is_ended_at_the_first_update_that_differs(started):
    """Its state is as it was, and its data are not: nothing else can tell."""
    folder, _ = started
    for name in ("epoch3.pt", "epoch2.pt"):
        (folder / "out" / name).unlink(missing_ok=True)
    other = TRAIN.replace("x.sum(1, keepdim=True)", "x.sum(1, keepdim=True) + 1")
    found = start(folder, "0", options=("--strict",), script=other)
    assert found.returncode == STRICT_EXIT
    said = [line for line in found.stderr.splitlines() if line.startswith("dora_repro:")]
    assert [line.partition(":")[2].split()[0] for line in said] == ["resumed", "first", "--strict:"]
    one = read_journal(folder / "journal").starts[-1]
    assert (one.verdict, one.updates, one.differs.step) == (Verdict.DIFFERENT, (13, 13), 13)


def test_one_that_reads_nothing_begins_anew(started):
    folder, _ = started
    for file in (folder / "out").iterdir():
        file.unlink()
    found = start(folder, "2")
    assert "began anew: it read no checkpoint of an earlier start" in found.stderr
    journal = read_journal(folder / "journal")
    assert journal.starts[-1].verdict is Verdict.INCONCLUSIVE
    assert journal.verdict is Verdict.DIFFERENT  # the worst of all


def test_a_journal_holds_digests_losses_and_names_and_no_data(started):
    folder, _ = started
    seen = 0
    for file in (folder / "journal").glob("start-*/*"):
        for line in map(json.loads, file.read_text().splitlines()):
            if file.name.startswith("updates-"):
                assert set(line) == {"u", "loss", "lr", "n", "e", "m", "i", "p"}
                values = [*line["e"], *line["m"], *line["p"], line["i"]]
                digests = [value for value in values if isinstance(value, str)]
                assert all(value is None or isinstance(value, (int, str)) for value in values)
            elif "leaves" in line:
                digests = [digest for _, digest in line["leaves"].values()]
            else:
                continue
            assert {len(digest) for digest in digests} == {20}, file
            seen += len(digests)
    assert seen > 100


IN_MEMORY = """
        buffer = io.BytesIO()
        torch.save({**saved, "epoch": epoch, "rng": torch.get_rng_state()}, buffer)
        (out / "new").write_bytes(buffer.getvalue())
        (out / "new").replace(out / f"epoch{epoch}.pt")
        if done == -die:
            os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_that_was_killed_as_soon_as_it_had_saved_is_what_the_next_goes_on_from(tmp_path):
    save = next(line for line in TRAIN.splitlines(keepends=True) if "torch.save" in line)
    script = TRAIN.replace(save, IN_MEMORY).replace("import os,", "import io, os,")
    assert start(tmp_path, str(-2 * UPDATES), script=script).returncode == -signal.SIGKILL
    second = start(tmp_path, "1", "optimizer", script=script)
    assert "dora_repro: resumed from epoch1.pt (update 12, start 1): 12 moments of main/optimizer are" in second.stderr
    journal = read_journal(tmp_path / "journal")
    assert journal.starts[1].verdict is Verdict.LATENT
    assert journal.starts[1].updates is None or journal.starts[1].updates[0] == 13


BY_A_THREAD = """
        saved = copy.deepcopy({**saved, "epoch": epoch, "rng": torch.get_rng_state()})
        thread = threading.Thread(target=later, args=(saved, out / f"epoch{epoch}.pt"))
        thread.start()
"""
LATER = """
def later(saved, file):
    time.sleep(0.3)
    torch.save(saved, file)

def main():
"""


def test_a_copy_that_a_thread_writes_some_updates_later_is_that_of_its_update(tmp_path):
    save = next(line for line in TRAIN.splitlines(keepends=True) if "torch.save" in line)
    script = TRAIN.replace(save, BY_A_THREAD).replace("import os,", "import copy, threading, time, os,")
    script = script.replace("def main():\n", LATER)
    paced = script.replace("            loss = ", "            time.sleep(0.1)\n            loss = ")
    assert start(tmp_path, str(UPDATES + 5), script=paced).returncode == -signal.SIGKILL
    second = start(tmp_path, "0", script=paced)
    assert "dora_repro: resumed from epoch0.pt (update 6, start 1): " in second.stderr
    assert "dora_repro: updates 7 to 10 repeated bit for bit" in second.stderr
    assert read_journal(tmp_path / "journal").starts[1].verdict is Verdict.EXACT


@pytest.fixture
def place(tmp_path):
    """One start, in the midst of its training, five updates done."""
    place = JournalPlace(Setting(tmp_path))
    place.claim()
    place.files = SimpleNamespace(position=(5, 0))
    place._roots = {"n": torch.zeros(1)}
    place._updates = object()
    yield place
    place._log.close()


def test_the_state_of_a_save_in_memory_is_that_of_the_file_that_comes_of_it(place):
    place.serialized()
    place._roots["n"] += 1  # by then the training may have gone on
    place.wrote(Checkpoint("/out/last.ckpt", "digest", 9, 5, 0))
    state = StateDigests.read(place.path / saved_file(5))
    assert (state.update, state.moment) == (5, "save")
    assert state.leaves == StateDigests.take({"n": torch.zeros(1)}, 5).leaves


def test_the_state_of_a_save_in_memory_is_there_before_the_file_is(place):
    place.serialized()
    place.begins("/out/last.ckpt", 5, 0)
    assert StateDigests.read(place.path / saved_file(5)).moment == "save"
    assert read_lines(place.path / LOG)[0][-1] == {
        "kind": "writes", "path": "/out/last.ckpt", "update": 5, "backwards": 0
    }  # fmt: skip  # one line of the log


def test_the_state_of_a_save_in_memory_is_not_that_of_a_file_of_another_update(place):
    place.serialized()
    place.wrote(Checkpoint("/out/last.ckpt", "digest", 9, 4, 0))
    assert not [*place.path.glob("saved-*")]


def test_a_training_that_serializes_for_no_file_is_not_slowed_down(place, monkeypatch):
    taken = []
    monkeypatch.setattr(place, "_state_of_save", lambda *moment: taken.append(moment) or StateDigests(*moment, {}))
    for update in (1, 1, 2, 3, 4, 5, 6):
        place.files.position = update, 0
        place.serialized()
    assert taken == [(1, 0), (2, 0), (3, 0)]


def test_what_is_said_stands_in_no_bar(capsys):
    with tqdm(total=3, file=sys.stderr, mininterval=0) as bar:
        bar.update()
        JournalPlace._say("first differs")
        text = capsys.readouterr().err
    before, _, after = text.partition("dora_repro: first differs\n")
    assert "1/3" in before and not before.rpartition("\r")[2].strip()
    assert "1/3" in after
    JournalPlace._say("no bar is left")
    assert capsys.readouterr().err.endswith("\ndora_repro: no bar is left\n")
