"""From a parser to trees: `parse`."""

import json
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, cast

from aiayn.commands.asked import OUTPUTS, PENALTY
from aiayn.commands.translate import up_to_refused, windows
from aiayn.commands.verb import Verb, model_argument, positive
from aiayn.data import penn
from aiayn.decoding.wishes import Wishes

if TYPE_CHECKING:
    from aiayn.decoding.parser import Parse

_WINDOW = 1_024
"""Sentences that are parsed together."""


def parse(
    model: Path,
    beam_size: int | None,
    length_penalty: float | None,
    num_best: int | None,
    tokenize: bool,
    as_json: bool,
) -> None:
    """Parse sentences of standard input into constituency trees.

    A filter: one sentence in, one tree out, order kept, empty lines kept. Words have blanks between
    them, as in the treebank that the parser learnt from: punctuation stands alone.
      echo "The girl sleeps ." | aiayn parse runs/treebook
      (TOP (S (NP (DT The) (NN girl)) (VP (VBD sleeps)) (. .)))
    Raw English text is cut into such words by --tokenize, as the Penn Treebank is.
      echo "She saw the man with the beard." | aiayn parse runs/treebook --tokenize
    Brackets within words are written -LRB- and -RRB-. A sentence longer than any of training is
    parsed as a whole, which standard error says. Whatever the model has learnt, each output is one
    tree over exactly the words; its score is the log-probability in nats over the length penalty.
    """
    from dataclasses import replace

    from aiayn.decoding.parser import Parser, words_of
    from aiayn.decoding.translator import Long
    from aiayn.model.saved import model_of
    from aiayn.render.terminal import Terminal, counter

    loaded = model_of(model)
    changes = {"beam_size": beam_size, "length_penalty": length_penalty}
    given = {name: value for name, value in changes.items() if value is not None}
    parser = Parser(loaded, replace(loaded.experiment.decode, **given))
    errors = Terminal(stderr=True)

    def say_long(long: Long) -> None:
        errors.print(
            f"line {long.line}: {long.tokens:,} tokens, more than the {parser.max_tokens - 1} of "
            "training; parsed as a whole"
        )

    done = 0
    shown = sys.stdin.isatty() or sys.stdout.isatty()
    with counter(errors, "sentences", hidden=shown) as bar:
        task = bar.add_task("Parsing", total=None)
        for lines in windows(cast(BufferedIOBase, sys.stdin.buffer), _WINDOW):
            cut = [penn.tokens(line) for line in lines] if tokenize else None
            words = [[t.text for t in each] for each in cut] if cut else list(map(words_of, lines))
            parsed = partial(parser.parse, num_best=num_best or 1, first=done + 1, on_long=say_long)
            for number, trees in enumerate(up_to_refused(words, parsed), done + 1):
                tokens = None if cut is None else cut[number - done - 1]
                for line in _lines(number, trees, num_best or 1, as_json, tokens):
                    sys.stdout.buffer.write(line.encode() + b"\n")
                sys.stdout.buffer.flush()
                bar.update(task, completed=number)
            done += len(lines)


def _lines(
    number: int,
    trees: Sequence["Parse"],
    num_best: int,
    as_json: bool,
    tokens: Sequence[penn.Token] | None,
) -> list[str]:
    """What is printed of the trees of a sentence; without words there are none."""
    if as_json:
        places = {} if tokens is None else {"places": [(t.start, t.end) for t in tokens]}
        return [
            json.dumps(
                {
                    "line": number,
                    "tree": each.text,
                    "score": round(each.score, 6),
                    "symbols": each.symbols,
                    **places,
                },
                ensure_ascii=False,
            )
            for each in trees
        ]
    if num_best > 1:
        return [f"{number}\t{each.score:.4f}\t{each.text}" for each in trees]
    return [each.text for each in trees] or [""]


def _parse_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    own = "(default: the model's)"
    parser.add_argument("--beam-size", type=positive, metavar="N", help=f"beam; 1 is greedy {own}")
    parser.add_argument("--length-penalty", type=float, metavar="A", help=f"{PENALTY} {own}")
    parser.add_argument(
        "--num-best",
        type=positive,
        metavar="N",
        help="print the N best as: line number, score, tree (tab-separated); default: trees alone",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        dest="as_json",
        help="print each tree as a line of JSON: line, tree, score, symbols (as the model wrote "
        "them); with --tokenize, places too (where each word begins and ends in the line, in "
        "characters); nothing for an empty line",
    )
    parser.add_argument(
        "--tokenize",
        action="store_true",
        help="cut raw English text into words as the Penn Treebank has them, one sentence a line",
    )


def _check(num_best: int | None, beam_size: int | None, **_: object) -> None:
    Wishes().check_num_best(num_best, beam_size, OUTPUTS)


PARSE = Verb("parse", parse, _parse_arguments, _check, large_pages=True)
