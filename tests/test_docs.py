"""README and docs are true of this checkout."""

import ast
import re
from pathlib import Path
from subprocess import run

import pytest

from aiayn.experiments import list_experiments

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text(encoding="utf-8").splitlines()) <= 130


def _anchors(page):
    """Where links into a page may lead: its headings, as GitHub and the site name them."""
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.M | re.S)
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_link_and_picture_of_the_repository_is_there():
    missing: list[str] = []
    for page in [*PAGES, *(ROOT / "experiments").rglob("*.md")]:
        for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, anchor = target.partition("#")
            place = page.parent / path if path else page
            if re.match(r"[a-z]+:", target):
                continue
            if not place.exists() or (anchor and anchor not in _anchors(place)):
                missing.append(f"{page.relative_to(ROOT)}: {target}")
    assert missing == []


def test_every_picture_names_the_command_that_makes_it():
    found = 0
    for page in [*PAGES, *(ROOT / "experiments").rglob("*.md")]:
        for section in re.split(r"^(?=#+ )", page.read_text(encoding="utf-8"), flags=re.MULTILINE):
            if pictures := re.findall(r"!\[[^]]*\]\(([^)]+)\)", section):
                command = re.search(r"`(?:aiayn|make|python -m) [^`]+`", section)
                assert command, f"{page.relative_to(ROOT)}: {pictures}"
                found += len(pictures)
    assert found > 5


def test_every_section_of_the_paper_that_has_code_is_in_the_readmes_table():
    table = (ROOT / "README.md").read_text(encoding="utf-8").split("## Paper section")[1]
    rows = re.findall(r"^\| (.+?) \| .+? \| (.+?) \|$", table.split("\n## ")[0], re.MULTILINE)
    sections = {first for first, _ in rows} - {"section", "---"}
    assert {"§5.1", "§5.2", "§5.3, eq. 3", "§5.4", "§6.1", "Table 1", "Table 3"} <= sections
    for section, files in rows[2:]:
        for name in re.findall(r"`([^`]+)`\]\(\1\)", files):
            path = ROOT / name
            modules = sorted(path.glob("*.py")) if path.is_dir() else [path]
            text = "\n".join(module.read_text(encoding="utf-8") for module in modules)
            number = re.search(r"§\d(?:\.\d)?|Tables? \d|Figures? \d|eq\. \d", section)
            assert number, section
            words = number[0].replace("s ", " ").replace(" ", "s? ")
            assert re.search(words, text), f"{name} does not mention {section}"


def test_every_change_that_contributors_are_shown_is_in_the_history():
    def git(*command):
        return run(["git", *command], cwd=ROOT, capture_output=True, text=True, check=False)

    if git("rev-parse", "--is-shallow-repository").stdout.strip() != "false":
        pytest.skip("this checkout has no history")
    page = (ROOT / "docs" / "contributing.md").read_text(encoding="utf-8")
    named = re.findall(r"`([0-9a-f]{7})`", page)
    assert len(named) >= 6
    for commit in named:
        assert git("cat-file", "-e", f"{commit}^{{commit}}").returncode == 0, commit


def test_the_code_beside_each_equation_is_there():
    text = (ROOT / "docs" / "paper.md").read_text(encoding="utf-8")
    shown = re.findall(r"\{literalinclude\} \.\./(\S+)\n:pyobject: (\S+)", text)
    assert len(shown) == text.count("literalinclude") > 20
    for path, name in shown:
        place: ast.AST = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        for part in name.split("."):
            parts = {getattr(each, "name", ""): each for each in ast.iter_child_nodes(place)}
            assert part in parts, f"{path} has no {name}"
            place = parts[part]


def test_pages_and_makefile_name_the_same_targets():
    targets = set(re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE))
    pages = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    code = re.findall(r"```.*?```|`[^`]+`", pages, re.DOTALL)
    named = set(re.findall(r"\bmake ([a-z-]+)\b", "\n".join(code)))
    assert named - targets == set()
    assert targets - named == set()


def test_the_page_on_training_lists_every_experiment_and_no_other():
    page = (ROOT / "docs" / "running.md").read_text(encoding="utf-8")
    cells = "".join(re.findall(r"^\| (`.+?) \|", page, re.MULTILINE))
    named = {*re.findall(r"`(\w+)`", cells)}
    rows = {path.stem for path in (ROOT / "experiments" / "table3").glob("table3_??.py")}
    assert {min(rows), "table3_e"} <= named, "the first and the last row of Table 3"
    assert named | rows == {*list_experiments()}


def test_every_module_named_in_the_pages_is_there():
    texts = {page: page.read_text(encoding="utf-8") for page in PAGES}
    named = {
        (page.name, name)
        for page, text in texts.items()
        for name in re.findall(r"\b((?:aiayn|tests|experiments)/[\w/.*-]*\w)", text)
        if "*" not in name
    }
    assert sorted(n for n in named if not (ROOT / n[1]).exists()) == []


def test_the_page_of_the_house_names_every_module_but_those_of_benchmarks():
    page = (ROOT / "docs" / "house.md").read_text(encoding="utf-8")
    names = {
        path.stem
        for path in (ROOT / "aiayn").rglob("*.py")
        if not path.stem.startswith("__") and path.parent.name != "bench"
    }
    known = {"formats", "hub"}  # sources/: files, the Hub, the phrasebook
    assert {name for name in names - known if not re.search(rf"\b{name}\b", page)} == set()
