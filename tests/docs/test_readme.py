"""The README is short, its commands and options are there, its links lead somewhere, and it quotes the answer in the
picture. The list of files in docs/architecture.md names every module and none that is gone."""

import re
from html import unescape
from pathlib import Path

from dora_repro.cli.group import main

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
LINES = 150


def listed(text: str) -> set[str]:
    """Paths of the Python files in the section "File by file", a tree drawn by its indentation."""
    found, above = set(), {}
    for line in text.partition("## File by file")[2].splitlines():
        depth = len(line) - len(line.lstrip())
        if folder := re.match(r"\s*([\w.]+)/(?:\s|$)", line):
            above = {deep: name for deep, name in above.items() if deep < depth} | {depth: folder[1]}
        inside = "/".join(name for deep, name in sorted(above.items()) if deep < depth or folder)
        found |= {f"{inside}/{name}" for name in re.findall(r"\b(\w+\.py)\b", line)}
    return found


def modules(root: Path) -> set[str]:
    """Those of the package, and what lies beside the documents and examples."""
    paths = [path for folder in ("dora_repro", "docs", "examples") for path in (root / folder).rglob("*.py")]
    return {path.relative_to(root).as_posix() for path in paths if not path.name.startswith("__")}


def unknown_commands(readme: str) -> list[str]:
    """Commands `dora-repro NAME`, and options after one or in backticks, that the command line does not have."""
    commands = {name: main.get_command(None, name) for name in main.list_commands(None)}
    options = {"--help"}.union(*(
        {*one.opts, *one.secondary_opts} for command in commands.values() for one in command.params
    ))  # fmt: skip
    code = re.findall(r"`([^`\n]+)`", readme) + re.findall(r"^\$ (.+)$", readme, re.MULTILINE)
    named = {match[1] for words in code if (match := re.match(r"dora-repro ([a-z][\w-]*)", words))}
    ours = [words for words in code if words.startswith(("dora-repro ", "--"))]
    given = {option for words in ours for option in re.findall(r"--[a-z-]+", words)}
    return sorted((named - set(commands)) | (given - options))


def dead_links(readme: str, root: Path) -> list[str]:
    links = re.findall(r"\]\(([^)#]+)\)", readme)
    return [link for link in links if "://" not in link and not (root / link).exists()]


def quoted_wrongly(readme: str, picture: str) -> list[str]:
    """Lines of the quoted answer that are not in the picture, or not in that order; `…` stands for lines left out."""
    shown = iter([unescape(line) for line in re.findall(r">([^<>]*)</text>", picture)])
    answer = readme.partition("```text\n$ dora-repro")[2].partition("```")[0]
    return [line for line in f"$ dora-repro{answer}".splitlines() if line.strip(" …") and line not in shown]


def test_the_list_of_files_names_every_module_and_none_that_is_gone():
    assert listed(ARCHITECTURE) == modules(ROOT)


def test_the_readme_is_for_users_and_no_longer_than_they_read():
    assert len(README.splitlines()) <= LINES
    assert listed(README) == set()
    assert "(docs/architecture.md)" in README


def test_the_commands_and_options_named_are_there():
    assert unknown_commands(README) == []
    pages = {path.name: unknown_commands(path.read_text(encoding="utf-8")) for path in (ROOT / "docs").glob("*.md")}
    assert {name: wrong for name, wrong in pages.items() if wrong} == {}


def test_the_links_lead_somewhere():
    assert dead_links(README, ROOT) == []
    for page in (ROOT / "docs").glob("*.md"):
        assert dead_links(page.read_text(encoding="utf-8"), page.parent) == []


def test_the_answer_quoted_is_the_one_in_the_picture():
    assert quoted_wrongly(README, (ROOT / "docs" / "answer.svg").read_text(encoding="utf-8")) == []


# --- and each of these sees a planted fault


def test_a_module_that_is_not_listed_or_not_there_is_noticed(tmp_path):
    (tmp_path / "dora_repro" / "state").mkdir(parents=True)
    for name in ("state/forgotten.py", "state/known.py", "errors.py"):
        (tmp_path / "dora_repro" / name).write_text("", encoding="utf-8")
    tree = "## File by file\ndora_repro/\n  state/   what\n    known.py  gone.py  it is\n  errors.py  x\n"
    listing = listed(tree)
    assert listing - modules(tmp_path) == {"dora_repro/state/gone.py"}
    assert modules(tmp_path) - listing == {"dora_repro/state/forgotten.py"}


def test_a_command_or_option_that_is_not_there_is_noticed():
    text = "`dora-repro quick --checkpoint x`, `dora-repro slow`, `--json FILE`, `--jsn FILE`, `pip --user`"
    assert unknown_commands(text) == ["--jsn", "slow"]


def test_a_dead_link_is_noticed(tmp_path):
    (tmp_path / "here.md").touch()
    text = "[a](here.md) [b](gone.md) [c](https://x.org/y) [d](here.md#part)"
    assert dead_links(text, tmp_path) == ["gone.md"]


def test_a_line_that_is_quoted_wrongly_is_noticed():
    picture = "<text>$ dora-repro quick</text>\n<text>it&#x27;s a</text>\n<text>b</text>\n<text>c</text>"
    assert quoted_wrongly("```text\n$ dora-repro quick\nit's a\n…\nc\n```", picture) == []
    assert quoted_wrongly("```text\n$ dora-repro quick\nc\nb\n```", picture) == ["b"]
