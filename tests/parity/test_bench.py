"""The peers of the benchmark do our work: as many parameters, a loss and outputs like ours."""

import json
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from aiayn.bench.workloads import DECODING, GENERATION, TRAINING, Decoding, Generation, Training
from aiayn.model.structure import count_parameters

ROOT = Path(__file__).parents[2]
FAIRSEQ = ROOT / ".venv-fairseq" / "bin" / "python"


def _answers(*command, python=sys.executable):
    """What a worker says of itself, then of a step, another, and of a large product."""
    command = [str(python), "-m", *command]
    done = subprocess.run(
        command, input="1\n1\nproduct\n", capture_output=True, text=True, check=True, cwd=ROOT
    )
    return map(json.loads, done.stdout.splitlines())


def _parameters(workload: Training | Decoding | Generation) -> int:
    """Ours, but for the rows that our embedding has more."""
    padding = -workload.num_words % 128
    row = workload.model.d_model + workload.model.logits_bias
    return count_parameters(workload.model, workload.num_words) - padding * row


@pytest.mark.parametrize("peer", ["hf", "torch", "fairseq"])
def test_a_peer_trains_a_model_of_our_size_on_the_same_rows(peer):
    python = FAIRSEQ if peer == "fairseq" else sys.executable
    if peer == "fairseq" and not (FAIRSEQ.parents[1] / ".done").is_file():
        pytest.skip("`make .venv-fairseq/.done` installs fairseq")
    about, first, second, large = _answers(
        "aiayn.bench.peers", peer, "train", "tiny", python=python
    )
    tiny = TRAINING["tiny"]
    # torch.nn.Transformer has a norm behind either stack.
    norms = 4 * tiny.model.d_model if peer == "torch" else 0
    assert about["parameters"] == _parameters(tiny) + norms
    assert first["loss"] != second["loss"]
    assert large["flops_per_second"] > 0
    assert max(first["loss"], second["loss"]) < 7.0  # ln 300 is 5.7


def test_hugging_faces_gpt_trains_as_many_parameters_on_the_same_rows():
    about, first, second, _ = _answers("aiayn.bench.peers", "hf", "train", "tiny_text")
    assert about["parameters"] == _parameters(TRAINING["tiny_text"])
    assert first["loss"] != second["loss"]
    assert max(first["loss"], second["loss"]) < 7.0  # ln 300 is 5.7


@pytest.mark.parametrize("worker", ["peers hf", "ctranslate2"])
def test_a_peer_writes_texts_of_the_same_length(worker):
    about, first, second, _ = _answers(*f"aiayn.bench.{worker} generate tiny".split())
    tiny = GENERATION["tiny"]
    if about["name"] == "hf":  # no bias of the logits, and a norm behind the stack
        more = 2 * tiny.model.d_model - tiny.num_words
        assert about["parameters"] == _parameters(tiny) + more
    assert first["tokens"] == second["tokens"] == tiny.tokens


@pytest.mark.parametrize("beam_size", ["1", "4"])
@pytest.mark.parametrize("worker", ["peers hf", "ctranslate2"])
def test_a_peer_translates_to_the_same_length(worker, beam_size):
    about, first, second, _ = _answers(*f"aiayn.bench.{worker} decode tiny".split(), beam_size)
    tiny = DECODING["tiny"]
    if about["name"] == "hf":  # whose bias of the logits is no parameter
        assert about["parameters"] == _parameters(tiny) - tiny.num_words
    assert first["tokens"] == second["tokens"] == tiny.tokens


@pytest.mark.parametrize("worker", [["peers", "hf"], ["ctranslate2"]])
def test_a_peer_translates_a_sentence_with_a_model_of_our_sizes(worker, tmp_path):
    with tarfile.open(ROOT / "tests" / "fixtures" / "format1.tar.gz") as archive:
        archive.extractall(tmp_path, filter="data")
    module, *name = worker
    command = [sys.executable, "-m", f"aiayn.bench.{module}", *name]
    made = str(tmp_path / "made")
    subprocess.run([*command, "export", str(tmp_path / "run"), made], check=True, cwd=ROOT)
    done = subprocess.run(
        [*command, "sentence", made], input="red blue\n", text=True, capture_output=True, cwd=ROOT
    )
    assert (done.returncode, done.stdout.count("\n")) == (0, 1), done.stderr
