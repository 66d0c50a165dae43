"""What a check leaves beside its evidence: read as it was written, and refused in words where it cannot be."""

import json

import pytest

from dora_repro.checks import keeping
from dora_repro.checks.keeping import OBJECT, Answer, Kept, Origin
from dora_repro.checks.report import Report, Reports, Verdict
from dora_repro.errors import BadInput
from dora_repro.trace import Trace

REPORT = Report(Verdict.LATENT, "lost at the end", 2, 4, latent=("ema/weight",), title="resumed at step 2")


@pytest.fixture
def kept(tmp_path):
    """A folder with what a check has left."""
    whole = Report(Verdict.EXACT, "equal", 3, 4, reference=Trace(), resumed=Trace())
    answers = (Answer(REPORT, {"reference": "reference", "resumed": "resumed-2"}, {"start": 2}), Answer(whole, {}))
    Kept(OBJECT, "every step", True, {"steps": 4, "tolerance": None}, Origin.here(), answers).write(tmp_path)
    return tmp_path


def test_what_was_written_is_read_but_for_the_traces(kept):
    read = Kept.read(kept)
    assert (read.kind, read.title, read.asked) == (OBJECT, "every step", {"steps": 4, "tolerance": None})
    assert read.origin == Origin.here()
    assert read.answers[0] == Answer(REPORT, {"reference": "reference", "resumed": "resumed-2"}, {"start": 2})
    assert read.answers[1].report == Report(Verdict.EXACT, "equal", 3, 4)
    assert isinstance(read.result, Reports) and read.result.verdict is Verdict.LATENT


def test_of_the_environment_only_what_changes_results_is_written_and_no_secret(kept, monkeypatch):
    told = {"OMP_NUM_THREADS": "3", "CUDA_VISIBLE_DEVICES": "1", "PYTHONHASHSEED": "5"}
    hidden = {"HF_TOKEN": "a", "TORCH_API_KEY": "b", "MY_OWN": "c", "HF_PASSWORD": "d", "CUDA_SECRET_PLACE": "e"}
    for name, value in {**told, **hidden}.items():
        monkeypatch.setenv(name, value)
    variables = Origin.here().variables
    assert told.items() <= variables.items() and not hidden.keys() & variables.keys()


def cut(path):
    path.write_bytes(path.read_bytes()[:-200])


def changed(**entries):
    def change(path):
        data = json.loads(path.read_bytes())
        path.write_text(json.dumps({**data, **entries}), encoding="utf-8")

    return change


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (cut, r"evidence.json is not whole \(JSONDecodeError\): make the check again with --keep"),
        (lambda path: path.write_text("[]"), r"is not whole \(TypeError\)"),
        (changed(format="dora_repro/evidence/7"), "is of version 7, and this kit reads version 1: open it with"),
        (changed(format="something"), "is not of this kit"),
        (changed(answers=[{"report": {"verdict": "FINE"}}]), r"is not whole \('FINE' is not a valid Verdict\)"),
        (changed(answers=3), r"is not whole \('3' is no list\)"),
        (changed(origin=None), r"is not whole \('None' is no dict\)"),
        (lambda path: path.unlink(), r"is no folder that a check has kept \(it has no evidence.json\)"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(kept, damage, said):
    damage(kept / keeping.NAME)
    with pytest.raises(BadInput, match=said):
        Kept.read(kept)


def test_a_check_that_did_not_come_to_its_end_is_told_from_a_folder_of_something_else(kept):
    (kept / keeping.NAME).unlink()
    (kept / "reference").mkdir()
    with pytest.raises(BadInput, match=r"has evidence, and no evidence.json: the check did not come to its end"):
        Kept.read(kept)
    with pytest.raises(BadInput, match=r"there is no folder .*nowhere"):
        Kept.read(kept / "nowhere")
