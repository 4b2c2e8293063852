"""Trees for tests: random ones, and how to write one down in a line."""

import random
from typing import Any

from hypothesis import strategies as st

from aiayn.data.sources.treebank import entries
from aiayn.data.trees import Bracket, Tree, restore

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
