"""From anybody's parses to scores: `f1`."""

import json
from argparse import ArgumentParser
from dataclasses import asdict
from pathlib import Path

from aiayn.commands.verb import Verb, check_read_once, text_file


def f1(gold: Path, trees: Path, as_json: bool) -> None:
    """Score constituency trees of any parser; needs no model.

    Reads two treebanks of the same sentences in the same order, plain or .gz, one tree a line or
    indented over several, and prints the labelled bracket F1 of the second by EVALB's rules
    (COLLINS.prm):
      aiayn f1 dev.mrg parsed.trees
    F1 is of sums over all sentences. Roots, functions as in NP-SBJ, traces and punctuation count
    for nothing, and what is punctuation is said by the tags of GOLD. Other words than GOLD's are
    refused. A sentence without a parse, written (()), has missed all its constituents, where
    EVALB leaves it out.
    One of the files may be standard input:
      my-parser < dev.txt | aiayn f1 dev.mrg -
    """
    from aiayn.evaluation.brackets import score_files, show
    from aiayn.render.terminal import Terminal

    found = score_files(gold, trees)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        show(found, Terminal())


def _check_f1(gold: Path, trees: Path, **_: object) -> None:
    check_read_once([gold, trees])


def _f1_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("gold", type=text_file, metavar="GOLD", help="the right trees")
    parser.add_argument("trees", type=text_file, metavar="TREES", help="a parser's trees")
    parser.add_argument("--json", action="store_true", dest="as_json", help="everything, as JSON")


F1 = Verb("f1", f1, _f1_arguments, _check_f1, jax=False)
