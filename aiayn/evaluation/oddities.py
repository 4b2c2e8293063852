"""What a reader of scores should know of the text that they were taken on: each with its count."""

import re
import unicodedata
from collections.abc import Iterator, Sequence
from itertools import chain

from aiayn.data.text import UNSPACED, clean, normalise
from aiayn.errors import UserError

FILTERED_NEWSTEST2014 = 2_737
_OF_NEWSTEST2014 = {
    "orlando bloom and miranda kerr still love each other",
    "orlando bloom und miranda kerr lieben sich noch immer",
}
"""A line of it, as `normalise` has it; the first of the filtered set."""


def check_counts(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    sources: Sequence[str] | None,
) -> None:
    """Raises UserError unless all have as many lines as the first references, one or more."""
    if not references or not references[0]:
        raise UserError("There are no references; wanted at least one.")
    num_sentences = len(references[0])
    for name, lines in (("hypotheses", hypotheses), ("sources", sources)):
        if lines is not None and len(lines) != num_sentences:
            raise UserError(
                f"There are {len(lines)} {name} but {num_sentences} references; "
                "wanted one line for each sentence in both."
            )
    for number, lines in enumerate(references, 1):
        if len(lines) != num_sentences:
            raise UserError(
                f"There are {num_sentences} references but {len(lines)} in list {number} of them; "
                "wanted one line for each sentence in all."
            )


def is_normalised(line: str) -> bool:
    """Whether `clean` changes nothing but blanks, which no figure depends on."""
    return (line.isascii() and line.isprintable()) or clean(line) == " ".join(line.split())


def oddities(
    hypotheses: Sequence[str],
    references: Sequence[Sequence[str]],
    sources: Sequence[str] | None,
    src: str,
    tgt: str,
    finds_words: bool,
    tokens: bool = False,
) -> Iterator[str]:
    """Warnings. Languages are those of `language`; `finds_words` says whether the tokeniser splits
    text without blanks, `tokens` that text is meant to be tokenised.
    """
    num_sentences = len(hypotheses)
    sides = dict(named_sides(hypotheses, references))
    for name, lines in sides.items():
        yield from _of_one_side(name, lines)
    if not tokens:
        yield from _tokenised(sides)

    triples = zip(hypotheses, references[0], sources or hypotheses, strict=True)
    num_copies = sum(hyp == source != ref for hyp, ref, source in triples)
    if sources is not None and 5 * num_copies > num_sentences:
        there = f"are they in {tgt!r}?" if tgt else "are they translated?"
        yield f"{num_copies} of {num_sentences} hypotheses repeat their source; {there}"
    for name, lines in sides.items():
        if name != "hypotheses" and num_sentences > 1 and list(lines) == list(hypotheses):
            yield f"All {num_sentences} hypotheses are the same as the {name}; are they copies?"

    if num_sentences == FILTERED_NEWSTEST2014 and {src, tgt} <= {"en", "de", ""}:
        every = chain(*references, sources or ())
        if any(normalise(line) in _OF_NEWSTEST2014 for line in every):
            yield (
                f"{num_sentences:,} sentences are newstest2014 as it was filtered for its "
                "campaign, sacreBLEU's 'wmt14'; the full set, 'wmt14/full', has 3,003 and scores "
                "differently."
            )
    if not finds_words and not tokens:
        yield from _without_blanks(references, tgt)


def named_sides(
    hypotheses: Sequence[str], references: Sequence[Sequence[str]]
) -> Iterator[tuple[str, Sequence[str]]]:
    """Both sides as messages name them."""
    yield "hypotheses", hypotheses
    for number, lines in enumerate(references, 1):
        yield "references" if len(references) == 1 else f"references (list {number})", lines


def _of_one_side(name: str, lines: Sequence[str]) -> Iterator[str]:
    of = f"of {len(lines)} {name}"
    num_empty = sum(not line.strip() for line in lines)
    if num_empty:
        yield f"{num_empty} {of} are empty."
    num_forms = sum(not unicodedata.is_normalized("NFC", line) for line in lines)
    if num_forms:
        yield f"{num_forms} {of} were not in the Unicode form NFC; they were scored in it."
    num_changed = sum(not is_normalised(unicodedata.normalize("NFC", line)) for line in lines)
    if num_changed:
        yield f"{num_changed} {of} held invisible characters; they were scored without."
    num_returns = sum(line.endswith("\r") for line in lines)
    if num_returns:
        yield f"{num_returns} {of} end in a carriage return, which was left out."
    num_blanks = sum(line.rstrip("\r") != line.rstrip("\r").strip() for line in lines)
    if 10 * num_blanks > len(lines):
        yield f"{num_blanks} {of} begin or end in blanks, which were left out."


_TOKENISED = re.compile(r" [.,]( |$)|&(?:apos|quot|amp|#\d+);")


def _tokenised(sides: dict[str, Sequence[str]]) -> Iterator[str]:
    found = {n: sum(bool(_TOKENISED.search(x)) for x in lines) for n, lines in sides.items()}
    num_hyp, num_sentences = found.pop("hypotheses"), len(sides["hypotheses"])
    num_ref = min(found.values())
    if 10 * (num_hyp - num_ref) > num_sentences:
        yield (
            f"{num_hyp} of {num_sentences} hypotheses look tokenised, against {num_ref} "
            "references; detokenise them first."
        )
    for name, count in found.items():
        if 10 * count > num_sentences:
            yield (
                f"{count} of {num_sentences} {name} look tokenised; figures of others are taken "
                "on detokenised ones."
            )


def _without_blanks(references: Sequence[Sequence[str]], tgt: str) -> Iterator[str]:
    """For text whose language was not named, or is named otherwise than it reads."""
    total = sum(len(line) for line in chain(*references))
    if 2 * sum(len(UNSPACED.findall(line)) for line in chain(*references)) > total > 0:
        named = f"is {tgt!r}" if tgt else "is not named"
        yield (
            "The references are mostly in a script without blanks between words, where these "
            f"tokenisers find none, and their language {named}; wanted its code, such as zh, ja "
            "or th."
        )
