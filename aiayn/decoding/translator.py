"""Raw text in, raw text out: batching, searching and scoring with a model (§6.1)."""

from collections import defaultdict, deque
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from copy import copy
from dataclasses import dataclass
from functools import partial
from types import MappingProxyType
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from aiayn.config import DecodeConfig
from aiayn.data.rows import Rows, rows_of_pairs
from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.alignment import links, source_words, target_words
from aiayn.decoding.outputs import (
    SAYS_NOTHING,
    Detailed,
    Hypothesis,
    as_drawn,
    joined_line,
    one_line,
)
from aiayn.decoding.programs import Programs, Weights
from aiayn.decoding.sentences import place_to_cut, sentences
from aiayn.decoding.spellings import banned_sequences, prefix_ids
from aiayn.decoding.wishes import Wishes
from aiayn.errors import LineError, UserError
from aiayn.model.saved import Model, check_kind
from aiayn.model.structure import Params, unflatten

_Share = TypeVar("_Share")
_Found = TypeVar("_Found")
_NARROWEST = 32
_ROUNDS = 8
"""A search receives at most `_ROUNDS` × `at_once` sentences."""
_FEWEST = 16
"""The fewest sentences searched at once, even where there are fewer: few sizes, few programs."""
_LONGEST_SCORED = 4_096
"""Tokens; attention's memory grows with the square."""


@dataclass(frozen=True)
class Long:
    """A line longer than any sentence of training, and the number of its pieces."""

    line: int
    tokens: int
    pieces: int


class Sought(NamedTuple):
    """A text on its way through a search, and what is asked of its output alone."""

    ids: list[int]
    prefix: list[int] | None = None
    """The ids that it begins with; None where no text of the call has one."""
    least: int | None = None
    """The fewest tokens, of a piece of a line its share."""


class Translator:
    """A model ready to translate.

    Its search is compiled once for each width of the sources and number of sentences at once; both
    come in powers of two.
    """

    def __init__(
        self,
        model: Model,
        decode: DecodeConfig | None = None,
        params: Params | None = None,
        others: Sequence[Model] = (),
    ):
        """`decode` and `params`, where given, replace the model's own. With `others` it is an
        ensemble: the probability of each word is the mean of all models'. It asks for nothing but
        probable outputs; `asked` gives one that does.

        Raises:
            UserError: the model does not translate, or the others have other words or sizes.
        """
        self._check(model)
        self.is_ensemble = bool(others)
        if others:
            from aiayn.decoding.ensemble import stacked  # with Flax, which one model does without

            params = stacked(model, others)
        self.tokenizer: Tokenizer = model.tokenizer
        self.config = decode or model.experiment.decode
        self.max_tokens = min(each.experiment.data.max_tokens for each in (model, *others))
        self.language = model.experiment.data.tgt
        self.params = jax.device_put(unflatten(model.params)) if params is None else params
        # Those of training may lie on several devices, those of another's model be half as wide.
        usual = all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(self.params))
        keep, num_words = params is None and usual, model.tokenizer.num_words
        self.programs = Programs(model.experiment.model, num_words, keep)
        self._weights = self.programs.lay_out(self.params)
        sizes = model.experiment.model
        self._positions = sizes.max_positions if sizes.positions == "learned" else None
        self.wishes = Wishes()
        self._banned: Mapping[tuple[int, ...], str] = {}

    _scored = "Line", "a translation"
    """What is scored, by its number and by its kind."""

    @staticmethod
    def _check(model: Model) -> None:
        check_kind(model, "encoder_decoder")

    def asked(self, wishes: Wishes) -> "Translator":
        """The same model, asked for more than probable outputs."""
        other = copy(self)
        other.wishes = wishes
        other._banned = banned_sequences(wishes.ban, self.tokenizer, self.language)
        return other

    def translate(
        self,
        lines: Sequence[str],
        num_best: int = 1,
        on_done: Callable[[int], None] = lambda count: None,
        on_long: Callable[[Long], None] = lambda long: None,
        prefixes: Sequence[str] | None = None,
    ) -> list[list[Hypothesis]]:
        """The `num_best` best translations of each line; see `stream`."""
        return list(self.stream(lines, num_best, on_done, on_long, prefixes))

    def stream(
        self,
        lines: Sequence[str],
        num_best: int = 1,
        on_done: Callable[[int], None] = lambda count: None,
        on_long: Callable[[Long], None] = lambda long: None,
        prefixes: Sequence[str] | None = None,
    ) -> Iterator[list[Hypothesis]]:
        """The `num_best` best translations of each line, best first, in the order of the lines.

        Each is yielded as soon as it and those before it are found.

        A line without any text translates to itself. One that is longer than any sentence of
        training is cut into its sentences, and those that are too long themselves at clauses or
        between words. The pieces are translated one by one and joined; `on_long` is told, and such
        a line has a single hypothesis with the summed score, or one for each sample. Its least
        length is shared out among its pieces; words that never come, and sequences that come once,
        are asked of each piece.
        `on_done` is called with the number of sentences finished so far.
        `prefixes` has the beginning of each translation, which may be empty; that of a line in
        pieces begins its first piece.

        Raises:
            UserError: a line cannot have its prefix; before anything is searched.
        """
        for found in self.detailed(lines, num_best, on_done, on_long, prefixes, details=False):
            yield [Hypothesis(each.text, each.score) for each in found]

    def detailed(
        self,
        lines: Sequence[str],
        num_best: int = 1,
        on_done: Callable[[int], None] = lambda count: None,
        on_long: Callable[[Long], None] = lambda long: None,
        prefixes: Sequence[str] | None = None,
        details: bool = True,
        align: bool = False,
    ) -> Iterator[list[Detailed]]:
        """As `stream`, with the tokens of each hypothesis and why it ended; with `details`, their
        log-probabilities, and with `align`, the links of its words.
        """
        pieces: list[list[int]] = []
        parts: list[range] = []
        for number, ids in enumerate(self.tokenizer.encode(lines)):
            cut = self._pieces(lines[number], ids) if ids else []
            if len(cut) > 1:
                on_long(Long(number + 1, len(ids), len(cut)))
            parts.append(range(len(pieces), len(pieces) + len(cut)))
            pieces += cut
        forced = None if prefixes is None else self._forced_ids(prefixes, pieces, parts)
        found: dict[int, list[Detailed]] = {}
        drawn, least = self.wishes.sample, self.wishes.min_length
        in_pieces = [numbers for numbers in parts if len(numbers) > 1]
        shares = least_shares(least, pieces, in_pieces) if least else {}
        # The best few samples of a line may be made of any samples of its pieces.
        wanted = drawn if drawn and in_pieces else num_best
        searches = self._search(pieces, wanted, forced, details, shares)
        if align:
            words = [
                each
                for line, numbers in zip(lines, parts, strict=True)
                for each in source_words(line, [pieces[n] for n in numbers], self.tokenizer)
            ]
            searches = (self._aligned(found, pieces, words) for found in searches)
        for line, numbers in zip(lines, parts, strict=True):
            while not found.keys() >= set(numbers):
                found.update(next(searches))
                on_done(len(found))
            outputs = [found[number] for number in numbers]
            if drawn and len(numbers) > 1:
                orders = [as_drawn(drawn, self.wishes.seed_of(pieces[n])) for n in numbers]
                outputs = [
                    [each[place] for place in order]
                    for each, order in zip(outputs, orders, strict=True)
                ]
            best = joined_line(line, outputs, self.language, drawn or 1)[:num_best]
            # A line without text has no words.
            yield [b._replace(alignment=b.alignment or ()) for b in best] if align else best

    def pieces(self, line: str) -> list[list[int]]:
        """The ids of the parts of a line that are searched one by one; none of one without text."""
        (ids,) = self.tokenizer.encode([line])
        return self._pieces(line, ids) if ids else []

    @property
    def _longest(self) -> int:
        """The most tokens that are read as a whole: no more than there are positions for."""
        return _LONGEST_SCORED if self._positions is None else min(_LONGEST_SCORED, self._positions)

    def limit(self, ids: Sequence[int]) -> int:
        """The most tokens of a part's translation, EOS included."""
        return len(ids) + self.config.max_extra_tokens + 1

    @property
    def weights(self) -> Weights:
        """The decoder's weights, as `aiayn.decoding.turns` takes them."""
        return self.programs.nested(self._weights)

    def best(
        self, lines: Sequence[str], on_done: Callable[[int], None] = lambda count: None
    ) -> list[str]:
        """The best translation of each line."""
        return [hypotheses[0].text for hypotheses in self.translate(lines, on_done=on_done)]

    def score(self, pairs: Sequence[tuple[str, str]], first: int = 1) -> list[tuple[float, int]]:
        """Log-probability in nats of each given translation, EOS included, and its tokens.

        Raises:
            LineError: a line is too long to score as a whole; lines are numbered from `first`.
            UserError: the model's scores are not finite.
        """
        encoded = list(
            zip(
                self.tokenizer.encode([s for s, _ in pairs]),
                self.tokenizer.encode_target([t for _, t in pairs]),
                strict=True,
            )
        )
        for place, (source, target) in enumerate(encoded):
            length = max(len(source), len(target)) + 1
            if length > self._longest:
                unit, whole = self._scored
                raise LineError(
                    f"{unit} {first + place} has {length:,} tokens; wanted at most "
                    f"{self._longest:,}, since {whole} is scored as a whole.",
                    place,
                )
        log_probs = self.forced(encoded, self.programs.forced)
        if np.isnan(log_probs).any():
            raise UserError(SAYS_NOTHING)
        return [
            (float(value), len(target) + 1)
            for value, (_, target) in zip(log_probs, encoded, strict=True)
        ]

    def forced(
        self,
        pairs: Sequence[tuple[list[int], list[int]]],
        score: Callable[[Params, Rows], Array],
    ) -> list[Any]:
        """What `score` finds for each pair of ids; EOS is added to both sides."""
        found: list[Any] = [None] * len(pairs)
        for width, numbers in _by_width([max(len(s), len(t)) + 1 for s, t in pairs]):
            enough = max(_FEWEST, 1 << (len(numbers) - 1).bit_length())
            size = min(self._batch_size(width, beams=1), enough)
            for part in _parts(numbers, size):
                chosen = [pairs[n] for n in part]
                filled = chosen + [([], [])] * (size - len(chosen))
                rows = rows_of_pairs(filled, self.tokenizer.bos, self.tokenizer.eos, width)
                scored = np.asarray(score(self.params, rows))
                for number, value in zip(part, scored, strict=False):
                    found[number] = value
        return found

    def _aligned(
        self,
        found: Sequence[tuple[int, list[Detailed]]],
        pieces: Sequence[list[int]],
        words: Sequence[list[list[int]]],
    ) -> list[tuple[int, list[Detailed]]]:
        """The hypotheses of some pieces with their links to the words of the lines."""
        outputs = [(number, each) for number, hypotheses in found for each in hypotheses]
        pairs = [(pieces[n], self.tokenizer.ids(each.tokens[:-1])) for n, each in outputs]
        weights = iter(self.forced(pairs, self.programs.alignment))

        def with_links(number: int, each: Detailed) -> Detailed:
            of_tokens = target_words(each.tokens[:-1], each.text, self.tokenizer)
            return each._replace(alignment=links(next(weights), of_tokens, words[number]))

        return [(n, [with_links(n, each) for each in hypotheses]) for n, hypotheses in found]

    def _forced_ids(
        self, prefixes: Sequence[str], pieces: Sequence[list[int]], parts: Sequence[range]
    ) -> dict[int, list[int]]:
        """The ids that the translations of some pieces begin with, by their numbers."""
        if len(prefixes) != len(parts):
            raise UserError(f"There are {len(prefixes)} prefixes; wanted {len(parts)}, one a line.")
        most = [self.limit(pieces[part[0]]) - 1 if part else 0 for part in parts]
        encoded = prefix_ids(prefixes, self.tokenizer, most, self._banned)
        return {part[0]: ids for part, ids in zip(parts, encoded, strict=True) if ids}

    def _pieces(self, line: str, ids: list[int]) -> list[list[int]]:
        """A line as training would have it: in one piece, or sentence by sentence."""
        if len(ids) < self.max_tokens:
            return [ids]
        prefix = self.tokenizer.prefix(ids)
        first, *others = filter(None, self.tokenizer.encode(sentences(line)))
        return [
            piece for each in (first, *([*prefix, *o] for o in others)) for piece in self._cut(each)
        ]

    def _cut(self, ids: list[int]) -> list[list[int]]:
        """Pieces of a sentence that leave room for EOS; each begins with the sentence's prefix."""
        prefix = self.tokenizer.prefix(ids)
        room = max(1, self.max_tokens - 1 - len(prefix))
        cut: list[list[int]] = []
        begin = len(prefix)
        while len(ids) - begin > room:
            end = begin + place_to_cut(self.tokenizer.pieces(ids[begin : begin + room + 1]))
            cut.append([*prefix, *ids[begin:end]])
            begin = end
        return [*cut, [*prefix, *ids[begin:]]]

    def _search(
        self,
        sentences: Sequence[list[int]],
        num_best: int,
        prefixes: Mapping[int, list[int]] | None = None,
        details: bool = False,
        least: Mapping[int, int] = MappingProxyType({}),
    ) -> Iterator[list[tuple[int, list[Detailed]]]]:
        """The number of each sentence and its best hypotheses, as searches end, long ones first.

        `prefixes` and `least` have what is asked of some of them alone, by their numbers.
        """
        extra = self.config.max_extra_tokens
        beams = self._beams(num_best)
        for width, waiting in _by_width([len(ids) + 1 for ids in sentences]):
            at_once = max(1, self._batch_size(width, beams) // num_searches())
            # Few outputs need more; they are searched anew, some at once.
            most = width + extra
            first = min(self._first_room(width), most)
            for room, size in (first, at_once), (most, -(-at_once // 4)):
                cut: list[int] = []
                shares = searches(waiting, size)
                largest = max(map(len, shares), default=1)
                needed = max(_FEWEST, 1 << (largest - 1).bit_length())
                find = partial(
                    self._found,
                    width=width,
                    at_once=min(size, needed),
                    room=room,
                    num_best=num_best,
                    details=details,
                )
                chosen = [
                    [
                        Sought(
                            sentences[n],
                            None if prefixes is None else prefixes.get(n, []),
                            least.get(n, self.wishes.min_length),
                        )
                        for n in share
                    ]
                    for share in shares
                ]
                for share, found in zip(shares, side_by_side(find, chosen), strict=True):
                    pairs = list(zip(share, found, strict=True))
                    cut += [number for number, hypotheses in pairs if hypotheses is None]
                    yield [(number, each) for number, each in pairs if each is not None]
                waiting = cut

    def _found(
        self,
        chosen: Sequence[Sought],
        width: int,
        at_once: int,
        room: int,
        num_best: int,
        details: bool,
    ) -> list[list[Detailed] | None]:
        """The best hypotheses of each sentence; none where the room was too small.

        Raises:
            UserError: the model's scores are not finite.
        """
        tokenizer = self.tokenizer
        src, segments = np.zeros((2, _ROUNDS * at_once, width), np.int32)
        limit = np.zeros(len(src), np.int32)
        for row, (ids, *_) in enumerate(chosen):
            src[row, : len(ids) + 1] = [*ids, tokenizer.eos]
            segments[row, : len(ids) + 1] = 1
            limit[row] = self.limit(ids)
        found = self.programs.search(
            self.params,
            self._weights,
            jnp.asarray(src),
            jnp.asarray(segments),
            jnp.asarray(limit),
            **self._controls(chosen, len(src)),
            beam_size=self._beams(num_best),
            alpha=self.config.length_penalty,
            form=self.config.length_penalty_form,
            at_once=at_once,
            room=room,
            num_best=self.wishes.sample or num_best,  # so that one program draws for any number
            bos=tokenizer.bos,
            eos=tokenizer.eos,
        )
        words, scores, cut = map(np.asarray, found)
        outputs = [
            (row, _until(words[row, place], tokenizer.eos), float(scores[row, place]))
            for row in np.flatnonzero(~cut[: len(chosen)]).tolist()
            for place in np.flatnonzero(scores[row] > -np.inf)[:num_best]
        ]
        texts = tokenizer.decode([ids for _, ids, _ in outputs])
        log_probs = [np.zeros(0)] * len(outputs)
        if details:
            pairs = [(chosen[row].ids, ids) for row, ids, _ in outputs]
            log_probs = self.forced(pairs, self.programs.forced_words)
        results = [None if is_cut else list[Detailed]() for is_cut in cut[: len(chosen)]]
        for (row, ids, score), text, by_word in zip(outputs, texts, log_probs, strict=True):
            tokens = (*tokenizer.pieces(ids), "</s>")
            values = tuple(by_word[: len(tokens)].tolist())
            ended = "limit" if len(ids) + 1 == limit[row] else "eos"
            results[row] = [
                *(results[row] or ()),
                Detailed(one_line(text), score, tokens, values, ended),
            ]
        if [] in results:
            raise UserError(SAYS_NOTHING)
        return results

    def _controls(self, chosen: Sequence[Sought], rows: int) -> dict[str, Any]:
        """What is asked of a search besides probable outputs: no argument if it is nothing."""
        sources = [each.ids for each in chosen]
        prefixes = [each.prefix for each in chosen if each.prefix is not None]
        least = [each.least for each in chosen if each.least is not None]
        if self.wishes.none and not prefixes:
            return {}
        from aiayn.decoding.controls import controls_of

        given = prefixes if prefixes else None
        banned = list(self._banned)
        return {"controls": controls_of(self.wishes, banned, sources, given, rows, least)}

    def _first_room(self, width: int) -> int:
        return first_room(width)

    def _beams(self, num_best: int) -> int:
        return self.wishes.sample or max(self.config.beam_size, num_best)

    def _batch_size(self, width: int, beams: int) -> int:
        slots = beams * (width + self.config.max_extra_tokens)
        return max(1, self.config.slots_per_batch // slots)


def least_shares(
    least: int, pieces: Sequence[list[int]], lines: Iterable[range]
) -> Mapping[int, int]:
    """The fewest tokens of each piece of some lines, of which each has as many in all."""
    found: dict[int, int] = {}
    for numbers in lines:
        total = sum(len(pieces[n]) for n in numbers)
        found |= {n: -(-least * len(pieces[n]) // total) for n in numbers}
    return found


def _by_width(lengths: Sequence[int]) -> Iterator[tuple[int, list[int]]]:
    """The numbers of those that are padded to the same width, longest first."""
    found: dict[int, list[int]] = defaultdict(list)
    for number in sorted(range(len(lengths)), key=lambda n: -lengths[n]):
        found[padded_width(lengths[number])].append(number)
    yield from found.items()


def _parts(numbers: Sequence[int], size: int) -> Iterator[Sequence[int]]:
    for start in range(0, len(numbers), size):
        yield numbers[start : start + size]


def padded_width(length: int) -> int:
    """Slots of a row for a sentence of that length: few widths, each compiled once."""
    width = _NARROWEST
    while width < length:
        width *= 2
    return width


def num_searches() -> int:
    """The number of searches that run side by side. On CPU a second one uses the quarter of two
    processors' time in which the small operations of the first wait for each other."""
    return 2 if jax.default_backend() == "cpu" else 1


def searches(numbers: Sequence[int], at_once: int) -> list[Sequence[int]]:
    """The numbers dealt out to searches that take `at_once` sentences at a time.

    Where the numbers go from long to short sentences, all searches take equally long.
    """
    if len(numbers) <= min(_FEWEST, at_once):
        return [numbers] if numbers else []
    count = num_searches() * -(-len(numbers) // (num_searches() * _ROUNDS * at_once))
    return [numbers[first::count] for first in range(count)]


def side_by_side(
    search_one: Callable[[_Share], _Found], shares: Sequence[_Share]
) -> Generator[_Found, None, None]:
    """The result of a search for each share, in the order of the shares.

    With two searches side by side, search n starts after the caller has taken result n−2: a caller
    that stops early waits only for the searches in flight. The threads do not inherit JAX contexts
    that the caller has entered.
    """
    if num_searches() == 1:
        yield from map(search_one, shares)
        return
    with ThreadPoolExecutor(num_searches()) as pool:
        under_way: deque[Future[_Found]] = deque()
        for share in shares:
            if len(under_way) == num_searches():
                yield under_way.popleft().result()
            under_way.append(pool.submit(search_one, share))
        while under_way:
            yield under_way.popleft().result()


def first_room(width: int) -> int:
    """The first room, in words, of a search with sources of this width.

    A step reads all of the room, written or not, and few outputs are longer than this.
    """
    return width + width // 2


def _until(words: np.ndarray, eos: int) -> list[int]:
    ids = [int(w) for w in words]
    return ids[: ids.index(eos)] if eos in ids else ids
