"""Configuration of the documentation; it is built without network access."""

import sys
from importlib.metadata import version as installed_version
from pathlib import Path

from sphinx.ext import apidoc

DOCS = Path(__file__).parent
sys.path.insert(0, str(DOCS / "_ext"))

from docstrings import PACKAGES  # noqa: E402

project = "learning-dynamics"
author = "The learning-dynamics authors"
copyright = "2026, The learning-dynamics authors"
release = version = installed_version("learning-dynamics")

# One page for each package, with all its modules; the extension of this name takes no template.
for package in PACKAGES:
    apidoc.main([
        f"--templatedir={DOCS / '_templates/apidoc'}", "-q", "--force", "--remove-old",
        "--no-toc", f"--output-dir={DOCS / 'api' / package}", str(DOCS.parent / package),
    ])  # fmt: skip

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "equations",
    "mathml",
    "plain_docstrings",
    "read_aloud",
    "references",
    "shown",
]
exclude_patterns = ["_build", "_ext", "_static", "_templates", "examples"]
nitpicky = True
default_role = "py:obj"

myst_enable_extensions = ["attrs_block", "deflist", "dollarmath"]
myst_heading_anchors = 3

html_math_renderer = "mathml"
math_number_all = False
math_macros = {
    "E": r"\mathbb{E}",
    "tr": r"\operatorname{tr}",
    "KL": r"\mathrm{KL}",
    "dof": r"\mathrm{df}",
    "Sh": r"\hat\Sigma",
    "ab": r"\bar\alpha",
    "dd": r"\mathrm{d}",
    "He": r"\mathrm{He}",
}

autodoc_member_order = "bysource"
autodoc_default_options = {"members": True}
napoleon_attr_annotations = False
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False
python_maximum_signature_line_length = 72
python_use_unqualified_type_names = True
add_module_names = False
toc_object_entries = False

html_theme = "furo"
html_title = "learning-dynamics"
html_static_path = ["_static"]
html_css_files = ["extra.css"]
html_copy_source = False
html_show_sourcelink = False
html_show_sphinx = False
