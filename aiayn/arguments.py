"""The command line, in words: which verbs there are, and what their help teaches.

Nothing here imports JAX, so that help answers at once.
"""

import argparse
import os
from pathlib import Path

import aiayn
from aiayn.bench.workloads import DECODING, PEERS, TRAINING
from aiayn.experiments import list_experiments


def parser() -> argparse.ArgumentParser:
    """Of all commands; what is parsed holds the `verb` and its arguments."""
    made = argparse.ArgumentParser(
        prog="aiayn",
        description=aiayn.__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=_EPILOG,
    )
    made.add_argument("--version", action="version", version=f"aiayn {aiayn.__version__}")
    verbs = made.add_subparsers(title="commands", metavar="COMMAND", required=True)

    def verb(name: str, summary: str, text: str = "") -> argparse.ArgumentParser:
        of_verb = verbs.add_parser(
            name,
            help=summary,
            description=f"{summary}\n\n{text}".strip(),
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        of_verb.set_defaults(verb=name)
        return of_verb

    experiments = list_experiments()
    width = 2 + max(map(len, experiments), default=0)
    known = "".join(f"  {name:{width}}{about}\n" for name, about in experiments.items())
    train = verb(
        "train",
        "Train an experiment from raw text to a BLEU table.",
        f"{_TRAIN}\nexperiments\n{known}",
    )
    _experiment_arguments(train)
    train.add_argument(
        "--run-dir", type=Path, help="where the run lives (default: runs/EXPERIMENT)"
    )

    prepare = verb(
        "prepare", "Fetch, clean, tokenize and pack a corpus, without training.", _PREPARE
    )
    _experiment_arguments(prepare)

    translate = verb("translate", "Translate lines of standard input.", _TRANSLATE)
    translate.add_argument("model", type=Path, help="a run directory or an exported model")
    own = "(default: the model's)"
    translate.add_argument("--beam-size", type=int, metavar="N", help=f"beam; 1 is greedy {own}")
    translate.add_argument(
        "--length-penalty", type=float, metavar="A", help=f"α of ((5 + length) / 6)^α {own}"
    )
    translate.add_argument(
        "--num-best",
        type=int,
        default=1,
        metavar="N",
        help="print the N best as: line number, score, text (tab-separated); default: text alone",
    )

    score = verb("score", "Log-probability of given translations.", _SCORE)
    score.add_argument("model", type=Path, help="a run directory or an exported model")
    score.add_argument("src", type=Path, help="source sentences, one a line")
    score.add_argument("tgt", type=Path, help="their translations, one a line")

    attention = verb("attention", "Show what each head looks at in a sentence.", _ATTENTION)
    attention.add_argument("model", type=Path, help="a run directory or an exported model")
    attention.add_argument("sentence", help="the source sentence")
    attention.add_argument("--target", help="its translation (default: the model's own)")
    attention.add_argument(
        "--kind",
        choices=("encoder", "decoder", "cross"),
        default="cross",
        help="encoder or decoder self-attention, or the decoder's of the encoder (default: cross)",
    )
    attention.add_argument("--layer", type=int, metavar="N", help="from 1 (default: the last)")
    attention.add_argument(
        "--heads", type=int, nargs="+", default=[], metavar="N", help="from 1 (default: all)"
    )
    attention.add_argument("--word", default="", help="draw links from this word only")
    attention.add_argument(
        "--out", type=Path, default=Path("attention"), help="where (default: attention)"
    )

    average = verb("average", "Average the last checkpoints of a run into its model.")
    average.add_argument("run", type=Path, help="a run directory")
    average.add_argument(
        "--last", type=int, metavar="N", help="how many (default: the experiment's)"
    )

    evaluate = verb("evaluate", "Score a model on its test sets or on files.", _EVALUATE)
    evaluate.add_argument("model", type=Path, help="a run directory or an exported model")
    evaluate.add_argument("--src", type=Path, help="source sentences, one a line")
    evaluate.add_argument("--ref", type=Path, help="reference translations, one a line")
    evaluate.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="prepared data (default: data)"
    )

    imported = verb("import", "Read a model of Hugging Face's Marian (OPUS-MT).", _IMPORT)
    imported.add_argument("folder", type=Path, help="as save_pretrained writes it")
    imported.add_argument("out", type=Path, help="where to write the model")

    export = verb("export", "Write a model for CTranslate2, a fast C++ engine.", _EXPORT)
    export.add_argument("model", type=Path, help="a run directory or an exported model")
    export.add_argument("out", type=Path, help="where to write it")
    export.add_argument(
        "--quantization",
        choices=("float32", "int8", "int8_float32", "int16", "float16"),
        default="float32",
        help="how weights are stored (default: float32)",
    )

    sweep = verb("sweep", "What averaging, beam and length penalty are worth on a run.", _SWEEP)
    sweep.add_argument("run", type=Path, help="a run directory")
    sweep.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="prepared data (default: data)"
    )

    ablate = verb("ablate", "Table 3 in miniature: all its rows at a small size.", _ABLATE)
    _experiment_arguments(ablate)
    ablate.add_argument(
        "--seeds", type=int, default=3, metavar="N", help="runs of each row (default: 3)"
    )
    ablate.add_argument(
        "--jobs",
        type=int,
        default=min(os.cpu_count() or 1, 8),
        metavar="N",
        help="runs at once, which share processors and accelerator (default: %(default)s)",
    )
    ablate.add_argument(
        "--record", type=Path, metavar="FILE", help="an ablation.json whose runs need no repeating"
    )

    bench = verb("bench", "What a stage costs on this machine.", _BENCH)
    bench.add_argument(
        "what",
        choices=("train", "choices", "decode", "serving", "start", "growth", "data", "scaling"),
        help="the stage",
    )
    bench.add_argument(
        "--workload",
        choices=tuple({**TRAINING, **DECODING}),
        help="the work (default: D1tiny to decode, T2 to start, else T1)",
    )
    contest = bench.add_mutually_exclusive_group()
    contest.add_argument("--peer", choices=PEERS, help="train, decode: whom to take turns with")
    contest.add_argument(
        "--profile", action="store_true", help="train, decode: where the time goes, and a trace"
    )
    bench.add_argument(
        "--pairs",
        type=int,
        nargs="+",
        default=[450_000, 1_500_000, 4_508_785],
        metavar="N",
        help="data: sizes of the corpora (default: WMT14's, a third and a tenth of it)",
    )
    bench.add_argument("--model", type=Path, help="serving: a run directory or an exported model")
    bench.add_argument("--src", type=Path, help="serving: source sentences, one a line")
    bench.add_argument("--ref", type=Path, help="serving: reference translations, one a line")
    bench.add_argument(
        "--out", type=Path, default=Path("runs/bench"), help="where (default: runs/bench)"
    )

    report = verb("report", "Every claim of the paper, checked now or beside its record.", _REPORT)
    report.add_argument(
        "--out", type=Path, default=Path("runs/report"), help="where (default: runs/report)"
    )
    report.add_argument("--json", action="store_true", help="print the list as JSON instead")

    replay = verb("replay", "Look again at the update that training gave up at.", _REPLAY)
    replay.add_argument("run_dir", type=Path, help="its run directory")

    info = verb("info", "What a run or a model holds: record, parameters, hashes.")
    info.add_argument("path", type=Path, help="a run directory or an exported model")
    info.add_argument("--json", action="store_true", help="everything, as JSON")
    return made


def _experiment_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("experiment", help="a name under experiments/, or a file")
    parser.add_argument(
        "--set",
        action="append",
        default=[],
        dest="overrides",
        metavar="KEY=VALUE",
        help="change one setting; may be repeated; an unknown key names the nearest one",
    )
    parser.add_argument(
        "--data-dir", type=Path, default=Path("data"), help="prepared data (default: data)"
    )


_EPILOG = """\
examples
  aiayn train phrasebook                         minutes on a laptop, ends in a BLEU table
  aiayn train multi30k_ende --set data.folder=DIR
  echo "Good morning." | aiayn translate runs/phrasebook
  aiayn info runs/phrasebook --json

`aiayn COMMAND --help` says more.
"""

_TRAIN = """\
Prepares the data, trains, validates, averages, translates the test sets and writes result.json.
The same command run again resumes from the newest checkpoint, or shows the scores of a finished
run; SIGTERM has the present step saved first. On several hosts, start the same command on each, as
the files in experiments/cluster do. --set changes any setting (aiayn/config.py has them all, with
their defaults), for example
  --set train.num_steps=2000 --set model.num_layers=2 --set data.folder=../corpus
"""

_PREPARE = """\
Writes text, tokenizer and packed rows under --data-dir with a manifest of counts and hashes.
Training finds them there.
"""

_TRANSLATE = """\
A filter: one line in, one line out, order kept, empty lines kept.
  aiayn translate runs/phrasebook < in.txt > out.txt
A line longer than any sentence of training is translated in pieces, and standard error says so.
"""

_SCORE = """\
Prints for each pair the log-probability in nats, EOS included, and the number of target tokens.
"""

_ATTENTION = """\
Writes attention.json (the weights of every layer, head and kind, with the tokens), heatmap.png and
links.png (the form of the paper's Figures 3 to 5). Figure 4 would be
  aiayn attention RUN "The Law will never be perfect , but its application should be just ." \\
    --kind encoder --layer 5 --heads 5 6 --word its
"""

_EVALUATE = """\
Without files: translates every test set of the run again, with the last checkpoint and with the
average, made anew as the experiment says, and rewrites model, translations, scores, pictures and
result.json. With --src and --ref: translates and scores those files.
"""

_IMPORT = """\
Writes a model that translate, score, attention and evaluate read. Weights are read from safetensors
only, since a pickle is code.
  aiayn import opus-mt-en-de models/en-de
  echo "Good morning." | aiayn translate models/en-de
"""

_EXPORT = """\
Needs CTranslate2 (pip install ctranslate2, or .venv-parity after make parity). Its Translator takes
and gives SentencePiece's pieces: those of tokenizer.model beside the weights, or, where the model
was imported, of source.spm and target.spm. It adds EOS to sources.
"""

_SWEEP = """\
Translates dev with 1 to 20 checkpoints averaged (of those that the run kept), beams of 1 to 16 and
α of 0 to 1.2, each varied alone around the experiment's own setting. Writes sweep.json and
sweep.png into the run.
"""

_ABLATE = """\
The experiment is the base; each row changes it as the paper's row changes the paper's base, and
four rows more show what our deviations from the paper's text cost. Every run lives in
runs/EXPERIMENT/ROW-SEED; stopped, the same command goes on. Ends with the paper's differences
beside ours, and ablation.json and ablation.png in runs/EXPERIMENT. --record adds seeds to a record
from elsewhere.
  aiayn ablate table3_miniature
"""

_BENCH = """\
train  times updates: T1 (3+3 layers, d_model 256, 8,000 words, 64 sentences of 32 tokens), T2 (the
       base model, 37,000 words, 32 sentences), base and big (26,208 tokens a side in rows of 256,
       for accelerators)
choices times an update without one thing after another that it does otherwise than is common:
       dropout, the loss, packed rows, attention, projections; beside what was expected of each
decode times greedy search and beam 4 over 64 sentences of 30 tokens, in batches of 16, to outputs
       of 32: D1tiny (the model of T1), D1base (that of T2); base32, base128, base1024 (1,024
       sentences, in batches of so many, for accelerators)
serving translates a text with a model by ours and by CTranslate2, in float32 and int8: BLEU, speed
start  times the help, and the first update of a workload to train, compiled anew and from the cache
growth times steps of T1 and D1tiny with one size after another varied: what costs more than it must
scaling counts what a step sends on 1 to 1,024 devices, in programs lowered for them, and reckons on
       assumptions, which it names, where more of them stop to help; needs one device
data   writes synthetic corpora with the lengths and the word frequencies of news, prepares them as
       wmt14_ende_base is prepared, and records time and memory

--profile writes a trace for Perfetto or TensorBoard and shows the dearest kernels, and the parts of
the model they are of. A peer takes turns with ours on the same work: Hugging Face's Marian (hf),
torch.nn.Transformer (torch, to train), fairseq (to train), CTranslate2 (ctranslate2, to decode);
`make bench ARGS='train --peer fairseq'` installs what its peer needs. Serving needs CTranslate2
beside itself: .venv-parity/bin/aiayn. The workload tiny is there to try a benchmark.
"""

_REPLAY = """\
Where losses or gradients are not finite, the update is not applied; after ten or more in a row
training gives up and keeps the first of them, rows and parameters, in RUN/not_finite. This computes
it again and says which parameters, gradients and rows are not finite, and which line of code comes
first.
"""

_REPORT = """\
Writes one page as claims.md, claims.html and claims.json. Each claim holds or fails by what is
computed now, was measured (the record of a run), differs (the reason), or was not run here (the
command and its cost). Exit status 1 if a claim fails.
"""
