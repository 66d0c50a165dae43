"""What a side did, as it lies on disk."""

import json

from dora_repro.difference import LeafDifference
from dora_repro.sides.result import NAME, from_fields, nothing_done, read_result, to_fields, write_result

DIFFERENCE = LeafDifference(
    "model/w", expected="f32[2, 2]", actual="f32[2, 2]", total=4, differing=1, max_abs=0.5, max_ulp=3, nan=0,
    at=(1, 0), role="parameter",
)  # fmt: skip


def test_a_result_is_read_as_it_was_written(tmp_path):
    result = nothing_done()
    result["step"], result["where"], result["saves"] = 3, "outputs", {"3": [to_fields(DIFFERENCE)]}
    result["failure"] = {"error": "KeyError: 'x'", "traceback": "…"}
    write_result(tmp_path, result)
    assert read_result(tmp_path) == result != nothing_done()
    assert json.loads((tmp_path / "result.json").read_text(encoding="utf-8")) == result
    assert NAME == "result.json"


def test_two_results_share_nothing():
    one, other = nothing_done(), nothing_done()
    one["seconds"]["build"] = 1.0
    one["facts"]["trainable"]["w"] = 3
    assert other == nothing_done() != one


def test_a_difference_is_the_same_after_its_journey():
    for difference in (DIFFERENCE, LeafDifference("count", "missing", expected="3", draws=-4)):
        assert from_fields(json.loads(json.dumps(to_fields(difference)))) == difference


def test_the_files_name_every_field_of_a_difference():
    assert list(to_fields(DIFFERENCE)) == list(LeafDifference.__slots__)
