"""`inspect` and `diff` on real files, good and bad."""

import json
import pickle

import numpy as np
import pytest
import torch

from dora_repro.checkpoint import layouts, writing
from dora_repro.state.snapshot import Snapshot
from dora_repro.trace import Effect, Step, Trace

NAME = "clip_model.vision_model.encoder.layers.2.self_attn.out_proj"


@pytest.fixture
def study(tmp_path):
    dora = {f"{NAME}.m": torch.ones(64), f"{NAME}.delta_D_A": torch.zeros(4, 64)}
    states = {"torch_rng_state": torch.get_rng_state(), "numpy_rng_state": np.random.get_state()}
    return layouts.write_study(tmp_path, 2, dora, states)


@pytest.fixture
def two(tmp_path):
    """Two files that differ in every way that files can."""
    same = torch.arange(64.0)
    near = same.clone()
    near[[3, 17, 40]] = torch.nextafter(near[[3, 17, 40]], torch.tensor(100.0))
    near[17] += 0.5
    one = {"same": same, "near": same, "gone": same, "kind": same, "size": same, "count": 3, "text": "a"}
    other = {"same": same, "near": near, "kind": same.bfloat16(), "size": same[:32], "count": 4, "text": "a", "new": 1}
    paths = tmp_path / "one.pt", tmp_path / "other.pt"
    for path, data in zip(paths, (one, other), strict=True):
        writing.write(path, data)
    return paths


DIFF = """\
✗ near  f32[64]  3/64 (4.69 %)  max diff = 5.00e-01  max 262145 ULP at [17]
✗ gone  missing (expected f32[64])
✗ kind  dtype changed: expected f32[64], got bf16[64]
✗ size  shape changed: expected f32[64], got f32[32]
✗ count  expected 3, got 4
✗ new  unexpected (1)
✗ 6 of 8 leaves differ: 2 in value, 1 missing, 1 in dtype, 1 in shape, 1 unexpected; max diff = 1.00e+00
"""


def test_diff_tells_each_difference_and_exits_with_1(call, two):
    done = call("diff", *two)
    assert (done.exit_code, done.stdout, done.stderr) == (1, DIFF, "")


def test_diff_of_a_file_with_itself_exits_with_0(call, two):
    done = call("diff", two[0], two[0])
    assert (done.exit_code, done.stdout) == (0, "✓ Equal by bytes: 7 leaves\n")


def test_diff_lists_what_is_equal_too(call, two):
    lines = call("diff", *two, "--all").stdout.splitlines()
    assert lines[0] == "✓ same  f32[64]" and "✓ text  'a'" in lines
    assert len(lines) == 9


def test_diff_of_some_leaves(call, two):
    done = call("diff", *two, "--only", "same", "--only", "te*")
    assert (done.exit_code, done.stdout) == (0, "✓ Equal by bytes: 2 leaves\n")
    ignored = [word for path in ("gone", "kind", "size", "count", "new", "near") for word in ("--ignore", path)]
    assert call("diff", *two, *ignored).exit_code == 0
    assert call("diff", *two, *ignored[:-2]).exit_code == 1


def test_diff_within_a_tolerance(call, two):
    done = call("diff", *two, "--only", "near", "--tolerance", 0.6)
    assert done.exit_code == 0
    assert done.stdout.endswith("✗ 1 of 1 leaf differs: 1 in value; max diff = 5.00e-01; within tolerance 0.6\n")
    done = call("diff", *two, "--only", "near", "--tolerance", 0.4)
    assert done.exit_code == 1 and "beyond tolerance 0.4" in done.stdout
    assert call("diff", *two, "--tolerance", 100).exit_code == 1  # what is missing is within nothing


def test_diff_as_json(call, two):
    found = json.loads(call("diff", *two, "--json").stdout)
    assert (found["equal"], found["compared"], len(found["differences"])) == (False, 8, 6)
    assert found["differences"][0]["path"] == "near" and found["differences"][0]["at"] == [17]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--only", "neer"], "only='neer' matches none of 8 leaves: did you mean 'near'?"),
        (["--ignore", "qqq"], "ignore='qqq' matches none of 8 leaves"),
        (["--only", "near", "--ignore", "ne*"], "nothing is left to compare"),
        (["--tolerance", "-1"], "tolerance=-1.0: give a number of 0 or more"),
        (["--tolerance", "nan"], "tolerance=nan: give a number of 0 or more"),
    ],
)
def test_diff_refuses_to_compare_nothing(call, two, options, message):
    done = call("diff", *two, *options)
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.startswith(f"Error: {message}")


def test_diff_of_snapshots_is_leaf_by_leaf(call, tmp_path):
    live = {"w": torch.ones(3), "count": 1}
    Snapshot.capture(live).write(tmp_path / "one.pt")
    live["w"][1] = 2.0
    Snapshot.capture(live).write(tmp_path / "other.pt")
    done = call("diff", tmp_path / "one.pt", tmp_path / "other.pt")
    assert (done.exit_code, done.stdout.splitlines()[0]) == (
        1,
        "✗ w  f32[3]  1/3 (33.3 %)  max diff = 1.00e+00  max 8388608 ULP at [1]",
    )
    assert call("diff", tmp_path / "one.pt", tmp_path / "one.pt").exit_code == 0


def trace(numbers, **changed) -> Trace:
    """Two effects a step and one memory; `changed` gives other digests by name of leaf, from step 3 on."""

    def digest(leaf, number):
        return (changed.get(leaf, leaf[0]) if number >= 3 else leaf[0]).encode().ljust(16, b".")

    steps = [
        Step(
            number,
            1.0,
            (0.1,),
            (Effect("batch", "x", digest("x", number)), Effect("update", "w", digest("w", number))),
            {"rng/torch.cpu": digest("rng", number)},
        )
        for number in numbers
    ]
    return Trace(steps, {"rng/torch.cpu": b"r".ljust(16, b".")})


def test_diff_of_traces_is_in_order_of_execution_over_common_steps(call, tmp_path):
    trace(range(1, 5)).write(tmp_path / "one.jsonl")
    trace(range(3, 5), w="other").write(tmp_path / "other.jsonl")
    done = call("diff", tmp_path / "one.jsonl", tmp_path / "other.jsonl")
    assert (done.exit_code, done.stdout) == (
        1,
        "Compared steps 3–4\nNote: only the first has steps 1–2\n"
        "✗ First difference, in order of execution: step 3, phase update, w\n"
        "✗ step 3, phase update: 1 effect\n✗ step 4, phase update: 1 effect\n✗ 2 of 4 effects differ\n",
    )
    trace(range(3, 5)).write(tmp_path / "other.jsonl")
    done = call("diff", tmp_path / "one.jsonl", tmp_path / "other.jsonl")
    assert (done.exit_code, done.stdout.splitlines()[-1]) == (0, "✓ Equal by digest: 4 effects")
    done = call("diff", tmp_path / "one.jsonl", tmp_path / "other.jsonl", "--json")
    assert json.loads(done.stdout)["equal"] is True


def test_diff_of_traces_sees_memory_and_globs(call, tmp_path):
    trace(range(1, 5)).write(tmp_path / "one.jsonl")
    trace(range(1, 5), rng="other").write(tmp_path / "other.jsonl")
    paths = tmp_path / "one.jsonl", tmp_path / "other.jsonl"
    done = call("diff", *paths)
    assert done.exit_code == 1
    assert "✗ First memory that differs: end of step 3, rng/torch.cpu\n" in done.stdout
    assert call("diff", *paths, "--ignore", "rng/*").exit_code == 0
    assert call("diff", *paths, "--only", "*/update/*").exit_code == 0
    trace(range(1, 5), x="other").write(paths[1])
    assert call("diff", *paths, "--only", "*/update/*").exit_code == 0
    assert call("diff", *paths, "--only", "*/batch/*").exit_code == 1


def test_diff_of_unlike_things_is_bad_input(call, tmp_path, two):
    trace(range(1, 3)).write(tmp_path / "one.jsonl")
    trace(range(7, 9)).write(tmp_path / "late.jsonl")
    done = call("diff", tmp_path / "one.jsonl", two[0])
    assert (done.exit_code, done.stdout) == (2, "")
    assert done.stderr.endswith("one.pt a checkpoint: give two of a kind\n")
    done = call("diff", tmp_path / "one.jsonl", tmp_path / "late.jsonl")
    assert (done.exit_code, done.stderr) == (
        2,
        "Error: the traces have no step in common (steps 1–2 and steps 7–8): give two of one run\n",
    )


def test_inspect_tells_components_and_what_is_lacking(call, study):
    done = call("inspect", study[0])
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[0].startswith(f"{study[0]}: the study's DoRA parameters (dora-only) (")
    assert lines[1] == "  2 entries, 1.2 KiB of tensors and arrays"
    assert lines[2] == "adapter    2 entries  1.2 KiB  2 × float32"
    assert "An exact resume would lack:" in lines
    assert any(line.startswith("✗ optimizer: The optimizer starts with empty state") for line in lines)
    assert "attn.out_proj.m" not in done.stdout
    assert "  clip_model.visual.transformer.resblocks.2.attn.out_proj.m  float32[64]  256 B\n" in (
        call("inspect", study[0], "--all").stdout
    )


def test_inspect_as_json(call, study):
    found = json.loads(call("inspect", study[0], "--json").stdout)
    assert found["layout"] == "study parameters" and "optimizer" in found["missing"]
    assert [entry["shape"] for entry in found["components"]["adapter"]] == [[64], [4, 64]]


def test_inspect_reads_numpys_state_without_running_code(call, study):
    done = call("inspect", study[1])
    assert done.exit_code == 0 and "\nrng        " in done.stdout
    assert "✗ rng.torch" not in done.stdout and "✗ rng.numpy" not in done.stdout and "✗ rng.python" in done.stdout


# --- bad files: message and exit code of each ------------------------------------------------------------------------


class Hostile:
    def __reduce__(self):
        import os

        return os.system, ("touch hostile-code-ran",)


def bad_files(folder) -> dict[str, object]:
    """Bad files by what is wrong with them."""
    good = folder / "good.pt"
    writing.write(good, {"w": torch.arange(4096.0)})
    content = good.read_bytes()
    flipped = bytearray(content)
    flipped[content.index(np.arange(4096, dtype="<f4").tobytes()) + 5000] ^= 1
    made = {
        "missing": None,
        "empty": b"",
        "truncated": content[: len(content) // 2],
        "bit-flipped": bytes(flipped),
        "foreign": b"\x89PNG\r\n\x1a\n" + bytes(1000),
        "text": b"not a checkpoint" * 9,
        "cut trace": b'{"format": "dora_repro/trace/2", "steps": 5, "finished": false, "unseen": [], "start": {}}\n',
    }
    for name, data in made.items():
        if data is not None:
            (folder / f"{name}.pt").write_bytes(data)
    return {name: folder / f"{name}.pt" for name in made}


@pytest.mark.parametrize("name", ["missing", "empty", "truncated", "bit-flipped", "foreign", "text", "cut trace"])
def test_a_bad_file_is_a_message_and_code_2(call, tmp_path, name):
    bad = bad_files(tmp_path)[name]
    done = call("diff", bad, tmp_path / "good.pt")
    assert (done.exit_code, done.stdout) == (2, ""), done.output
    assert done.stderr.startswith("Error: ") and str(bad) in done.stderr and done.stderr.count("\n") == 1
    done = call("diff", tmp_path / "good.pt", bad)
    assert (done.exit_code, done.stdout) == (2, "")
    if name != "bit-flipped":  # inspect reads no bytes of tensors
        done = call("inspect", bad)
        assert (done.exit_code, done.stdout) == (2, "")
        assert done.stderr.startswith("Error: ") and str(bad) in done.stderr


def test_the_good_file_beside_them_is_fine(call, tmp_path):
    bad_files(tmp_path)
    assert call("diff", tmp_path / "good.pt", tmp_path / "good.pt").exit_code == 0
    assert call("inspect", tmp_path / "good.pt").exit_code == 0


def test_a_hostile_pickle_is_shown_and_not_run(call, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "hostile.pt").write_bytes(pickle.dumps({"w": Hostile()}))
    done = call("inspect", "hostile.pt", "--all")
    assert "system" in done.output
    assert call("diff", "hostile.pt", "hostile.pt").exit_code in (0, 2)
    assert [path.name for path in tmp_path.iterdir()] == ["hostile.pt"]
    pickle.loads((tmp_path / "hostile.pt").read_bytes())  # and it would have run
    assert (tmp_path / "hostile-code-ran").exists()


def test_an_empty_folder_is_bad_input(call, tmp_path):
    done = call("inspect", tmp_path)
    assert done.exit_code == 2 and str(tmp_path) in done.stderr


def test_diff_goes_on_without_a_torn_file_and_exits_with_2(call, tmp_path):
    for name in ("one", "other"):
        (tmp_path / name).mkdir()
        for epoch in (1, 2, 3):
            writing.write(tmp_path / name / f"epoch{epoch}.pt", {"w": torch.full((3,), float(epoch))})
    one, other = tmp_path / "one", tmp_path / "other"
    assert call("diff", one, other).exit_code == 0
    torn = one / "epoch2.pt"
    torn.write_bytes(torn.read_bytes()[:300])
    done = call("diff", one, other)
    lines = done.stdout.splitlines()
    assert done.exit_code == 2 and lines[-1] == "✗ 1 file could not be read; of the others: Equal by bytes: 2 leaves"
    assert " ".join(lines[:-1]).startswith("✗ epoch2/epoch2.pt  not compared: of the first, cannot read ")
    assert call("diff", one, other, "--ignore", "epoch2/*").exit_code == 0
    assert json.loads(call("diff", one, other, "--json").stdout)["differences"][0]["kind"] == "unreadable"
