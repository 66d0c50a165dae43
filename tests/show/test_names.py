"""Names for an axis: short, and still different from each other."""

import pytest

from dora_repro.show.names import LONGEST, shortened


@pytest.mark.parametrize(
    ("names", "short"),
    [
        (["model/a.m", "model/a.delta"], ["m", "delta"]),
        (["model/a.1.out.m", "model/a.1.out.d", "model/a.2.out.m"], ["1.m", "1.d", "2.m"]),
        (["v.1.attn.out.m", "v.2.attn.out.m"], ["1.m", "2.m"]),
        (["v.1.x.m", "t.1.x.m", "t.1.x.d"], ["v.m", "t.m", "t.d"]),
        (["one/only.weight"], ["weight"]),
        (["w", "b"], ["w", "b"]),
        (["a.w", "w"], ["a.w", "w"]),
        (["t.encoder.layers.1.attn.out.m", "v.encoder.layers.2.attn.out.A"], ["t.1.m", "v.2.A"]),
        ([], []),
    ],
)
def test_what_all_names_share_is_left_out(names, short):
    assert shortened(names) == short


def test_different_names_stay_different():
    names = [f"model/{tower}.layers.{block}.{part}.{leaf}" for tower in "vt" for block in range(3)
             for part in ("attn.out", "mlp") for leaf in ("m", "A")]  # fmt: skip
    assert len(set(shortened(names))) == len(names)


def test_a_name_that_is_still_too_long_loses_its_middle():
    (first, second) = shortened([f"{'x' * 50}.{letter * 60}" for letter in "ab"])
    assert len(first) <= LONGEST and "…" in first and first != second
