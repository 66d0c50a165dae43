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
