"""Traces: written and read whole or not at all; a divergence in words."""

import json
import math
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dora_repro.difference import LeafDifference
from dora_repro.errors import BadInput
from dora_repro.trace import FORMAT, Divergence, Recorded, Step, Trace, TraceWriter, numbered, read_appended, unnumbered
from tests.traces import ONE, digest, trace

# --- the file ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "made",
    [
        Trace(),
        trace(ONE, ONE, finished=True, unseen=("batch",)),
        trace(ONE, first=6, start={"rng/x": "r", "a\u2028b": "s"}),
        trace((["update w\x85v a"], {"rng/x": "1", "gone": None, "é\ud800": "2"})),
        Trace([Step(1, None, (), (), {})]),
        Trace([Step(1, math.inf, (1e-320, -0.0), (), {})]),
        Trace([Step(1, 0.5, (), (), {}, b"", ("outputs/x",), (Recorded(1, "backward[2]", "w/grad"),))]),
    ],
    ids=["empty", "two steps", "resumed", "memory", "no loss", "odd numbers", "thrown away"],
)
def test_a_trace_survives_its_file(made, tmp_path):
    made.write(tmp_path / "t.jsonl")
    again = Trace.read(tmp_path / "t.jsonl")
    assert again == made
    assert [repr(step.loss) for step in again.steps] == [repr(step.loss) for step in made.steps]
    assert len((tmp_path / "t.jsonl").read_bytes().splitlines()) == 1 + len(made.steps)


def test_a_loss_that_is_no_number_survives(tmp_path):
    Trace([Step(1, math.nan, (), (), {})]).write(tmp_path / "t")
    assert math.isnan(Trace.read(tmp_path / "t").steps[0].loss)


@given(st.floats(allow_nan=False), st.lists(st.floats(allow_nan=False), max_size=3))
def test_numbers_come_back_bit_for_bit(loss, rates):
    from dora_repro.trace import _step_from_json, _step_to_json

    step = Step(1, loss, tuple(rates), (), {})
    again = _step_from_json(json.loads(json.dumps(_step_to_json(step))))
    assert repr(again) == repr(step)


def test_a_trace_that_was_cut_anywhere_is_bad_input(tmp_path):
    path = tmp_path / "t.jsonl"
    trace(ONE, ONE, ONE).write(path)
    whole = path.read_bytes()
    ends = [place for place, byte in enumerate(whole) if byte == ord("\n")]
    for length in {0, 1, 20, *(end + shift for end in ends for shift in (0, 1, 5))} - {len(whole), len(whole) - 1}:
        if length < len(whole) - 1:
            path.write_bytes(whole[:length])
            with pytest.raises(BadInput, match=r"t\.jsonl is not a whole trace of this kit .*: record it again"):
                Trace.read(path)
    path.write_bytes(whole)
    assert len(Trace.read(path).steps) == 3


def change(line: int, **values):
    def apply(lines):
        lines[line].update(values)

    return apply


DAMAGE = {
    "another format": change(0, format="other/1"),
    "no format": lambda lines: lines[0].pop("format"),
    "no steps": lambda lines: lines[0].pop("steps"),
    "a list for a head": lambda lines: lines.__setitem__(0, [1]),
    "text for a step": lambda lines: lines.__setitem__(1, "step"),
    "a step too many": lambda lines: lines.append(lines[1]),
    "more steps than it says": change(0, steps=2),
    "a loss of too many digits": change(1, loss=int("9" * 400)),
    "a truth value for a loss": change(1, loss=True),
    "a text for a rate": change(1, learning_rates=["0.1"]),
    "a short digest": change(1, effects=[["update", "w", "00" * 12]]),
    "a long digest": change(1, memory={"a": "00" * 17}),
    "a digest with blanks": change(1, memory={"a": " ".join(["00"] * 16)}),
    "a digest of a start that is none": change(0, start={"a": "00"}),
    "no memory where some was": change(1, memory={"a": 0}),
    "a short digest of inputs": change(1, inputs="00"),
    "a first step before the first": lambda lines: [line.update(step=line["step"] - 1) for line in lines[1:]],
    "a step left out": lambda lines: (lines.pop(2), lines[0].update(steps=2)),
    "steps out of order": lambda lines: lines.reverse() or lines.insert(0, lines.pop()),
    "a number that is none": change(1, step="1"),
    "a loss that is none": change(1, loss="high"),
    "an effect too short": change(1, effects=[["update", "w"]]),
    "an effect without a name": change(1, effects=[[1, "w", "00"]]),
    "a digest that is none": change(1, effects=[["update", "w", "xyz"]]),
    "memory that is none": change(1, memory=[1]),
    "a start that is none": change(0, start=[1]),
    "finished that is none": change(0, finished="no"),
    "unseen that is none": change(0, unseen=[1]),
    "rates that are none": change(1, learning_rates=["fast"]),
}


@pytest.mark.parametrize("damage", DAMAGE.values(), ids=DAMAGE)
def test_a_trace_that_was_tampered_with_is_bad_input(damage, tmp_path):
    path = tmp_path / "t.jsonl"
    trace(ONE, ONE, ONE).write(path)
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    damage(lines)
    path.write_text("\n".join(json.dumps(line) for line in lines) + "\n")
    with pytest.raises(BadInput, match="is not a whole trace of this kit"):
        Trace.read(path)


def test_a_name_that_stands_twice_in_a_line_is_bad_input(tmp_path):
    path = tmp_path / "t.jsonl"
    trace((ONE, {"a": "1"})).write(path)
    text = path.read_text()
    path.write_text(text.replace('"memory": {', '"memory": {"a": null, '))
    with pytest.raises(BadInput, match="a name stands twice"):
        Trace.read(path)


def test_what_is_no_ordinary_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "t")
    for path in (tmp_path / "t", "/dev/zero"):
        with pytest.raises(BadInput, match="it is no ordinary file"):
            Trace.read(path)


@pytest.mark.parametrize("content", [b"", b"\n", b"text", b"\xff\xfe", b"[" * 100_000, b"null", b"PK\x03\x04"])
def test_foreign_files_are_bad_input(content, tmp_path):
    (tmp_path / "t").write_bytes(content)
    with pytest.raises(BadInput, match="is not a whole trace"):
        Trace.read(tmp_path / "t")


def test_missing_files_and_folders_are_bad_input(tmp_path):
    with pytest.raises(BadInput, match=r"no such trace: .*none"):
        Trace.read(tmp_path / "none")
    with pytest.raises(BadInput, match="is not a whole trace"):
        Trace.read(tmp_path)


def test_the_head_tells_the_format(tmp_path):
    trace(ONE).write(tmp_path / "t")
    assert (tmp_path / "t").read_bytes().startswith(b'{"format": "dora_repro/trace/2"') and FORMAT.endswith("/2")


# --- looking at one ----------------------------------------------------------------------------------------------


def test_a_trace_without_steps_says_nothing():
    assert Trace() == Trace([], {}, False, ()) and Trace().step(0) is None and repr(Trace()) == "Trace(no steps)"


def test_steps_are_found_by_number():
    made = trace(ONE, ["update w z"], first=6)
    assert made.step(6).number == 6 and made.step(7).effects[0].digest == digest("z")
    assert made.step(5) is None and made.step(8) is None and Trace().step(1) is None
    assert repr(made) == "Trace(steps 6–7, 5 effects)" and repr(Trace()) == "Trace(no steps)"


def test_memory_is_what_changed_on_top_of_what_was():
    made = trace(([], {"a": "1"}), ([], {"b": "2", "a": None}), ([], {}), start={"a": "0", "c": "9"})
    seen = [(number, dict(memory)) for number, memory in made.memory()]
    assert seen == [
        (1, {"a": digest("1"), "c": digest("9")}),
        (2, {"b": digest("2"), "c": digest("9")}),
        (3, {"b": digest("2"), "c": digest("9")}),
    ]
    assert made.start == {"a": digest("0"), "c": digest("9")}, "looking leaves it as it was"


# --- a divergence in words

SIZED = LeafDifference("w", differing=3, total=64, max_ulp=2)
WORDS = {
    "an effect": (Divergence(3, "update", "w"), "step 3, phase update, w"),
    "its size": (
        Divergence(3, "update", "w", "value", SIZED),
        "step 3, phase update, w (3/64 elements, max 2 ULP)",
    ),
    "no ULP": (
        Divergence(3, "batch", "x", "value", LeafDifference("x", differing=1, total=2)),
        "step 3, phase batch, x (1/2 elements)",
    ),
    "no elements": (
        Divergence(2, "load", "w", "dtype", LeafDifference("w", "dtype")),
        "step 2, phase load, w (dtype changed)",
    ),
    "memory": (Divergence(3, "", "m/exp_avg"), "end of step 3, m/exp_avg"),
    "missing": (
        Divergence(3, "batch", "x", "missing"), "step 3, phase batch, x (missing in this step of the resumed run)",
    ),
    "unexpected": (
        Divergence(3, "batch", "x", "unexpected"), "step 3, phase batch, x (only in this step of the resumed run)",
    ),
    "raised": (Divergence(2, "load", "run/exception", "raised"), "step 2, phase load, run/exception (raised)"),
}  # fmt: skip


@pytest.mark.parametrize(("found", "words"), WORDS.values(), ids=WORDS)
def test_a_divergence_says_where_and_how(found, words):
    assert str(found) == words
    assert words.startswith(found.place) and found.place.startswith(found.where)


def test_a_divergence_of_two_files_names_the_second():
    assert Divergence(3, "batch", "x", "missing").how("the second") == "missing in this step of the second"
    assert Divergence(3, "backward[2]", "x", "unexpected").how("the second") == "only in this step of the second"
    for phase in ("load", "save", ""):  # state, not what a step did
        assert Divergence(3, phase, "x", "missing").how("the second") == "missing in the second"
        assert Divergence(3, phase, "x", "unexpected").how("the second") == "only in the second"


def test_of_two_runs_the_one_that_is_over_is_named():
    words = {kind: Divergence(4, "epoch_end", "run/finished", kind).how() for kind in ("missing", "unexpected")}
    assert words == {
        "missing": "the resumed run is over, the other goes on",
        "unexpected": "the other is over, the resumed run goes on",
    }


def test_a_phase_or_leaf_that_is_repeated_is_numbered_and_its_number_taken_off_again():
    assert [numbered("backward", number) for number in (1, 2, 10)] == ["backward", "backward[2]", "backward[10]"]
    assert unnumbered(numbered("outputs/scale", 2)) == unnumbered("outputs/scale") == "outputs/scale"
    assert unnumbered("batch/images[0]/mask") == "batch/images[0]/mask"


# --- a trace that is written as it grows ------------------------------------------------------------------------------


def grown(path, made, *, closed=True):
    writer = TraceWriter(path, made.start)
    for step in made.steps:
        writer.step(step)
    if closed:
        writer.close(made.finished, made.unseen)
    return writer


def test_a_trace_that_was_written_as_it_grew_is_read_whole(tmp_path):
    made = trace(ONE, (ONE, {"m": "x"}), finished=True, start={"m": "w"}, unseen=("batch",))
    writer = grown(tmp_path / "t", made)
    assert read_appended(tmp_path / "t") == made
    with pytest.raises(ValueError, match="closed file"):
        writer.step(made.steps[0])
    with pytest.raises(FileExistsError):
        TraceWriter(tmp_path / "t", {})


def test_each_step_is_with_the_system_when_it_was_added_and_a_line_that_was_cut_is_none(tmp_path):
    made = trace(ONE, ONE, finished=True)
    writer = grown(tmp_path / "t", made, closed=False)
    unfinished = trace(ONE, ONE)
    assert read_appended(tmp_path / "t") == unfinished
    with (tmp_path / "t").open("ab") as file:
        file.write(b'{"finished": true')
    assert read_appended(tmp_path / "t") == unfinished
    writer.close(True, ())


@pytest.mark.parametrize(
    "content", ["", "x\n", "[]\n", '{"start": 3}\n', '{"start": {}}\n{"finished": 1, "unseen": []}\n']
)
def test_what_no_writer_wrote_is_bad_input(content, tmp_path):
    (tmp_path / "t").write_text(content)
    with pytest.raises(BadInput, match="not the record of a launched script"):
        read_appended(tmp_path / "t")


@pytest.mark.parametrize(
    ("field", "value"), [("step", True), ("step", "1"), ("prepared", [1]), ("effects", [[1, "x", ""]])]
)
def test_entries_of_another_type_are_none_of_a_step(field, value, tmp_path):
    made = trace(ONE)
    made.write(tmp_path / "t")
    head, line, _ = (tmp_path / "t").read_text().split("\n")
    (tmp_path / "t").write_text(f"{head}\n{json.dumps({**json.loads(line), field: value})}\n")
    with pytest.raises(BadInput, match="TypeError"):
        Trace.read(tmp_path / "t")
