"""What the repository promises about itself."""

import ast
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
MODULES = sorted((ROOT / "aiayn").rglob("*.py"))


def committed() -> list[Path]:
    """All files of the checkout that git does not ignore."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / name for name in listed.split("\0") if (ROOT / name).is_file()]


def committed_text() -> dict[Path, str]:
    """Those of them that are text."""
    texts = {path: path.read_bytes() for path in committed()}
    return {path: text.decode("utf-8") for path, text in texts.items() if b"\0" not in text}


def test_every_module_says_what_it_is():
    silent = [path.name for path in MODULES if not ast.get_docstring(ast.parse(path.read_text()))]
    assert silent == []


def test_imports_lead_downwards_only():
    # Those inside functions too. What shares a place in the order may import each other.
    order = (
        *("errors", "system", "config experiments", "render", "data", "model", "decoding"),
        *("training", "interop", "evaluation", "tasks", "interface", "bench", "evidence"),
        *("serve", "commands", "__main__"),
    )
    heights = {name: height for height, names in enumerate(order) for name in names.split()}
    heights["__init__"] = len(order)  # the face of the package may show anything of it
    wrong: list[str] = []
    for path in MODULES:
        where = path.relative_to(ROOT / "aiayn").with_suffix("").parts[0]
        for node in ast.walk(ast.parse(path.read_text())):
            names: list[str] = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom):
                names = [f"{'.' * node.level}{node.module}.{alias.name}" for alias in node.names]
            for name in names:
                package, _, rest = name.partition(".")
                height = heights.get(rest.split(".")[0], 0) if package == "aiayn" else 0
                if height > heights[where] or not package:
                    wrong.append(f"{path.relative_to(ROOT)} imports {name}")
    assert wrong == []


def test_no_function_is_too_long_to_read():
    long: dict[str, int] = {}
    for path in MODULES:
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                words = len((ast.get_docstring(node, clean=False) or "").splitlines())
                length = (node.end_lineno or 0) - node.lineno + 1 - words
                if length > 75:
                    long[f"{path.relative_to(ROOT)}: {node.name}"] = length
    assert long == {}


def test_help_and_refusals_do_not_wait_for_jax():
    code = "import sys, aiayn.__main__; sys.exit('jax' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT).returncode == 0


def test_training_and_its_benchmark_import_what_a_gpu_image_holds():
    rare = ("datasets", "pyarrow", "babel", "num2words", "sacremoses", "defusedxml", "matplotlib")
    modules = "aiayn.bench.choices, aiayn.training.loop, aiayn.evaluation.evaluate"
    code = f"import sys, {modules}; print(sorted(sys.modules.keys() & {{*{rare}}}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout == "[]\n", done.stderr


def test_what_is_not_text_is_a_picture_a_model_or_outputs():
    kinds = {".png", ".safetensors", ".model", ".gz"}
    others = sorted({*committed()} - committed_text().keys())
    assert [str(path.relative_to(ROOT)) for path in others if path.suffix not in kinds] == []
    assert {path.parts[len(ROOT.parts)] for path in others} <= {"docs", "experiments", "tests"}


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
