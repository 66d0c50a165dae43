"""A panel of two small runs, one of which forgets its optimizer."""

import functools

import pytest

from dora_repro.lab import Lab
from dora_repro.widgets.lab.panel import LabPanel
from tests import runs as small


@pytest.fixture
def panel():
    made = LabPanel(Lab(functools.partial(small.Forgetful, "optimizer"), 6))
    yield made
    made.close()
