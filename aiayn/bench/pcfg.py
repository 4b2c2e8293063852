"""A parser beside one that counts: a probabilistic context-free grammar, read off the same trees.

It is the grammar that Klein and Manning (2003) start from. A constituent is known by its label and
that of its parent, as Johnson (1998) has it: what stands under S is another symbol than what stands
under VP. Its children are drawn from the left, each by the constituent and the two children before
it, and with each it is drawn whether it is the last. All probabilities are shares of counts in
train, and none is smoothed.

The grammar is of tags, so words are tagged first, each by itself. The best tree is found exactly,
by the algorithm of Cocke, Kasami and Younger, in arrays over all rules; nothing is pruned.
"""

import math
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float, Int
from rich.console import Console
from rich.table import Table

from aiayn.bench.grid import grid
from aiayn.data.trees import ROOT, Bracket, Tree
from aiayn.decoding.parser import Parser
from aiayn.errors import UserError
from aiayn.evaluation import brackets
from aiayn.evaluation.brackets import SHORT
from aiayn.evaluation.parses import gold_trees
from aiayn.evaluation.record import scored_sets
from aiayn.model.saved import model_of
from aiayn.render.markdown import duration, number
from aiayn.render.terminal import progress
from aiayn.system import records
from aiayn.system.environment import environment
from aiayn.tasks import task_of
from aiayn.training.run_folder import data_of_run, read_run

SENTENCES = 600
"""Of each set, the first ones: time grows with the cube of their length, and with the rules."""
_LONGEST_ENDING = 3
_DEFINITIONS = {
    "sentences": f"of the set, at most the first {SENTENCES}; of every length",
    "usual": "the grammar, over the tag that each word has most often in train",
    "any": "the grammar, over any tag that a word has in train, by the word's probability among "
    "those of the tag; the tree chooses",
    "gold": "the grammar, over the right tags, which the others do not see",
    "ours": "the run's averaged model with its own search, as `aiayn evaluate` has it",
    "f1": "labelled bracket F1 of sums over all sentences, by the rules of EVALB with COLLINS.prm; "
    "a sentence without a tree has missed all its constituents",
    "f1_short": f"the same of sentences with at most {SHORT} words",
    "tags": "words but punctuation with the right tag, in percent",
    "failed": "sentences that the grammar has no tree for",
    "seconds": "wall time of all sentences; the grammar takes one processor and a sentence at a "
    "time, ours all processors and many sentences at a time, and compiles its programs first",
    "processor_seconds": "of all threads, in the same time",
    "grammar": "the train trees it was read off, its states (a constituent with the children so "
    "far), its rules (a state, the next child, and whether that is the last), and the seconds of "
    "reading it off",
}


class State(NamedTuple):
    """A constituent, and the children that the next one follows; with none of them it stands for
    the constituent as a whole."""

    label: str
    parent: str
    """The label above it; of the root none."""
    before: tuple[str, ...] = ()
    """The last two children, or the only one: `(NP` is a constituent, `NN` a tag."""


class Step(NamedTuple):
    """What is drawn in a state: the next child, and whether it is the last."""

    state: State
    child: str
    is_last: bool


def steps_of(tree: Tree) -> Iterator[Step]:
    """All that is drawn where a grammar makes the tree, from the root, which is one constituent
    more."""
    opened = [_Family(ROOT, "", len(tree.words), [])]
    following = iter(tree.brackets)
    bracket = next(following, None)
    for place, tag in enumerate(tree.tags):
        while bracket and bracket.start == place:
            opened[-1].children.append(f"({bracket.label}")
            opened.append(_Family(bracket.label, opened[-1].label, bracket.end, []))
            bracket = next(following, None)
        opened[-1].children.append(tag)
        while opened and opened[-1].end == place + 1:
            yield from opened.pop().steps()


class _Family(NamedTuple):
    """A constituent with its children."""

    label: str
    parent: str
    end: int
    children: list[str]

    def steps(self) -> Iterator[Step]:
        last = len(self.children) - 1
        for place, child in enumerate(self.children):
            before = tuple(self.children[max(0, place - 2) : place])
            yield Step(State(self.label, self.parent, before), child, place == last)


class Pcfg:
    """The grammar of trees, which finds the best tree over tags.

    A rule is a step, `steps` by `log_probs_R`. Its probability is its share of all steps that were
    drawn in its state.
    """

    def __init__(self, trees: Iterable[Tree]):
        counts = Counter(step for tree in trees for step in steps_of(tree))
        states = {step.state for step in counts}
        # Whole constituents come first: their numbers are those of children as well.
        self.states = sorted(states, key=lambda state: (len(state.before) > 0, state))
        self.num_constituents = sum(not state.before for state in self.states)
        self.tags = sorted({step.child for step in counts if step.child[0] != "("})
        place = {state: n for n, state in enumerate(self.states)}
        tag = {name: n for n, name in enumerate(self.tags, self.num_constituents)}
        self._child_of_tag = tag

        def child_of(step: Step) -> int:
            inner = State(step.child[1:], step.state.label)
            return tag[step.child] if step.child[0] != "(" else place[inner]

        def rest_of(step: Step) -> int:
            """The state after it; −1 after the last child."""
            before = (*step.state.before, step.child)[-2:]
            return -1 if step.is_last else place[step.state._replace(before=before)]

        self.steps = sorted(counts, key=lambda step: (place[step.state], step))
        self._state_R = np.array([place[step.state] for step in self.steps])
        self._child_R = np.array([child_of(step) for step in self.steps])
        self._rest_R = np.array([rest_of(step) for step in self.steps])
        counts_R = np.array([counts[step] for step in self.steps], np.float64)
        self.log_probs_R = np.log(counts_R / np.bincount(self._state_R, counts_R)[self._state_R])
        self._root = place[State(ROOT, "")]
        is_last_R, is_whole_R = self._rest_R < 0, self._state_R < self.num_constituents
        self._more = np.flatnonzero(~is_last_R)
        self._only = np.flatnonzero(is_last_R & is_whole_R)
        self._ends = np.flatnonzero(is_last_R & ~is_whole_R)

    def parse(
        self, words: Sequence[str], tags: Sequence[Mapping[str, float]]
    ) -> tuple[Tree, float] | None:
        """The best tree over words, and its log-probability in nats with what its tags add; None
        where there is no tree. `tags` has those that each word may have, with what each adds."""
        length, num_children = len(words), self.num_constituents + len(self.tags)
        # Over the words from the one up to the other: the best of each child, and of each state
        # with all that follows there. Of states those of one end are needed at a time.
        children_NCE = np.full((length, num_children, length + 1), -np.inf)
        for place, scores in enumerate(tags):
            for tag, score in scores.items():
                if tag in self._child_of_tag:
                    children_NCE[place, self._child_of_tag[tag], place + 1] = score
        begun_NC = np.zeros((length, num_children), bool)  # over any words from this one
        best: dict[tuple[int, int], _Best] = {}
        for end in range(1, length + 1):
            rests_SN = np.full((len(self.states), length), -np.inf)
            ended_S = np.zeros(len(self.states), bool)
            for start in reversed(range(end)):
                cell = _Cell(len(self.states))
                used = self._more[begun_NC[start, self._child_R[self._more]]]
                used = used[ended_S[self._rest_R[used]]]
                inner = slice(start + 1, end)
                scores_RN = children_NCE[start, :, inner][self._child_R[used]]
                scores_RN += rests_SN[:, inner][self._rest_R[used]]
                if len(used):
                    split_R = scores_RN.argmax(axis=1)
                    scores_R = scores_RN[np.arange(len(used)), split_R] + self.log_probs_R[used]
                    cell.raise_to(self._state_R[used], scores_R, used, start + 1 + split_R)
                children_C = children_NCE[start, :, end]
                self._close(cell, children_C, end)
                begun_NC[start] |= children_C > -np.inf
                rests_SN[:, start] = cell.scores_S
                ended_S |= cell.scores_S > -np.inf
                best[start, end] = cell.best()
        score = float(children_NCE[0, self._root, length])
        return None if score == -np.inf else (self._tree(words, best), score)

    def _close(self, cell: "_Cell", children_C: Float[np.ndarray, " children"], end: int) -> None:
        """Constituents over one child, which may be over one child in turn; then the states whose
        last child is over these words."""
        count = self.num_constituents
        children_C[:count] = cell.scores_S[:count]
        while self._add(cell, children_C, self._only, end):
            children_C[:count] = cell.scores_S[:count]
        self._add(cell, children_C, self._ends, end)

    def _add(
        self,
        cell: "_Cell",
        children_C: Float[np.ndarray, " children"],
        rules_R: Int[np.ndarray, " rules"],
        end: int,
    ) -> bool:
        """Whether any rule of a last child is better than what is known."""
        scores_R = children_C[self._child_R[rules_R]] + self.log_probs_R[rules_R]
        better = scores_R > cell.scores_S[self._state_R[rules_R]]
        used = rules_R[better]
        cell.raise_to(self._state_R[used], scores_R[better], used, np.full(len(used), end))
        return bool(len(used))

    def _tree(self, words: Sequence[str], best: Mapping[tuple[int, int], "_Best"]) -> Tree:
        """The tree that the best rules make."""
        tags = [""] * len(words)
        found: list[Bracket] = []
        waiting = [(self._root, 0, len(words))]
        while waiting:
            state, start, end = waiting.pop()
            found.append(Bracket(self.states[state].label, start, end))
            inside: list[tuple[int, int, int]] = []
            while start < end:
                rule, split = best[start, end].of(state)
                child = int(self._child_R[rule])
                if child < self.num_constituents:
                    inside.append((child, start, split))
                else:
                    tags[start] = self.tags[child - self.num_constituents]
                state, start = int(self._rest_R[rule]), split
            waiting += reversed(inside)
        return Tree(tuple(words), tuple(tags), tuple(found[1:]))


class _Best(NamedTuple):
    """The best rule of each state over some words, and where its child ends."""

    states: Int[np.ndarray, " found"]
    rules: Int[np.ndarray, " found"]
    splits: Int[np.ndarray, " found"]

    def of(self, state: int) -> tuple[int, int]:
        place = np.searchsorted(self.states, state)
        return int(self.rules[place]), int(self.splits[place])


class _Cell:
    """The best of each state over some words, as it is being found."""

    def __init__(self, num_states: int):
        self.scores_S = np.full(num_states, -np.inf)
        self.rules_S = np.empty(num_states, np.int32)
        self.splits_S = np.empty(num_states, np.int32)

    def raise_to(
        self,
        states_R: Int[np.ndarray, " rules"],
        scores_R: Float[np.ndarray, " rules"],
        rules_R: Int[np.ndarray, " rules"],
        splits_R: Int[np.ndarray, " rules"],
    ) -> None:
        """Take the best rule of each state; rules come in the order of their states, and are better
        than what is known of these."""
        if not len(states_R):
            return
        first = np.flatnonzero(np.diff(states_R, prepend=-1))
        highest = np.maximum.reduceat(scores_R, first)
        sizes = np.diff(first, append=len(states_R))
        won = np.flatnonzero(scores_R == np.repeat(highest, sizes))  # of equals, the last
        self.scores_S[states_R[won]] = scores_R[won]
        self.rules_S[states_R[won]] = rules_R[won]
        self.splits_S[states_R[won]] = splits_R[won]

    def best(self) -> _Best:
        found = np.flatnonzero(self.scores_S > -np.inf)
        return _Best(found, self.rules_S[found], self.splits_S[found])


class Tagger:
    """Tags of words, each by itself: those that it had in train, as often as it had them.

    A word that train has not takes the tags of those words that train has once and that end alike:
    in the same three characters, or in fewer. A word with a digit, a hyphen or a capital letter is
    alike to such words alone. The first word of a sentence may stand for that in small letters.
    """

    def __init__(self, trees: Sequence[Tree]):
        leaves = Counter(leaf for tree in trees for leaf in zip(tree.words, tree.tags, strict=True))
        self._of_word: dict[str, Counter[str]] = {}
        self._of_all = Counter[str]()
        for (word, tag), count in leaves.items():
            self._of_word.setdefault(word, Counter())[tag] += count
            self._of_all[tag] += count
        self._of_ending: dict[tuple[str, str], Counter[str]] = {}
        for word, tags in self._of_word.items():
            if tags.total() == 1:
                for ending in _endings(word):
                    self._of_ending.setdefault(ending, Counter()).update(tags)

    def counts(self, words: Sequence[str]) -> list[Counter[str]]:
        """How often each word, or those like it, had each tag."""
        found: list[Counter[str]] = []
        for place, word in enumerate(words):
            small = word if place or word in self._of_word else word.lower()
            like = (self._of_ending.get(ending) for ending in _endings(word))
            found.append(self._of_word.get(small) or next(filter(None, like), self._of_all))
        return found

    def usual(self, words: Sequence[str]) -> list[dict[str, float]]:
        """The tag that each word had most often, alone."""
        return [{counts.most_common(1)[0][0]: 0.0} for counts in self.counts(words)]

    def any(self, words: Sequence[str]) -> list[dict[str, float]]:
        """All tags that each word had, with the log-probability in nats of the word among all of
        the tag, but for a term that is the same for all tags of the word."""
        return [
            {tag: math.log(count / self._of_all[tag]) for tag, count in counts.items()}
            for counts in self.counts(words)
        ]


def _endings(word: str) -> Iterator[tuple[str, str]]:
    """What kind of word it is with its last characters, fewer and fewer."""
    kind = "".join(
        name
        for name, is_so in (
            ("digit", any(map(str.isdigit, word))),
            ("hyphen", "-" in word),
            ("capital", word[:1].isupper()),
        )
        if is_so
    )
    for length in reversed(range(_LONGEST_ENDING + 1)):
        yield kind, word[max(0, len(word) - length) :].lower()


# --- Beside a run -------------------------------------------------------------------------------

_Parse = Callable[[Sequence[Tree]], Iterator[Tree | None]]
"""Finds a tree over the words of each; None where there is none."""
_LABELS = {
    "usual": "grammar over each word's usual tag",
    "any": "grammar over any tag of a word",
    "gold": "grammar over the right tags",
    "ours": "ours",
}
_TIMES = {"seconds": "time", "processor_seconds": "of processors"}


def bench_pcfg(run_dir: Path, folder: Path, console: Console) -> dict[str, Any]:
    """Parse dev and the test sets of a run with a grammar of its train and with its own model; the
    record, also in `folder/pcfg-EXPERIMENT.json`.

    Raises:
        UserError: it is no run of a parser with an averaged model, its trees have no tags, or its
            data is gone.
    """
    experiment, _ = read_run(run_dir)
    parser = Parser(model_of(run_dir))
    if experiment.data.trees not in ("tags", "marked"):
        raise UserError(
            f"data.trees of {experiment.name} is {experiment.data.trees!r}; wanted 'tags' or "
            "'marked': the rules of a grammar are over tags."
        )
    open_source = task_of(experiment).open_source
    prepared = data_of_run(experiment, run_dir, None, console, open_source)
    with console.status("Reading a grammar off train"):
        train = gold_trees(prepared, "train")
        began = time.perf_counter()
        grammar, tagger = Pcfg(train), Tagger(train)
        seconds = time.perf_counter() - began
    sets: dict[str, dict[str, Any]] = {}
    for name, split in {"dev": "dev", **scored_sets(experiment, prepared)}.items():
        gold = gold_trees(prepared, split)[:SENTENCES]
        found = {
            label: _scored(parse, gold, console, f"Parsing {name}, {label}")
            for label, parse in _parsers(grammar, tagger, parser).items()
        }
        sets[name] = {"sentences": len(gold), "parsers": found}
    record = {
        "bench": "pcfg",
        "experiment": experiment.name,
        **environment(),
        "definitions": _DEFINITIONS,
        "updates": experiment.train.num_steps,
        "grammar": {
            "trees": len(train),
            "states": len(grammar.states),
            "rules": len(grammar.steps),
            "seconds": seconds,
        },
        "sets": sets,
    }
    records.write(folder / f"pcfg-{experiment.name}.json", record)
    return record


def _parsers(grammar: Pcfg, tagger: Tagger, parser: Parser) -> dict[str, _Parse]:
    """What each row of the table is found by."""

    def by_grammar(tags_of: Callable[[Tree], Sequence[Mapping[str, float]]]) -> _Parse:
        def parse(trees: Sequence[Tree]) -> Iterator[Tree | None]:
            for tree in trees:
                found = grammar.parse(tree.words, tags_of(tree))
                yield found[0] if found else None

        return parse

    def by_model(trees: Sequence[Tree]) -> Iterator[Tree]:
        for best in parser.parse([tree.words for tree in trees]):
            yield best[0].tree

    return {
        "usual": by_grammar(lambda tree: tagger.usual(tree.words)),
        "any": by_grammar(lambda tree: tagger.any(tree.words)),
        "gold": by_grammar(lambda tree: [{tag: 0.0} for tag in tree.tags]),
        "ours": by_model,
    }


def _scored(
    parse: _Parse, gold: Sequence[Tree], console: Console, doing: str
) -> dict[str, float | None]:
    began, began_busy = time.perf_counter(), time.process_time()
    with progress(console) as bar:
        found = list(bar.track(parse(gold), len(gold), description=doing))
    seconds, busy = time.perf_counter() - began, time.process_time() - began_busy
    scores = brackets.score(gold, found)
    return {
        "f1": scores.all.f1,
        "f1_short": scores.short.f1,
        "tags": scores.all.tags,
        "failed": len(scores.failed),
        "seconds": seconds,
        "processor_seconds": busy,
    }


def figures(record: Mapping[str, Any]) -> list[list[str]]:
    """The figures as text: a head, then for each set a row of each parser."""
    rows = [["", "", "F1", f"up to {SHORT} words", "tags", "without a tree", *_TIMES.values()]]
    for name, found in record["sets"].items():
        about = f"{name}, {found['sentences']:,} sentences"
        for label, scores in found["parsers"].items():
            shown = (number(scores[key], ".1f") for key in ("f1", "f1_short", "tags"))
            times = (duration(scores[key]) for key in _TIMES)
            rows.append([about, _LABELS[label], *shown, str(scores["failed"]), *times])
    return rows


def beside(record: Mapping[str, Any]) -> list[list[str]]:
    """Of each set what is measured, ours and that of the grammar."""
    rows: list[list[str]] = []
    for name, found in record["sets"].items():
        f1 = {label: number(scores["f1"], ".1f") for label, scores in found["parsers"].items()}
        others = ", ".join(f"{_LABELS[label]} {f1[label]}" for label in f1 if label != "ours")
        rows.append([name, "F1", f1["ours"], others])
    return rows


def title(record: Mapping[str, Any]) -> str:
    return (
        f"{record['experiment']} of {record['updates']:,} updates beside a grammar of the same "
        f"{record['grammar']['trees']:,} trees"
    )


def table(record: Mapping[str, Any]) -> Table:
    """The figures, for a terminal."""
    return grid(title(record), figures(record))
