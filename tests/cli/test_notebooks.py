"""The command `notebooks`, as typed."""

import json
from xml.etree import ElementTree

import pytest

from tests.headless import specimens


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "notebooks"
    folder.mkdir()
    kept = f"{specimens.ASK}\ndora_repro.study.expectation(config).check(report)"
    specimens.write(folder / "01_check.ipynb", kept, parameters='checkpoint = "complete"  # what it holds')
    specimens.write(folder / "02_raises.ipynb", "raise RuntimeError(name)", parameters='name = "x"')
    return folder


def test_all_as_expected_is_exit_code_0_and_a_check_that_must_fail_is_expected_to(call, folder, tmp_path):
    done = call("notebooks", "01", "--folder", folder, "--out", tmp_path / "out", "-p", "checkpoint", "dora-only")
    assert done.exit_code == 0, done.output
    assert done.stdout.splitlines()[0].startswith("✓ 01_check: DIFFERENT, as expected (")
    assert done.stdout.splitlines()[-1] == "✅ 1 of 1 notebooks as expected"
    assert (tmp_path / "out" / "01_check.ipynb").exists() and (tmp_path / "out" / "01_check.html").exists()


def test_one_that_raises_is_exit_code_1_and_a_failure_in_junit(call, folder, tmp_path):
    junit = tmp_path / "out.xml"
    given = ("--folder", folder, "--out", tmp_path / "out", "--no-html", "--junit", junit, "-p", "name", "<&>")
    done = call("notebooks", *given)
    assert done.exit_code == 1
    assert "✗ 02_raises: failed" in done.stdout and "cell 2 raised RuntimeError: <&>" in done.stdout
    assert done.stdout.splitlines()[-1] == "❌ 1 of 2 notebooks as expected"
    suite = ElementTree.parse(junit).getroot()[0]
    assert (suite.get("tests"), suite.get("failures")) == ("2", "1")
    failure = suite[1].find("failure")
    assert failure.get("message") == "failed with name='<&>'" and "RuntimeError" in failure.text
    assert not (tmp_path / "out" / "01_check.html").exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-p", "chekpoint", "x"), "no notebook has a parameter 'chekpoint': did you mean 'checkpoint'?"),
        (("01_chek",), "holds no notebook '01_chek': did you mean '01_check'?"),
        (("--in-place", "-p", "name", "y"), "--in-place stores what the notebooks print with their defaults"),
        (("--junit", "gone/file.xml"), "the folder"),
        (("--jobs", "0"), "0 is not in the range x>=1"),
    ],
)
def test_bad_input_is_exit_code_2_and_nothing_is_run(call, folder, tmp_path, words, said):
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = call("notebooks", "--folder", folder, "--out", tmp_path / "out", *words)
    assert done.exit_code == 2 and said in done.stderr
    assert not (tmp_path / "out").exists() and before == {path: path.read_bytes() for path in folder.iterdir()}


def test_notebooks_and_parameters_are_listed(call, folder):
    done = call("notebooks", "--folder", folder, "--list")
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        "01_check", '  checkpoint = "complete"  # what it holds', "02_raises", '  name = "x"',
    ]  # fmt: skip


def test_in_place_keeps_what_passed_and_leaves_alone_what_did_not(call, folder, tmp_path):
    raises = (folder / "02_raises.ipynb").read_bytes()
    done = call("notebooks", "--folder", folder, "--out", tmp_path / "out", "--in-place", "--no-html")
    assert done.exit_code == 1
    kept = json.loads((folder / "01_check.ipynb").read_text())
    assert [cell["execution_count"] for cell in kept["cells"]] == [1, 2]
    assert "EXACT, as expected" in json.dumps(kept["cells"][1]["outputs"])
    assert (folder / "02_raises.ipynb").read_bytes() == raises


def test_in_place_never_changes_an_installed_package(call, folder, tmp_path, monkeypatch):
    from dora_repro.headless import finding

    monkeypatch.setattr(finding, "PACKAGE", tmp_path)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    done = call("notebooks", "01", "--folder", folder, "--out", tmp_path / "out", "--in-place")
    assert done.exit_code == 2 and "--in-place would change the installed package" in done.stderr
    assert not (tmp_path / "out").exists() and before == {path: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("1e-3", 1e-3), ("True", True), ("None", None), ("dora-only", "dora-only"), ("'3'", "3")],
)
def test_a_parameter_is_a_literal_or_else_text(text, value):
    from dora_repro.cli.notebooks import _literal

    assert _literal(text) == value and type(_literal(text)) is type(value)
