"""The embedded treebank: sentences and trees of a grammar in which words decide what belongs where.

It exists so that a laptop can show in minutes that a parser learns (§6.3), without a treebank and
its licence; it is no benchmark. Labels and tags are the Penn Treebank's. The grammar lies beside
this file, in `treebook_grammar.txt`, which says how its rules are written.
"""

import random
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import resources
from itertools import accumulate
from typing import NamedTuple

from aiayn.data.trees import Bracket, Tree

GRAMMAR = "treebook_grammar.txt"
START = "@text"
DEEPEST = 8
"""The most constituents over a word, in all splits but `test_deep`."""
MOST_WORDS = 40


class Splits(NamedTuple):
    """Trees over different sentences, none of which is in two splits."""

    train: list[Tree]
    dev: list[Tree]
    test_seen: list[Tree]
    """As deep as those of train."""
    test_deep: list[Tree]
    """Deeper than any of train."""


@dataclass(frozen=True)
class Grammar:
    """Rules by what they replace, and words by their tag and kind."""

    rules: Mapping[str, tuple[Sequence[tuple[str, ...]], Sequence[int]]]
    """The parts of each rule, and the weights of all, added up."""
    words: Mapping[str, Sequence[str]]


def generate(
    seed: int,
    num_train: int = 20_000,
    num_dev: int = 500,
    num_seen: int = 1_000,
    num_deep: int = 500,
) -> Splits:
    """The treebook; the same arguments give the same trees."""
    shallow: list[Tree] = []
    deep: list[Tree] = []
    wanted = num_train + num_dev + num_seen
    for tree in _distinct(random.Random(f"{seed} treebook")):
        found, most = (shallow, wanted) if depth(tree) <= DEEPEST else (deep, num_deep)
        if len(found) < most:
            found.append(tree)
        if (len(shallow), len(deep)) == (wanted, num_deep):
            break
    # Short sentences, of which there are few, come early.
    random.Random(f"{seed} split").shuffle(shallow)
    dev, rest = shallow[:num_dev], shallow[num_dev:]
    return Splits(rest[num_seen:], dev, rest[:num_seen], deep)


def _distinct(rng: random.Random) -> Iterator[Tree]:
    """Trees over different sentences, for ever."""
    grammar, seen = load_grammar(), set[tuple[str, ...]]()
    while True:
        tree = draw(grammar, rng)
        if tree and tree.words not in seen:
            seen.add(tree.words)
            yield tree


def depth(tree: Tree) -> int:
    """The most constituents that are over one word."""
    changes = [0] * (len(tree.words) + 1)
    for _, start, end in tree.brackets:
        changes[start] += 1
        changes[end] -= 1
    return max(accumulate(changes))


def draw(grammar: Grammar, rng: random.Random) -> Tree | None:
    """A tree of the grammar; none where it would be over more than `MOST_WORDS` words."""
    words: list[str] = []
    tags: list[str] = []
    brackets: list[Bracket] = []
    pending: list[str | int] = [START]
    while pending:
        part = pending.pop()
        if isinstance(part, int):  # the number of a constituent that ends here
            brackets[part] = brackets[part]._replace(end=len(words))
        elif part in grammar.words:
            if len(words) == MOST_WORDS:
                return None
            words.extend(rng.choices(grammar.words[part]))
            tags.append(_name(part))
        else:
            if not part.startswith("@"):
                pending.append(len(brackets))
                brackets.append(Bracket(_name(part), len(words), len(words)))
            rules, weights = grammar.rules[part]
            (parts,) = rng.choices(rules, cum_weights=weights)
            pending.extend(reversed(parts))
    words[0] = words[0][0].upper() + words[0][1:]
    return Tree(tuple(words), tuple(tags), tuple(brackets))


def _name(part: str) -> str:
    """A label or a tag, without what tells kinds apart."""
    return part.partition("/")[0]


# --- The file -----------------------------------------------------------------------------------


@cache
def load_grammar() -> Grammar:
    """The grammar of the treebook."""
    text = (resources.files("aiayn.data.sources") / GRAMMAR).read_text(encoding="utf-8")
    return parse_grammar(text)


def parse_grammar(text: str) -> Grammar:
    """A grammar as its file is written.

    Raises:
        ValueError: a line that is neither rule nor words, or a part of which there is neither.
    """
    rules: dict[str, dict[tuple[str, ...], int]] = {}
    words: dict[str, list[str]] = {}
    for line in text.splitlines():
        if not line.strip() or line.startswith("#"):
            continue
        for each in _alternatives(line):
            match = re.fullmatch(r"(?:(\d+) )?(\S+) (->|=) (.+)", each)
            if not match:
                raise ValueError(f"Neither a rule nor words of a grammar: {line}")
            weight, left, kind, right = match.groups()
            if kind == "=":
                words.setdefault(left, []).extend(right.split())
            else:
                rules.setdefault(left, {})[tuple(right.split())] = int(weight or 1)
    unknown = {part for found in rules.values() for parts in found for part in parts}
    unknown -= rules.keys() | words.keys()
    if unknown:
        raise ValueError(f"No rule and no word for {', '.join(sorted(unknown))}.")
    weighed = {
        left: (list(found), list(accumulate(found.values()))) for left, found in rules.items()
    }
    return Grammar(weighed, words)


def _alternatives(line: str) -> Iterator[str]:
    """The lines that a line with `{a,b}` stands for: with the first of each, then the second."""
    parts = re.split(r"[{}]", line)  # every second one was in braces
    for number in range(len(parts[1].split(",")) if len(parts) > 1 else 1):
        yield "".join(p.split(",")[number] if n % 2 else p for n, p in enumerate(parts))
