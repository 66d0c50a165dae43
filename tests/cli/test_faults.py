"""`dora-repro faults`: the list, one fault in full, several in a table, and what is refused."""

import json

import pytest


def test_without_a_command_they_are_listed(call):
    done = call("faults")
    assert done.exit_code == 0
    assert "  opt-missing " in done.stdout and "\nclean\n" in done.stdout
    assert done.stdout.splitlines()[-1].endswith("Try one: dora-repro faults run study-dora-only")


def test_one_family_is_listed_alone(call):
    done = call("faults", "--family", "optimizer")
    assert done.exit_code == 0
    assert "opt-missing" in done.stdout and "sched-missing" not in done.stdout


def test_one_fault_is_told_whole_and_held_against_what_is_declared(call):
    done = call("faults", "run", "opt-missing", "--in-process")
    assert done.exit_code == 0, done.output
    assert "Why: this made the difference" in done.stdout
    assert "✓ opt-missing  DIFFERENT; step 4, update; optimizer/*/{step, exp_avg, exp_avg_sq}" in done.stdout
    assert done.stdout.splitlines()[-1] == "✅ 1 of 1 fault as declared"


def test_several_are_a_line_each_and_written_as_json(call, tmp_path):
    done = call("faults", "run", "opt-missing", "sched-missing", "--in-process", "--json", tmp_path / "f.json")
    assert done.exit_code == 0, done.output
    assert "Why:" not in done.stdout
    assert [row["name"] for row in json.loads((tmp_path / "f.json").read_text(encoding="utf-8"))] == [
        "opt-missing",
        "sched-missing",
    ]
    assert done.stdout.splitlines()[-1] == "✅ 2 of 2 faults as declared"


def test_one_that_is_not_as_declared_makes_the_exit_code_1(call, monkeypatch):
    from dataclasses import replace

    from dora_repro.faults import gallery

    gallery.every()
    lying = replace(gallery.find("opt-missing"), phase="batch")
    monkeypatch.setitem(gallery._REGISTERED, "opt-missing", lying)
    done = call("faults", "run", "opt-missing", "--in-process", "-q")
    assert (done.exit_code, done.stdout) == (1, "❌ 0 of 1 fault as declared\n")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "opt-mising"], "the gallery has no fault 'opt-mising': did you mean 'opt-missing'?"),
        (["run"], "name some faults, or give --all, or one --family"),
        (["run", "opt-missing", "--all"], "name some faults, or give --all, or one --family"),
        (["run", "--family", "weather"], "the gallery has no family 'weather': choose one of study"),
        (["run", "opt-missing", "--json", "/nowhere/x.json"], "the folder /nowhere does not exist"),
    ],
)
def test_bad_input_is_a_message_and_code_2(call, arguments, said):
    done = call("faults", *arguments)
    assert done.exit_code == 2 and said in done.stderr
