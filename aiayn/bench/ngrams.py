"""A language model beside one that counts: 5-grams after Kneser and Ney, on the same pieces.

The modified form of Chen and Goodman (1999), interpolated. From the count of an n-gram is taken a
discount, which depends on whether the count is 1, 2 or more; what is taken goes to the shorter
n-grams, and in the end to all words alike. The longest n-grams are counted as often as they come,
shorter ones once for each word that they come after; those that begin a text come after none, and
are counted as often as they come.

Both models predict the same pieces of the same texts: every piece after BOS but not EOS, which both
have learned to expect. This one always knows the four pieces before; the other one a window.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.decoding.writer import Writer
from aiayn.evaluation.perplexity import text_losses
from aiayn.evaluation.record import scored_sets
from aiayn.model.saved import model_of
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.tasks import task_of
from aiayn.training.run_folder import data_of_run, read_run

ORDER = 5
_DEFINITIONS = {
    "order": "tokens of the longest n-grams; modified Kneser-Ney, interpolated, its three "
    "discounts for each length by the formulas of Chen and Goodman",
    "train_tokens": "of train, EOS included, which both models have learned from",
    "tokens": "that are predicted, the same ones by both: tok:own|bos:yes|eos:no",
    "ngrams": "the negative log-probability of all of them in nats, of the n-grams",
    "ours": "the same of the run's averaged model, as `aiayn evaluate` computes it",
}


@dataclass(frozen=True)
class _Length:
    """All n-grams of one length. Each is a context, by its number among those one shorter, and a
    word."""

    keys_G: Int[np.ndarray, " grams"]
    """The context times the number of words, plus the word; rising."""
    counts_G: Int[np.ndarray, " grams"]
    discounts: Float[np.ndarray, " 4"]
    """Of counts of 0, 1, 2 and more."""
    totals_C: Float[np.ndarray, " contexts"]
    """The sum of the counts after each context."""
    taken_C: Float[np.ndarray, " contexts"]
    """The sum of the discounts after each context."""


class NGrams:
    """An interpolated Kneser-Ney model of texts, which are lists of ids, BOS first."""

    def __init__(self, texts: Sequence[Sequence[int]], num_words: int, order: int = ORDER):
        self.num_words = num_words
        words_N, place_N = _joined(texts)
        gram_N = words_N  # the n-gram that ends at each word
        keys, plain = [np.arange(num_words)], [np.bincount(words_N[place_N > 0], None, num_words)]
        after: list[Int[np.ndarray, " grams"]] = []
        for length in range(2, order + 1):
            ends = np.flatnonzero(place_N >= length - 1)
            keys_of_ends = gram_N[ends - 1] * num_words + words_N[ends]
            found_G, first_G, number, times_G = np.unique(keys_of_ends, True, True, True)
            after.append(np.bincount(gram_N[ends][first_G], minlength=len(keys[-1])))
            keys.append(found_G)
            plain.append(times_G)
            gram_N = np.full(len(words_N), -1)
            gram_N[ends] = number
        counts = [np.where(a > 0, a, p) for a, p in zip(after, plain, strict=False)] + plain[-1:]
        contexts = [1, *map(len, keys[:-1])]
        made = zip(keys, counts, contexts, strict=True)
        self._lengths = [_of_length(k, c, number, num_words) for k, c, number in made]

    def log_probs(self, texts: Sequence[Sequence[int]]) -> Float[np.ndarray, " predicted"]:
        """The log-probability in nats of each id but the first of each text, text after text."""
        words_N, place_N = _joined(texts)
        probs_N = np.full(len(words_N), 1 / self.num_words)
        context_N = np.zeros(len(words_N), np.int64)  # the empty one
        for each in self._lengths:
            if not len(each.keys_G):  # no text is so long
                break
            keys_N = context_N * self.num_words + words_N
            at_N = np.minimum(np.searchsorted(each.keys_G, keys_N), len(each.keys_G) - 1)
            is_seen_N = (context_N >= 0) & (each.keys_G[at_N] == keys_N)
            counts_N = np.where(is_seen_N, each.counts_G[at_N], 0)
            kept_N = counts_N - each.discounts[np.minimum(counts_N, 3)]
            totals_N = np.where(context_N >= 0, each.totals_C[context_N], 0.0)
            shared_N = kept_N + each.taken_C[context_N] * probs_N
            np.divide(shared_N, totals_N, out=probs_N, where=totals_N > 0)
            context_N = np.where(place_N > 0, np.roll(np.where(is_seen_N, at_N, -1), 1), -1)
        return np.log(probs_N[place_N > 0])


def _joined(
    texts: Sequence[Sequence[int]],
) -> tuple[Int[np.ndarray, " words"], Int[np.ndarray, " words"]]:
    """The words of all texts one after another, and the place of each in its own."""
    words_N = np.array([word for text in texts for word in text], np.int64)
    place_N = np.array([place for text in texts for place in range(len(text))], np.int64)
    return words_N, place_N


def _of_length(
    keys_G: Int[np.ndarray, " grams"],
    counts_G: Int[np.ndarray, " grams"],
    num_contexts: int,
    num_words: int,
) -> _Length:
    discounts = _discounts(counts_G)
    context_G, taken_G = keys_G // num_words, discounts[np.minimum(counts_G, 3)]
    totals_C = np.bincount(context_G, counts_G, num_contexts)
    taken_C = np.bincount(context_G, taken_G, num_contexts)
    return _Length(keys_G, counts_G, discounts, totals_C, taken_C)


def _discounts(counts_G: Int[np.ndarray, " grams"]) -> Float[np.ndarray, " 4"]:
    """D_k = k − (k+1) Y n_(k+1) / n_k for counts k of 1, 2 and more, where Y = n_1 / (n_1 + 2 n_2)
    and n_k n-grams have the count k; for counts too few for that, the half of k."""
    n = [int((counts_G == k).sum()) for k in range(5)]
    if all(n[1:4]):
        y = n[1] / (n[1] + 2 * n[2])
        found = [k - (k + 1) * y * n[k + 1] / n[k] for k in (1, 2, 3)]
        if min(found) > 0:
            return np.array([0.0, *found])
    return np.array([0.0, 0.5, 1.0, 1.5])


def bench_ngrams(run_dir: Path, folder: Path, console: Console) -> dict[str, Any]:
    """Score the test sets of a run with n-grams of its train and with its own model; the record,
    also in `folder/ngrams-EXPERIMENT.json`.

    Raises:
        UserError: it is no run of a language model with an averaged model, or its data is gone.
    """
    experiment, _ = read_run(run_dir)
    writer = Writer(model_of(run_dir))
    open_source = task_of(experiment).open_source
    prepared = data_of_run(experiment, run_dir, None, console, open_source)
    tokenizer = prepared.tokenizer
    bos, eos = tokenizer.bos, tokenizer.eos
    with console.status("Counting n-grams of train"):
        texts = tokenizer.encode(prepared.lines("train", "tgt"))
        ngrams = NGrams([[bos, *ids, eos] for ids in texts], tokenizer.num_words)
    rows: dict[str, dict[str, float]] = {}
    for name, split in scored_sets(experiment, prepared).items():
        documents = prepared.lines(split, "tgt")
        with console.status(f"Scoring {name}"):
            found = ngrams.log_probs([[bos, *ids] for ids in tokenizer.encode(documents)])
            losses = text_losses(writer, documents)
        assert len(found) == sum(loss.tokens for loss in losses), "both predict the same"
        nats = {"ngrams": -float(found.sum()), "ours": sum(loss.nats for loss in losses)}
        rows[name] = {"tokens": len(found), **nats}
    record = {
        "bench": "ngrams",
        "experiment": experiment.name,
        **environment(),
        "definitions": _DEFINITIONS,
        "order": ORDER,
        "updates": experiment.train.num_steps,
        "train_tokens": sum(map(len, texts)) + len(texts),
        "texts": rows,
    }
    records.write(folder / f"ngrams-{experiment.name}.json", record)
    return record


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then a row for each text."""
    rows = [["", "tokens", f"perplexity of {record['order']}-grams", "ours", "lower by"]]
    for name, found in record["texts"].items():
        if tokens := found["tokens"]:
            theirs, ours = (math.exp(found[by] / tokens) for by in ("ngrams", "ours"))
            shown = f"{theirs:.2f}", f"{ours:.2f}", f"{1 - ours / theirs:.1%}"
            rows.append([name, f"{tokens:,}", *shown])
    return rows


def beside(record: Mapping[str, Any]) -> list[list[str]]:
    """Of each text what is measured, ours and that of the n-grams."""
    by, others = "perplexity per token", f"{record['order']}-grams"
    _, *rows = figures(record)
    return [[text, by, ours, f"{others} {theirs}"] for text, _, theirs, ours, _ in rows]


def title(record: Mapping[str, Any]) -> str:
    return (
        f"{record['experiment']} of {record['updates']:,} updates beside {record['order']}-grams "
        f"of the same {record['train_tokens']:,} tokens"
    )


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(title(record), figures(record))
