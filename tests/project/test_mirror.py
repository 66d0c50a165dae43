"""tests/ mirrors the package: dora_repro/ROOM/MODULE.py is tested by tests/ROOM/test_MODULE.py.

What departs from that stands in two lists: modules that another file tests, and files of tests that belong to no single
module. Neither list can rot: an entry that is not needed any more fails.
"""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from pathlib import Path

# Modules without a file of tests of their own, by glob, and the file whose tests go through them.
ELSEWHERE = {
    # A script is checked as a whole: what its process records shows in the report.
    "scripts/again.py": "tests/kept/test_opening.py",
    "scripts/assignment.py": "tests/scripts/test_launching.py",
    "boot/sitecustomize.py": "tests/scripts/test_launching.py",
    # A journal is kept by whole trainings: how shows in what they say and leave.
    "journal/installing.py": "tests/journal/test_place.py",
    "journal/layout.py": "tests/journal/test_reading.py",
    "show/journal_page.py": "tests/show/test_journal.py",
    "scripts/request.py": "tests/scripts/test_checking.py",
    "scripts/workplace.py": "tests/scripts/test_checking.py",
    "scripts/installing.py": "tests/scripts/test_checking.py",
    "scripts/sides.py": "tests/scripts/test_checking.py",
    "scripts/states.py": "tests/scripts/test_checking.py",
    "scripts/step_record.py": "tests/scripts/test_checking.py",
    "scripts/training.py": "tests/scripts/test_windows.py",
    "cli/answering.py": "tests/cli/test_checking.py",
    # Types alone: nothing runs.
    "contracts.py": "tests/cli/test_front_door.py",
    # A few lines that everything uses.
    "errors.py": "tests/cli/test_checking.py",
    "shown.py": "tests/show/test_console.py",
    "study.py": "tests/cli/test_front_door.py",
    # Read through `read` and `inspect`, on real, damaged and hostile files.
    "checkpoint/archive.py": "tests/checkpoint/test_hostile_files.py",
    "checkpoint/components.py": "tests/checkpoint/test_contents.py",
    "checkpoint/constructors.py": "tests/checkpoint/test_hostile_files.py",
    "checkpoint/forms.py": "tests/checkpoint/test_contents.py",
    "checkpoint/guard.py": "tests/checkpoint/test_damaged_files.py",
    "checkpoint/numpy_values.py": "tests/checkpoint/test_reading.py",
    "checkpoint/pickle_machine.py": "tests/checkpoint/test_hostile_files.py",
    "checkpoint/python_values.py": "tests/checkpoint/test_reading.py",
    "checkpoint/json_files.py": "tests/checkpoint/test_opening.py",
    "checkpoint/structure.py": "tests/comparison/test_structure.py",
    "checkpoint/stub.py": "tests/checkpoint/test_hostile_files.py",
    "checkpoint/torch_files.py": "tests/checkpoint/test_reading.py",
    "checkpoint/torch_values.py": "tests/checkpoint/test_reading.py",
    "checkpoint/unpickling.py": "tests/checkpoint/test_hostile_files.py",
    "checkpoint/walking.py": "tests/checkpoint/test_reading.py",
    # Parts of what is said of two checkpoints.
    "comparison/generators.py": "tests/comparison/test_checkpoints.py",
    "comparison/moments.py": "tests/comparison/test_checkpoints.py",
    # A check is tested as a whole: what it asks, judges, repeats and reports shows in its verdict.
    "checks/checks.py": "tests/checks/test_verdicts.py",
    "checks/report.py": "tests/checks/test_verdicts.py",
    "checks/request.py": "tests/checks/test_verdicts.py",
    "checks/resumed.py": "tests/kept/test_opening.py",
    "checks/running.py": "tests/checks/test_verdicts.py",
    "checks/study.py": "tests/checks/test_expectation.py",
    "cli/group.py": "tests/cli/test_checking.py",
    "cli/options.py": "tests/cli/test_checking.py",
    # The steps of an explanation, tested by what it says in the end.
    "explain/advice/expressions.py": "tests/explain/advice/test_advice.py",
    "explain/advice/configuration.py": "tests/checks/test_configuration.py",
    "explain/advice/models.py": "tests/explain/advice/test_checkpoint_keys.py",
    "explain/advice/rng_and_flags.py": "tests/explain/advice/test_advice.py",
    "explain/advice/values.py": "tests/explain/advice/test_advice.py",
    "explain/audit/checkpoint_index.py": "tests/explain/audit/test_saved.py",
    "explain/audit/lookup.py": "tests/explain/audit/test_saved.py",
    "explain/audited.py": "tests/explain/test_causes.py",
    "explain/candidates.py": "tests/explain/test_explaining.py",
    "explain/given_later.py": "tests/explain/test_causes.py",
    "explain/explanation.py": "tests/explain/test_explaining.py",
    "sides/forking.py": "tests/sides/test_interpreters.py",
    "sides/forks.py": "tests/sides/test_interpreters.py",
    "sides/interpreter.py": "tests/sides/test_interpreters.py",
    "sides/late_imports.py": "tests/sides/test_interpreters.py",
    "explain/trials/beyond.py": "tests/explain/trials/test_sufficient.py",
    "explain/trials/search_result.py": "tests/explain/trials/test_search.py",
    "sides/late_libraries.py": "tests/sides/test_out_of_sight.py",
    "sides/successors.py": "tests/sides/test_out_of_sight.py",
    # Faults are data; each is run and held against what it declares. What runs them is tested with them.
    "faults/*.py": "tests/faults/test_gallery.py",
    "guardian/guardian_main.py": "tests/guardian/test_guarding.py",  # a process of its own, which these start
    # Runs in an interpreter of its own, which the runner's tests start.
    "headless/child.py": "tests/headless/test_running.py",
    # What the adapters share, tested in each.
    "integrations/naming.py": "tests/integrations/test_trainer.py",
    # A process that its other end starts.
    "kept/trying.py": "tests/kept/test_transplants.py",
    "kept/worker_main.py": "tests/kept/test_transplants.py",
    # Parts of one object, `Lab`, tested by clicks.
    "lab/choices.py": "tests/lab/test_lab.py",
    "lab/global_state.py": "tests/lab/test_lab.py",
    "lab/history.py": "tests/lab/test_lab.py",
    "lab/components.py": "tests/lab/test_lab.py",
    "lab/process.py": "tests/lab/test_lab.py",
    "lab/script.py": "tests/lab/test_lab.py",
    # Names, each looked up by one parametrized test.
    "private_names/of_*.py": "tests/private_names/test_names.py",
    # Parts of one recorder, tested by what it records.
    "recording/hooks.py": "tests/recording/test_recorder.py",
    "recording/jsonl.py": "tests/recording/test_operators.py",
    "recording/operands.py": "tests/recording/test_operators.py",
    # Blocks of the reports that the tests of the console hold as whole strings.
    "show/files.py": "tests/cli/test_files.py",
    "show/sections.py": "tests/show/test_console.py",
    # Types alone: nothing runs.
    "sides/protocol.py": "tests/sides/test_session.py",
    # Steps of walking and of restoring, tested on whole worlds of objects.
    "state/assign.py": "tests/state/test_restoring.py",
    "state/bytecode_names.py": "tests/state/test_source_names.py",
    "state/attributes.py": "tests/state/test_walk_python.py",
    "state/making.py": "tests/state/test_forms.py",
    "state/function_source.py": "tests/state/test_source_names.py",
    "state/held_code.py": "tests/state/test_module_variables.py",
    "state/items.py": "tests/state/test_restoring.py",
    "state/leaves.py": "tests/state/test_walk_python.py",
    "state/live_objects.py": "tests/state/test_restoring.py",
    "state/per_type.py": "tests/state/test_type_dispatch.py",
    "state/python_objects.py": "tests/state/test_walk_python.py",
    "state/restore_round.py": "tests/state/test_restoring.py",
    "state/rebuild.py": "tests/state/test_restoring.py",
    "state/rng_fingerprint.py": "tests/state/test_rng.py",
    "state/torch_objects.py": "tests/state/test_walk_torch.py",
    "state/walk.py": "tests/state/test_walk_python.py",
    "state/walker.py": "tests/state/test_walk_python.py",
    # Parts of one training, tested by training.
    "subject/building.py": "tests/subject/test_model.py",
    "subject/feeding.py": "tests/subject/test_data.py",
    "subject/fitting.py": "tests/subject/test_checkpoints.py",
    "subject/generators.py": "tests/subject/test_checkpoints.py",
    "subject/ingredients.py": "tests/subject/test_data.py",
    "subject/parts.py": "tests/subject/test_checkpoints.py",
    "subject/prompts.py": "tests/subject/test_model.py",
    "subject/sizes.py": "tests/subject/test_model.py",
    "subject/training.py": "tests/subject/test_resume.py",
    # Lanes of timelines, tested in the timelines.
    "widgets/lanes.py": "tests/widgets/lab/test_timeline.py",
    # Words and figures of a panel, tested in the panel that shows them.
}

# Files of tests that no single module answers to, and what they are about.
OF_NO_MODULE = {
    "checkpoint/test_damaged_files.py": "every reader, on files that are cut, flipped or foreign",
    "checkpoint/test_hostile_files.py": "every reader, on files that want to run code or take memory",
    "checks/test_cuda.py": "checks on a GPU",
    "checks/test_flipped_bits.py": "every verdict, on generated runs of which one bit was changed",
    "checks/test_verdicts.py": "every verdict, from the question to the report",
    "show/test_hostile_names.py": "every form of a result, where names want to lie",
    "cli/test_front_door.py": "the package's public names",
    "cli/test_processes.py": "the command as a user runs it, in a process of its own",
    "lab/test_random_clicks.py": "the lab under a thousand clicks",
    "scripts/test_hard_launches.py": "whole scripts that fork, talk, change directory, are told to end",
    "recording/test_neutral.py": "the recorder, on generated runs",
    "state/test_generated.py": "capture and restore, on generated runs",
    "state/test_walk_python.py": "a walk over Python's objects, through all its modules",
    "state/test_walk_torch.py": "a walk over torch's objects, through all its modules",
    "subject/test_resume.py": "the subject resumes bit for bit",
    "subject/test_weights.py": "real weights, from a folder to a run",
}

# Folders of tests that test no room of the package.
OTHER_FOLDERS = {"benchmarks", "browser", "docs", "examples", "notebooks", "project"}


def unmirrored(root: Path, elsewhere: Mapping[str, str], of_no_module: Mapping[str, str]) -> list[str]:
    """Every departure from the mirror that is in no list, and every entry of a list that is not needed or not true."""
    package, tests = root / "dora_repro", root / "tests"
    modules = {path.relative_to(package).as_posix() for path in package.rglob("*.py") if not path.name.startswith("__")}
    files = {path.relative_to(tests).as_posix() for path in tests.rglob("test_*.py")}
    files = {file for file in files if file.partition("/")[0] not in OTHER_FOLDERS}
    untested = {module for module in modules if _file_of(module) not in files}
    strangers = files - {_file_of(module) for module in modules}
    wrong = [
        f"{module}: write tests/{_file_of(module)}, or name it in ELSEWHERE with the file that tests it"
        for module in untested
        if not any(fnmatchcase(module, glob) for glob in elsewhere)
    ]
    for glob, where in elsewhere.items():
        if not any(fnmatchcase(module, glob) for module in untested):
            wrong.append(f"{glob}: there is no such module without a file of tests: take it off ELSEWHERE")
        elif not (root / where).is_file():
            wrong.append(f"{glob}: {where}, which is to test it, is not there")
    wrong += [
        f"tests/{file}: no module is called so: name it after the one it tests, or in OF_NO_MODULE"
        for file in strangers - set(of_no_module)
    ]
    wrong += [
        f"tests/{file}: there is no such file of no module: take it off OF_NO_MODULE"
        for file in set(of_no_module) - strangers
    ]
    return sorted(wrong)


def _file_of(module: str) -> str:
    folder, slash, name = module.rpartition("/")
    return f"{folder}{slash}test_{name}"


def test_each_module_has_its_file_of_tests_or_is_named_with_the_file_that_tests_it(root):
    wrong = unmirrored(root, ELSEWHERE, OF_NO_MODULE)
    assert not wrong, "\n".join(wrong)


# --- and it sees a planted fault


def test_a_departure_from_the_mirror_and_an_entry_that_is_not_needed_are_seen(tmp_path):
    for name in (
        "dora_repro/trace.py", "dora_repro/__init__.py", "dora_repro/state/rng.py", "dora_repro/state/walk.py",
        "tests/state/test_rng.py", "tests/state/test_walk_all.py", "tests/project/test_tree.py",
        "tests/state/worlds.py",
    ):  # fmt: skip
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    assert unmirrored(tmp_path, {}, {}) == [
        "state/walk.py: write tests/state/test_walk.py, or name it in ELSEWHERE with the file that tests it",
        "tests/state/test_walk_all.py: no module is called so: name it after the one it tests, or in OF_NO_MODULE",
        "trace.py: write tests/test_trace.py, or name it in ELSEWHERE with the file that tests it",
    ]
    listed = {"state/w*.py": "tests/state/test_walk_all.py", "trace.py": "tests/state/test_rng.py"}
    assert unmirrored(tmp_path, listed, {"state/test_walk_all.py": "a walk"}) == []
    rotten = {**listed, "trace.py": "tests/test_gone.py", "state/rng.py": "tests/state/test_rng.py"}
    assert unmirrored(tmp_path, rotten, {"state/test_walk_all.py": "a walk", "state/test_rng.py": "draws"}) == [
        "state/rng.py: there is no such module without a file of tests: take it off ELSEWHERE",
        "tests/state/test_rng.py: there is no such file of no module: take it off OF_NO_MODULE",
        "trace.py: tests/test_gone.py, which is to test it, is not there",
    ]
