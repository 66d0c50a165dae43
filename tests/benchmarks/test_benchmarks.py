"""Each benchmark at its smallest: it runs, and its table holds numbers. How large they are is no matter of tests."""

import contextlib
import functools
import importlib.util
import io
import json
import math
import sys
import types
from collections.abc import Callable
from pathlib import Path

import pytest

from dora_repro.checks import options, study
from tests.browser import jupyter

FOLDER = Path(__file__).parents[2] / "benchmarks"
SCRIPTS = sorted(path.stem for path in FOLDER.glob("*.py") if path.stem != "timing")


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Callable[[str], types.ModuleType]:
    """A benchmark by name, as Python runs it: its own folder comes first where it imports."""
    monkeypatch.syspath_prepend(str(FOLDER))

    def loaded(name: str) -> types.ModuleType:
        monkeypatch.delitem(sys.modules, name, raising=False)
        spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.py")
        module = importlib.util.module_from_spec(spec)
        monkeypatch.setitem(sys.modules, name, module)
        spec.loader.exec_module(module)
        return module

    return loaded


def rows_of(module: types.ModuleType, folder: Path, *words: str) -> list[dict]:
    """What a benchmark wrote."""
    file = folder / "figures.json"
    module.main([*words, "--json", str(file)])
    content = json.loads(file.read_text(encoding="utf-8"))
    assert {"processor", "cores", "torch", "threads", "load"} <= set(content["machine"])
    return content["rows"]


def within(module: types.ModuleType) -> Callable:
    """As `timing.cost_of` of that script, in this process: a side's imports cost more than all else in a test."""

    def cost_of(words: list[str]) -> object:
        printed = io.StringIO()
        assert words[0] == module.__file__
        with contextlib.redirect_stdout(printed):
            seconds = module.timing.spent(lambda: module.main(words[1:]))
        return module.timing.Cost(seconds, 1, 1, 0, printed.getvalue())

    return cost_of


def positive(row: dict, *columns: str) -> bool:
    return all(isinstance(row[name], (int, float)) and 0 < row[name] < math.inf for name in columns)


def test_recording_is_held_to_a_step_in_every_way(script, tmp_path, capsys):
    words = ["--cases", "tiny", "full", "--size", "tiny", "--block", "1", "--pairs", "1", "--no-memory"]
    rows = rows_of(script("recording"), tmp_path, *words)
    assert len(rows) == 2 * 5
    assert all(positive(row, "step ms", "ratio", "moves MiB") for row in rows)
    recorders = [row for row in rows if row["watched by"] == "Recorder"]
    assert [row["goal"] for row in recorders] == [1.02, 1.10]
    assert all(positive(row, "opening ms", "trace KiB a step") for row in recorders)
    # Parameter, gradient and two moments of all that is trained: with DoRA layers a small part of the model.
    assert recorders[0]["moves MiB"] < recorders[1]["moves MiB"] / 20
    assert "Recorder" in capsys.readouterr().out


def test_recording_names_where_the_time_goes(script, capsys):
    script("recording").main(["--cases", "tiny", "--block", "1", "--profile", "60"])
    printed = capsys.readouterr().out
    assert "recorder.py" in printed
    assert "digest_tensor" in printed


def test_digests_are_held_to_a_plain_sum(script, tmp_path):
    rows = rows_of(script("digest"), tmp_path, "--sizes", "0.125", "--rounds", "1")
    assert [row["tensor"] for row in rows] == ["float32", "bfloat16", "float32, transposed"]
    assert all(positive(row, "digest_tensor", "plain sum", "torch.equal", "sha256", "digest / sum") for row in rows)


def test_what_digests_look_at_is_one_stretch_of_finite_numbers(script):
    seen = script("digest").looks(0.125)
    assert len({tensor.data_ptr() for tensor in seen.values()}) == 1
    assert all(tensor.isfinite().all() for tensor in seen.values())
    assert not seen["float32, transposed"].is_contiguous()


def test_quick_is_held_to_the_studys_procedure(script, tmp_path, monkeypatch):
    module = script("quick_vit_l_14")
    monkeypatch.setattr(study, "quick", functools.partial(study.quick, in_process=True))
    monkeypatch.setattr(module.timing, "cost_of", within(module))
    rows = rows_of(module, tmp_path, "--size", "tiny", "--batches", "2", "--ways", "study", "quick")
    assert [(row["batch"], row["procedure"], row["builds"]) for row in rows] == [(2, "study", 3), (2, "quick", 2)]
    assert all(positive(row, "seconds", "of study", "largest MiB") for row in rows)


def test_the_wall_time_of_commands_is_taken_apart(script, tmp_path):
    rows = rows_of(script("wall"), tmp_path, "--repeats", "1", "--only", "help", "passing")
    seconds = {row["what"]: row["seconds"] for row in rows}
    assert seconds["dora-repro --help"] > 0
    ratios = {row["what"]: row["/ import torch"] for row in rows}
    assert ratios["import torch"] == 1 and ratios["quick: wall"] == seconds["quick: wall"] / seconds["import torch"]
    parts = [value for what, value in seconds.items() if what.startswith("quick: ") and what != "quick: wall"]
    assert len(parts) == 5  # build, steps, snapshots, control, rest
    assert sum(parts) == pytest.approx(seconds["quick: wall"])


def test_the_cost_of_checks_is_held_to_the_bare_run(script, tmp_path, monkeypatch):
    module = script("checks")
    monkeypatch.setitem(options.DEFAULTS, "in_process", True)
    monkeypatch.setattr(module.timing, "cost_of", within(module))
    rows = rows_of(module, tmp_path, "--steps", "4", "--rounds", "1")
    figures = [(row["verdict"], row["steps"], row["builds"], row["steps / bare"]) for row in rows]
    assert figures == [("–", 4, 1, 1.0), ("–", 6, 2, 1.5), ("EXACT", 6, 2, 1.5), ("DIFFERENT", 12, 4, 3.0)]
    assert all(positive(row, "seconds", "wall / bare") for row in rows)


def test_results_are_written_part_by_part_and_kept_where_they_are_not_made_anew(script, tmp_path, monkeypatch):
    module, file = script("results"), tmp_path / "RESULTS.md"
    smallest = {"digest": ("digest.py", "--sizes", "0.125", "--rounds", "1"), "wall": ("wall.py", "--repeats", "no")}
    monkeypatch.setattr(module, "COMMANDS", smallest)
    assert module.main(["--out", str(file)]) == 1  # a repeat that is no number
    parts = module.parts_of(file.read_text(encoding="utf-8"))
    assert "`python benchmarks/digest.py --sizes 0.125 --rounds 1`" in parts["digest"]
    assert "float32, transposed" in parts["digest"] and "exit code 2" in parts["wall"]
    file.write_text(module.written({**parts, "digest": "kept"}), encoding="utf-8")
    monkeypatch.setitem(smallest, "wall", ("wall.py", "--repeats", "1", "--only", "help"))
    assert module.main(["--only", "wall", "--out", str(file)]) == 0
    parts = module.parts_of(file.read_text(encoding="utf-8"))
    assert list(parts) == ["digest", "wall"] and parts["digest"] == "kept" and "dora-repro --help" in parts["wall"]


def test_pairs_are_done_in_turn_and_their_ratios_ordered(script):
    timing = script("timing")
    order = []
    pairs = timing.paired(lambda: order.append("plain") or 2.0, lambda: order.append("other") or 3.0, 3)
    assert order == ["plain", "other", "other", "plain", "plain", "other"]
    assert pairs.ratio == 1.5
    assert timing.Paired((1, 1, 1, 1, 1), (1, 2, 3, 4, 100)).quartiles == (2, 4)
    assert timing.Paired((1, 2), (2, 2)).quartiles == (1, 2)


def test_rounds_start_with_another_thing_each(script):
    order = []
    things = {name: lambda name=name: order.append(name) or 1.0 for name in "abc"}
    assert script("timing").interleaved(things, 2) == {"a": [1.0, 1.0], "b": [1.0, 1.0], "c": [1.0, 1.0]}
    assert "".join(order) == "abcbca"


def test_the_cost_of_a_process_counts_its_memory_and_that_of_its_child(script):
    timing = script("timing")
    held = 200 * 2**20
    small = timing.cost_of(["-c", "print('done')"])
    assert (small.code, small.output) == (0, "done\n")
    child = f"import time; kept = b'x' * {held}; time.sleep(0.3)"
    both = timing.cost_of(["-c", f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"])
    assert both.largest > held
    assert both.seconds > 0.3
    assert both.together is None or both.together > both.largest


def test_a_process_that_fails_is_no_measurement(script):
    with pytest.raises(RuntimeError, match=r"ended with exit code 3:\noh no"):
        script("timing").cost_of(["-c", "print('oh no'); raise SystemExit(3)"])


def test_tables_are_aligned(script):
    rows = [{"what": "a", "n": 1, "x": 0.5}, {"what": "long", "n": 10, "x": None}, {"what": "b", "n": 2, "x": 1234.5}]
    assert script("timing").table(rows) == (
        "what   n      x\n"
        "----  --  -----\n"
        "a      1  0.500\n"
        "long  10      –\n"
        "b      2   1234"
    )  # fmt: skip  # as it looks


@pytest.mark.parametrize("name", SCRIPTS)
def test_the_readme_tells_of_every_script(name):
    assert f"{name}.py" in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_an_explanation_is_measured_beside_its_check(script, tmp_path):
    rows = rows_of(script("explanations"), tmp_path, "--only", "opt-missing", "clean-ema", "--in-process")
    fault, clean = rows
    assert fault["as declared"] and fault["cause"].startswith("optimizer") and fault["trials"] > 2
    assert positive(fault, "check s", "explanation s", "steps of trials")
    assert clean["as declared"] and (clean["verdict"], clean["trials"]) == ("EXACT", 0)


@pytest.mark.parametrize("name", ["explanations", "rivals"])
def test_a_misspelt_fault_ends_a_benchmark_with_the_nearest(script, capsys, name):
    with pytest.raises(SystemExit) as ended:
        script(name).main(["--only", "opt-mising"])
    assert ended.value.code == 2 and "did you mean 'opt-missing'?" in capsys.readouterr().err


def test_explanations_and_rivals_read_what_the_gallery_has_written(script, tmp_path):
    from dora_repro.faults import gallery
    from dora_repro.faults.trying import Tried, try_fault
    from dora_repro.show.gallery import to_dict

    done = [try_fault(gallery.find(name), in_process=True) for name in ("rng-missing-numpy", "clean-ema")]
    done.append(Tried(gallery.find("world-size"), skipped="needs processes"))
    (tmp_path / "gallery.json").write_text(json.dumps([to_dict(tried) for tried in done]))
    fault, clean = rows_of(script("explanations"), tmp_path, "--read", str(tmp_path / "gallery.json"))
    assert (fault["fault"], fault["cause"], clean["trials"]) == ("rng-missing-numpy", "rng/numpy", 0)
    assert fault["check s"] + fault["explanation s"] == pytest.approx(done[0].seconds)
    rivals = script("rivals")
    known = rivals.known([str(tmp_path / "gallery.json")])
    found = known[rivals.DORA, "rng-missing-numpy"]
    assert (found.outcome, found.steps, found.named) == ("detected", (4,), ("rng",))
    assert known[rivals.DORA, "clean-ema"].outcome == "passed"
    # What is known is not asked again, and what this script has written is known as well.
    asked, file = ["--only", "rng-missing-numpy", "clean-ema", "--tools", rivals.DORA], str(tmp_path / "rivals.json")
    rivals.main([*asked, "--json", file, "--known", str(tmp_path / "gallery.json")])
    assert rivals.known([file]) == known


@pytest.mark.browser
def test_clicks_are_measured_in_a_browser(script, tmp_path):
    if why := jupyter.missing():
        pytest.skip(f"a browser is what is measured in: {why}")
    module = script("clicks")
    ((what, times),) = module.measured(jupyter, {"4 x 2": module.DEEP.format(leaves=4, steps=2)}, 1)
    assert what == "4 x 2" and len(times) == 1 and 0 < times[0] < 60_000


def test_a_script_is_recorded_beside_the_bare_one_and_checked_whole(script, tmp_path, monkeypatch):
    module = script("scripts")
    monkeypatch.setattr(module.timing, "cost_of", within_or_launched(module))
    words = ["--models", "mlp", "--steps", "2", "--rounds", "1", "--ways", "passes"]
    rows = {row["what"]: row for row in rows_of(module, tmp_path, *words)}
    assert positive(rows["record(), no check"], "with the kit")
    assert all(positive(rows[what], "bare", "with the kit", "ratio") for what in rows if what.startswith("a "))
    memory = [row for what, row in rows.items() if what.startswith("memory ")]
    assert len(memory) == 4 or not Path("/proc/self/clear_refs").exists()
    assert all(positive(row, "bare", "with the kit") and row["copies"] is None for row in memory)  # mlp has few bytes
    large = module._memory("memory within a step", "mid", {False: 400.0, True: 450.0})
    assert large["copies"] == pytest.approx(50 * 2**20 / module.MODELS["mid"].state_bytes)
    told = module.shown(large)
    assert (told["bare"], told["with the kit"], told["which is"]) == ("400 MiB", "450 MiB", "+1.04 copies")
    assert rows["a check (passes): EXACT"]["launches"] == "3"


def within_or_launched(module: types.ModuleType) -> Callable:
    """As `within`, where a benchmark starts itself; what it measures is launched."""
    launched, inside = module.timing.cost_of, within(module)
    return lambda words: inside(words) if words[0] == module.__file__ else launched(words)


def test_an_update_is_held_to_one_without_a_journal(script, tmp_path):
    rows = rows_of(script("journal"), tmp_path, "--only", "tiny", "--updates", "6", "--rounds", "1")
    assert [row["level"] for row in rows] == ["light", "full"]
    assert all(row["update ms"] > 0 and row["ratio"] > 0 and row["KiB an update"] > 0 for row in rows)


def test_preemptions_are_judged(script, tmp_path):
    (row,) = rows_of(script("preemptions"), tmp_path, "--kills", "1", "--kinds", "wrong", "--first", "15")
    assert row["starts"] == 2
    assert row["resumed"] == row["judged right"] == 1
