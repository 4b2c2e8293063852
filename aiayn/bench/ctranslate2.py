"""The worker of a benchmark that runs CTranslate2, in an environment that has it:

python -m aiayn.bench.ctranslate2 decode WORKLOAD BEAM_SIZE
python -m aiayn.bench.ctranslate2 export MODEL FOLDER        our model, in CTranslate2's format
python -m aiayn.bench.ctranslate2 sentence FOLDER            the lines of standard input by it
"""

import multiprocessing
import sys
import tempfile
from collections.abc import Iterable, Mapping
from functools import partial
from importlib.metadata import version
from pathlib import Path

from aiayn.bench.worker import Contender, num_processors, sentences_of, serve
from aiayn.bench.workloads import DECODING, Decoding


def translator(workload: Decoding, beam_size: int) -> Contender:
    """CTranslate2's search, kept from EOS up to the last token, with random weights of our model.

    They are exported in a process of its own, so that no JAX is in this one.
    """
    import ctranslate2

    threads = num_processors()
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(_export, (workload, model))
        engine = ctranslate2.Translator(
            str(model),
            device="cpu",
            compute_type="float32",
            inter_threads=threads,
            intra_threads=1,
        )
    pieces = _Pieces(workload.num_words)
    # It adds EOS itself.
    sentences = [pieces.pieces(ids[:-1]) for ids in sentences_of(workload).tolist()]

    def run(steps: int) -> dict[str, float]:
        tokens = 0
        for _ in range(steps):
            found = engine.translate_batch(
                sentences,
                beam_size=beam_size,
                max_batch_size=workload.batch_size,
                min_decoding_length=workload.output_length,
                max_decoding_length=workload.output_length,
            )
            tokens = sum(len(result.hypotheses[0]) for result in found)
        return {"tokens": float(tokens)}

    about = {
        "name": "ctranslate2",
        "versions": {"ctranslate2": version("ctranslate2")},
        "threads": threads,
        "batches_at_once": threads,
    }
    return Contender(about, run)


class _Pieces:
    """A tokenizer, as an export needs it, for words that have no text."""

    bos, eos = 2, 3

    def __init__(self, num_words: int):
        self.num_words = num_words

    def pieces(self, ids: Iterable[int]) -> list[str]:
        special = ("<pad>", "<unk>", "<s>", "</s>")
        return [special[id] if id < len(special) else f"w{id}" for id in ids]

    def files(self) -> Mapping[str, bytes]:
        return {}


def _export(workload: Decoding, out: Path) -> None:
    import numpy as np
    from flax import nnx

    from aiayn.config import Experiment
    from aiayn.interop.ctranslate2 import export
    from aiayn.model.saved import Model
    from aiayn.model.structure import flatten
    from aiayn.model.transformer import Transformer

    made = Transformer(workload.model, workload.num_words, rngs=nnx.Rngs(0))
    params = flatten(nnx.to_pure_dict(nnx.state(made, nnx.Param)))
    experiment = Experiment("bench", model=workload.model, preset="custom")
    arrays = {name: np.asarray(value) for name, value in params.items()}
    export(Model(experiment, _Pieces(workload.num_words), arrays), out)


def _export_model(model: str, folder: str) -> None:
    """Our model in CTranslate2's format, with its decoding settings beside it."""
    import json

    from aiayn.interop.ctranslate2 import export
    from aiayn.model.saved import model_of

    found = model_of(Path(model))
    export(found, Path(folder))
    about = {"beam_size": found.experiment.decode.beam_size}
    (Path(folder) / "decode.json").write_text(json.dumps(about), encoding="utf-8")


def _translate_sentence(folder: str) -> None:
    """The lines of standard input, by an exported model, in a process without JAX."""
    import json

    import ctranslate2
    import sentencepiece

    about = json.loads((Path(folder) / "decode.json").read_text(encoding="utf-8"))
    pieces = sentencepiece.SentencePieceProcessor(model_file=str(Path(folder) / "tokenizer.model"))
    engine = ctranslate2.Translator(folder, device="cpu", compute_type="float32")
    lines = [pieces.encode(line.strip(), out_type=str) for line in sys.stdin]
    for found in engine.translate_batch(lines, beam_size=about["beam_size"]):
        print(pieces.decode(found.hypotheses[0]))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["decode", name, beam_size]:
            serve(partial(translator, DECODING[name], int(beam_size)))
        case ["export", model, folder]:
            _export_model(model, folder)
        case ["sentence", folder]:
            _translate_sentence(folder)
