"""Evidence that many tests of trials read, and none of them changes."""

import pytest

from tests.explain.trials.checked import LOST, BegunAnew, Checked, Late


@pytest.fixture(scope="session")
def lost(tmp_path_factory):
    """Of a run that loses a generator and its optimizer."""
    return Checked(tmp_path_factory.mktemp("lost") / "kept", LOST)


@pytest.fixture(scope="session")
def begun_anew(tmp_path_factory):
    """Of a run that begins an epoch anew where it goes on."""
    return Checked(tmp_path_factory.mktemp("anew") / "kept", BegunAnew)


@pytest.fixture(scope="session")
def late(tmp_path_factory):
    """Of a run that makes its optimizer in its first step."""
    return Checked(tmp_path_factory.mktemp("late") / "kept", Late)
