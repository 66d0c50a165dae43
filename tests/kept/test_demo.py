"""Evidence for a notebook: that of a folder, or of a fault on the spot."""

import pytest

from dora_repro import BadInput
from dora_repro.kept import demo


def test_a_folder_that_is_named_is_opened_and_nothing_is_checked(every):
    assert demo.opened(str(every[1]), "no such fault").result.title == "every step"


def test_a_fault_that_is_none_is_refused():
    with pytest.raises(BadInput, match="the gallery has no fault 'opt-missin': did you mean 'opt-missing'"):
        demo.opened("", "opt-missin")
