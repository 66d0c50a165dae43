"""Which notebooks are meant, and which parameters they have."""

import pytest

from dora_repro.errors import BadInput
from dora_repro.headless import finding
from tests.headless.specimens import write


@pytest.fixture
def folder(tmp_path):
    write(tmp_path / "01_first.ipynb", "x", parameters='seed = 0  # of everything\nkind = "a"  # a or b\n')
    write(tmp_path / "02_second.ipynb", "y", parameters="steps = 3\n")
    write(tmp_path / "03_third.ipynb", "z")
    return tmp_path


def test_notebooks_are_found_by_number_name_and_path(folder):
    first, second, third = sorted(folder.glob("*.ipynb"))
    assert finding.find((), folder) == [first, second, third]
    assert finding.find(("02", "01_first"), folder) == [second, first]
    assert finding.find((str(third), "03_third.ipynb", "03"), folder) == [third]


def test_a_name_that_is_none_is_answered_with_the_nearest(folder):
    with pytest.raises(BadInput, match="holds no notebook '01_frist': did you mean '01_first'\\?"):
        finding.find(("01_frist",), folder)
    with pytest.raises(BadInput, match="holds no notebook 'xyz': there is 01_first, 02_second, 03_third"):
        finding.find(("xyz",), folder)


def test_a_folder_without_notebooks_and_one_that_is_not_there_are_refused(tmp_path):
    with pytest.raises(BadInput, match="holds no notebook: name a folder that does"):
        finding.find((), tmp_path)
    with pytest.raises(BadInput, match=r"there is no folder .*gone"):
        finding.folder(tmp_path / "gone")


def test_the_folder_is_the_one_here_then_the_kits_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert finding.folder() == finding.own() and (finding.own() / "07_lab.ipynb").is_file()
    (tmp_path / "notebooks").mkdir()
    assert finding.folder() == finding.own()
    write(tmp_path / "notebooks" / "mine.ipynb", "x")
    assert finding.folder() == tmp_path / "notebooks"


def test_the_kits_own_are_inside_the_package_or_beside_it_in_a_checkout_and_never_a_neighbour_of_an_installed_one(
    tmp_path,
):
    package = tmp_path / "dora_repro"
    (tmp_path / "notebooks").mkdir()
    write(tmp_path / "notebooks" / "somebody_elses.ipynb", "x")
    with pytest.raises(BadInput, match="no folder 'notebooks' here, and this copy of dora_repro has none"):
        finding.own(package)
    (tmp_path / "pyproject.toml").touch()
    assert finding.own(package) == tmp_path / "notebooks"
    (package / "notebooks").mkdir(parents=True)
    write(package / "notebooks" / "07_lab.ipynb", "x")
    assert finding.own(package) == package / "notebooks"


def test_parameters_have_their_defaults_and_comments(folder):
    first, second, third = (finding.parameters_of(path) for path in sorted(folder.glob("*.ipynb")))
    assert first["seed"] == finding.Parameter("seed", "0", "of everything")
    assert first["kind"].default == '"a"' and list(second) == ["steps"] and third == {}


def test_what_is_no_notebook_is_refused(tmp_path):
    (tmp_path / "broken.ipynb").write_text("{")
    with pytest.raises(BadInput, match=r"is not a notebook .*open it in JupyterLab to see why"):
        finding.parameters_of(tmp_path / "broken.ipynb")


def test_a_parameter_must_be_one_of_some_notebook(folder):
    declared = {path: finding.parameters_of(path) for path in folder.glob("*.ipynb")}
    finding.refuse_unknown({"seed": 1, "steps": 2}, declared)
    with pytest.raises(BadInput, match="no notebook has a parameter 'sede': did you mean 'seed'\\?"):
        finding.refuse_unknown({"sede": 1}, declared)
    with pytest.raises(BadInput, match="no notebook has a parameter 'qqq': there is kind, seed, steps"):
        finding.refuse_unknown({"qqq": 1}, declared)
