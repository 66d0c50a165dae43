"""Which notebooks there are, and which parameters each declares.

A checkout has the kit's notebooks beside the package; a wheel brings them inside it.
"""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_repro.errors import BadInput, MissingExtra
from dora_repro.printable import named

FOLDER = "notebooks"
PACKAGE = Path(__file__).parents[1]


@dataclass(frozen=True)
class Parameter:
    """One literal of a notebook's cell tagged `parameters`: its name, default (as written) and comment."""

    name: str
    default: str
    help: str


def folder(given: str | Path | None = None) -> Path:
    """The folder of notebooks: the one given, else `notebooks` here, else the kit's own.

    Args:
        given: The folder that the user named, if any.

    Raises:
        BadInput: There is none.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise BadInput(f"there is no folder {named(given)}: name the folder that holds the notebooks")
        return Path(given)
    here = Path.cwd() / FOLDER
    return here if any(here.glob("*.ipynb")) else own()


def own(package: Path = PACKAGE) -> Path:
    """The folder of the kit's own notebooks: installed with the package, or beside it in a checkout.

    Args:
        package: The folder of the package `dora_repro`.

    Raises:
        BadInput: The package was copied from a checkout without them.
    """
    if any((package / FOLDER).glob("*.ipynb")):
        return package / FOLDER
    checkout = package.parent
    # Beside an installed package, `notebooks` would be somebody else's.
    if (checkout / "pyproject.toml").is_file() and any((checkout / FOLDER).glob("*.ipynb")):
        return checkout / FOLDER
    raise BadInput("there is no folder 'notebooks' here, and this copy of dora_repro has none: name one with --folder")


def find(names: tuple[str, ...], within: Path) -> list[Path]:
    """The notebooks of these names, or all of a folder's where no name is given.

    Args:
        names: Each a number (`01`), a stem (`01_quick_check`) or a path.
        within: The folder to look in.

    Raises:
        BadInput: There is no such notebook; the message has the nearest name.
    """
    known = {path.stem: path for path in sorted(within.glob("*.ipynb"))}
    if not names:
        if not known:
            raise BadInput(f"{named(within)} holds no notebook: name a folder that does")
        return list(known.values())
    return list(dict.fromkeys(_found(name, known, within) for name in names))


def _found(name: str, known: Mapping[str, Path], within: Path) -> Path:
    if name.endswith(".ipynb") and Path(name).is_file():
        return Path(name)
    stem = name.removesuffix(".ipynb")
    matching = [path for known_name, path in known.items() if known_name == stem or known_name.startswith(f"{stem}_")]
    if len(matching) == 1:
        return matching[0]
    near = difflib.get_close_matches(stem, known, n=1, cutoff=0.3)
    hint = f": did you mean {near[0]!r}?" if near else f": there is {', '.join(known) or 'none'}"
    raise BadInput(f"{named(within)} holds no notebook {name!r}{hint}")


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, by name.

    Args:
        notebook: Path of the notebook.

    Raises:
        BadInput: It is not a notebook.
        MissingExtra: papermill is not installed.
    """
    try:
        import nbformat
        import papermill
    except ImportError as error:
        raise MissingExtra("papermill", "notebooks", "running notebooks") from error
    try:
        found = papermill.inspect_notebook(str(notebook))
    except (nbformat.reader.NotJSONError, nbformat.ValidationError, KeyError, AttributeError, OSError) as error:
        raise BadInput(
            f"{named(notebook)} is not a notebook ({type(error).__name__}): open it in JupyterLab to see why"
        ) from error
    return {name: Parameter(name, entry["default"], entry["help"]) for name, entry in found.items()}


def refuse_unknown(given: Mapping[str, object], notebooks: Mapping[Path, Mapping[str, Parameter]]) -> None:
    """Refuse a parameter that no notebook to be run declares: papermill itself only warns.

    Args:
        given: Values by parameter name.
        notebooks: The parameters that each notebook declares, by path.

    Raises:
        BadInput: No notebook declares the parameter; the message has the nearest name.
    """
    known = {name for declared in notebooks.values() for name in declared}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(sorted(known)) or 'none'}"
            raise BadInput(f"no notebook has a parameter {name!r}: {hint}")
