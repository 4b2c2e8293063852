import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from tests.support.runs import environment

FIXTURE = Path(__file__).parents[1] / "fixtures" / "format1.tar.gz"
_TRANSLATE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from aiayn.decoding import programs
from aiayn.decoding.translator import Translator
from aiayn.decoding.wishes import Wishes
from aiayn.model.saved import model_of
from aiayn.system.environment import configure_jax

configure_jax()
keep = sys.argv[2]
if keep == "no":
    real = programs.Programs.__init__
    programs.Programs.__init__ = lambda self, config, words, _: real(self, config, words, False)
model = model_of(Path(sys.argv[1]))
if keep == "half":
    half = {name: value.astype("float16") for name, value in model.params.items()}
    model = replace(model, params=half)
translator = Translator(model)
found = translator.translate(["one two three", "four", ""] * 10, num_best=2)
flax = "flax" in sys.modules
asked = translator.asked(Wishes(min_length=9)).translate(["one two three"])
print(json.dumps({"found": found, "flax": flax, "asked": asked}))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("programs")
    with tarfile.open(FIXTURE) as archive:
        archive.extractall(folder, filter="data")
    return folder / "run"


@pytest.mark.slow
def test_kept_programs_give_the_same_bits_and_need_no_flax(run, tmp_path):
    def translated(keep: str) -> dict:
        own = environment(num_devices=1) | {"JAX_COMPILATION_CACHE_DIR": str(tmp_path)}
        command = [sys.executable, "-c", _TRANSLATE, str(run), keep]
        done = subprocess.run(command, env=own, capture_output=True, text=True, check=True)
        return json.loads(done.stdout)

    plain, first, second, half = map(translated, ("no", "keep", "keep", "half"))
    assert len(half["found"]) == 30, "weights of another type are none of theirs"
    assert plain["found"] == first["found"] == second["found"]
    assert plain["asked"] == first["asked"] == second["asked"], "never kept"
    assert (plain["flax"], first["flax"], second["flax"]) == (True, True, False)
    kinds = {path.name.split("-")[1] for path in tmp_path.glob("aiayn-*")}
    assert kinds == {"flags", "shapes", "layout", "search"}, "and the flags of XLA were tried"
