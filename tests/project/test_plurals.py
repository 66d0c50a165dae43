"""Counts are put into words by `wording.counted`, and nowhere by hand, so that no message says "1 steps"."""

import re

import pytest

# Written by hand and wrong for one: a count beside a plural, or the plural's s by a condition.
BY_HAND = re.compile(
    r"'s' \* \(|\"s\" \* \(|'s' if |\"s\" if "
    r"|\{(?:len\([^{}]*\)|[^{}:]*(?:steps|count|number|total)[^{}:]*)\} (?:more )?(?:steps|leaves|trials|runs)\b"
)


def test_no_message_makes_its_own_plural(root):
    found = [
        f"{path.relative_to(root)}:{number}: {line.strip()}"
        for path in sorted((root / "dora_repro").rglob("*.py"))
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        if BY_HAND.search(line)
    ]
    assert found == []


@pytest.mark.parametrize(
    "line",
    [
        "f\"{kind}{'s' if more > 1 else ''}\"",
        "f'all effects of {findings.steps_compared} steps are equal'",
        "f\"{len(lost)} leaves\"",
    ],
)  # fmt: skip  # quotes of both kinds
def test_a_plural_made_by_hand_is_seen(line):
    assert BY_HAND.search(line)
