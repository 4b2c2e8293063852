"""The worker of a benchmark that runs CTranslate2, in an environment that has it:

python -m aiayn.bench.ctranslate2 decode WORKLOAD BEAM_SIZE
python -m aiayn.bench.ctranslate2 generate WORKLOAD
python -m aiayn.bench.ctranslate2 export MODEL FOLDER        our model, in CTranslate2's format
python -m aiayn.bench.ctranslate2 sentence FOLDER            the lines of standard input by it
"""

import multiprocessing
import sys
import tempfile
from collections.abc import Generator
from contextlib import contextmanager
from functools import partial
from importlib.metadata import version
from pathlib import Path

from aiayn.bench.pieces import Pieces, experiment_of
from aiayn.bench.worker import Contender, num_processors, prompts_of, sentences_of, serve
from aiayn.bench.workloads import DECODING, GENERATION, Decoding, Generation


def translator(workload: Decoding, beam_size: int) -> Contender:
    """CTranslate2's search, kept from EOS to the last token, with random weights of our model."""
    import ctranslate2

    threads = num_processors()
    with _exported(workload) as model:
        engine = ctranslate2.Translator(
            str(model),
            device="cpu",
            compute_type="float32",
            inter_threads=threads,
            intra_threads=1,
        )
    pieces = Pieces(workload.num_words)
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

    return Contender(_about(threads, threads), run)


def generator(workload: Generation) -> Contender:
    """CTranslate2's generator, kept from EOS, with random weights of our model; all texts are one
    batch, which all processors share."""
    import ctranslate2

    threads = num_processors()
    with _exported(workload) as model:
        engine = ctranslate2.Generator(
            str(model), device="cpu", compute_type="float32", intra_threads=threads
        )
    pieces = Pieces(workload.num_words)
    prompts = [pieces.pieces([pieces.bos, *ids]) for ids in prompts_of(workload).tolist()]

    def run(steps: int) -> dict[str, float]:
        tokens = 0
        for _ in range(steps):
            found = engine.generate_batch(
                prompts,
                sampling_topk=1,
                include_prompt_in_result=False,
                min_length=workload.output_length,
                max_length=workload.output_length,
            )
            tokens = sum(len(result.sequences_ids[0]) for result in found)
        return {"tokens": float(tokens)}

    return Contender(_about(threads, 1), run)


def _about(threads: int, batches_at_once: int) -> dict[str, object]:
    return {
        "name": "ctranslate2",
        "versions": {"ctranslate2": version("ctranslate2")},
        "threads": threads,
        "batches_at_once": batches_at_once,
    }


@contextmanager
def _exported(workload: Decoding | Generation) -> Generator[Path]:
    """Our model with random weights, in a folder that is gone afterwards.

    It is written by a process of its own, so that no JAX is in this one.
    """
    with tempfile.TemporaryDirectory() as folder:
        model = Path(folder) / "model"
        with multiprocessing.get_context("spawn").Pool(1) as pool:
            pool.apply(_export, (workload, model))
        yield model


def _export(workload: Decoding | Generation, out: Path) -> None:
    from aiayn.interop.ctranslate2 import export
    from aiayn.model.saved import Model
    from aiayn.model.structure import flatten, initial_parameters

    params = flatten(initial_parameters(workload.model, workload.num_words, seed=0))
    export(Model(experiment_of(workload), Pieces(workload.num_words), params), out)


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
        case ["generate", name]:
            serve(partial(generator, GENERATION[name]))
        case ["export", model, folder]:
            _export_model(model, folder)
        case ["sentence", folder]:
            _translate_sentence(folder)
