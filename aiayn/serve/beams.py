"""The search for a translation as a tree: every continuation that competed in each step (§6.1)."""

import math
from collections.abc import Iterator, Sequence
from typing import Literal

import msgspec
import numpy as np

from aiayn.data.tokenizer import Tokenizer
from aiayn.decoding.outputs import SAYS_NOTHING, one_line
from aiayn.decoding.search import PenaltyForm
from aiayn.decoding.trace import Trace, trace_of
from aiayn.errors import UserError
from aiayn.serve.inspection import Token, as_tokens, checked_ids
from aiayn.serve.models import Served


class Candidate(msgspec.Struct, frozen=True):
    """A continuation that competed in one step of the search."""

    piece: str
    id: int
    parent: int | None
    """Which candidate of the step before it continues; None in the first step."""
    probability: float
    """Of this word, given all before."""
    log_prob: float
    """Of the whole hypothesis, in nats."""
    fate: Literal["lives", "ends", "dropped"]
    """The best live on; those that end among the best are outputs; the search drops the rest."""
    score: float | None
    """Of an output: its log-probability over the length penalty."""


class Output(msgspec.Struct, frozen=True):
    """An output of the search, with what its score is made of."""

    text: str
    score: float
    log_prob: float
    length: int
    """Tokens, EOS included."""
    penalty: float
    path: list[int]
    """Its candidate in each step."""


class Beam(msgspec.Struct, frozen=True):
    """A search step by step, and its best outputs, as `aiayn translate --num-best` gives them."""

    source: str
    prefix: list[Token]
    """What the output was made to begin with."""
    beam_size: int
    alpha: float
    form: PenaltyForm
    steps: list[list[Candidate]]
    best: list[Output]


def beam(served: Served, source: str, prefix: Sequence[int] = ()) -> Beam:
    """The search for as many best translations as the beam is wide, of which each begins with the
    ids `prefix`.

    Raises:
        UserError: this is no translator; the text is empty or too long; no translation can begin
            so.
    """
    if served.kind != "translation":
        raise UserError(
            f"{served.name} is a language model, which searches for nothing; wanted one that "
            "translates."
        )
    config, tokenizer = served.translator.config, served.tokenizer
    ids, forced = checked_ids(served, source), list(prefix)
    _check_prefix(tokenizer, forced, most=len(ids) + config.max_extra_tokens)
    trace = trace_of(served.translator, ids, forced, num_best=config.beam_size)
    steps = _steps(trace, tokenizer, config.beam_size)
    best = list(_outputs(trace, steps, tokenizer))
    if not best:
        raise UserError(SAYS_NOTHING)
    return Beam(
        source=source,
        prefix=as_tokens(tokenizer, forced),
        beam_size=config.beam_size,
        alpha=config.length_penalty,
        form=config.length_penalty_form,
        steps=steps,
        best=best,
    )


def warm_up(served: Served, width: int) -> None:
    """Compile what texts in rows of this width need."""
    if served.kind == "translation":
        ids = [served.tokenizer.unknown] * (width - 1)
        trace_of(served.translator, ids, [], num_best=served.translator.config.beam_size)


def _check_prefix(tokenizer: Tokenizer, prefix: Sequence[int], most: int) -> None:
    special = {tokenizer.pad, tokenizer.bos, tokenizer.eos, tokenizer.unknown}
    for number in prefix:
        if not 0 <= number < tokenizer.num_words or number in special:
            raise UserError(
                f"prefix has the id {number}; wanted those of pieces of text, below "
                f"{tokenizer.num_words:,}."
            )
    if len(prefix) > most:
        raise UserError(f"prefix has {len(prefix)} ids; wanted at most {most}.")


def _steps(trace: Trace, tokenizer: Tokenizer, beam_size: int) -> list[list[Candidate]]:
    """The candidates of each step."""
    found: list[list[Candidate]] = []
    before: list[int] = []  # which candidate of the last step each place of the beam has
    for step in range(int(trace.num_steps)):
        log_probs, words, parents, next_W = (np.asarray(part[step]) for part in trace.steps)
        candidates: list[Candidate] = []
        for place in np.flatnonzero(log_probs > -np.inf).tolist():
            parent = before[parents[place]] if step else None
            so_far = 0.0 if parent is None else found[-1][parent].log_prob
            ends = bool(words[place] == tokenizer.eos)
            is_output, lives = ends and place < beam_size, not ends and place in next_W
            candidates.append(
                Candidate(
                    piece=tokenizer.pieces([int(words[place])])[0],
                    id=int(words[place]),
                    parent=parent,
                    probability=min(1.0, math.exp(float(log_probs[place]) - so_far)),
                    log_prob=float(log_probs[place]),
                    fate="ends" if is_output else "lives" if lives else "dropped",
                    score=float(log_probs[place] / trace.penalty_R[step]) if is_output else None,
                )
            )
        found.append(candidates)
        before = next_W.tolist()
    return found


def _outputs(
    trace: Trace, steps: Sequence[Sequence[Candidate]], tokenizer: Tokenizer
) -> Iterator[Output]:
    """The best outputs, with their paths through the candidates."""
    paths: dict[tuple[int, ...], list[int]] = {}
    for number, candidates in enumerate(steps):
        for place, candidate in enumerate(candidates):
            if candidate.fate == "ends":
                path = path_to(steps, number, place)
                paths[tuple(steps[n][p].id for n, p in enumerate(path))] = path
    for words, score in zip(trace.found.words_AWT[0], trace.found.scores_AW[0], strict=True):
        if score == -np.inf:
            continue
        ids = words[: words.tolist().index(tokenizer.eos)].tolist()
        path = paths[*ids, tokenizer.eos]
        yield Output(
            text=one_line(tokenizer.decode([ids])[0]),
            score=float(score),
            log_prob=steps[len(ids)][path[-1]].log_prob,
            length=len(path),
            penalty=float(trace.penalty_R[len(ids)]),
            path=path,
        )


def path_to(steps: Sequence[Sequence[Candidate]], number: int, place: int) -> list[int]:
    """The candidate of each step on the way to one of step `number`."""
    path, at = list[int](), place
    for step in reversed(range(number + 1)):
        path.insert(0, at)
        parent = steps[step][at].parent
        at = 0 if parent is None else parent
    return path
