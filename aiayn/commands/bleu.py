"""From anybody's outputs to scores: `bleu`."""

import json
import re
from argparse import ArgumentParser, ArgumentTypeError
from dataclasses import asdict
from pathlib import Path

from aiayn.commands.verb import Verb, check_read_once, text_file
from aiayn.errors import UserError
from aiayn.system.files import as_text
from aiayn.system.streams import STANDARD_INPUT


def bleu(
    hyp: Path,
    refs: list[Path],
    also: list[Path],
    src: Path | None,
    lang: tuple[str, str],
    tokens: bool,
    as_json: bool,
) -> None:
    """Score text files of any system; needs no model.

    Reads detokenised sentences, one a line, plain or .gz, and prints BLEU and chrF2 by every ruler,
    each with its signature, and their 95 % confidence:
      aiayn bleu out.de ref.de --lang en-de
    Several references count together, as sacreBLEU has it. Further systems are held against the
    first by paired bootstrap:
      aiayn bleu out.de ref1.de ref2.de --lang en-de --also other.de third.de
    Text that is tokenised already is scored by its tokens as they are:
      aiayn bleu out.de ref.de --lang en-de --tokens
    Both sides are scored in Unicode's form NFC; a warning says where a file had another.
    One of the files may be standard input:
      aiayn translate MODEL < in.en | aiayn bleu - ref.de --lang en-de
    """
    from aiayn.evaluation.systems import compare, read_aligned, show_systems
    from aiayn.render.terminal import Terminal

    names = [hyp, *also]
    texts = read_aligned(*refs, *names, *([src] if src else []))
    systems = dict(zip(map(_shown, names), texts[len(refs) :], strict=False))
    sources = texts[-1] if src else None
    references = texts[: len(refs)]
    if not references[0]:
        raise UserError(f"{_shown(refs[0])} holds no lines; wanted sentences.")
    found = compare(systems, references, sources, src=lang[0], tgt=lang[1], tokens=tokens)
    if as_json:
        print(json.dumps(asdict(found), indent=1))
    else:
        show_systems(found, Terminal())


def _shown(path: Path) -> str:
    """A file's name, of which any bytes can be shown."""
    return "standard input" if path == STANDARD_INPUT else as_text(str(path))


def _check_bleu(
    hyp: Path, refs: list[Path], also: list[Path], src: Path | None, **_: object
) -> None:
    names = [hyp, *also]
    check_read_once([*names, *refs, src])
    for name in also:
        if names.count(name) > 1:
            raise UserError(f"{name} is given twice; wanted the file of each system once.")


def _bleu_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("hyp", type=text_file, metavar="HYP", help="outputs of a system")
    parser.add_argument("refs", type=text_file, nargs="+", metavar="REF", help="references")
    parser.add_argument(
        "--lang",
        type=_pair,
        default=("", ""),
        metavar="SRC-TGT",
        help="languages, as in en-de or en-pt_BR; the target's decides on tokenisers "
        "(default: unknown, and then 13a, without the rulers of Moses)",
    )
    parser.add_argument(
        "--also",
        type=text_file,
        nargs="+",
        action="extend",
        default=[],
        metavar="HYP",
        help="outputs of other systems, compared with the first",
    )
    parser.add_argument(
        "--src", type=text_file, help="source sentences, to notice outputs that repeat them"
    )
    parser.add_argument(
        "--tokens", action="store_true", help="both sides are tokenised: count what blanks part"
    )
    parser.add_argument("--json", action="store_true", dest="as_json", help="everything, as JSON")


def _pair(text: str) -> tuple[str, str]:
    """The type of --lang."""
    found = re.fullmatch(r"([A-Za-z]{2,3}(?:_\w+)*)-([A-Za-z]{2,3}(?:_\w+)*)", text)
    if not found:
        raise ArgumentTypeError(
            f"is {text!r}; wanted two codes with a hyphen between, such as en-de or en-pt_BR"
        )
    return found[1], found[2]


BLEU = Verb("bleu", bleu, _bleu_arguments, _check_bleu, jax=False)
