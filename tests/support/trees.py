"""Trees for tests: random ones, and how to write one down in a line."""

import random
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import strategies as st

from aiayn.config import DataConfig, DecodeConfig, Experiment, ModelConfig, TrainConfig
from aiayn.data.sources.treebank import entries
from aiayn.data.tokenizer import train_tree_tokenizer
from aiayn.data.trees import Bracket, Tree, linearise, restore
from aiayn.model.saved import Model
from aiayn.model.structure import by_name
from tests.support.models import drawn_by_numpy

LABELS = ("S", "NP", "VP", "ADVP", "PRT", "SBAR")
WORD_TAGS = ("NN", "VB", "-LRB-", "$", "#")
MARK_TAGS = (",", ":", "``", "''", ".")

Node = tuple[str, Any]
"""A constituent, whose second part is a list of nodes, or a tag and its word."""

nodes: st.SearchStrategy[Node] = st.recursive(
    st.tuples(
        st.sampled_from((*WORD_TAGS, *MARK_TAGS)), st.text("ab.,'-=|\u00e4\u00a0", min_size=1)
    ),
    lambda inner: st.tuples(
        st.sampled_from((*LABELS, "PRT|ADVP", "SINV")), st.lists(inner, min_size=1, max_size=4)
    ),
    max_leaves=12,
)


def tree(text: str) -> Tree:
    """The one tree in a text."""
    (entry,) = entries(text.split("\n"))
    assert entry.tree is not None, entry.flaw
    return entry.tree


def tree_of(*top: Node) -> Tree:
    """The tree whose root holds these nodes, built node by node."""
    words: list[str] = []
    tags: list[str] = []
    brackets: list[Bracket] = []

    def add(node: Node) -> None:
        label, inner = node
        if isinstance(inner, str):
            tags.append(label)
            words.append(inner)
            return
        place, start = len(brackets), len(words)
        brackets.append(Bracket(label, start, start))
        for each in inner:
            add(each)
        brackets[place] = Bracket(label, start, len(words))

    for node in top:
        add(node)
    return Tree(tuple(words), tuple(tags), tuple(brackets))


def text_of(node: Node, between: str = " ", depth: int = 1) -> str:
    """A node in brackets; with a line break in `between`, each bracket on a line of its own."""
    label, inner = node
    if isinstance(inner, str):
        return f"({label} {inner})"
    indent = "  " * depth if "\n" in between else ""
    parts = (text_of(each, between, depth + 1) for each in inner)
    return f"({label}{''.join(f'{between}{indent}{part}' for part in parts)})"


_WORDS = {
    "DT": ["the", "a", "this"],
    "NN": ["dog", "man", "house", "river", "book", "tree", "bird", "friend"],
    "VB": ["sees", "finds", "likes", "reads"],
    "IN": ["of", "with", "near"],
}
_RULES = {
    "NP": (("DT", "NN"), ("DT", "NN"), ("NP", "PP")),
    "PP": (("IN", "NP"),),
    "VP": (("VB", "NP"), ("VB", "NP", "PP")),
    "S": (("NP", "VP", "."),),
}


def grown(rng: random.Random, label: str = "S", depth: int = 0) -> Node:
    """A tree of a grammar of English with few words; it seldom has more than 20."""
    if label == ".":
        return ".", "."
    if label in _WORDS:
        return label, rng.choice(_WORDS[label])
    rules = _RULES[label][: 1 if depth > 4 else None]
    return label, [grown(rng, each, depth + 1) for each in rng.choice(rules)]


def write_treebank(folder: Path, seed: int = 0, **sizes: int) -> DataConfig:
    """Files of different trees by the names of splits, and the settings that name them."""
    folder.mkdir(parents=True, exist_ok=True)
    rng, seen = random.Random(seed), set[tuple[str, ...]]()
    for name, size in sizes.items():
        lines: list[str] = []
        while len(lines) < size:
            node = grown(rng)
            if (words := tree_of(node).words) not in seen:
                seen.add(words)
                lines.append(f"(TOP {text_of(node)})\n")
        (folder / f"{name}.mrg").write_text("".join(lines), encoding="utf-8")
    named = {f"{name}_files": (f"{name}.mrg",) for name in ("train", "dev") if name in sizes}
    tests = tuple(f"{name}={name}.mrg" for name in sizes if name not in ("train", "dev"))
    return DataConfig(
        corpus="trees",
        tgt="trees",
        trees="tags",
        folder=str(folder),
        test_files=tests,
        vocab_size=428,
        row_widths=(64, 128),
        max_tokens=128,
        src_tokens_per_update=400,
        tgt_tokens_per_update=800,
        **named,
    )


def parsing_experiment(data: DataConfig) -> Experiment:
    """The smallest parser, and a short training."""
    return Experiment(
        name="parses",
        task="parsing",
        data=data,
        model=ModelConfig(
            num_layers=1, d_model=16, d_ff=24, num_heads=2, d_k=8, d_v=8, num_outputs=128
        ),
        train=TrainConfig(
            num_steps=2, warmup_steps=2, checkpoint_every=1, keep_last=2, validate_sentences=4
        ),
        decode=DecodeConfig(
            beam_size=2, average_last=2, max_extra_tokens=100, slots_per_batch=4_096
        ),
    )


@cache
def random_parser() -> Model:
    """A parser that has learnt nothing."""
    rng = random.Random(0)
    trees = [tree_of(grown(rng)) for _ in range(80)]
    sentences, symbols = [" ".join(t.words) for t in trees], [" ".join(linearise(t)) for t in trees]
    tokenizer = train_tree_tokenizer(sentences, symbols, 428)
    data = DataConfig("trees", tgt="trees", trees="tags", train_files=("x.mrg",), vocab_size=428)
    experiment = parsing_experiment(data)
    _, params = drawn_by_numpy(experiment.model, tokenizer.num_words)
    return Model(experiment, tokenizer, {k: np.asarray(v) for k, v in by_name(params).items()})


def shaken(gold: Tree, rng: random.Random, changes: int = 4) -> Tree:
    """Another tree over the same words, as a bad parser would have it: some brackets are missing,
    moved, doubled or of another label, some tags wrong; punctuation keeps its tags.
    """
    symbols: list[str] = []
    for number in range(len(gold.words)):
        symbols += [f"({b.label}" for b in gold.brackets if b.start == number]
        tag = gold.tags[number]
        wrong = tag in (*WORD_TAGS, "JJ", "RB", "IN") and rng.random() < 0.1
        symbols.append(rng.choice(WORD_TAGS) if wrong else tag)
        symbols += [f"){b.label}" for b in reversed(gold.brackets) if b.end == number + 1]
    for _ in range(rng.randrange(changes + 1)):
        place, other = rng.randrange(len(symbols)), rng.randrange(len(symbols))
        if symbols[place][0] not in "()":
            continue
        match rng.randrange(4):
            case 0:
                del symbols[place]
            case 1:
                symbols.insert(other, symbols.pop(place))
            case 2:
                symbols.insert(place, symbols[place])
            case _:
                symbols[place] = symbols[place][0] + rng.choice(LABELS)
    found = restore(symbols, gold.words)
    # Tags were neither added nor taken away, so each word has had its own.
    assert len(found.tags) == len(gold.tags)
    return found
