import io
import json
import re
import shutil
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

import aiayn.evidence.sweep
from aiayn.__main__ import main
from aiayn.config import DecodeConfig
from aiayn.data.prepare import Prepared, prepare
from aiayn.data.trees import linearise
from aiayn.decoding.parser import Parser
from aiayn.decoding.translator import Hypothesis
from aiayn.evidence.records import Sweep
from aiayn.evidence.sweep import figure_on_dev, settings, sweep
from aiayn.experiments import load_experiment
from aiayn.system.records import read
from aiayn.tasks import task_of
from aiayn.training.checkpoint import Checkpoints
from aiayn.training.loop import train
from aiayn.training.run_folder import in_use, read_run
from tests.support.runs import copied
from tests.support.trees import parsing_experiment, random_parser, tree, write_treebank


def test_each_setting_varies_alone_and_the_own_one_is_among_them():
    own = DecodeConfig(beam_size=5, average_last=4, length_penalty=1.0)
    found = list(settings(own, kept=6))
    varied: dict[str, list[float]] = {}
    for name, decode in found:
        varied.setdefault(name, []).append(getattr(decode, name))
        others = {"beam_size", "average_last", "length_penalty"} - {name}
        assert all(getattr(decode, other) == getattr(own, other) for other in others)
    assert varied == {
        "average_last": [1, 2, 3, 4, 5],
        "beam_size": [1, 2, 4, 5, 8, 16],
        "length_penalty": [0.0, 0.3, 0.6, 0.9, 1.0, 1.2],
    }


def test_parsers_are_searched_as_the_paper_searches_them():
    own = DecodeConfig(beam_size=4, average_last=1, length_penalty=0.3)
    found = list(settings(own, 1, is_parser=True))
    assert [each.beam_size for name, each in found if name == "beam_size"] == [1, 4, 21]
    assert [e.length_penalty for n, e in found if n == "length_penalty"] == [0.0, 0.3, 0.6]


def test_a_sweep_of_a_parser_has_f1(monkeypatch):
    gold = tree("(TOP (S (NP (NN dog)) (VP (VB sees))))")

    class OneTree(Prepared):
        def lines(self, split, side):
            return {"src": ["dog sees"], "tgt": [" ".join(linearise(gold))]}[side]

    class Stub:
        def __init__(self, model, decode):
            flat = replace(gold, brackets=gold.brackets[:1])
            self.found = gold if decode.beam_size == 4 else flat

        def best(self, lines):
            assert lines == ["dog sees"]
            return [" ".join(linearise(self.found))]

        def free(self):
            self.found = replace(gold, brackets=())
            return self

    monkeypatch.setattr(aiayn.evidence.sweep, "Parser", Stub)
    prepared, model = object.__new__(OneTree), random_parser()
    found = figure_on_dev(load_experiment("treebook"), prepared)
    assert found(model, DecodeConfig(beam_size=4)).value == 100.0
    assert found(model, DecodeConfig(beam_size=1)).value == 50.0
    free = figure_on_dev(load_experiment("treebook"), prepared, free=True)
    assert free(model, DecodeConfig(beam_size=4)).value == 0.0


@pytest.mark.slow
def test_a_parser_is_searched_with_each_beam_without_its_grammar_too(
    tmp_path, one_device, monkeypatch, capsys
):
    data = write_treebank(tmp_path / "trees", train=60, dev=6, news=7)
    experiment, run_dir = parsing_experiment(data), tmp_path / "run"
    prepared = prepare(data, tmp_path / "data", progress=False)
    console = Console(file=io.StringIO())
    train(experiment, run_dir, prepared, console, task_of(experiment).make_validator)
    asked = []

    class Counting(Parser):
        def best(self, lines, on_done=lambda count: None):
            asked.append((self.config.beam_size, self.config.length_penalty, self._is_free))
            return super().best(lines, on_done)

    monkeypatch.setattr(aiayn.evidence.sweep, "Parser", Counting)
    assert main(["sweep", str(run_dir), "--data-dir", str(tmp_path / "data")]) == 0
    assert "free search" in capsys.readouterr().out
    own = parsing_experiment(data).decode.length_penalty
    assert sorted(each[0] for each in asked if each[2]) == [1, 2, 4, 21]
    assert sorted({each[1] for each in asked if not each[2]}) == sorted({0.0, 0.3, 0.6, own})
    record = read(run_dir / "sweep.json", Sweep, "a sweep")
    beams = record.series["beam_size"]
    assert [point.free is not None for point in beams.values()] == [True] * 4
    assert all(point.free is None for point in record.series["length_penalty"].values())
    assert (run_dir / "sweep.png").stat().st_size > 0


def test_a_sweep_scores_dev_once_for_each_setting(
    straight, data_dir, tmp_path, monkeypatch, capsys
):
    run_dir = copied(straight, tmp_path / "run")
    translated, weights = [], {}

    class Stub:
        """Right where the beam is as wide as the experiment's, a copy of the source elsewhere."""

        def __init__(self, model, decode):
            self.decode = decode
            weights[decode.average_last] = model.params["embedding"]

        def translate(self, lines):
            translated.append(self.decode)
            right = self.decode.beam_size == 4
            outputs = [" ".join(reversed(line.split())) if right else line for line in lines]
            return [[Hypothesis(text, 0.0)] for text in outputs]

    monkeypatch.setattr(aiayn.evidence.sweep, "Translator", Stub)
    assert main(["sweep", str(run_dir), "--data-dir", str(data_dir)]) == 0
    shown = capsys.readouterr().out
    assert "4 (the experiment's)" in shown
    differences = [float(each) for each in re.findall(r"[+-]\d+\.\d\d", shown)]
    assert min(differences) < -50, "copies are far worse than what is right"
    assert max(differences) == 0
    record = json.loads((run_dir / "sweep.json").read_text())
    assert len(translated) == len(set(translated)) == 3 + 5 + 5 - 2, "the own setting comes thrice"
    checkpoints = Checkpoints.open(run_dir)
    each = [checkpoints.params(step)["embedding"] for step in (4, 8, 12)]
    checkpoints.close()
    for count, found in weights.items():
        np.testing.assert_allclose(found, np.mean(each[-count:], axis=0), rtol=1e-5)
    assert (run_dir / "sweep.png").stat().st_size > 0
    assert record["around"] == {"average_last": 3, "beam_size": 4, "length_penalty": 0.6}
    scores = {size: point["bleu"] for size, point in record["series"]["beam_size"].items()}
    assert scores["4"] == pytest.approx(100)
    assert max(scores[size] for size in ("1", "2", "8", "16")) < 50
    assert "tok:13a" in record["signature"]


def test_a_sweep_that_was_cut_short_goes_on(straight, data_dir, tmp_path, monkeypatch):
    run_dir = copied(straight, tmp_path / "run")
    found: list[DecodeConfig] = []

    class Stub:
        def __init__(self, model, decode):
            if len(found) == stops_after:
                raise KeyboardInterrupt
            found.append(decode)

        def translate(self, lines):
            return [[Hypothesis(line, 0.0)] for line in lines]

    def swept():
        found.clear()
        experiment, _ = read_run(run_dir)
        return sweep(run_dir, prepare(experiment.data, data_dir), Console(quiet=True))

    monkeypatch.setattr(aiayn.evidence.sweep, "Translator", Stub)
    stops_after = 4
    with pytest.raises(KeyboardInterrupt):
        swept()
    stops_after = -1
    whole = swept()
    assert len(found) == 11 - 4
    assert not list(run_dir.glob("*so_far*"))
    assert swept() == whole
    assert len(found) == 11, "another sweep is one of its own"
    # What was found of other checkpoints is not taken.
    stops_after = 4
    with pytest.raises(KeyboardInterrupt):
        swept()
    shutil.rmtree(run_dir / "checkpoints" / "4")
    stops_after = -1
    assert swept().kept_steps == [8, 12]
    assert len(found) == 2 + 5 + 5 - 2


def test_a_run_that_is_in_use_is_not_swept(straight, data_dir, tmp_path, capsys):
    run_dir = copied(straight, tmp_path / "run")
    with in_use(run_dir):
        assert main(["sweep", str(run_dir), "--data-dir", str(data_dir)]) == 2
    assert f"{run_dir} is in use by process" in capsys.readouterr().err
