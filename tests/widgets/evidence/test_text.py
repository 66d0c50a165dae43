"""Kept evidence in words: what was lost and what is said of it, the stored steps, the transplants."""

import shutil

import pytest

import dora_repro
from dora_repro.kept.transplants import Transplants
from dora_repro.widgets.evidence import text
from tests.widgets.evidence.conftest import MOMENTS


@pytest.fixture
def transplants(kept, tmp_path):
    with Transplants(dora_repro.evidence(shutil.copytree(kept, tmp_path / "kept")).first) as transplants:
        yield transplants


def test_what_was_lost_is_told_by_component_with_what_the_check_found(transplants):
    assert text.lost_rows(transplants) == [
        ("model (4 gradients)", "4", "missing", "without effect, once the cause is put back"),
        (MOMENTS, "12", "missing", "makes the difference"),
    ]
    assert text.differences_text(transplants.report).splitlines()[0].startswith("step 1: 16 of ")


def test_a_transplant_is_made_where_one_is_asked_for(transplants):
    assert text.transplant_text(transplants, "") == "No transplant was asked for."
    said = text.transplant_text(transplants, "model/0.*/grad model/3.*/grad")
    assert said.startswith("With model/0.*/grad and model/3.*/grad put back: it first differs at step 2, phase update")
    assert text.trials_text(transplants).endswith(f"1 transplant made since:\n{said}")


def test_where_none_can_be_made_that_is_said(several):
    exact = Transplants(dora_repro.evidence(several).reports[0])
    assert text.transplant_text(exact, "*").startswith("No transplant can be made: there is nothing to put back")
    assert text.lost_text(exact) == "nothing differs right after loading"
    assert text.trials_text(exact) == "The check made no trials."
