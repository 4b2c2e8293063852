"""Which word of the source each word of a translation comes from, by attention (§3.2.3).

Words are what stands between blanks; in scripts without blanks each character is one, with the
marks on it. They are counted from 0 in the text as it was given, without the code of a target
language (`>>fr<<`) before it.

The weights are those of encoder-decoder attention when a word is predicted, averaged over the heads
of the upper half of the decoder (`layers_of`). A word's weight on another is the sum over the
pieces of both; a piece of several words is shared among them. Each word of the target is linked to
the source word with the highest weight, the first of equals, so that it has one link, and a word of
the source any number.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from contextlib import suppress

import numpy as np
from jaxtyping import Float

from aiayn.data.text import UNSPACED, composed
from aiayn.data.tokenizer import INCOMPLETE, Tokenizer, byte_of
from aiayn.decoding.outputs import Alignment
from aiayn.decoding.sentences import sentences

_BLANK = "\u2581"
"""How pieces write a blank."""


def layers_of(num_layers: int) -> slice:
    """The decoder layers whose heads are averaged: the upper half, and the middle one.

    Of the phrasebook's two layers the mean of the second links 95.3 % of the words in slots of
    `seen` right, that of the first 59.6 %, and no head more than 92.6 %
    (`python -m aiayn.evidence.alignment`). Deeper models were not measured; where half of the
    layers count, no single one of an unknown model decides.
    """
    return slice(num_layers // 2, None)


def word_numbers(text: str) -> list[int]:
    """The number of the word that each character belongs to, blanks left out."""
    numbers: list[int] = []
    count, is_new, is_single = -1, True, False
    for character in text:
        if character.isspace():
            is_new = True
            continue
        is_mark = unicodedata.category(character)[0] == "M"
        alone = bool(UNSPACED.match(character))
        if is_new or (not is_mark and (alone or is_single)):
            count, is_single = count + 1, alone
        is_new = False
        numbers.append(count)
    return numbers


def pharaoh(alignment: Alignment) -> str:
    """Links as other tools read them: `0-0 1-2`."""
    return " ".join(f"{source}-{target}" for source, target in alignment)


def links(
    weights_TS: Float[np.ndarray, "target source"],
    tgt_words: Sequence[Sequence[int]],
    src_words: Sequence[Sequence[int]],
) -> Alignment:
    """The link of each word of the target, given the words that each piece belongs to.

    Pieces past those given, such as EOS, belong to none.
    """
    tgt_numbers, share_TN = _shares(tgt_words)
    src_numbers, share_SM = _shares(src_words)
    if not tgt_numbers or not src_numbers:
        return ()
    between_TS = weights_TS[: len(tgt_words), : len(src_words)].astype(np.float64)
    best_N = np.argmax(share_TN.T @ between_TS @ share_SM, axis=1).tolist()
    return tuple(sorted((src_numbers[m], n) for n, m in zip(tgt_numbers, best_N, strict=True)))


def _shares(
    words: Sequence[Sequence[int]],
) -> tuple[list[int], Float[np.ndarray, "pieces words"]]:
    """The numbers of all words, and how much of each piece is of each."""
    numbers = sorted({number for each in words for number in each})
    places = {number: place for place, number in enumerate(numbers)}
    share_PN = np.zeros((len(words), len(numbers)))
    for piece, each in enumerate(words):
        for number in each:
            share_PN[piece, places[number]] = 1 / len(each)
    return numbers, share_PN


def target_words(tokens: Sequence[str], text: str, tokenizer: Tokenizer) -> list[list[int]]:
    """The words of an output's text that each of its pieces belongs to."""
    return _words_at(_places(tokens, tokenizer), word_numbers(text))


def source_words(
    line: str, parts: Sequence[Sequence[int]], tokenizer: Tokenizer
) -> list[list[list[int]]]:
    """The words of a line that each piece belongs to, in each of the parts that it is cut into."""
    # Composed, as the tokenizer reads it, text may have fewer characters.
    cut = [composed(text) for text in ([line] if len(parts) == 1 else sentences(line))]
    code = _code(cut[0], tokenizer)
    numbers, at = word_numbers(composed(line).removeprefix("".join(code))), 0
    words: list[list[int]] = []
    for number, text in enumerate(cut):
        bare = text if number else text.removeprefix("".join(code))
        length = len("".join(bare.split()))
        places = _places(tokenizer.spell(text)[0 if number else len(code) :], tokenizer)
        words += _words_at(places, _normalised(bare, numbers[at : at + length], tokenizer))
        at += length
    found: list[list[list[int]]] = []
    at = 0
    for ids in parts:
        before = len(tokenizer.prefix(ids))
        end = at + len(ids) - before
        found.append([[]] * before + words[at:end])
        at = end
    return found


def _code(text: str, tokenizer: Tokenizer) -> list[str]:
    """The pieces that name the target language."""
    (ids,) = tokenizer.encode([text])
    return tokenizer.pieces(tokenizer.prefix(ids))


def _normalised(text: str, numbers: Sequence[int], tokenizer: Tokenizer) -> list[int]:
    """The numbers of words for the characters of a text as the tokenizer spells it.

    A tokenizer may write a character as several or several as one, even with a blank among them; so
    each token is spelled by itself, and its characters are stretched over those of its spelling.
    """
    found: list[int] = []
    at = 0
    for token in text.split():
        own = numbers[at : at + len(token)]
        places = _places(tokenizer.spell(token), tokenizer)
        length = max((place.stop for place in places), default=0)
        found += [own[number * len(own) // length] for number in range(length)]
        at += len(token)
    return found


def _words_at(places: Sequence[range], numbers: Sequence[int]) -> list[list[int]]:
    return [sorted({numbers[at] for at in place if at < len(numbers)}) for place in places]


def _places(pieces: Sequence[str], tokenizer: Tokenizer) -> list[range]:
    """The places of each piece's characters among all that are no blanks.

    The bytes of a character all have its place; a piece that is a blank has that of what follows.
    """
    found: list[range] = []
    at = 0
    while len(found) < len(pieces):
        text, count = next_text(pieces, len(found), tokenizer.special)
        length = len("".join(text.split()))
        seen = length or int(pieces[len(found)] == _BLANK and len(found) + 1 < len(pieces))
        found += [range(at, at + seen)] * count
        at += length
    return found


def next_text(pieces: Sequence[str], start: int, special: Mapping[str, str]) -> tuple[str, int]:
    """The text of the next piece, or of the next few that spell a character in bytes; how many."""
    piece = pieces[start]
    if byte_of(piece) is None:
        return special.get(piece, piece.replace(_BLANK, " ")), 1
    for count in range(1, 5):
        found = [each for p in pieces[start : start + count] if (each := byte_of(p)) is not None]
        if len(found) < count:  # another piece stands between them, or nothing more
            break
        with suppress(UnicodeDecodeError):
            return bytes(found).decode(), count
    return INCOMPLETE, 1
