"""The settings of a lab: what is chosen, and what the title says of it."""

import pytest

from dora_repro import BadInput
from dora_repro.lab.choices import Choices
from dora_repro.widgets.lab.settings import Settings


@pytest.fixture
def settings():
    return Settings(Choices())


def test_what_a_checkpoint_holds_is_chosen_part_by_part(settings):
    assert [part for part, box in settings.parts.items() if box.value] == ["dora"]
    settings.parts["optimizer"].value = True
    settings.options["perturbation"].value = "random-targets"
    settings.dropout.value = False
    chosen = settings.choices()
    assert chosen.parts == ("dora", "optimizer") and chosen.perturbation == "random-targets"
    assert chosen.config.checkpoint == "dora+optimizer" and chosen.config.dropout_mode == "study"


def test_a_fault_of_the_gallery_has_no_options_of_the_study(settings):
    settings.run.value = "opt-missing"
    assert all(each.layout.visibility == "hidden" for each in settings._of_the_study)
    assert settings.choices().run == "opt-missing"


def test_folded_the_title_says_what_is_chosen(settings):
    assert settings.selected_index is None
    assert settings.titles == ("Settings: study; checkpoint holds dora; adamw; dropout",)
    settings.parts["rng"].value = True
    settings.dropout.value = False
    settings.options["scheduler"].value = "cosine"
    assert settings.titles == ("Settings: study; checkpoint holds dora, rng; adamw; cosine; no dropout",)
    settings.run.value = "opt-missing"
    assert settings.titles == ("Settings: opt-missing",)


def test_a_checkpoint_that_holds_nothing_is_refused_when_it_is_used(settings):
    settings.parts["dora"].value = False
    assert "checkpoint holds nothing" in settings.titles[0]
    with pytest.raises(BadInput, match="choose at least one part"):
        settings.choices()
