import json

from rich.console import Console

from aiayn.bench import serving
from aiayn.bench.serving import bench_serving, figures
from aiayn.config import Experiment
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from tests.support.models import MODEL, TOKENIZER, transformer

# With the engine itself: tests/parity.


def test_each_program_translates_all_twice_and_is_scored(tmp_path, monkeypatch):
    _, params = transformer(num_words=TOKENIZER.num_words)
    model = Model(Experiment("small", model=MODEL), TOKENIZER, flatten(params))
    save_model(tmp_path / "model", model)
    right = "one two three four five\n"
    (tmp_path / "src").write_text("six seven eight nine ten\n" * 4)
    (tmp_path / "ref").write_text(right * 4)
    calls = []

    def program(output):
        def translate(lines):
            calls.append(list(lines))
            return [output] * len(lines)

        return translate

    programs = {"right": (2_000_000, program(right)), "wrong": (1, program("ten"))}
    monkeypatch.setattr(serving, "_programs", lambda *_: programs)
    monkeypatch.setattr(serving, "version", lambda _: "0")
    files = tmp_path / "model", tmp_path / "src", tmp_path / "ref"
    record = bench_serving(*files, tmp_path / "out", Console(quiet=True))
    assert calls == [["six seven eight nine ten"] * 4] * 4
    assert [round(row["bleu"]) for row in record["rows"].values()] == [100, 0]
    assert json.loads((tmp_path / "out/serving-small.json").read_text()) == record
    assert [row[3] for row in figures(record)] == ["weights", "2.0 MB", "0.0 MB"]
