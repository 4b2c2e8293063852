"""The site of documentation: `make docs` builds it, with every warning an error."""

from aiayn import __version__

project = "aiayn"
author = "the developers of aiayn"
version = release = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.mathjax",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
# Pages link each other as they lie in the repository, so the site's source is the repository.
include_patterns = ["docs/*.md", "experiments/*.md", "experiments/accelerator/*.md"]
root_doc = "docs/index"

html_theme = "furo"
html_title = "aiayn: Attention Is All You Need, reproduced"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"

nb_execution_mode = "force"
nb_execution_timeout = 3600
nb_execution_raise_on_error = True
