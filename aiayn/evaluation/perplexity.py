"""How well a language model predicts text, by a rule that its figures name.

Perplexities are comparable only where the rule is: which words are predicted from how many others,
and what the sum is divided by. Pieces of different models differ, so the sum is also divided by the
words and the bytes of the text itself, which no model decides.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import NamedTuple

from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.writer import Writer
from aiayn.evaluation.scores import Score, Scores

_AT_ONCE = 256
"""Windows that are sorted by length and scored together."""


class TextLoss(NamedTuple):
    """The loss of a text, and what it may be divided by."""

    nats: float = 0.0
    tokens: int = 0
    words: int = 0
    """What stands between blanks."""
    characters: int = 0
    bytes: int = 0
    """Of UTF-8."""

    def plus(self, other: "TextLoss") -> "TextLoss":
        return TextLoss(
            self.nats + other.nats,
            self.tokens + other.tokens,
            self.words + other.words,
            self.characters + other.characters,
            self.bytes + other.bytes,
        )


class _Window(NamedTuple):
    document: int
    ids: list[int]
    first: int
    """Those before it were counted in the window before."""


def windows(document: int, ids: list[int], context: int) -> Iterator[_Window]:
    """The windows of a text, each half new; every token but the first ones is predicted from half a
    context or more."""
    stride = max(1, context // 2)
    yield _Window(document, ids[:context], 0)
    for end in range(context + stride, len(ids) + stride, stride):
        start = end - context
        yield _Window(document, ids[start:end], context - stride)


def text_losses(
    writer: Writer,
    documents: Sequence[str],
    on_done: Callable[[int], None] = lambda count: None,
) -> list[TextLoss]:
    """The loss of each document. `on_done` is told how many tokens are done."""
    encoded = writer.tokenizer.encode(documents)
    losses = list(map(partial(_divisors, writer), documents, encoded))
    waiting = (w for n, ids in enumerate(encoded) if ids for w in windows(n, ids, writer.context))
    done = 0
    while part := list(islice(waiting, _AT_ONCE)):
        found = writer.log_probs([window.ids for window in part])
        for window, log_probs in zip(part, found, strict=True):
            # Where there is no BOS, nothing predicts the first token of a text.
            new = log_probs[window.first or writer.num_given :]
            loss = TextLoss(-float(new.sum(dtype="float64")), len(new))
            losses[window.document] = losses[window.document].plus(loss)
            done += len(new)
        on_done(done)
    return losses


def _divisors(writer: Writer, document: str, ids: Sequence[int]) -> TextLoss:
    """What the loss of a text is divided by: the text, whatever its pieces are, but for a first one
    that nothing predicts."""
    (unpredicted,) = writer.tokenizer.decode([list(ids[: writer.num_given])])
    text = writer.tokenizer.seen(document)[len(unpredicted) :]
    return TextLoss(0.0, 0, len(text.split()), len(text), len(text.encode()))


def scores_of(
    losses: Sequence[TextLoss], context: int, language: str, tokenizer: Tokenizer
) -> Scores:
    """All figures of a text; those of no text are not taken. With line breaks kept it is another
    text than with a blank for each."""
    total = TextLoss()
    for loss in losses:
        total = total.plus(loss)
    bos = "yes" if tokenizer.has_bos else "no"
    rule = f"window:{context}|stride:{max(1, context // 2)}|bos:{bos}|eos:no"
    rule += "" if tokenizer.line_break is None else "|breaks:kept"
    bits = total.nats / math.log(2)
    per: dict[str, tuple[float, int, str, str]] = {
        "perplexity": (total.nats, total.tokens, "tok:own", "models with the same pieces"),
        "word_perplexity": (total.nats, total.words, "words:blanks", "any model, on the same text"),
        "bits_per_byte": (bits, total.bytes, "bytes:utf-8", "any model, on the same text"),
        "nats_per_character": (total.nats, total.characters, "", "any model, on the same text"),
    }
    entries: list[Score] = []
    for name, (amount, count, unit, compare) in per.items():
        value = amount / count if count else None
        if value is not None and name.endswith("perplexity"):
            value = math.exp(min(value, 700.0))
        how = "|".join(filter(None, (rule, unit)))
        detail = f"{total.nats:.2f} nats, {count:,}"
        entries.append(Score(name, value, how if count else "no text", compare, detail))
    return Scores("", language, len(losses), tuple(entries))
