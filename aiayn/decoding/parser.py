"""Words in, trees out (§6.3): the search of a translator, in which only trees may come.

An output is a tree over exactly the words of its sentence, whatever the weights are. Its score is
the model's own, for the probability of what is no tree is not shared out among the rest.
"""

import math
from collections.abc import Callable, Iterator, Sequence
from copy import copy
from itertools import zip_longest
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np

from aiayn.config import DecodeConfig, Experiment
from aiayn.data.sources.treebank import entries
from aiayn.data.text import clean
from aiayn.data.tokenizer import Tokenizer, TreeTokenizer
from aiayn.data.trees import (
    Terminals,
    Tree,
    linearise,
    mark,
    mark_in,
    restore,
    spelling,
    unmarked,
    write,
)
from aiayn.data.trees import clean as clean_tree
from aiayn.decoding.controls import NOTHING
from aiayn.decoding.grammar import ANY_LEAF, NO_LEAF, codes_of, leaf_of
from aiayn.decoding.translator import Long, Sought, Translator, padded_width
from aiayn.errors import LineError, UserError
from aiayn.model.saved import Model
from aiayn.model.structure import Params

_AS_WORD = str.maketrans({"(": "-LRB-", ")": "-RRB-"})


class Parse(NamedTuple):
    """A tree over the words of a sentence, and its score: log-probability in nats over the length
    penalty."""

    tree: Tree
    score: float
    symbols: tuple[str, ...]
    """As the model wrote them: `(NP` opens a constituent, `)NP` closes it, a tag is a word."""
    log_probs: tuple[float, ...] = ()
    """Of details: the log-probability in nats of each symbol, and of the end."""

    @property
    def text(self) -> str:
        """The tree in brackets, on one line."""
        return write(self.tree)


def words_of(line: str) -> list[str]:
    """The words of a line, as treebanks have them."""
    return clean(line.translate(_AS_WORD)).split()


def symbols_of(experiment: Experiment, tokenizer: Tokenizer) -> TreeTokenizer:
    """The tokenizer of a parser.

    Raises:
        UserError: it is none, or the model predicts another number of symbols.
    """
    if not isinstance(tokenizer, TreeTokenizer):
        raise UserError(
            f"{experiment.name} is no parser: its tokenizer has no symbols of trees. "
            + (
                "A language model goes on with a text (`aiayn generate`)."
                if experiment.model.kind == "decoder"
                else "What translates does so with `aiayn translate`."
            )
        )
    found, wanted = experiment.model.num_outputs, tokenizer.first_piece
    if found != wanted:
        raise UserError(
            f"model.num_outputs is {found}; the trees have {len(tokenizer.symbols)} symbols: "
            f"--set model.num_outputs={wanted}"
        )
    return tokenizer


class Parser(Translator):
    """A model ready to parse.

    Raises:
        UserError: it is none of trees.
    """

    def __init__(
        self, model: Model, decode: DecodeConfig | None = None, params: Params | None = None
    ):
        super().__init__(model, decode, params)
        self._symbols = symbols_of(model.experiment, model.tokenizer)
        size = model.experiment.model.num_outputs
        eos = model.tokenizer.eos
        names = ["</s>" if n == eos else self.tokenizer.decode([[n]])[0] for n in range(size)]
        self._codes_V = codes_of(names, "</s>")
        self._marks = {*map(mark_in, self._symbols.symbols)}
        self._is_free = False
        trees = model.experiment.data.trees
        self.terminals: Terminals = "tags" if trees == "none" else trees
        self.source = model.experiment.data.src

    _scored = "Tree", "it"

    @staticmethod
    def _check(model: Model) -> None:
        symbols_of(model.experiment, model.tokenizer)

    def free(self) -> "Parser":
        """The same model, searched as any other: what it writes may be no tree."""
        other = copy(self)
        other._is_free = True
        return other

    def parse(
        self,
        sentences: Sequence[Sequence[str]],
        num_best: int = 1,
        on_done: Callable[[int], None] = lambda count: None,
        first: int = 1,
        details: bool = False,
        on_long: Callable[[Long], None] = lambda long: None,
    ) -> Iterator[list[Parse]]:
        """The `num_best` best trees over the words of each sentence, best first; none over none.

        Sentences are numbered from `first`. One that is longer than any of training is parsed as a
        whole all the same, which `on_long` is told.

        Raises:
            LineError: a sentence is too long.
        """
        lines = [" ".join(map(spelling, words)) for words in sentences]
        sizes = [len(ids) for ids in self.tokenizer.encode(lines)]
        for place, size in enumerate(sizes):
            if size + 1 > self._longest:
                raise LineError(
                    f"Sentence {first + place:,} has {size:,} pieces; wanted at most "
                    f"{self._longest - 1:,}, since it is parsed as a whole.",
                    place,
                )
        for number, size in enumerate(sizes, first):
            if size >= self.max_tokens:
                on_long(Long(number, size, pieces=1))
        if details:
            detailed = self.detailed(lines, num_best, on_done)
            for words, hypotheses in zip(sentences, detailed, strict=True):
                yield [
                    _parse_of(each.text, each.score, words)._replace(log_probs=each.log_probs)
                    for each in hypotheses
                    if words
                ]
            return
        found = self.stream(lines, num_best, on_done)
        for words, hypotheses in zip(sentences, found, strict=True):
            yield [_parse_of(each.text, each.score, words) for each in hypotheses if words]

    def score(self, pairs: Sequence[tuple[str, str]], first: int = 1) -> list[tuple[float, int]]:
        """As a translator's, of sentences and the symbols of their trees. A symbol that no tree of
        training had cannot come, so that the log-probability of such a tree is −∞."""
        known = {*self._symbols.symbols}
        return [
            (log_prob if known.issuperset(symbols.split()) else -math.inf, length)
            for (log_prob, length), (_, symbols) in zip(
                super().score(pairs, first), pairs, strict=True
            )
        ]

    def spelled(self, tree: Tree) -> tuple[str, str]:
        """The words of a tree and its symbols, as training has them, with blanks between."""
        tree = clean_tree(tree)
        symbols = linearise(tree, self.terminals)
        return " ".join(map(spelling, tree.words)), " ".join(symbols)

    def unlike_training(self, trees: Sequence[Tree]) -> Iterator[str]:
        """What a reader of the scores should know of trees that parsing is tried on."""
        symbols = (" ".join(linearise(tree, self.terminals)) for tree in trees)
        if found := self._symbols.unseen(symbols):
            yield f"labels or tags that no tree of training had, and no output can have: {found}."
        lines = [" ".join(map(spelling, tree.words)) for tree in trees]
        count = sum(len(ids) >= self.max_tokens for ids in self.tokenizer.encode(lines))
        if count:
            yield (
                f"{count:,} of {len(trees):,} sentences have more than the {self.max_tokens - 1:,} "
                "pieces of training; they are parsed as a whole."
            )

    def symbols_over(self, sentence: str, text: str) -> str:
        """The symbols of a tree over the words of a sentence, which `text` has in brackets, or as
        the model writes them.

        Raises:
            UserError: it has none, or one over other words.
        """
        symbols = tuple(text.split())
        if symbols and {*self._symbols.symbols}.issuperset(symbols):
            tree = restore(symbols, words_of(sentence))
            if linearise(tree) != tuple(map(unmarked, symbols)):
                raise UserError(
                    f"{text[:40]!r} is no tree over the words of the sentence; the nearest is "
                    f"{' '.join(linearise(tree, self.terminals))!r}."
                )
            return text
        found = list(entries(text.split("\n")))
        tree = found[0].tree if len(found) == 1 else None
        if tree is None:
            reason = found[0].flaw if len(found) == 1 else f"it holds {len(found)} trees"
            raise UserError(
                f"{text[:40]!r} is not one tree: {reason}; wanted labelled brackets such as "
                "(TOP (S (NP (NNP John)) (VP (VBZ sleeps)))), as `aiayn parse` writes them."
            )
        words, spelled = self.spelled(tree)
        wanted = list(map(spelling, words_of(sentence)))
        for place, (found_word, word) in enumerate(zip_longest(words.split(), wanted), 1):
            if found_word != word:
                raise UserError(
                    f"The tree is over other words than the sentence: word {place} is "
                    f"{found_word!r}; wanted {word!r}."
                )
        return spelled

    def _pieces(self, line: str, ids: list[int]) -> list[list[int]]:
        """A sentence in one piece, however long: the parts of a tree are none."""
        return [ids]

    def _leaf(self, word: str) -> int:
        """The word for a grammar; its mark does not count where no symbol has that."""
        found = mark(word)
        return leaf_of(found) if found in self._marks else ANY_LEAF

    def _first_room(self, width: int) -> int:
        """As the outputs of training, whose words had a piece each at least."""
        return math.ceil(self._symbols.growth * width)

    def _batch_size(self, width: int, beams: int) -> int:
        """By the first room, which is far below the longest output."""
        return max(1, self.config.slots_per_batch // (beams * (width + self._first_room(width))))

    def _controls(self, chosen: Sequence[Sought], rows: int) -> dict[str, Any]:
        asked = super()._controls(chosen, rows)
        if self._is_free:
            return asked
        width = padded_width(max((len(each.ids) for each in chosen), default=0))
        leaves = np.full((rows, width), NO_LEAF, np.int32)
        for row, (ids, *_) in enumerate(chosen):
            words = self._symbols.words(ids)
            leaves[row, : len(words)] = list(map(self._leaf, words))
        codes_BV = np.broadcast_to(self._codes_V, (rows, len(self._codes_V)))
        controls = asked.get("controls", NOTHING)
        return {
            "controls": controls._replace(
                leaves_BL=jnp.asarray(leaves), codes_BV=jnp.asarray(codes_BV)
            )
        }


def _parse_of(text: str, score: float, words: Sequence[str]) -> Parse:
    symbols = tuple(text.split())
    return Parse(restore(symbols, words), score, symbols)
