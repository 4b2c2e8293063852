"""From a language model to text: `generate`."""

import json as json_module
import re
import sys
from argparse import ArgumentParser
from collections.abc import Sequence
from functools import partial
from io import BufferedIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from aiayn.commands.asked import SAMPLED, masks_arguments, named, sampling_arguments, wishes_of
from aiayn.commands.translate import up_to_refused, windows
from aiayn.commands.verb import Verb, model_argument, positive
from aiayn.data.text import visible
from aiayn.decoding.outputs import one_line
from aiayn.errors import UserError

if TYPE_CHECKING:
    from aiayn.decoding.wishes import Wishes
    from aiayn.decoding.writer import Writer, Writing, Written

_WINDOW = 256
"""Prompts that are gone on with together."""


def generate(
    model: Path,
    prompt: str | None,
    max_tokens: int | None,
    stop: list[str],
    num_samples: int,
    ban: Path | None,
    json: bool,
    **asked: Any,
) -> None:
    """Go on with a text, by a language model.

    With a prompt: prints it and what follows, in a terminal word by word.
      aiayn generate runs/phrasebook_lm "Wir treffen"
      aiayn generate runs/phrasebook_lm "Der Zug" --num-samples 3 --temperature 0.8 --seed 7
    Without one it is a filter: each line of standard input is a prompt, and becomes one line with
    what follows, the line breaks in it as blanks; --json has it as it is. An empty prompt is the
    beginning of a text.
      aiayn generate runs/phrasebook_lm --temperature 0 < prompts.txt > texts.txt

    The same prompt and seed give the same text, whatever is written beside it.
    """
    from aiayn.data.sources.formats import read_text
    from aiayn.decoding.writer import Writer
    from aiayn.model.saved import model_of

    banned = [] if ban is None else [visible(line) for line in read_text(ban)]
    asking = _writing(max_tokens, stop, num_samples, ban=banned, **asked)
    writer = Writer(model_of(model))
    if prompt is not None:
        _write([visible(prompt)], writer, asking, json, shown=sys.stdout.isatty(), whole=True)
        return
    done = 0
    shown = sys.stdin.isatty() and sys.stdout.isatty()
    for lines in windows(cast(BufferedIOBase, sys.stdin.buffer), 1 if shown else _WINDOW):
        prompts = [visible(line) for line in lines]
        _write(prompts, writer, asking, json, shown=shown, whole=shown, first=done + 1)
        done += len(lines)


def _write(
    prompts: Sequence[str],
    writer: "Writer",
    asked: "Writing",
    json: bool,
    shown: bool,
    whole: bool,
    first: int = 1,
) -> None:
    """Print what follows each prompt: where it is `shown` as it grows, `whole` with line breaks."""
    if shown and asked.num_texts == 1 and not json:
        tell = partial(print, end="", flush=True)
        written = writer.write(prompts, asked, lambda _, text: tell(text), first=first)
        tell(prompts[0])  # which was not refused
        for _ in written:
            print()
        return
    wanted = partial(writer.write, asked=asked, details=json, first=first)
    for number, written in enumerate(up_to_refused(prompts, wanted), first):
        prompt = prompts[number - first]
        for each in written:
            line = f"{prompt}{each.text}"
            if json:
                line = _as_json(number, prompt, each)
            elif not whole:
                line = one_line(line)
            sys.stdout.buffer.write(line.encode() + b"\n")
        sys.stdout.buffer.flush()


def _as_json(number: int, prompt: str, written: "Written") -> str:
    values = {"line": number, "prompt": prompt, **written._asdict()}
    values["log_probs"] = [round(value, 6) for value in written.log_probs]
    values["log_prob"] = round(sum(written.log_probs), 6)
    return json_module.dumps(values, ensure_ascii=False)


def _writing(
    max_tokens: int | None, stop: Sequence[str], num_samples: int, **asked: Any
) -> "Writing":
    from aiayn.decoding.writer import Writing

    wishes = _wishes(num_samples, **asked)
    try:
        return Writing(max_tokens, tuple(stop), wishes)
    except UserError as error:
        raise named(error) from None


def _wishes(num_samples: int, **asked: Any) -> "Wishes":
    """What is asked of each text, with the option of this verb in what is refused."""
    try:
        return wishes_of(sample=num_samples, **asked)
    except UserError as error:
        raise UserError(re.sub(r"^--sample\b", "--num-samples", str(error))) from None


def _check(
    max_tokens: int | None, stop: list[str], num_samples: int, ban: Path | None, **asked: Any
) -> None:
    """Refuse options that do not go together, before the model is read."""
    for name in ("model", "prompt", "json"):
        asked.pop(name)
    _wishes(num_samples, **asked)


def _generate_arguments(parser: ArgumentParser) -> None:
    model_argument(parser)
    parser.add_argument("prompt", nargs="?", help="how the text begins (default: standard input)")
    parser.add_argument(
        "--max-tokens",
        type=positive,
        metavar="N",
        help="write at most N tokens (default: as many as the model's context holds)",
    )
    parser.add_argument(
        "--stop",
        action="append",
        default=[],
        metavar="TEXT",
        help="end before the first TEXT; may be repeated",
    )
    parser.add_argument(
        "--json",
        action="store_true",
        help="print each text as a line of JSON: line, prompt, text, tokens, log_probs (of each "
        "token, in nats), ended (eos, stop, or limit of length), log_prob",
    )
    masks_arguments(parser.add_argument_group("what else is asked of each text"))
    drawn = parser.add_argument_group("samples", SAMPLED)
    drawn.add_argument(
        "--num-samples", type=positive, default=1, metavar="N", help="write N texts (default: 1)"
    )
    sampling_arguments(drawn)


GENERATE = Verb("generate", generate, _generate_arguments, _check, large_pages=True)
