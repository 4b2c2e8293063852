"""The site of documentation: `make docs` builds it, with every warning an error."""

from typing import Any, NoReturn

from docutils.nodes import Node, SkipNode
from latex2mathml.converter import convert
from sphinx.application import Sphinx
from sphinx.directives.code import LiteralInclude
from sphinx.writers.html5 import HTML5Translator

from aiayn import __version__

project = "aiayn"
author = "the developers of aiayn"
version = release = __version__
extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
]
# Pages link each other as they lie in the repository, so the site's source is the repository.
include_patterns = ["docs/*.md", "experiments/*.md", "experiments/*/README.md"]
root_doc = "docs/index"

html_theme = "furo"
html_math_renderer = "mathml"
html_title = "aiayn: Attention Is All You Need, reproduced"

myst_enable_extensions = ["dollarmath", "amsmath"]
myst_heading_anchors = 3

autodoc_typehints = "description"
autodoc_member_order = "bysource"

nb_execution_mode = "force"
nb_execution_timeout = 3600
nb_execution_raise_on_error = True


class NamedInclude(LiteralInclude):
    """Source code, under the name of the file that it was taken from."""

    def run(self) -> list[Node]:
        self.options.setdefault("caption", self.arguments[0].removeprefix("../"))
        return super().run()


def inline_formula(page: HTML5Translator, node: Node) -> NoReturn:
    """A formula as MathML, which browsers draw themselves: no script, no other host."""
    page.body.append(convert(node.astext()))
    raise SkipNode


def displayed_formula(page: HTML5Translator, node: Node) -> NoReturn:
    """Likewise on lines of its own, with its number, if it has one, at the right."""
    text, tag, rest = node.astext().partition(r"\tag")
    number = f'<span class="eqno">({rest.strip("{} ")})</span>' if tag else ""
    formula = convert(text, display="block")
    style = "overflow-x: auto; padding: 0.5em 0"
    page.body.append(f'<div class="math" tabindex="0" style="{style}">{number}{formula}</div>')
    raise SkipNode


# On narrow screens the theme keeps both menus beside the screen, where the focus could not be seen.
SEEN_FOCUS = """
<style>
  @media (max-width: 63em) { .sidebar-drawer:focus-within { left: 0; top: 0 } }
  @media (max-width: 82em) { .toc-drawer:focus-within { right: 0 } }
</style>
"""


def reachable(app: Sphinx, name: str, template: str, context: dict[str, Any], tree: Node) -> None:
    """What scrolls sideways and the menus are reached by keyboard, and captions have a level."""
    context["metatags"] = context.get("metatags", "") + SEEN_FOCUS
    for part in ("body", "furo_navigation_tree"):
        text = context.get(part, "")
        text = text.replace('role="heading"', 'role="heading" aria-level="2"')
        text = text.replace("<pre>", '<pre tabindex="0">')
        context[part] = text.replace(
            '<div class="table-wrapper', '<div tabindex="0" class="table-wrapper'
        )


def setup(app: Sphinx) -> None:
    """Called by Sphinx when it starts."""
    app.connect("html-page-context", reachable, priority=900)  # after the theme's own
    app.add_html_math_renderer("mathml", (inline_formula, None), (displayed_formula, None))
    app.add_directive("literalinclude", NamedInclude, override=True)
