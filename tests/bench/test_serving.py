import json

from rich.console import Console

from aiayn.bench import serving
from aiayn.bench.serving import bench_serving, figures
from aiayn.config import Experiment
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from tests.support.models import MODEL, TOKENIZER, transformer

# With the engine itself: tests/parity.


def test_programs_translate_all_in_turns_and_are_scored(tmp_path, monkeypatch):
    _, params = transformer(num_words=TOKENIZER.num_words)
    model = Model(Experiment("small", model=MODEL), TOKENIZER, flatten(params))
    save_model(tmp_path / "model", model)
    right = "one two three four five\n"
    (tmp_path / "src").write_text("six seven eight nine ten\n" * 4)
    (tmp_path / "ref").write_text(right * 4)
    calls = []

    def program(output):
        def translate(lines):
            calls.append((output, list(lines)))
            return [output] * len(lines)

        return translate

    programs = {"aiayn": (2_000_000, program(right)), "wrong": (1, program("ten"))}
    monkeypatch.setattr(serving, "_programs", lambda *_: programs)
    monkeypatch.setattr(serving, "version", lambda _: "0")
    files = tmp_path / "model", tmp_path / "src", tmp_path / "ref"
    record = bench_serving(*files, tmp_path / "out", Console(quiet=True))
    assert calls == [(each, ["six seven eight nine ten"] * 4) for each in (right, "ten")] * 6
    ours, theirs = (row["rounds"] for row in record["rows"].values())
    assert record["ratios"] == {"wrong": [b / a for a, b in zip(ours, theirs, strict=True)]}
    assert sorted(ours)[2] == record["rows"]["aiayn"]["seconds"]
    assert [round(row["bleu"]) for row in record["rows"].values()] == [100, 0]
    assert json.loads((tmp_path / "out/serving-small.json").read_text()) == record
    assert [row[4] for row in figures(record)] == ["weights", "2.0 MB", "0.0 MB"]
    assert [bool(row[3]) for row in figures(record)] == [True, False, True]
    del record["ratios"]
    assert [row[3] for row in figures(record)] == ["by ours", "", ""], "of an earlier version"
