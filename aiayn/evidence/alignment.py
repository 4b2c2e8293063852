"""Which heads find the words that belong together, where it is known: in slots of the phrasebook.

python -m aiayn.evidence.alignment RUN [--record FILE]

prints the share of slot words linked right, by layer and head; a FILE in the folder
experiments/results/alignment is a part of `make results`.

A template has the same slots in every language (dates, names, prices), so a word in a slot of the
translation comes from a word in the same slot of the source. The model is forced to say the
reference; a link is right if it leads to a word of the slot. Every head is judged, and the mean of
all heads of each layer; once with the weights from which a word is predicted, once with those of
the step after, which has read it. The first row is what `aiayn translate --align` goes by.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import jax
import msgspec
import numpy as np
from flax import nnx
from jaxtyping import Array, Float

from aiayn.data.corpus import open_pairs
from aiayn.data.languages import parse
from aiayn.data.rows import Rows
from aiayn.data.sources.formats import Pair, Skipped
from aiayn.data.sources.phrasebook import CONTRACTIONS, Template, load_templates
from aiayn.decoding.alignment import layers_of, links, source_words, target_words, word_numbers
from aiayn.decoding.heads import all_weights
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.evidence.records import HeadLinks, Links
from aiayn.model.saved import Model, model_of
from aiayn.model.structure import Params, params_sha256
from aiayn.model.transformer import Transformer
from aiayn.render.markdown import markdown_table
from aiayn.system import records
from aiayn.system.environment import configure_jax, environment
from aiayn.system.files import place


class Gold(NamedTuple):
    """A sentence pair, and the slot that each of its words is in: 0, 1, ... by its name."""

    source: str
    target: str
    source_slots: Mapping[int, int]
    target_slots: Mapping[int, int]


def gold(pairs: Sequence[Pair], src: str, tgt: str) -> list[Gold]:
    """The pairs whose template is known, with their slots; of several templates that might say
    both sides it is the longest.
    """
    templates = sorted(load_templates(), key=lambda template: -len(template.english))
    patterns = [(t, pattern(t, src), pattern(t, tgt)) for t in templates]
    found: list[Gold] = []
    for source, target in pairs:
        for template, of_source, of_target in patterns:
            if (left := of_source.fullmatch(source)) and (right := of_target.fullmatch(target)):
                words = slots(template, src, left), slots(template, tgt, right)
                found.append(Gold(source, target, *words))
                break
    return found


def slots(template: Template, language: str, match: re.Match[str]) -> dict[int, int]:
    """The slot of each word that is in one, by the order of the slots' names.

    A word is in a slot by most of its characters: not by an article that was contracted with the
    word before it, nor by the full stop behind it.
    """
    sentence = match.string
    order = sorted(name for _, _, name, _ in template.lines[language][0])
    slot_of: dict[int, int] = {}
    for group, (_, _, name, _) in enumerate(template.lines[language][0], 1):
        slot_of |= dict.fromkeys(range(*match.span(group)), order.index(name))
    places = [place for place, character in enumerate(sentence) if not character.isspace()]
    votes: dict[int, list[int | None]] = {}
    for number, at in zip(word_numbers(sentence), places, strict=True):
        if sentence[at] not in ".,?!":
            votes.setdefault(number, []).append(slot_of.get(at))
    found = {number: max(set(of), key=of.count) for number, of in votes.items()}
    return {number: slot for number, slot in found.items() if slot is not None}


def pattern(template: Template, language: str) -> re.Pattern[str]:
    """What a template says in a language, with a group for each slot."""
    pieces, tail = template.lines[language]
    spelled = ""
    for text, word, _, _ in pieces:
        contracted = [
            f"{short} "
            for long, short in CONTRACTIONS[language].items()
            if word and long.startswith(word.lower())
        ]
        elided = [f"{word[:-2]}'"] if language == "fr" and word else []
        words = "|".join(map(re.escape, (word, *contracted, *elided)))
        spelled += f"{re.escape(text)}(?:{words})(.+?)"
    return re.compile(spelled + re.escape(tail), re.IGNORECASE)


@partial(jax.jit, static_argnums=0)
def _cross(
    graphdef: nnx.GraphDef[Transformer], params: Params, rows: Rows
) -> Float[Array, "batch layers heads target source"]:
    return all_weights(graphdef, params, rows).cross.swapaxes(0, 1)


def head_links(translator: Translator, known: Sequence[Gold]) -> list[HeadLinks]:
    """How many of the words in slots each head links right."""
    tokenizer, programs = translator.tokenizer, translator.programs
    sources = tokenizer.encode([each.source for each in known])
    targets = tokenizer.encode_target([each.target for each in known])
    weights = translator.forced(
        list(zip(sources, targets, strict=True)), partial(_cross, programs.graphdef)
    )
    right: dict[tuple[int, int, int], int] = {}
    for each, src, tgt, weights_LHTS in zip(known, sources, targets, weights, strict=True):
        (src_words,) = source_words(each.source, [src], tokenizer)
        tgt_words = target_words(tokenizer.pieces(tgt), each.target, tokenizer)
        for (layer, head), weights_TS in _judged(weights_LHTS):
            for after in (0, 1):
                found = links(weights_TS[after:], tgt_words, src_words)
                right.setdefault((layer, head, after), 0)
                right[layer, head, after] += sum(
                    each.source_slots.get(source) == each.target_slots[target]
                    for source, target in found
                    if target in each.target_slots
                )
    chosen = sorted({(layer, head) for layer, head, _ in right})
    return [HeadLinks(*each, right[*each, 0], right[*each, 1]) for each in chosen]


def _judged(
    weights_LHTS: Float[np.ndarray, "layers heads target source"],
) -> Iterator[tuple[tuple[int, int], Float[np.ndarray, "target source"]]]:
    """The weights of each head, and the means, by layer and head as in `HeadLinks`."""
    yield (0, 0), weights_LHTS[layers_of(len(weights_LHTS))].mean(axis=(0, 1))
    for layer, weights_HTS in enumerate(weights_LHTS, 1):
        yield (layer, 0), weights_HTS.mean(axis=0)
        for head, weights_TS in enumerate(weights_HTS, 1):
            yield (layer, head), weights_TS


def rendered(record: Links) -> str:
    """The shares of a record as a table, a layer a row, and what they are of."""
    cells: dict[int, list[str]] = {}
    for each in record.heads:
        predicted, read = each.right / record.words, each.right_after / record.words
        cells.setdefault(each.layer, []).append(f"{predicted:.1%} ({read:.1%})")
    longest = max(map(len, cells.values()))
    head = ["layer", "mean of heads", *(f"head {n}" for n in range(1, longest))]
    rows = [
        [str(layer) if layer else "used by --align", *texts, *["–"] * (longest - len(texts))]
        for layer, texts in cells.items()
    ]
    about = (
        f"{record.words:,} words in slots of {record.known:,} of the {record.pairs:,} pairs of "
        f"{record.test_set}."
    )
    return f"{markdown_table([head, *rows])}\n\n{about}"


def measure(model: Model, test_set: str = "seen") -> Links:
    """How right the links of a model's heads are on a test set of the phrasebook.

    Raises:
        UserError: the model is of another corpus.
    """
    data = model.experiment.data
    if data.corpus != "phrasebook":
        raise UserError(
            f"data.corpus of {model.experiment.name} is {data.corpus!r}; wanted 'phrasebook', "
            "whose slots say which words belong together."
        )
    pairs = [*open_pairs(replace(data, test_files=())).tests[test_set].pairs(Skipped())]
    known = gold(pairs, parse(data.src).language, parse(data.tgt).language)
    values = {
        **environment(),
        "experiment": model.experiment.name,
        "params_sha256": params_sha256(model.params),
        "test_set": test_set,
        "pairs": len(pairs),
        "known": len(known),
        "words": sum(len(each.target_slots) for each in known),
        "heads": head_links(Translator(model), known),
    }
    return msgspec.convert(values, Links, from_attributes=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table of a run, and keep it where that is asked for."""
    parser = argparse.ArgumentParser(prog="python -m aiayn.evidence.alignment", description=__doc__)
    parser.add_argument("run", type=place, help="a run of the phrasebook, or its model")
    parser.add_argument("--record", type=place, metavar="FILE", help="where to write the record")
    given = parser.parse_args(arguments)
    configure_jax()
    try:
        found = measure(model_of(given.run))
        if given.record:
            records.write(given.record, found)
        print(rendered(found))
    except UserError as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
