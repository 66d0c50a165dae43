"""How a journal is kept, told by the environment."""

import re

import pytest

from dora_repro.errors import BadInput
from dora_repro.journal.setting import VARIABLE, Setting


def test_the_environment_tells_what_was_set(tmp_path):
    setting = Setting(tmp_path, "full", True, 5, 3)
    assert Setting.of(setting.environment) == setting


def test_the_folder_alone_is_enough(tmp_path):
    setting = Setting.of({VARIABLE: str(tmp_path)})
    assert (setting.level, setting.strict) == ("light", False)


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [("LEVEL", "heavy", "DORA_REPRO_JOURNAL_LEVEL is 'heavy': set it to light or full"),
     ("KILL_AFTER", "soon", "DORA_REPRO_JOURNAL_KILL_AFTER is 'soon': set it to a number of updates"),
     ("LIMIT", "1 GB", "DORA_REPRO_JOURNAL_LIMIT is '1 GB': set it to a number of bytes")],
)  # fmt: skip  # a table
def test_a_value_that_cannot_be_is_named(tmp_path, name, value, said):
    with pytest.raises(BadInput, match=re.escape(said)):
        Setting.of({VARIABLE: str(tmp_path), f"{VARIABLE}_{name}": value})
