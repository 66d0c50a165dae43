"""The checkout as a stranger finds it: no private paths, a licence, one version, commands that are there."""

import os
import re
import tomllib
from pathlib import Path

# Someone's own folders. The study's README, quoted in documents, names its author's machine: left as written.
PRIVATE = re.compile(
    r"(?<![\w.])(?:/(?:home|Users)/(?!wallacelab/)\w[\w.-]*|/(?:root|work|workspace|private|mnt|scratch)/\w[\w.-]*"
    r"|[A-Z]:\\+Users\\+\w+)"
)


def private_paths(path: Path) -> list[str]:
    """`line: path` of every absolute path of somebody's machine; none for a file that is no text."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except UnicodeDecodeError:
        return []
    return [f"{n}: {match[0]}" for n, line in enumerate(lines, start=1) for match in PRIVATE.finditer(line)]


def targets(makefile: str) -> set[str]:
    """The commands that a Makefile explains: `name: … ## what it does`."""
    return set(re.findall(r"^([a-z][\w-]*):.*## ", makefile, re.MULTILINE))


def make_commands(text: str) -> set[str]:
    """Every `make NAME` given as code in a Markdown text: in a fenced block, or between backticks."""
    fenced = re.findall(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)
    spans = re.findall(r"`([^`\n]+)`", re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL))
    code = [line for block in fenced for line in block.splitlines()[1:-1]] + spans
    return {name for line in code for name in re.findall(r"(?:^|&&|;|\$)\s*make\s+([a-z][\w-]*)", line)}


def literal_versions(source: str) -> list[str]:
    return re.findall(r"^(?:__version__|VERSION)\s*=\s*[\"'].*$", source, re.MULTILINE)


def test_no_file_holds_a_private_path(root, sources):
    assert [f"{path.relative_to(root)}:{at}" for path in sources for at in private_paths(path)] == []


def test_the_licence_is_the_one_declared(root):
    text = (root / "LICENSE").read_text(encoding="utf-8")
    project = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert text.startswith(f"{project['license']} License\n")
    assert project["authors"][0]["name"] in text
    assert project["license-files"] == ["LICENSE"]


def test_the_version_stands_in_one_place(root, sources):
    package = [path for path in sources if path.suffix == ".py" and (root / "dora_repro") in path.parents]
    assert package
    # Code that needs it asks importlib.metadata.version("dora-repro").
    assert [str(path) for path in package if literal_versions(path.read_text(encoding="utf-8"))] == []


def test_the_readme_gives_the_two_commands_and_none_that_is_not_there(root):
    named = make_commands((root / "README.md").read_text(encoding="utf-8"))
    assert {"check", "test"} <= named
    assert named <= targets((root / "Makefile").read_text(encoding="utf-8"))


def test_continuous_integration_calls_the_readmes_commands_and_lets_none_fail_unseen(root):
    script = root / ".ci" / "run"
    lines = script.read_text(encoding="utf-8").splitlines()
    called = [line.split(" ||")[0] for line in lines if line.startswith("make ")]
    assert called == ["make lint", "make docs", "make dist", "make check", "make test"]
    assert all(f"failed+=({command.split()[1]})" in script.read_text(encoding="utf-8") for command in called)
    assert os.access(script, os.X_OK)


# --- and each of these sees a planted fault


def test_a_private_path_is_seen_and_a_public_one_is_not(tmp_path):
    file = tmp_path / "notes.md"
    slash, backslash = "/", "\\"
    for path in (
        ("", "home", "ada"),
        ("", "Users", "ada"),
        ("", "root", "x.py"),
        ("", "work", "main"),
        ("", "mnt", "disk"),
    ):
        file.write_text(f"fine\nsee {slash.join(path)}/run.py\n", encoding="utf-8")
        assert private_paths(file) == [f"2: {slash.join(path)}"]
    file.write_text(f"C:{backslash}Users{backslash}ada", encoding="utf-8")
    assert len(private_paths(file)) == 1
    file.write_text(
        "/home/wallacelab/Documents /usr/bin/python3 https://x.org/work/a ../work/b /path/to/python",
        encoding="utf-8",
    )
    assert private_paths(file) == []
    file.write_bytes(b"\xff\xfe" + slash.join(("", "home", "ada")).encode())
    assert private_paths(file) == []


def test_a_command_that_is_not_there_is_seen():
    readme = (
        "Type `make check`, make sure it works, make do.\n```\n$ cd x && make test\nmake tset ARGS=-x\n```\n"
    )
    assert make_commands(readme) == {"check", "test", "tset"}
    assert targets("check: a ## sets up\n\thidden: ## no\ntest: ## tests\ninner: x\n") == {"check", "test"}


def test_a_second_version_is_seen():
    assert literal_versions('import os\n__version__ = "0.1.0"\n') == ['__version__ = "0.1.0"']
    assert literal_versions("__version__ = version('dora-repro')\n") == []
