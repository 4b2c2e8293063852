"""The ledger of claims as a page: Markdown, HTML and JSON, and a picture of Table 1."""

import html
import json
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from markdown_it import MarkdownIt
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aiayn.evidence.age import Age, ages
from aiayn.evidence.claims import Claim, Status, counts, ledger
from aiayn.evidence.recipe_checks import layer_costs
from aiayn.evidence.table1 import COUNTED_D, NUM_NEAR
from aiayn.render.markdown import markdown_table, short_commit
from aiayn.render.terminal import progress
from aiayn.system.environment import environment
from aiayn.system.files import user_os_errors, write_text

_COLUMNS = ("section", "claim", "paper", "here", "status", "how")
_COLOURS: dict[Status, str] = {
    "holds": "green",
    "arithmetic": "cyan",
    "measured": "blue",
    "differs": "yellow",
    "not run here": "bright_black",
    "fails": "red",
}
_CSS_COLOURS: dict[Status, str] = {
    "holds": "#1a7f37",
    "arithmetic": "#1b7c83",
    "measured": "#0550ae",
    "differs": "#9a6700",
    "not run here": "#6e7781",
    "fails": "#cf222e",
}


def write_report(records: Path, out: Path, console: Console) -> list[Claim]:
    """Check every claim and write `claims.md`, `.html`, `.json` and `table1.png` into `out`."""
    from aiayn.evidence.plots import plot_complexity

    with user_os_errors(out):
        out.mkdir(parents=True, exist_ok=True)
    with progress(console) as bar:
        task = bar.add_task("Checking", total=None)

        def on_claim(id: str) -> None:
            bar.update(task, description=f"Checking {id}")

        claims = ledger(records, on_claim)
    about, old = environment(), list(ages(records))
    with user_os_errors(out):
        write_text(out / "claims.json", as_json(claims, about, old))
        write_text(out / "claims.md", as_markdown(claims, about, old))
        write_text(out / "claims.html", as_html(claims, about, old))
        plot_complexity(
            {name: cost.flops for name, cost in layer_costs().items()},
            f"d = {COUNTED_D}, k = r = {NUM_NEAR}; counted in the traced programs",
            out / "table1.png",
        )
    return claims


def as_json(claims: Sequence[Claim], about: dict[str, Any], old: Sequence[Age] = ()) -> str:
    """The list, with the code and the machine that checked it, and how old each record is."""
    values = {
        **about,
        "counts": counts(claims),
        "claims": [asdict(claim) for claim in claims],
        "records": [age._asdict() for age in old],
    }
    return json.dumps(values, indent=1, ensure_ascii=False) + "\n"


def as_markdown(claims: Sequence[Claim], about: dict[str, Any], old: Sequence[Age] = ()) -> str:
    """One table; below it how old each record is."""
    rows = [[cell.replace("|", "\\|") for cell in _cells(claim)] for claim in claims]
    parts = [
        f"# {_TITLE}",
        _summary(claims, about),
        markdown_table([_COLUMNS, *rows]),
        "![FLOPs of the layer types of Table 1](table1.png)",
    ]
    if old:
        lines = [[age.file, short_commit(age.commit), age.text] for age in old]
        parts += [
            "## How old each record is",
            "The commits since that of a record which changed files that its figures rest on.",
            markdown_table([["record", "commit", "commits since"], *lines]),
        ]
    return "\n\n".join(parts) + "\n"


def as_html(claims: Sequence[Claim], about: dict[str, Any], old: Sequence[Age] = ()) -> str:
    """The same as a page that needs nothing but the picture beside it; each claim has an anchor."""
    parser = MarkdownIt("commonmark", {"html": False}).enable("table")
    head, rows = parser.render(as_markdown(claims, about, old)).split("<tbody>", 1)
    for claim in claims:
        rows = rows.replace("<tr>", f'<tr id="{html.escape(claim.id)}">', 1)
    for status, colour in _CSS_COLOURS.items():
        style = f"color:{colour};font-weight:600"
        rows = rows.replace(f"<td>{status}</td>", f'<td style="{style}">{status}</td>')
    return f"{_HEAD}{head}<tbody>{rows}</html>\n"


_TITLE = "Every claim of the paper"
_HEAD = f"""<!doctype html><html lang="en"><meta charset="utf-8">
<title>{_TITLE}</title>
<style>
body {{font: 15px/1.45 system-ui, sans-serif; max-width: 90rem; margin: 2rem auto; padding: 0 1rem}}
table {{border-collapse: collapse}}
td, th {{border-bottom: 1px solid #ddd; padding: .35rem .6rem; text-align: left}}
td, th {{vertical-align: top}}
th {{position: sticky; top: 0; background: #fff}}
td:last-child {{color: #57606a; font-size: .85em}}
img {{max-width: 48rem}}
</style>
"""


def show(claims: Sequence[Claim], console: Console) -> None:
    """The ledger in a terminal, without the last column."""
    table = Table(*_COLUMNS[:-1])
    for claim in claims:
        *texts, status, _ = _cells(claim)
        table.add_row(*map(Text, texts), Text(status, style=_COLOURS[claim.status]))
    console.print(table)
    console.print(_counted(claims))


def _summary(claims: Sequence[Claim], about: dict[str, Any]) -> str:
    hardware = about["hardware"]
    return (
        f"{len(claims)} claims: {_counted(claims)}. Checked by `make reproduce` at commit "
        f"{short_commit(about['commit'])}, jax {about['versions']['jax']}, on "
        f"{hardware['num_devices']} {hardware['platform']} device(s), {hardware['cpu']}."
    )


def _counted(claims: Sequence[Claim]) -> str:
    return ", ".join(f"{count} {status}" for status, count in counts(claims).items())


def _cells(claim: Claim) -> tuple[str, ...]:
    return claim.section, claim.text, claim.paper, claim.ours, claim.status, claim.how
