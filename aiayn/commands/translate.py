"""From a model to text: `translate`, `score`."""

import sys
from argparse import ArgumentParser
from pathlib import Path

from aiayn.commands.verb import Verb, model_argument, positive


def translate(
    model: Path, beam_size: int | None, length_penalty: float | None, num_best: int
) -> None:
    """Translate lines of standard input.

    A filter: one line in, one line out, order kept, empty lines kept.
      aiayn translate runs/phrasebook < in.txt > out.txt
    A line longer than any sentence of training is translated in pieces, and standard error says so.
    """
    from dataclasses import replace

    from rich.console import Console
    from rich.progress import Progress

    from aiayn.decoding.translator import Long, Translator
    from aiayn.model.saved import model_of

    loaded = model_of(model)
    changes = {"beam_size": beam_size, "length_penalty": length_penalty}
    given = {name: value for name, value in changes.items() if value is not None}
    translator = Translator(loaded, replace(loaded.experiment.decode, **given))
    lines = list(_stdin_lines())
    errors = Console(stderr=True)

    def say_long(long: Long) -> None:
        errors.print(
            f"line {long.line}: {long.tokens:,} tokens, more than the {translator.max_tokens} of "
            f"training; translated in {long.pieces} pieces",
            highlight=False,
        )

    with Progress(console=errors, disable=not errors.is_terminal, transient=True) as bar:
        task = bar.add_task("Translating", total=len(lines))
        found = translator.translate(
            lines,
            num_best=num_best,
            on_done=lambda count: bar.update(task, completed=count),
            on_long=say_long,
        )
    write = sys.stdout.buffer.write
    for number, hypotheses in enumerate(found, 1):
        for hypothesis in hypotheses[:num_best]:
            line = hypothesis.text
            if num_best > 1:
                line = f"{number}\t{hypothesis.score:.4f}\t{line}"
            write(line.encode() + b"\n")
    sys.stdout.buffer.flush()


def _translate_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    own = "(default: the model's)"
    parser.add_argument("--beam-size", type=positive, metavar="N", help=f"beam; 1 is greedy {own}")
    parser.add_argument(
        "--length-penalty", type=float, metavar="A", help=f"α of ((5 + length) / 6)^α {own}"
    )
    parser.add_argument(
        "--num-best",
        type=positive,
        default=1,
        metavar="N",
        help="print the N best as: line number, score, text (tab-separated); default: text alone",
    )


def _stdin_lines() -> list[str]:
    """Lines as `\\n` ends them; bytes that are no UTF-8 become U+FFFD, which is said.

    A byte order mark at the start is no part of the text.
    """
    from aiayn.data.sources.formats import BYTE_ORDER_MARK

    lines: list[str] = []
    for number, raw in enumerate(sys.stdin.buffer, 1):
        if number == 1:
            raw = raw.removeprefix(BYTE_ORDER_MARK)
        text = raw.removesuffix(b"\n").removesuffix(b"\r")
        try:
            lines.append(text.decode())
        except UnicodeDecodeError:
            print(f"aiayn: line {number} is not UTF-8; its other bytes were kept.", file=sys.stderr)
            lines.append(text.decode(errors="replace"))
    return lines


def score(model: Path, src: Path, tgt: Path) -> None:
    """Log-probability of given translations.

    Prints for each pair the log-probability in nats, EOS included, and the number of target tokens.
    """
    from aiayn.decoding.translator import Translator
    from aiayn.evaluation.evaluate import read_parallel
    from aiayn.model.saved import model_of

    translator = Translator(model_of(model))
    sources, targets = read_parallel(src, tgt)
    for log_prob, num_tokens in translator.score(list(zip(sources, targets, strict=True))):
        print(f"{log_prob:.4f}\t{num_tokens}")


def _score_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument("src", type=Path, help="source sentences, one a line")
    parser.add_argument("tgt", type=Path, help="their translations, one a line")


TRANSLATE = Verb("translate", translate, _translate_arguments, large_pages=True)
SCORE = Verb("score", score, _score_arguments, large_pages=True)
