"""What a model does with a text, as values that the page draws: its tokens and its attention.

Every function here and in `beams`, `words` and `space` is pure: a model and a text give the same
values each time, those that the commands print. Numbers of float32 stay exact when they are written
as JSON.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import msgspec

from aiayn.data.text import visible
from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.heads import (
    KINDS,
    TITLES,
    Kind,
    look,
    look_at_ids,
    look_at_pair,
    look_at_text,
)
from aiayn.decoding.translator import padded_width
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writing
from aiayn.errors import UserError
from aiayn.serve.models import Served

MOST_TOKENS = 64
"""Of a text that is looked into: every head has a weight for each pair of them."""
MOST_CHARACTERS = 1_000
_MOST_NEW_TOKENS = 60


class Token(msgspec.Struct, frozen=True):
    """A piece of text as the model reads it; `▁` marks the beginning of a word."""

    piece: str
    id: int


class Tokens(msgspec.Struct, frozen=True):
    """The pieces of both sides; a language model has no target."""

    source: list[Token]
    target: list[Token]


class Heads(msgspec.Struct, frozen=True):
    """All heads of one of the three uses of attention (§3.2.3)."""

    kind: Kind
    title: str
    queries: list[str]
    """The tokens that look, which name the rows, ..."""
    memory: list[str]
    """... and those that are looked at, which name the columns."""
    weights: list[list[list[list[float]]]]
    """[layer][head][query][memory]; each row sums to 1."""


class Attention(msgspec.Struct, frozen=True):
    """The weights of every head while the model reads a text and says another."""

    source: str
    target: str
    kinds: list[Heads]


class Answer(msgspec.Struct, frozen=True):
    """What the model makes of a text: its translation, or how it goes on."""

    text: str


class Score(msgspec.Struct, frozen=True):
    """A figure from the record of a run."""

    test_set: str
    figure: str
    value: float


class Card(msgspec.Struct, frozen=True):
    """What a reader wants to know of a model before trying it."""

    name: str
    kind: Literal["translation", "language_model"]
    experiment: str
    src: str
    tgt: str
    sizes: dict[str, int]
    """By the paper's symbols (Table 3)."""
    parameters: int
    beam_size: int
    alpha: float
    most_tokens: int
    scores: list[Score]
    updates: int | None


def card(served: Served) -> Card:
    """The card of a model, with the scores of its run if there is a record of it."""
    experiment, model = served.model.experiment, served.model.experiment.model
    src, tgt = served.languages
    scores, updates = _of_record(served.record)
    return Card(
        name=served.name,
        kind=served.kind,
        experiment=experiment.name,
        src=src,
        tgt=tgt,
        sizes={"vocabulary": served.tokenizer.num_words}
        | {symbol: int(getattr(model, name)) for symbol, name in _SYMBOLS.items()},
        parameters=served.model.num_parameters,
        beam_size=experiment.decode.beam_size,
        alpha=experiment.decode.length_penalty,
        most_tokens=_most_tokens(served),
        scores=scores,
        updates=updates,
    )


_SYMBOLS = {
    **{"N": "num_layers", "d_model": "d_model", "d_ff": "d_ff"},
    **{"h": "num_heads", "d_k": "d_k", "d_v": "d_v"},
}
_FIGURES = {
    "sacrebleu": "BLEU",
    "chrf2": "chrF2",
    "perplexity": "perplexity per token",
    "bits_per_byte": "bits per byte",
}


class _Entry(msgspec.Struct):
    name: str
    value: float | None = None


class _Scores(msgspec.Struct):
    entries: list[_Entry]


class _Scored(msgspec.Struct):
    scores: dict[str, dict[str, _Scores]] = {}
    updates: int | None = None


def _of_record(record: dict[str, Any] | None) -> tuple[list[Score], int | None]:
    """The figures of the weights that a run ends with, and its updates; nothing of a record that
    is damaged, which is no reason not to show the model."""
    try:
        found = msgspec.convert(record or {}, _Scored)
    except msgspec.ValidationError:
        return [], None
    scores: list[Score] = []
    for test_set, by_weights in found.scores.items():
        for last in list(by_weights.values())[-1:]:
            values = {entry.name: entry.value for entry in last.entries}
            for name, figure in _FIGURES.items():
                value = values.get(name)
                if value is not None and math.isfinite(value):
                    scores.append(Score(test_set, figure, value))
    return scores, found.updates


def tokens(served: Served, source: str, target: str = "") -> Tokens:
    """The pieces of a text, and of one in the target language."""
    tokenizer = served.tokenizer
    (src,), (tgt,) = (
        tokenizer.encode([checked_text(source)]),
        tokenizer.encode_target([checked_text(target)]),
    )
    return Tokens(as_tokens(tokenizer, src), as_tokens(tokenizer, tgt))


def attention(served: Served, source: str, target: str | None = None) -> Attention:
    """All attention weights while a model reads `source` and says `target`, by default its own
    translation; a language model reads `source` alone.

    Raises:
        UserError: a side is empty, or too long.
    """
    checked_ids(served, source)
    if served.kind == "language_model":
        looks, said = look_at_text(served.writer, checked_text(source)), ""
    else:
        said = (
            served.translator.best([checked_text(source)])[0]
            if target is None
            else checked_text(target)
        )
        checked_ids(served, said, is_target=True)
        looks = look(served.translator, checked_text(source), said)
    kinds: list[Heads] = []
    for kind in KINDS:
        if looks.of(kind).size:
            queries, memory = map(list, looks.tokens(kind))
            kinds.append(Heads(kind, TITLES[kind], queries, memory, looks.of(kind).tolist()))
    return Attention(source, said, kinds)


def answer(
    served: Served,
    text: str,
    *,
    temperature: float = 0.0,
    top_k: int | None = None,
    top_p: float | None = None,
    min_p: float | None = None,
    seed: int = 0,
) -> Answer:
    """The best translation of a text, or how a language model goes on with it.

    Raises:
        UserError: the text is empty or too long, or a setting is out of its range.
    """
    text = checked_text(text)
    if served.kind == "translation":
        return Answer(served.translator.best([text])[0])
    asked = Wishes(
        sample=1, seed=seed, temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p
    )
    ((written,),) = served.writer.write([text], Writing(_MOST_NEW_TOKENS, wishes=asked))
    return Answer(written.text)


def checked_text(text: str) -> str:
    """The text without what nobody sees, as all input is read.

    Raises:
        UserError: it has too many characters, or some that are none.
    """
    if len(text) > MOST_CHARACTERS:
        raise UserError(
            f"The text has {len(text):,} characters; wanted at most {MOST_CHARACTERS:,}, since "
            "the page shows each piece of it."
        )
    if text != text.encode(errors="replace").decode():
        raise UserError("The text has half a surrogate pair; wanted text that UTF-8 can encode.")
    return visible(text)


def widths(served: Served) -> list[int]:
    """Of the rows in which the page's texts are read, with what begins or ends them; for each of
    them programs are compiled."""
    found = [padded_width(1)]
    while found[-1] <= _most_tokens(served):
        found.append(2 * found[-1])
    return found


def warm_up(served: Served, width: int) -> None:
    """Compile what texts in rows of this width need."""
    ids = [served.tokenizer.unknown] * (width - 1)
    if served.kind == "language_model":
        look_at_ids(served.writer, [*ids[: served.writer.num_given], *ids])
    else:
        look_at_pair(served.translator, ids, ids)


def _most_tokens(served: Served) -> int:
    of_model = served.model.experiment.data.max_tokens - 1
    return min(MOST_TOKENS, of_model)


def checked_ids(served: Served, text: str, is_target: bool = False) -> list[int]:
    """The ids of a text that is looked into.

    Raises:
        UserError: there are none, or too many.
    """
    tokenizer, most = served.tokenizer, _most_tokens(served)
    encode: Callable[[Sequence[str]], list[list[int]]] = (
        tokenizer.encode_target if is_target else tokenizer.encode
    )
    (ids,) = encode([checked_text(text)])
    if not 1 <= len(ids) <= most:
        name = "translation" if is_target else "text"
        raise UserError(f"The {name} has {len(ids):,} tokens; wanted 1 to {most}.")
    return ids


def as_tokens(tokenizer: Tokenizer, ids: Sequence[int]) -> list[Token]:
    """The pieces of ids, with their ids."""
    return [Token(*each) for each in zip(tokenizer.pieces(ids), map(int, ids), strict=True)]
