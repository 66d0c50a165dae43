"""The files that say what is installed agree: pyproject.toml, constraints.txt, environment.yml, workflows."""

import importlib.metadata
import re
import shlex
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

# torch's own dependencies differ by build (CUDA packages), so the walk through what is installed stops there.
BUILDS_DIFFER = {"torch"}
# Extras that no user of the kit needs: the tests and `make lint`, the site, the archives.
DEVELOPERS = {"test", "docs", "dist"}
# Libraries that a user of theirs has already: no install of ours brings them, so nothing is pinned.
ADAPTERS = {"trainer", "lightning", "accelerate", "ignite"}
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "os_name": "posix", "python_version": "3.11"}


def pins(constraints: str) -> dict[str, str]:
    """Version by canonical name; a line that is no plain `name==version` raises ValueError."""
    found = {}
    for line in constraints.splitlines():
        if line and not line.startswith("#"):
            match = re.fullmatch(r"([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)", line)
            if not match:
                raise ValueError(f"no plain pin: {line}")
            found[canonicalize_name(match[1])] = match[2]
    return found


def direct(project: dict) -> list[Requirement]:
    """Every requirement of the project and its extras, but for extras that name other extras, and for adapters."""
    extras = project["optional-dependencies"]
    lists = [project["dependencies"], *(extras[name] for name in extras if name not in ADAPTERS)]
    found = [Requirement(line) for lines in lists for line in lines]
    return [requirement for requirement in found if requirement.name != project["name"]]


def unpinned(requirements: list[Requirement], pinned: dict[str, str]) -> list[str]:
    """What is required and has no pin, or one that the requirement does not allow."""
    wrong = []
    for requirement in requirements:
        version = pinned.get(canonicalize_name(requirement.name))
        if version is None or not requirement.specifier.contains(version, prereleases=True):
            wrong.append(f"{requirement} but {version or 'no pin'}")
    return wrong


def reached(requirements: list[Requirement], requires=importlib.metadata.requires) -> list[Requirement]:
    """Everything these lead to on Linux, by what the installed packages say they need."""
    found, waiting, seen = [], list(requirements), set()
    while waiting:
        requirement = waiting.pop()
        name = canonicalize_name(requirement.name)
        extras = {"", *requirement.extras}
        if (name, frozenset(extras)) in seen:
            continue
        seen.add((name, frozenset(extras)))
        found.append(requirement)
        if name in BUILDS_DIFFER:
            continue
        try:
            needs = [Requirement(line) for line in requires(requirement.name) or []]
        except (
            importlib.metadata.PackageNotFoundError
        ):  # for another system than this one: its own pin is still asked for
            continue
        waiting += [n for n in needs if not n.marker or any(n.marker.evaluate({**LINUX, "extra": e}) for e in extras)]
    return found


def conda_faults(environment: dict, project: dict) -> list[str]:
    """What in environment.yml does not agree with pyproject.toml, or would not do what it says."""
    packages = [entry for entry in environment["dependencies"] if isinstance(entry, str)]
    lists = [entry["pip"] for entry in environment["dependencies"] if isinstance(entry, dict)]
    wrong = []
    if sorted(re.split(r"[=<> ]", package)[0] for package in packages) != ["pip", "python"]:
        wrong.append(f"conda brings {packages}, not Python and pip alone")
    python = next((package.partition("=")[2] for package in packages if package.startswith("python=")), "none")
    if python == "none" or f"Programming Language :: Python :: {python}" not in project["classifiers"]:
        wrong.append(f"Python {python} is not one that pyproject.toml calls tested")
    if python != "none" and not SpecifierSet(project["requires-python"]).contains(python):
        wrong.append(f"Python {python} is not {project['requires-python']}")
    options = [tuple(shlex.split(line)) for lines in lists for line in lines]
    if ("-c", "constraints.txt") not in options:
        wrong.append("pip is not given -c constraints.txt")
    installed = [value for option, value in (o for o in options if len(o) == 2) if option == "-e"]
    if [re.sub(r"\[.*", "", value) for value in installed] != ["."]:
        wrong.append(f"pip does not install this checkout, but {installed}")
    for extra in {e for value in installed for e in re.findall(r"[\w-]+", value)} - set(
        project["optional-dependencies"]
    ):
        wrong.append(f"no extra is called {extra}")
    if environment["name"] != project["name"]:
        wrong.append(f"the environment is called {environment['name']}")
    return wrong


@pytest.fixture(scope="module")
def project(root):
    return tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture(scope="module")
def pinned(root):
    return pins((root / "constraints.txt").read_text(encoding="utf-8"))


def test_every_direct_dependency_is_pinned_to_a_version_it_allows(project, pinned):
    assert len(direct(project)) > 15
    assert unpinned(direct(project), pinned) == []


def test_every_dependency_of_a_dependency_is_pinned(project, pinned):
    everything = reached(direct(project))
    assert len(everything) > 60
    assert unpinned(everything, pinned) == []


def test_the_pins_hold_for_every_build_of_torch(pinned):
    assert [name for name in pinned if name.startswith(("nvidia", "cuda", "triton"))] == []
    assert pinned["torch"] == "2.13.0"


def test_the_constraints_say_how_they_are_made(root):
    header = [
        line for line in (root / "constraints.txt").read_text(encoding="utf-8").splitlines() if line.startswith("#")
    ]
    assert any("make constraints" in line for line in header)


def test_all_is_every_extra_of_a_user(project):
    extras = project["optional-dependencies"]
    (everything,) = (Requirement(line) for line in extras["all"])
    assert (everything.name, everything.extras) == (project["name"], set(extras) - DEVELOPERS - ADAPTERS - {"all"})


def test_conda_gets_what_pip_gets(root, project):
    assert conda_faults(yaml.safe_load((root / "environment.yml").read_text(encoding="utf-8")), project) == []


def test_the_oldest_python_is_the_same_everywhere(root, project):
    major, minor = re.fullmatch(r">=(\d+)\.(\d+)", project["requires-python"]).groups()
    assert f"sys.version_info < ({major}, {minor})" in (root / "Makefile").read_text(encoding="utf-8")
    assert f"Programming Language :: Python :: {major}.{minor}" in project["classifiers"]
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))
    assert config["tool"]["ruff"]["target-version"] == f"py{major}{minor}"


def test_the_workflows_use_a_tested_python(root, project):
    workflows = sorted((root / ".github" / "workflows").glob("*.yml"))
    assert [path.name for path in workflows] == ["check.yml", "tests.yml"]
    for path in workflows:
        workflow = yaml.safe_load(path.read_text(encoding="utf-8"))
        (job,) = workflow["jobs"].values()
        for python in pythons_of(job):
            assert f"Programming Language :: Python :: {python}" in project["classifiers"]


def pythons_of(job: dict) -> list[str]:
    """The versions of Python that a job runs with: the one it sets up, or each of its matrix."""
    (python,) = (step["with"]["python-version"] for step in job["steps"] if "setup-python" in step.get("uses", ""))
    return job["strategy"]["matrix"]["python"] if python == "${{ matrix.python }}" else [python]


def test_the_whole_suite_runs_on_each_python_that_is_called_tested(root, project):
    workflow = yaml.safe_load((root / ".github" / "workflows" / "tests.yml").read_text(encoding="utf-8"))
    (job,) = workflow["jobs"].values()
    tested = {line.rpartition(" ")[2] for line in project["classifiers"] if re.search(r":: Python :: 3\.\d+$", line)}
    assert set(pythons_of(job)) == tested


def weakened(mypy: dict) -> list[str]:
    """What in the configuration of mypy checks less than the whole package, all of it, with reasons for each ignore."""
    wanted = {"check_untyped_defs", "disallow_untyped_defs", "disallow_incomplete_defs", "warn_unused_ignores"}
    wrong = sorted(option for option in wanted if mypy.get(option) is not True)
    if mypy.get("packages") != ["dora_repro"] or {"exclude", "ignore_errors", "ignore_missing_imports"} & set(mypy):
        wrong.append("not the whole package")
    if "ignore-without-code" not in mypy.get("enable_error_code", ()) or mypy.get("disable_error_code"):
        wrong.append("an ignore need not name its error")
    for table in mypy.get("overrides", ()):
        modules = [table["module"]] if isinstance(table["module"], str) else table["module"]
        ours = any(module.startswith("dora_repro") for module in modules)
        if ours or set(table) != {"module", "ignore_missing_imports"}:
            wrong.append(f"exempt: {', '.join(modules)}")
    return wrong


def test_types_are_checked_in_the_whole_package_and_no_module_is_exempt(root, project):
    config = tomllib.loads((root / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["mypy"]
    assert weakened(config) == []
    assert f">={config['python_version']}" == project["requires-python"]
    assert (root / "dora_repro" / "py.typed").is_file()


def test_the_hooks_are_local_and_download_nothing(root):
    config = yaml.safe_load((root / ".pre-commit-config.yaml").read_text(encoding="utf-8"))
    assert [repo["repo"] for repo in config["repos"]] == ["local"]
    assert {hook["language"] for repo in config["repos"] for hook in repo["hooks"]} == {"system"}


# --- and each of these sees a planted fault

PROJECT = {
    "name": "kit",
    "requires-python": ">=3.11",
    "classifiers": ["Programming Language :: Python :: 3.11"],
    "dependencies": ["alpha>=2"],
    "optional-dependencies": {"more": ["beta"], "all": ["kit[more]"]},
}


def test_a_pin_that_is_missing_or_too_old_is_seen():
    assert unpinned(direct(PROJECT), {"alpha": "2.1", "beta": "1"}) == []
    assert unpinned(direct(PROJECT), {"alpha": "1.9"}) == ["alpha>=2 but 1.9", "beta but no pin"]


@pytest.mark.parametrize(
    "line", ["torch==2.13.0+cpu", "torch>=2.13", "-e .", "kit @ file:///somewhere", "torch == 2.13.0"]
)
def test_a_line_that_is_no_plain_pin_is_seen(line):
    with pytest.raises(ValueError, match="no plain pin"):
        pins(f"# header\n{line}\n")


def test_the_walk_follows_extras_and_markers():
    needs = {
        "alpha": ["gamma", "delta; extra == 'more'", "eps; sys_platform == 'win32'"],
        "gamma": ["alpha", "zeta[fast]; python_version >= '3.11'"],
        "zeta": ["eta; extra == 'fast'", "theta; extra == 'slow'"],
        "eta": [],
        "delta": [],
    }
    names = {requirement.name for requirement in reached([Requirement("alpha")], needs.__getitem__)}
    assert names == {"alpha", "gamma", "zeta", "eta"}
    names = {requirement.name for requirement in reached([Requirement("alpha[more]")], needs.__getitem__)}
    assert names == {"alpha", "gamma", "zeta", "eta", "delta"}


def test_a_weaker_configuration_of_mypy_is_seen():
    good = {
        "packages": ["dora_repro"],
        "enable_error_code": ["ignore-without-code"],
        "overrides": [{"module": ["x.*"], "ignore_missing_imports": True}],
        **dict.fromkeys(
            ("check_untyped_defs", "disallow_untyped_defs", "disallow_incomplete_defs", "warn_unused_ignores"), True
        ),
    }
    assert weakened(good) == []
    exempt = {"module": "dora_repro.state.*", "ignore_errors": True}
    bad = {**good, "disallow_untyped_defs": False, "exclude": "state", "overrides": [exempt]}
    assert weakened(bad) == ["disallow_untyped_defs", "not the whole package", "exempt: dora_repro.state.*"]
    assert weakened({**good, "enable_error_code": []}) == ["an ignore need not name its error"]


def test_a_conda_file_that_disagrees_is_seen():
    good = {
        "name": "kit",
        "dependencies": ["python=3.11", "pip", {"pip": ["-c constraints.txt", "-e .[all]"]}],
    }
    assert conda_faults(good, PROJECT) == []
    pip = {"pip": ["-e ..[al]"]}
    bad = {"name": "kat", "dependencies": ["python=3.10", "pip", "pytorch", pip]}
    assert conda_faults(bad, PROJECT) == [
        "conda brings ['python=3.10', 'pip', 'pytorch'], not Python and pip alone",
        "Python 3.10 is not one that pyproject.toml calls tested",
        "Python 3.10 is not >=3.11",
        "pip is not given -c constraints.txt",
        "pip does not install this checkout, but ['..[al]']",
        "no extra is called al",
        "the environment is called kat",
    ]
