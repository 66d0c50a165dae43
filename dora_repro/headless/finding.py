"""Which notebooks there are, and which parameters each declares."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from dora_repro.errors import BadInput, MissingExtra

FOLDER = "notebooks"


@dataclass(frozen=True)
class Parameter:
    """One literal of a notebook's cell tagged `parameters`: its name, default (as written) and comment."""

    name: str
    default: str
    help: str


def folder(given: str | Path | None = None) -> Path:
    """The folder of notebooks: the one given, else `notebooks` here, else the one beside the package.

    Raises:
        BadInput: there is none.
    """
    if given is not None:
        if not Path(given).is_dir():
            raise BadInput(f"there is no folder {given}: name the folder that holds the notebooks")
        return Path(given)
    for place in (Path.cwd(), Path(__file__).parents[2]):
        if any((place / FOLDER).glob("*.ipynb")):
            return place / FOLDER
    raise BadInput("there is no folder 'notebooks' here: go to the checkout, or name the folder with --folder")


def find(names: tuple[str, ...], within: Path) -> list[Path]:
    """The notebooks of these names (`01`, `01_quick_check`, a path), all of the folder's where none is given.

    Raises:
        BadInput: no such notebook, with the nearest name.
    """
    known = {path.stem: path for path in sorted(within.glob("*.ipynb"))}
    if not names:
        if not known:
            raise BadInput(f"{within} holds no notebook: name a folder that does")
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
    raise BadInput(f"{within} holds no notebook {name!r}{hint}")


def parameters_of(notebook: Path) -> dict[str, Parameter]:
    """The parameters that a notebook declares, by name.

    Raises:
        BadInput: it is no notebook.
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
            f"{notebook} is not a notebook ({type(error).__name__}): open it in JupyterLab to see why"
        ) from error
    return {name: Parameter(name, entry["default"], entry["help"]) for name, entry in found.items()}


def refuse_unknown(given: Mapping[str, object], notebooks: Mapping[Path, Mapping[str, Parameter]]) -> None:
    """Every parameter given must be one of some notebook that is to be run: papermill itself only warns.

    Raises:
        BadInput: a parameter that none of them declares, with the nearest that is.
    """
    known = {name for declared in notebooks.values() for name in declared}
    for name in given:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(sorted(known)) or 'none'}"
            raise BadInput(f"no notebook has a parameter {name!r}: {hint}")
