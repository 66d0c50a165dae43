"""How Sphinx builds the site: offline, from the guide, the notebooks as they are kept, and the docstrings.

make docs        # warnings are errors; then open build/docs/html/index.html
"""

import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "docs" / "_ext")]

project = "dora_repro"
author = "the dora_repro authors"
copyright = "2026, the dora_repro authors"

extensions = ["myst_nb", "sphinx.ext.autodoc", "plain_docstrings", "sphinx.ext.napoleon", "command_help", "rooms"]
exclude_patterns = ["_ext", "_templates"]
templates_path = ["_templates"]
root_doc = "index"

# Every reference of ours must lead somewhere. Left out are:
nitpicky = True
nitpick_ignore_regex = [
    # other packages, since no inventory is fetched
    (r"py:(?:class|obj|data)", r"(?!dora_repro\.)[A-Za-z_]\w*(?:\.\w+)+"),
    (r"py:exc", r"UsageError|UnpicklingError"),
    # names that a module imports for type checkers alone, which stand unqualified in its signatures
    (r"py:class", r"[A-Z]\w*"),
    # literals, type variables, and what a signature takes from a private class
    (r"py:class", r"'.*'"),
    (r"py:(?:class|obj)", r"dora_repro\..*\.(?:P|T|Parameters|Result|Item|Tag|Entry|Reader|Specimen|_\w+)"),
]

# --- notebooks: shown with the outputs that they are kept with, never run here
nb_execution_mode = "off"
nb_ipywidgets_js = {}  # kept notebooks hold no live widgets, and these scripts would come from another host
suppress_warnings = ["mystnb.unknown_mime_type"]  # the runner's own output type, which no page shows

# --- Markdown
myst_enable_extensions = ["attrs_inline", "colon_fence", "deflist"]
myst_heading_anchors = 3

# --- docstrings: types stand in the signatures
default_role = "code"
autodoc_typehints = "signature"
autodoc_member_order = "bysource"
autodoc_mock_imports = ["accelerate", "lightning", "ignite"]  # adapters are described where these are not installed
autodoc_inherit_docstrings = False  # what torch's classes say is not ours to lay out
autodoc_typehints_format = "fully-qualified"  # short names, with a `~`, cannot be parsed within brackets
python_maximum_signature_line_length = 100
python_use_unqualified_type_names = True
python_display_short_literal_types = True
napoleon_numpy_docstring = False
napoleon_use_rtype = False

# --- look
html_theme = "furo"
html_title = "dora_repro"
html_static_path = ["_static"]
html_css_files = ["site.css"]
html_show_sphinx = False
html_copy_source = False


def setup(app: object) -> None:
    """Lay the notebooks where Sphinx reads them: it takes nothing from outside its folder."""
    place = ROOT / "docs" / "notebooks"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        shutil.copy2(notebook, place)
