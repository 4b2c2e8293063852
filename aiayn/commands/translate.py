"""From a model to text: `translate`, `score`."""

import json
import select
import sys
from argparse import ArgumentParser
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from io import BufferedIOBase, IOBase
from pathlib import Path
from typing import Any, TypeVar, cast

from aiayn.commands.asked import (
    OUTPUTS,
    PENALTY,
    SAMPLED,
    masks_arguments,
    sampling_arguments,
    wishes_of,
)
from aiayn.commands.verb import (
    TRAINED,
    Verb,
    check_read_once,
    existing,
    model_argument,
    positive,
    text_file,
    trained,
)
from aiayn.data.sources.opening import LONGEST_LINE, Doubts, Stream
from aiayn.data.text import visible
from aiayn.decoding.outputs import Detailed, Hypothesis
from aiayn.errors import LineError, UserError

_T = TypeVar("_T")
_Found = TypeVar("_Found")
_WINDOW = 4_096
"""Lines that are translated together: enough to sort them by length, and few enough to hold."""
_CHUNK = 1 << 16
"""Bytes that are read at once."""
_INPUT = "Standard input"
_MOMENT = 0.01
"""Seconds for which a line that was read may wait for others."""


def translate(
    models: list[Path],
    beam_size: int | None,
    length_penalty: float | None,
    num_best: int | None,
    json: bool,
    align: bool,
    prefix: Path | None,
    ban: Path | None,
    **asked: Any,
) -> None:
    """Translate lines of standard input.

    A filter: one line in, one line out, order kept, empty lines kept. Each line is written as soon
    as it and those before it are done; input of any length takes the same memory.
      aiayn translate runs/phrasebook < in.txt > out.txt
    A line longer than any sentence of training is translated sentence by sentence, which standard
    error says.

    More may be asked of each output. What --json calls log_probs stays the model's own: their sum
    is what `aiayn score` gives. A score is that sum over the length penalty.
      aiayn translate runs/phrasebook --prefix begun.txt --json < in.txt > out.jsonl
      aiayn translate runs/phrasebook --sample 3 --seed 7 --top-p 0.9 < in.txt
    With --prefix, all lines are read before the first is translated. A sample depends on its
    sentence and the seed alone.

    Several models of the same sizes and tokenizer, such as runs with other seeds, translate as an
    ensemble: the probability of each token is the mean of theirs.
      aiayn translate runs/seed1 runs/seed2 runs/seed3 < in.txt > out.txt

    --align says which word of the source each word comes from: after a tab, 0-0 1-2, which are
    source-target, both counted from 0. So a name, a link or a mark can be carried over.
      echo "The train to Milan leaves at 1:00 PM." | aiayn translate runs/phrasebook --align
    """
    from dataclasses import replace

    from aiayn.data.sources.formats import read_text
    from aiayn.decoding.translator import Long, Translator
    from aiayn.model.saved import model_of
    from aiayn.render.terminal import Terminal, counter

    words = [] if ban is None else [visible(line) for line in read_text(ban)]
    prefixes = None if prefix is None else [visible(line) for line in read_text(prefix)]
    wishes = wishes_of(ban=words, **asked)
    num_best = num_best or wishes.sample or 1
    source = windows(cast(BufferedIOBase, sys.stdin.buffer), _WINDOW)
    if prefixes is not None:
        source = iter([_as_many(source, len(prefixes), prefix)])
    loaded, *others = map(model_of, models)
    changes = {"beam_size": beam_size, "length_penalty": length_penalty}
    given = {name: value for name, value in changes.items() if value is not None}
    decode = replace(loaded.experiment.decode, **given)
    translator = Translator(loaded, decode, others=others).asked(wishes)
    errors = Terminal(stderr=True)
    masks = {"--no-repeat": wishes.no_repeat, "--ban": wishes.ban}
    of_each = " and ".join(name for name, value in masks.items() if value)
    of_each = f", with {of_each} in each alone" if of_each else ""
    done = 0

    def say_long(long: Long) -> None:
        errors.print(
            f"line {done + long.line}: {long.tokens:,} tokens, more than the "
            f"{translator.max_tokens - 1} of training; translated in {long.pieces} pieces{of_each}"
        )

    def print_line(number: int, found: Sequence[Hypothesis | Detailed]) -> None:
        for each in found[:num_best]:
            line = _shown(number, each, num_best > 1, json)
            sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()

    # A terminal that shows the lines themselves needs no bar between them.
    shown = sys.stdin.isatty() or sys.stdout.isatty()
    with counter(errors, "lines", hidden=shown) as bar:
        task = bar.add_task("Translating", total=None)
        for lines in source:
            lines = [visible(line) for line in lines]
            settings: dict[str, Any] = {"on_long": say_long, "prefixes": prefixes}
            if json or align:
                found = translator.detailed(lines, num_best, **settings, details=json, align=align)
            else:
                found = translator.stream(lines, num_best, **settings)
            for number, hypotheses in enumerate(found, done + 1):
                print_line(number, hypotheses)
                bar.update(task, completed=number)
            done += len(lines)


def _as_many(source: Iterable[list[str]], count: int, prefix: Path | None) -> list[str]:
    """All lines of standard input. Raises UserError unless `prefix` has as many, `count`."""
    lines = [line for window in source for line in window]
    if len(lines) != count:
        raise UserError(
            f"{prefix} has {count:,} lines; wanted {len(lines):,}, one for each of standard input."
        )
    return lines


def _shown(number: int, found: Hypothesis | Detailed, scored: bool, json: bool) -> str:
    """The line of an output: its text, with number and score if `scored`, its links or all."""
    line = f"{number}\t{found.score:.4f}\t{found.text}" if scored else found.text
    if not isinstance(found, Detailed):
        return line
    from aiayn.decoding.alignment import pharaoh

    return _as_json(number, found) if json else f"{line}\t{pharaoh(found.alignment or ())}"


def _as_json(number: int, found: Detailed) -> str:
    values = {"line": number, **found._asdict(), "score": round(found.score, 6)}
    values["log_probs"] = [round(value, 6) for value in found.log_probs]
    if found.alignment is None:
        del values["alignment"]
    return json.dumps(values, ensure_ascii=False)


def _check(
    num_best: int | None, beam_size: int | None, ban: Path | None, json: bool, **asked: Any
) -> None:
    """Refuse options that do not go together, before a line is read."""
    for name in ("models", "length_penalty", "align", "prefix"):
        asked.pop(name, None)
    wishes = wishes_of(**asked)
    wishes.check_num_best(num_best, beam_size, OUTPUTS)
    if beam_size is not None and wishes.sample:
        raise UserError("--beam-size is of a search; wanted it without --sample, which draws.")


def _translate_arguments(parser: ArgumentParser) -> None:
    parser.add_argument(
        "models",
        type=trained,
        nargs="+",
        metavar="MODEL",
        help=f"{TRAINED}; several are an ensemble",
    )
    own = "(default: the model's)"
    parser.add_argument("--beam-size", type=positive, metavar="N", help=f"beam; 1 is greedy {own}")
    parser.add_argument("--length-penalty", type=float, metavar="A", help=f"{PENALTY} {own}")
    parser.add_argument(
        "--num-best",
        type=positive,
        metavar="N",
        help="print the N best as: line number, score, text (tab-separated); default: text alone, "
        "or all samples",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print each output as a line of JSON: line, text, score, tokens, log_probs (of each "
        "token, in nats), ended (eos, limit of length, or empty)",
    )
    parser.add_argument(
        "--align",
        action="store_true",
        help="print the pairs of source word and target word as well: after a tab, or in the JSON "
        "as alignment; words are cut at blanks, or are characters in scripts without blanks",
    )
    asked = parser.add_argument_group("what else is asked of each output")
    asked.add_argument(
        "--prefix",
        type=existing,
        metavar="FILE",
        help="how each translation begins, one a line; an empty line leaves it open",
    )
    masks_arguments(asked)
    drawn = parser.add_argument_group("samples", SAMPLED)
    drawn.add_argument(
        "--sample", type=positive, metavar="N", help="draw N outputs instead of searching"
    )
    sampling_arguments(drawn)


def windows(file: BufferedIOBase, size: int) -> Iterator[list[str]]:
    """The lines of a file that are there now, at least one and at most `size` at a time.

    A line that arrives late waits for none that may follow it. Only `\\n` ends a line. UTF-16 and
    UTF-32 are read by their marks; bytes that are no UTF-8 become U+FFFD, which is said on standard
    error. A byte order mark at the start is no part of the text.

    Raises:
        UserError: it is packed, or in another encoding by its first lines, or a line is too long.
    """
    reader = getattr(file, "raw", file)  # a buffer would hide whether more is there
    doubts, window, number = Doubts(_INPUT, streamed=True), list[str](), 0
    try:
        for line in _lines(reader, doubts):
            if line is not None:
                number += 1
                window.append(line)
            if window and (len(window) == size or (line is None and not _is_ready(reader))):
                yield _said(window, number, doubts)
                window = []
    except UserError:
        if window:  # those before the line that is refused
            yield _said(window, number, doubts)
        raise
    if window:
        yield _said(window, number, doubts)


def _lines(reader: Any, doubts: Doubts) -> Iterator[str | None]:
    """The lines of a file; None after each read that brought some of it.

    Raises:
        UserError: as `windows`.
    """
    number, length = 0, 0
    rest: list[bytes] = []  # of a line whose end was not read yet
    stream = Stream(_INPUT)
    while (chunk := reader.read(_CHUNK)) != b"":
        if chunk is None:  # nothing yet, from a file that does not block
            select.select([reader], [], [])
            continue
        first, *others = stream.feed(chunk).split(b"\n")
        rest.append(first)
        length += len(first)
        for start in others:
            number += 1
            yield _decoded(b"".join(rest), number, doubts)
            rest, length = [start], len(start)
        yield None
        if length > LONGEST_LINE:
            raise _too_long(number + 1)
    rest.append(stream.feed(b"", last=True))
    if any(rest):
        yield _decoded(b"".join(rest), number + 1, doubts)


def _is_ready(reader: IOBase) -> bool:
    """Whether more comes within a moment, so that a fast writer's lines are taken together.

    True for files that no system call can ask about, such as those in memory.
    """
    try:
        return bool(select.select([reader], [], [], _MOMENT)[0])
    except (OSError, ValueError):
        return True


def _decoded(raw: bytes, number: int, doubts: Doubts) -> str:
    if len(raw) > LONGEST_LINE:
        raise _too_long(number)
    return doubts.decode(raw.removesuffix(b"\r"))


def _said(lines: list[str], last: int, doubts: Doubts) -> list[str]:
    """The lines, of which `last` is the number of the last one, with U+FFFD in place of bytes that
    are no UTF-8, after those were said.
    """
    if last == len(lines):  # nothing was translated yet
        doubts.settle()
    found: list[str] = []
    for number, line in enumerate(lines, last - len(lines) + 1):
        found.append(line.encode("utf-8", "surrogateescape").decode(errors="replace"))
        if found[-1] != line:
            print(f"aiayn: line {number} is not UTF-8; its other bytes were kept.", file=sys.stderr)
    return found


def _too_long(number: int) -> UserError:
    return UserError(
        f"{_INPUT}, line {number}, is too long; wanted at most {LONGEST_LINE:,} bytes."
    )


def score(model: Path, src: Path, tgt: Path | None) -> None:
    """Log-probability of given translations, texts or trees.

    Prints for each pair the log-probability in nats, EOS included, and the number of target tokens.
    A language model scores the lines of one file, each as a text of its own; a parser the trees of
    one file, with the number of symbols.
      aiayn score runs/phrasebook in.txt out.txt
      aiayn score runs/phrasebook_lm texts.txt
      aiayn score runs/treebook trees.mrg
    Files of any length take the same memory; that they have different numbers of lines is said
    after the last pair.
    """
    for window in _scored(model, src, tgt):
        for log_prob, num_tokens in window:
            print(f"{log_prob:.4f}\t{num_tokens}")
        sys.stdout.flush()


def _scored(model: Path, src: Path, tgt: Path | None) -> Iterator[Iterator[tuple[float, int]]]:
    """The scores of some pairs, texts or trees at a time."""
    from aiayn.data.sources import treebank
    from aiayn.data.sources.formats import read_text
    from aiayn.decoding.parser import Parser
    from aiayn.decoding.translator import Translator
    from aiayn.decoding.writer import Writer
    from aiayn.evaluation.systems import aligned
    from aiayn.model.saved import model_of

    loaded = model_of(model)
    task, name = loaded.experiment.task, loaded.experiment.name
    needs_one = _NEED_ONE.get(task)
    if (needs_one is not None) != (tgt is None):
        raise UserError(f"{name} {needs_one or _NEEDS_TWO}")
    if task == "parsing":
        parser = Parser(loaded)
        pairs = map(parser.spelled, treebank.trees(src))
        for number, window in enumerate(in_parts(pairs, _WINDOW)):
            scored = partial(parser.score, first=1 + number * _WINDOW)
            yield up_to_refused(window, scored)
    elif tgt is None:
        writer = Writer(loaded)
        for number, window in enumerate(in_parts(read_text(src), _WINDOW)):
            lines = [visible(line) for line in window]
            yield up_to_refused(lines, partial(writer.score, first=1 + number * _WINDOW))
    else:
        translator = Translator(loaded)
        for number, window in enumerate(in_parts(aligned(src, tgt), _WINDOW)):
            lines = [(visible(s), visible(t)) for s, t in window]
            yield up_to_refused(lines, partial(translator.score, first=1 + number * _WINDOW))


_NEED_ONE = {
    "language_model": "is a language model; wanted one file, the texts, not translations as well.",
    "parsing": "is a parser; wanted one file, of trees as `aiayn parse` writes them.",
}
_NEEDS_TWO = "translates; wanted the translations in a second file."


def up_to_refused(
    items: Sequence[_T], do: Callable[[Sequence[_T]], Iterable[_Found]]
) -> Iterator[_Found]:
    """What is found for each of some lines; where one is refused, for those before it first."""
    try:
        yield from do(items)
    except LineError as error:
        if error.place:
            yield from do(items[: error.place])
        raise


def in_parts(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    """The items, `size` at a time; where one cannot be had, those before it come first."""
    part: list[_T] = []
    try:
        for item in items:
            part.append(item)
            if len(part) == size:
                yield part
                part = []
    except UserError:
        if part:
            yield part
        raise
    if part:
        yield part


def _score_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument(
        "src",
        type=text_file,
        help="source sentences or texts, one a line, or a parser's trees; - reads stdin",
    )
    parser.add_argument(
        "tgt", type=text_file, nargs="?", help="their translations, one a line; - likewise"
    )


def _check_score(src: Path, tgt: Path | None, **_: object) -> None:
    check_read_once([src, tgt])


TRANSLATE = Verb("translate", translate, _translate_arguments, check=_check, large_pages=True)
SCORE = Verb("score", score, _score_arguments, _check_score, large_pages=True)
