"""The rules that drop a training pair: blanks, lengths, overlap with dev and test, language (§5.1).

Without a source the target side is a document, whose line breaks are as `sources/documents` says.

Pure functions of a pair or of a chunk of pairs, and the workers that run them over a corpus.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.progress import ProgressColumn, Task
from rich.text import Text

from aiayn.config import DataConfig
from aiayn.data.languages import parse, same_language
from aiayn.data.sources.documents import folded
from aiayn.data.sources.formats import Pair
from aiayn.data.text import (
    MAX_CHARACTERS,
    T,
    clean,
    composed,
    composed_document,
    normalise,
    num_words,
    sentence_key,
    visible,
)
from aiayn.errors import UserError
from aiayn.render.terminal import Terminal, progress
from aiayn.system.workers import parallel_map

Hashes = npt.NDArray[np.uint64]
NEVER = 2**64 - 1
"""The place in the order of holding out of a pair that cannot be held out."""
_CONTROL = re.compile(r"[\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f]")
"""Controls other than blanks and ends of lines: where there is one, more may be damaged."""


@dataclass(frozen=True)
class Rules:
    """The limits of one corpus. `held_src` and `held_tgt` are the sentences of dev and test."""

    max_words: int
    max_ratio: float
    normalised: bool
    """Whether sentences are compared by `sentence_key` or, else, by `clean`."""
    held_src: frozenset[str]
    held_tgt: frozenset[str]
    documents: str = ""
    """As `data.documents` where there is no source."""
    trees: bool = False
    """Whether targets are trees: then the words alone tell pairs apart, and are counted."""

    @classmethod
    def of(
        cls, data: DataConfig, evaluation: Mapping[str, Sequence[Pair]], normalised: bool
    ) -> "Rules":
        key = sentence_key if normalised else clean
        src, tgt = (
            frozenset(key(pair[side]) for pairs in evaluation.values() for pair in pairs) - {""}
            for side in (0, 1)
        )
        documents, trees = "" if data.src else data.documents, data.trees != "none"
        held = src, frozenset[str]() if trees else tgt
        return cls(data.max_words, data.max_ratio, normalised, *held, documents, trees)


def judge(pair: Pair, rules: Rules) -> tuple[str, str, str]:
    """The reason to drop a training pair, or nothing; and its two sides, cleaned."""
    if rules.documents:
        reason, text = _judge_document(pair[1], rules)
        return reason, "", text
    if max(map(len, pair)) > MAX_CHARACTERS:
        return "too_long", "", ""
    src, tgt = clean(pair[0]), clean(pair[1])
    if not src or not tgt:
        return "empty", src, tgt
    if any(not text.isprintable() and _CONTROL.search(text) for text in pair):
        return "control", src, tgt
    fewer, more = sorted((num_words(src), num_words(src if rules.trees else tgt)))
    if 0 < rules.max_words < more:
        return "max_words", src, tgt
    if 0 < rules.max_ratio * fewer < more:
        return "max_ratio", src, tgt
    if rules.normalised and rules.held_src:
        held = sentence_key(src) in rules.held_src or sentence_key(tgt) in rules.held_tgt
    else:
        held = src in rules.held_src or tgt in rules.held_tgt
    return ("in_dev_or_test" if held else ""), src, tgt


def _judge_document(document: str, rules: Rules) -> tuple[str, str]:
    """As `judge`; a document has no length at which it is none."""
    shown = visible(document)
    text = composed(shown) if rules.documents == "line" else folded(composed_document(shown))
    if not text.strip():
        return "empty", text
    if not document.isprintable() and _CONTROL.search(document):
        return "control", text
    if rules.max_words and num_words(composed(text)) > rules.max_words:
        return "max_words", text
    key = sentence_key if rules.normalised else composed
    held = bool(rules.held_tgt) and key(text) in rules.held_tgt
    return ("in_dev_or_test" if held else ""), text


class Cleaned(NamedTuple):
    """The kept pairs of a chunk: their lines, words a line, and a hash of each pair."""

    src: bytes
    tgt: bytes
    src_words: npt.NDArray[np.int64]
    tgt_words: npt.NDArray[np.int64]
    hashes: Hashes
    dropped: Counter[str]


def clean_chunk(chunk: Sequence[Pair], rules: Rules) -> Cleaned:
    kept: list[Pair] = []
    dropped: Counter[str] = Counter()
    for pair in chunk:
        reason, src, tgt = judge(pair, rules)
        if reason:
            dropped[reason] += 1
        else:
            kept.append((src, tgt))
    src_words = [src.count(" ") + 1 if src else 0 for src, _ in kept]
    if rules.documents:
        tgt_words = [len(document.split()) for _, document in kept]
    else:
        tgt_words = [tgt.count(" ") + 1 for _, tgt in kept]
    # Of 40 million pairs, two that differ have one 64-bit hash with a probability of 1 in 20,000.
    digests = (hashlib.blake2b(f"{s}\n{t}".encode(), digest_size=8).digest() for s, t in kept)
    return Cleaned(
        "".join(f"{src}\n" for src, _ in kept).encode(),
        "".join(f"{tgt}\n" for _, tgt in kept).encode(),
        np.array(src_words, np.int64),
        np.array(tgt_words, np.int64),
        np.frombuffer(b"".join(digests), np.uint64),
        dropped,
    )


def holdout_order(chunk: Sequence[Pair], rules: Rules) -> Hashes:
    """Each pair's place in the order of holding out: a hash of its source, smallest first; of a
    document if there is none.

    Sources without a letter are in the later half, so that few of them measure a model of text.
    """
    order: list[int] = []
    for pair in chunk:
        reason, src, tgt = judge(pair, rules)
        text = tgt if rules.documents else src
        key = sentence_key(text)
        place = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8])
        if not normalise(text):
            place |= 1 << 63
        order.append(place if key and not reason else NEVER)
    return np.array(order, np.uint64)


class SeenHashes:
    """A set of 64-bit hashes in sorted NumPy arrays: eight bytes an entry."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def add(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """Where the array has a hash for the first time, in this call and all before it."""
        new, first = np.unique(hashes, return_index=True)
        for run in self._runs:
            unseen = run[np.minimum(np.searchsorted(run, new), len(run) - 1)] != new
            new, first = new[unseen], first[unseen]
        if len(new):
            self._runs.append(new)
        # Merging runs of like length keeps their number logarithmic in that of the hashes.
        while len(self._runs) > 1 and len(self._runs[-2]) <= 2 * len(self._runs[-1]):
            merged = np.concatenate([self._runs.pop(), self._runs.pop()])
            self._runs.append(np.sort(merged, kind="stable"))
        is_first = np.zeros(len(hashes), np.bool_)
        is_first[first] = True
        return is_first


_FREQUENT_WORDS = {
    "cs": "a se v na je že s z do o i to ale jako za by jsem jsou není pro po tak co když už",
    "de": "der die das und ist nicht ein eine einen zu den dem mit sich auf für von ich sie es im",
    "en": "the of and to in is a that it for was on are with as he you this be not have they from",
    "es": "el la los las de y que en es un una no se por con del al su para lo como más está",
    "fr": "le la les de des et est un une dans que qui pas pour il elle sur du au en ce ne sont",
    "it": "il lo la gli le di e che è un una non per sono con del della i si da come più ha",
    "nl": "de het een en van is dat niet op te zijn met voor ik je er maar aan ook als bij",
    "pl": "i w na się nie że z do jest to o jak ale co po tak za od są czy był przez",
    "pt": "o os as de e que em é um uma não se por com do da no na para ao mais está são",
    "ru": "и в не на что он с я это как по но они мы вы к у за от из она так же",
    "sv": "och att det som en på är av för inte med den ett i jag han har till var om vi",
}
"""Frequent short words by language, enough to tell two languages apart over many sentences."""


def check_direction(pairs: Sequence[Pair], src: str, tgt: str, name: str) -> None:
    """Refuse pairs whose sides are swapped, or are the same text twice.

    Silent where both sides are one language, a language is not in the list above, or the evidence
    is thin or mixed.

    Raises:
        UserError: naming the languages found and wanted.
    """
    if not src:
        _check_language([text for _, text in pairs], tgt, name)
    if not src or same_language(src, tgt):
        return
    same = sum(clean(a) == clean(b) for a, b in pairs)
    if len(pairs) >= 10 and same > len(pairs) / 2:
        raise UserError(
            f"In {name}, {same:,} of {len(pairs):,} source sentences are the same as their "
            f"translations; wanted {src!r} on one side and {tgt!r} on the other."
        )
    src_words, tgt_words = (
        set(_FREQUENT_WORDS.get(parse(lang).language, "").split()) for lang in (src, tgt)
    )
    if not src_words or not tgt_words:
        return
    counts = [Counter(w for pair in pairs for w in pair[side].lower().split()) for side in (0, 1)]
    like_src, like_tgt = (
        [sum(count[word] for word in words) for count in counts]
        for words in (src_words - tgt_words, tgt_words - src_words)
    )
    # Each side must look like the other language, twice over and by at least 20 words.
    if like_tgt[0] >= max(20, 2 * like_src[0]) and like_src[1] >= max(20, 2 * like_tgt[1]):
        raise UserError(
            f"In {name}, the source side reads like {tgt!r} and the target side like {src!r}; "
            f"wanted data.src={src} and data.tgt={tgt}. Swap the two settings, or the files."
        )


def _check_language(texts: Sequence[str], lang: str, name: str) -> None:
    """Refuse text that reads like another language, by as much as `check_direction` asks for, and
    by some of its words, lest one be all of the evidence.
    """
    known = {code: set(words.split()) for code, words in _FREQUENT_WORDS.items()}
    own = known.get(parse(lang).language)
    if not own:
        return
    count = Counter(word for text in texts for word in text.lower().split())
    for other, words in known.items():
        like_own = sum(count[word] for word in own - words)
        theirs = [count[word] for word in words - own if word in count]
        if len(theirs) >= 5 and sum(theirs) >= max(20, 2 * like_own):
            raise UserError(
                f"In {name}, the text reads like {other!r}; wanted data.tgt={lang}. Set data.tgt="
                f"{other}, or name other files."
            )


@dataclass(frozen=True)
class Workers:
    """How chunks are worked through; `num_workers` as in `prepare_corpus`."""

    num_workers: int | None
    progress: bool

    def map(
        self,
        function: Callable[..., T],
        chunks: Iterable[list[Pair]],
        rules: Rules,
        title: str,
        total: int | None,
    ) -> Generator[tuple[list[Pair], T], None, None]:
        """Each chunk with the value of `function(chunk, rules=rules)`, in order."""
        with progress(
            Terminal(),
            _PerSecond("documents" if rules.documents else "pairs"),
            hidden=not self.progress,
        ) as bar:
            task = bar.add_task(title, total=total)
            judged = parallel_map(partial(function, rules=rules), chunks, self.num_workers)
            for chunk, value in judged:
                yield chunk, value
                bar.update(task, advance=len(chunk))


class _PerSecond(ProgressColumn):
    def __init__(self, noun: str) -> None:
        super().__init__()
        self._noun = noun

    def render(self, task: Task) -> Text:
        speed = task.finished_speed or task.speed
        return Text(f"{speed:,.0f} {self._noun}/s" if speed else "")
