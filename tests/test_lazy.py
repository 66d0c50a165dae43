"""Names that are imported when they are first used."""

import sys

import pytest

from dora_repro.lazy import lazily


def test_a_name_is_imported_when_it_is_first_used(monkeypatch):
    monkeypatch.delitem(sys.modules, "dora_repro.wording", raising=False)
    get, names, public = lazily("door", {"wording": ("counted", "plural")})
    assert names() == ["counted", "plural"] == public and "dora_repro.wording" not in sys.modules
    assert get("counted")(2, "leaf") == "2 leaves"
    assert "dora_repro.wording" in sys.modules


def test_an_unknown_name_is_an_attribute_error_of_that_module():
    get, _, _ = lazily("door", {"wording": ("counted",)})
    with pytest.raises(AttributeError, match=r"^module 'door' has no attribute 'cuonted'$"):
        get("cuonted")
