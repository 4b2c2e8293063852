"""A language model ready to write: text in, and how it goes on."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from aiayn.data.rows import make_rows
from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.controls import NOTHING, Controls, controls_of
from aiayn.decoding.outputs import SAYS_NOTHING, Ended
from aiayn.decoding.programs import Programs
from aiayn.decoding.spellings import banned_sequences
from aiayn.decoding.translator import padded_width
from aiayn.decoding.turns import Look, Sizes, Turns
from aiayn.decoding.unfolding import Unfolding
from aiayn.decoding.wishes import OF_SAMPLES, Wishes, check_number
from aiayn.errors import LineError, UserError
from aiayn.model.saved import Model, check_kind
from aiayn.model.structure import Params, unflatten

_GROUP = 8
"""Prompts that are read together, if as many wait."""
_STEPS, _STEPS_SHOWN = 32, 4
"""Of a turn; fewer where somebody watches."""
_MOST_SLOTS = 64


@dataclass(frozen=True)
class Writing:
    """What is wanted of every text.

    Raises:
        UserError: a value is out of its range, or does not go with another.
    """

    max_tokens: int | None = None
    """The most tokens that are written; as many as the context holds unless given."""
    stop: tuple[str, ...] = ()
    """Text ends before the first of these strings."""
    wishes: Wishes = Wishes(sample=1)  # noqa: RUF009, it is frozen
    """What else is asked; temperature 0 writes the most probable words, once."""

    def __post_init__(self):
        check_number("max_tokens", self.max_tokens, whole=True)
        if self.max_tokens is not None and self.max_tokens < 1:
            raise UserError(f"max_tokens is {self.max_tokens}; wanted 1 or more.")
        if "" in self.stop:
            raise UserError("stop has an empty string; wanted some characters.")
        if self.is_greedy and (self.wishes.sample or 1) > 1:
            raise UserError(
                f"temperature is 0 and {self.wishes.sample} samples are asked for; wanted one, "
                "since all would be the same."
            )

    @property
    def is_greedy(self) -> bool:
        """Whether the most probable word is taken, so that nothing is drawn."""
        return self.wishes.sample is None or self.wishes.temperature == 0

    @property
    def num_texts(self) -> int:
        """Texts for each prompt."""
        return 1 if self.is_greedy else (self.wishes.sample or 1)


class Written(NamedTuple):
    """How a prompt goes on."""

    text: str
    """Without the prompt."""
    tokens: tuple[str, ...]
    """Its pieces; `</s>` at the end where the model ended it. Up to the one that a stop string ends
    in, which the text has no more."""
    log_probs: tuple[float, ...]
    """The log-probability of each token in nats, given the prompt and those before."""
    ended: Ended
    """Why it ended: the model chose to (`eos`), a stop string came (`stop`), or it was as long as
    allowed (`limit`)."""


class Writer:
    """A language model with its tokenizer, its programs and its weights as a step needs them."""

    def __init__(self, model: Model, params: Params | None = None):
        """`params`, where given, replace the model's own.

        Raises:
            UserError: it is no language model.
        """
        check_kind(model, "decoder")
        self.tokenizer: Tokenizer = model.tokenizer
        self.context = model.experiment.data.max_tokens
        """Tokens of the longest text of training, BOS or EOS included."""
        self.num_given = 0 if model.tokenizer.has_bos else 1
        """Tokens that a text must begin with, since nothing predicts them: none after BOS."""
        self.language = model.experiment.data.tgt
        self.slots_per_batch = model.experiment.decode.slots_per_batch
        self.params = jax.device_put(unflatten(model.params)) if params is None else params
        self.programs = Programs(model.experiment.model, model.tokenizer.num_words, keep=False)
        self.weights = self.programs.lay_out(self.params)

    def write(
        self,
        prompts: Sequence[str],
        asked: Writing,
        on_text: Callable[[int, str], None] | None = None,
        details: bool = False,
        first: int = 1,
    ) -> Iterator[list[Written]]:
        """The texts that follow each prompt, in the order of the prompts; the most probable first,
        by all that was drawn, the end included.

        Each is yielded as soon as it and those before it are done. `on_text` is given the number of
        a prompt and a part of its text as soon as that is certain; the parts of one joined are its
        text, of which there may be but one for each prompt. `details` gives tokens and their
        log-probabilities.

        Raises:
            LineError: a prompt leaves no room for a word; at once. They are numbered from `first`.
        """
        encoded = self.tokenizer.encode(prompts)
        is_one = first == len(prompts) == 1
        for place, ids in enumerate(encoded):
            self._check(ids, "The prompt" if is_one else f"Prompt {first + place}", place)
        if on_text is not None and asked.num_texts > 1:
            raise ValueError("Several texts cannot be told as they grow.")
        waiting = self._written(encoded, asked, on_text, details) if encoded else iter(())
        return _in_order(len(encoded), waiting)

    def _check(self, ids: Sequence[int], name: str, place: int) -> None:
        if len(ids) < self.num_given:
            raise LineError(
                f"{name} is empty; wanted a word, since this model has no piece that begins a "
                "text.",
                place,
            )
        most = self.context - 2 + self.num_given
        if len(ids) > most:
            raise LineError(
                f"{name} has {len(ids):,} tokens; wanted at most {most:,}, since the "
                f"model's context is {self.context:,} with its beginning and one word more.",
                place,
            )

    def _written(
        self,
        prompts: Sequence[list[int]],
        asked: Writing,
        on_text: Callable[[int, str], None] | None,
        details: bool,
    ) -> Iterator[tuple[int, list[Written]]]:
        """The number of each prompt and its texts, as they are done."""
        most = [self._most(ids, asked) for ids in prompts]
        slots = Slots(self, prompts, most, asked)
        told = {}
        if on_text is not None:
            told = {
                number: Unfolding(self.tokenizer, ids, asked.stop)
                for number, ids in enumerate(prompts)
            }
        while slots.busy:
            for number, outputs, is_done in slots.turn(_STEPS_SHOWN if told else _STEPS):
                if number in told and on_text is not None and outputs:
                    new = told[number].tell(outputs[0].ids, is_done)
                    if new:
                        on_text(number, new)
                if is_done:
                    yield number, self._told(prompts[number], outputs, asked, details)

    def _most(self, ids: Sequence[int], asked: Writing) -> int:
        """The most tokens that may follow a prompt."""
        most = self.context - 1 - (len(ids) - self.num_given)
        return most if asked.max_tokens is None else min(most, asked.max_tokens)

    def _told(
        self, prompt: list[int], outputs: Sequence["_Output"], asked: Writing, details: bool
    ) -> list[Written]:
        """The texts of the outputs of one prompt."""
        unfolding = Unfolding(self.tokenizer, prompt, asked.stop)
        found: list[Written] = []
        for output in outputs:
            text, count = unfolding.text(output.ids)
            ended: Ended = (output.ended or "limit") if count is None else "stop"
            ids = list(output.ids if count is None else output.ids[:count])
            ids += [self.tokenizer.eos] if ended == "eos" else []
            tokens, log_probs = (), ()
            if details:
                tokens = tuple(self.tokenizer.pieces(ids))
                log_probs = tuple(self.log_probs([[*prompt, *ids]])[0][len(prompt) :].tolist())
            found.append(Written(text, tokens, log_probs, ended))
        return found

    def score(self, texts: Sequence[str], first: int = 1) -> list[tuple[float, int]]:
        """Log-probability in nats of each text from its beginning, EOS included, and its tokens;
        what a tokenizer has no BOS or EOS for counts in neither.

        Raises:
            LineError: a text is longer than the context; they are numbered from `first`.
        """
        end = [self.tokenizer.eos] if self.tokenizer.has_eos else []
        encoded = [[*ids, *end] for ids in self.tokenizer.encode(texts)]
        for place, ids in enumerate(encoded):
            if len(ids) > self.context:
                raise LineError(
                    f"Line {first + place} has {len(ids):,} tokens; wanted at most "
                    f"{self.context:,}, the model's context. `aiayn evaluate MODEL --text FILE` "
                    "scores longer text.",
                    place,
                )
        found = [each[self.num_given :] for each in self.log_probs(encoded)]
        return [(float(each.sum()), len(each)) for each in found]

    def log_probs(self, texts: Sequence[Sequence[int]]) -> list[np.ndarray]:
        """The log-probability in nats of each id of each text, at most `context` of them, given BOS
        and those before; NaN where nothing comes before.

        Raises:
            UserError: another is none, since the model's scores are not finite.
        """
        found: list[np.ndarray] = [np.zeros(0)] * len(texts)
        given, order = self.num_given, sorted(range(len(texts)), key=lambda n: -len(texts[n]))
        while order:
            width = padded_width(max(len(texts[order[0]]), 1))
            size = max(1, self.slots_per_batch // width)
            part, order = order[:size], order[size:]
            rows = 1 << (min(size, len(part)) - 1).bit_length()  # few sizes, few programs
            ids, segments = np.zeros((2, rows, width), np.int32)
            first_R1 = np.full((rows, 1), self.tokenizer.bos)
            for row, number in enumerate(part):
                text = texts[number][given:]
                ids[row, : len(text)], segments[row, : len(text)] = text, 1
                first_R1[row] = self.first(texts[number])
            none = np.zeros((rows, 0), np.int32)
            made = make_rows(none, none, ids, segments, first_R1)
            values = np.asarray(self.programs.forced_words(self.params, made))
            if np.isnan(values[segments > 0]).any():
                raise UserError(SAYS_NOTHING)
            for row, number in enumerate(part):
                length = len(texts[number])
                found[number] = np.concatenate([np.full(given, np.nan), values[row]])[:length]
        return found

    def first(self, ids: Sequence[int]) -> int:
        """What is read before the first word that is predicted of a text."""
        return ids[0] if self.num_given and ids else self.tokenizer.bos


def _in_order(count: int, waiting: Iterator[tuple[int, list[Written]]]) -> Iterator[list[Written]]:
    """What comes for each number below `count`, in their order."""
    found: dict[int, list[Written]] = {}
    for number in range(count):
        while number not in found:
            found.update([next(waiting)])
        yield found.pop(number)


class _Output(NamedTuple):
    """The tokens after a prompt up to now, and why there are no more, if so."""

    ids: tuple[int, ...]
    ended: Ended | None
    log_prob: float
    """In nats, of all that was drawn."""


class Slots:
    """The prompts of one call on their way through the slots of a search."""

    def __init__(
        self, writer: Writer, prompts: Sequence[list[int]], most: Sequence[int], asked: Writing
    ):
        self._writer, self._prompts, self._most, self._asked = writer, prompts, most, asked
        self._said = [ids[writer.num_given :] for ids in prompts]
        """What the model reads as if it had said it."""
        tokenizer, beam_size = writer.tokenizer, asked.num_texts
        width = padded_width(max(map(len, self._said)))
        room = padded_width(max(len(ids) + n + 1 for ids, n in zip(self._said, most, strict=True)))
        room = max(room, width)
        slots = max(1, min(_MOST_SLOTS, writer.slots_per_batch // (beam_size * room)))
        slots = min(slots, 1 << (len(prompts) - 1).bit_length())
        self._sizes = Sizes(slots, width, room, beam_size, tokenizer.bos, tokenizer.eos)
        self._banned = list(banned_sequences(asked.wishes.ban, tokenizer, writer.language))
        self._waiting = deque(range(len(prompts)))
        self._inside: dict[int, int] = {}
        """The number of the prompt in each slot that is taken."""
        graphdef, params, weights = writer.programs.graphdef, writer.params, writer.weights
        self._turns = Turns(graphdef, params, weights, self._sizes, self._controls([]))

    @property
    def busy(self) -> bool:
        """Whether a prompt is not done."""
        return bool(self._waiting or self._inside)

    def turn(self, steps: int = _STEPS) -> list[tuple[int, list[_Output], bool]]:
        """Take some steps; the outputs of each prompt up to now, and whether they are done."""
        self._begin()
        self._turns.advance(steps)
        look, found = self._turns.look(), list[tuple[int, list[_Output], bool]]()
        stopped: list[int] = []
        for place, number in list(self._inside.items()):
            outputs = self._outputs(look, place, number)
            is_done = bool(look.finished_B[place])
            if not is_done and all(map(partial(self._is_over, number), outputs)):
                is_done = True
                stopped.append(place)
            if is_done:
                if not outputs:
                    raise UserError(SAYS_NOTHING)
                del self._inside[place]
            found.append((number, outputs, is_done))
        if stopped:
            self._turns.end(np.array(stopped))
        return found

    def _begin(self) -> None:
        """Let prompts that wait into free slots."""
        sizes = self._sizes
        free = [place for place in range(sizes.slots) if place not in self._inside]
        while free and self._waiting:
            count = min(len(free), len(self._waiting))
            group = min(_GROUP, sizes.slots) if count > 1 else 1
            taken = [(free.pop(0), self._waiting.popleft()) for _ in range(min(group, count))]
            places, (limits, firsts) = np.full(group, sizes.slots), np.zeros((2, group), np.int32)
            ids, segments = np.zeros((2, group, sizes.width), np.int32)
            for row, (place, number) in enumerate(taken):
                said = self._said[number]
                ids[row, : len(said)], segments[row, : len(said)] = said, 1
                firsts[row] = self._writer.first(self._prompts[number])
                # At its limit an output can only end, which is one token more.
                places[row], limits[row] = place, len(said) + self._most[number] + 1
                self._inside[place] = number
            controls = self._controls([self._prompts[number] for _, number in taken], group)
            self._turns.begin(places, ids, segments, limits, controls, firsts)

    def _controls(self, prompts: Sequence[list[int]], rows: int = 1) -> Controls:
        wishes = self._asked.wishes
        if self._asked.is_greedy:
            wishes = replace(wishes, **dict.fromkeys(OF_SAMPLES))
        if wishes.none:
            return NOTHING
        context = self._writer.context
        if not self._writer.tokenizer.has_eos:  # nor is it drawn by chance
            wishes = replace(wishes, min_length=context)
        elif wishes.min_length is not None:  # to which the length of the prompt is added below
            wishes = replace(wishes, min_length=min(wishes.min_length, context))
        controls = controls_of(wishes, self._banned, prompts, None, rows)
        if controls.min_length_B is not None:  # which counts what was there
            given = self._writer.num_given
            lengths = [len(ids) - given for ids in prompts] + [0] * (rows - len(prompts))
            longer_B = controls.min_length_B + jnp.array(lengths, jnp.int32)
            controls = controls._replace(min_length_B=longer_B)
        return controls

    def _outputs(self, look: Look, place: int, number: int) -> list[_Output]:
        """Those that have ended and those that grow, the most probable first."""
        before, most, age = len(self._said[number]), self._most[number], look.age_B[place]
        found: list[_Output] = []
        for words, score in zip(*(each[place] for each in look.ended[:2]), strict=True):
            if score > -np.inf:
                ids = words[before : before + most + 1].tolist()
                ids = ids[: ids.index(self._sizes.eos)]
                is_cut = len(ids) == most or not self._writer.tokenizer.has_eos
                found.append(_Output(tuple(ids), "limit" if is_cut else "eos", float(score)))
        if not look.finished_B[place]:
            for words, score in zip(*(each[place] for each in look.living[:2]), strict=True):
                if score > -np.inf:
                    ids = tuple(words[before:age].tolist())
                    found.append(_Output(ids, None, float(score)))
        return sorted(found, key=lambda output: -output.log_prob)

    def _is_over(self, number: int, output: _Output) -> bool:
        """Whether an output has ended, or has a stop string."""
        if output.ended:
            return True
        if not self._asked.stop:
            return False
        unfolding = Unfolding(self._writer.tokenizer, self._prompts[number], self._asked.stop)
        return unfolding.text(output.ids)[1] is not None
