"""What the repository promises about itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "aiayn").rglob("*.py"))


def committed_text() -> dict[Path, str]:
    """All text files of the checkout that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    texts: dict[Path, str] = {}
    for name in listed.split("\0"):
        path = ROOT / name
        if path.is_file() and b"\0" not in (content := path.read_bytes()):
            texts[path] = content.decode("utf-8")
    return texts


def test_every_module_says_what_it_is():
    silent = [path.name for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_no_module_holds_two_ideas():
    lengths = {path.name: path.read_text().count("\n") for path in MODULES}
    assert {name: length for name, length in lengths.items() if length > 450} == {}


def test_help_and_refusals_do_not_wait_for_jax():
    code = "import sys, aiayn.__main__; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_training_and_its_benchmark_import_what_a_gpu_image_holds():
    rare = ("datasets", "pyarrow", "babel", "num2words", "sacremoses", "defusedxml", "matplotlib")
    modules = "aiayn.bench.choices, aiayn.training.loop, aiayn.evaluation.evaluate"
    code = f"import sys, {modules}; print(sorted(sys.modules.keys() & {{*{rare}}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_nothing_committed_depends_on_one_machine():
    pattern = re.compile(
        r"index-url|file:///|://[a-z.]+/(?:simple|packages)/"
        r"|(?<![\w.-])/(?:work|home|root|Users|farm)/"
    )
    found = {
        str(path.relative_to(ROOT)): match.group()
        for path, text in committed_text().items()
        if path != Path(__file__) and (match := pattern.search(text))
    }
    assert found == {}
