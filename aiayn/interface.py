"""The interface for Python: load a trained model and use it, or train one (`docs/python.md`)."""

import re
from collections.abc import Iterable, Mapping, Sequence
from copy import copy
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple, Unpack, overload

from aiayn.config import DecodeConfig, Experiment, all_keys, unknown
from aiayn.data import penn
from aiayn.data.text import visible
from aiayn.decoding.heads import Looks, look, look_at_text
from aiayn.decoding.outputs import Detailed, Hypothesis
from aiayn.decoding.parser import Parse, Parser, words_of
from aiayn.decoding.translator import Translator
from aiayn.decoding.wishes import Wishes, WishOptions
from aiayn.decoding.writer import Writer, Writing, Written
from aiayn.errors import UserError, naming
from aiayn.experiments import load_experiment
from aiayn.model.saved import Model, model_of
from aiayn.system.environment import configure_jax
from aiayn.system.files import place, user_os_errors

if TYPE_CHECKING:
    import aiayn.evaluation.record  # which imports the training code


class PairScore(NamedTuple):
    """How likely a model finds a given translation."""

    log_prob: float
    """Natural logarithm of the probability, the end of the sentence (EOS) included."""
    num_tokens: int
    """Tokens of the translation, EOS included; `log_prob / num_tokens` compares lengths."""


class TrainedModel:
    """A trained model that translates or parses, scores and shows its attention. `load` makes it.

    It never changes, so several threads may use one at the same time. The first call for each width
    of sentences compiles a program, which takes seconds.
    """

    def __init__(self, model: Model, others: Sequence[Model] = ()):
        self.experiment: Experiment = model.experiment
        """All settings that the model was trained with; of several the first one's."""
        members = (model, *others)
        self.num_parameters: int = sum(v.size for each in members for v in each.params.values())
        """Trained numbers, biases and norms included."""
        is_parser = self.experiment.task == "parsing"
        if is_parser and others:
            name = self.experiment.name
            raise UserError(f"{name} is a parser, and ensembles translate; wanted it alone.")
        self._parser = Parser(model) if is_parser else None
        self._translator = self._parser or Translator(model, others=others)

    def __repr__(self) -> str:
        data = self.experiment.data
        return (
            f"<TrainedModel {self.experiment.name}, {data.src} to {data.tgt}, "
            f"{self.num_parameters:,} parameters>"
        )

    @overload
    def translate(
        self,
        sentences: Iterable[str],
        *,
        num_best: None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        prefix: Iterable[str] | None = None,
        details: Literal[False] = False,
        **asked: Unpack[WishOptions],
    ) -> list[str]: ...
    @overload
    def translate(
        self,
        sentences: Iterable[str],
        *,
        num_best: int,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        prefix: Iterable[str] | None = None,
        details: Literal[False] = False,
        **asked: Unpack[WishOptions],
    ) -> list[list[Hypothesis]]: ...
    @overload
    def translate(
        self,
        sentences: Iterable[str],
        *,
        num_best: int | None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        prefix: Iterable[str] | None = None,
        details: Literal[True],
        align: bool = False,
        **asked: Unpack[WishOptions],
    ) -> list[list[Detailed]]: ...
    def translate(
        self,
        sentences: Iterable[str],
        *,
        num_best: int | None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        prefix: Iterable[str] | None = None,
        details: bool = False,
        align: bool = False,
        **asked: Unpack[WishOptions],
    ) -> list[str] | list[list[Hypothesis]] | list[list[Detailed]]:
        """The best translation of each sentence, in their order; with `num_best`, the best few of
        each with their scores, best first.

        A score is the log-probability in nats over the length penalty, ((5 + length) / 6)^α for
        α = `length_penalty`, or length^α where `decode.length_penalty_form` of the experiment says
        so. `beam_size` 1 is greedy search; both are the experiment's own unless
        given. An empty sentence stays empty. One longer than any of training
        (`experiment.data.max_tokens`) is translated in pieces and has a single hypothesis.

        `details` gives each hypothesis with its tokens, their log-probabilities and why it ended;
        with `align` also with the links of its words, pairs of a source word and a target word.
        `prefix` has the beginning of each translation, "" where it is open. What else may be asked
        of every output:

        - `no_repeat`: no sequence of so many tokens comes twice; `min_length`: the fewest tokens;
          `ban`: words that never come.
        - `sample`: so many outputs are drawn instead of searched for, by `temperature` (1; 0 is
          greedy), then from the `top_k` most probable tokens, then from the fewest that have
          probability `top_p` together, then from those at least `min_p` times as probable as the
          first. A sample depends on its sentence and on `seed` (0) alone.

        >>> import aiayn
        >>> model = aiayn.load("runs/phrasebook")
        >>> len(model.translate(["Good morning.", "Thank you."]))
        2
        >>> (hypotheses,) = model.translate(["Good morning."], num_best=4)
        >>> hypotheses[0].score >= hypotheses[1].score
        True
        >>> ((detailed,),) = model.translate(["Good morning."], details=True, align=True)
        >>> len(detailed.alignment) == len(detailed.text.split())
        True
        >>> (drawn,) = model.translate(["Good morning."], num_best=3, sample=3, seed=7)
        >>> len(drawn)
        3

        Raises:
            UserError: `sentences` is one string, or holds something else than strings; a setting is
                out of its range, or does not go with another; a sentence cannot have its prefix; or
                the model is a parser.
        """
        if self._parser:
            raise UserError(f"{self.experiment.name} is a parser: wanted `parse`, not `translate`.")
        lines = _texts(sentences, "sentence")
        prefixes = None if prefix is None else _texts(prefix, "prefix", "prefix")
        if prefixes is not None and len(prefixes) != len(lines):
            raise UserError(
                f"prefix has {len(prefixes):,} texts; wanted {len(lines):,}, one for each sentence."
            )
        if "ban" in asked:
            asked["ban"] = _texts(asked["ban"], "banned word", "ban")
        wishes = Wishes(**asked)
        wishes.check_num_best(num_best, beam_size)
        if beam_size is not None and wishes.sample is not None:
            raise UserError("beam_size is of a search; wanted it without sample, which draws.")
        if align and not details:
            raise UserError("align is of details; wanted details=True as well.")
        translator = self._translator.asked(wishes)
        translator.config = self._searched(beam_size, length_penalty)
        if details:
            return list(translator.detailed(lines, num_best or 1, prefixes=prefixes, align=align))
        found = translator.translate(lines, num_best or 1, prefixes=prefixes)
        return [best[0].text for best in found] if num_best is None else found

    @overload
    def parse(
        self,
        sentences: Iterable[str],
        *,
        num_best: None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        tokenize: bool = False,
        details: Literal[False] = False,
    ) -> list[str]: ...
    @overload
    def parse(
        self,
        sentences: Iterable[str],
        *,
        num_best: int,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        tokenize: bool = False,
        details: bool = False,
    ) -> list[list[Parse]]: ...
    @overload
    def parse(
        self,
        sentences: Iterable[str],
        *,
        num_best: int | None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        tokenize: bool = False,
        details: Literal[True],
    ) -> list[list[Parse]]: ...
    def parse(
        self,
        sentences: Iterable[str],
        *,
        num_best: int | None = None,
        beam_size: int | None = None,
        length_penalty: float | None = None,
        tokenize: bool = False,
        details: bool = False,
    ) -> list[str] | list[list[Parse]]:
        """The best tree over the words of each sentence, in brackets on one line, in their order;
        with `num_best`, the best few of each with their scores, best first.

        Words have blanks between them, as in a treebank; `tokenize` cuts raw text so. Whatever the
        model has learnt, each output is one tree over exactly the words. A sentence without words
        has no tree, and an empty text. `details` gives each tree with the log-probabilities of its
        symbols. All else is as in `translate`.

        >>> import aiayn
        >>> parser = aiayn.load("runs/treebook")
        >>> (text,) = parser.parse(["Anna saw the dog ."])
        >>> text.startswith("(TOP (")
        True
        >>> ((best, second),) = parser.parse(["She isn't here."], num_best=2, tokenize=True)
        >>> best.tree.words
        ('She', 'is', "n't", 'here', '.')
        >>> best.score >= second.score
        True

        Raises:
            UserError: the model is no parser; `sentences` is one string, or holds something else
                than strings; a setting is out of its range; a sentence is too long.
        """
        if not self._parser:
            raise UserError(f"{self.experiment.name} translates: wanted `translate`, not `parse`.")
        Wishes().check_num_best(num_best, beam_size)
        lines = _texts(sentences, "sentence")
        words = [penn.words(line) if tokenize else words_of(line) for line in lines]
        parser = copy(self._parser)
        parser.config = self._searched(beam_size, length_penalty)
        found = list(parser.parse(words, num_best or 1, details=details))
        if num_best is None and not details:
            return [trees[0].text if trees else "" for trees in found]
        return found

    def _searched(self, beam_size: int | None, length_penalty: float | None) -> DecodeConfig:
        """The experiment's own search with what is given."""
        given = {"decode.beam_size": beam_size, "decode.length_penalty": length_penalty}
        changes = {key: value for key, value in given.items() if value is not None}
        return _changed(self.experiment, changes).decode

    def score(self, pairs: Iterable[tuple[str, str]]) -> list[PairScore]:
        """How likely the model finds each given translation: pairs of a sentence and its
        translation, in their order. Of a parser: its tree, as `parse` gives it.

        >>> import aiayn
        >>> model = aiayn.load("runs/phrasebook")
        >>> (scored,) = model.score([("Good morning.", "Guten Morgen.")])
        >>> scored.log_prob < 0 < scored.num_tokens
        True

        Raises:
            UserError: a pair is something else than two strings, or one is too long to score, or
                the second is no tree over the words of the first, and the model a parser.
        """
        listed: list[tuple[str, str]] = []
        for number, pair in enumerate(pairs, 1):
            match pair:
                case [source, target]:
                    name = f"a side of pair {number}"
                    listed.append((_text(source, name), _text(target, name)))
                case _:
                    raise UserError(f"pair {number} is {_short(pair)}; wanted (source, target).")
        if self._parser:
            for number, (sentence, tree) in enumerate(listed, 1):
                with naming(f"pair {number}"):
                    sides = " ".join(words_of(sentence)), self._parser.symbols_over(sentence, tree)
                    listed[number - 1] = sides
        return [PairScore(*found) for found in self._translator.score(listed)]

    def attention(self, source: str, target: str | None = None) -> Looks:
        """Which words each head looks at while the model reads `source` and says `target`, by
        default its own translation, or of a parser its own tree.

        `encoder` and `decoder` of the result are self-attention, `cross` the decoder's attention to
        the encoder: NumPy arrays [layer, head, query, memory], each row of which sums to 1.
        `tokens(kind)` names the rows and the columns.

        >>> import aiayn
        >>> model = aiayn.load("runs/phrasebook")
        >>> looks = model.attention("Good morning.", "Guten Morgen.")
        >>> queries, memory = looks.tokens("cross")
        >>> looks.cross.shape[2:] == (len(queries), len(memory))
        True

        Raises:
            UserError: a side is empty, or longer than any sentence of training; or this is an
                ensemble.
        """
        if self._translator.is_ensemble:
            raise UserError("This is an ensemble, whose models look each elsewhere; wanted one.")
        source = _text(source, "source")
        if self._parser:
            source = " ".join(words_of(source))
        if target is None:
            (target,) = self._translator.best([source])
        elif self._parser:
            target = self._parser.symbols_over(source, _text(target, "target"))
        return look(self._translator, source, _text(target, "target"))


class TrainedLanguageModel:
    """A trained language model that writes, scores and shows its attention. `load_language_model`
    makes it.

    It never changes, so several threads may use one at the same time. The first call for each width
    of prompts compiles some programs, which takes seconds.
    """

    def __init__(self, model: Model):
        self.experiment: Experiment = model.experiment
        """All settings that the model was trained with."""
        self.num_parameters: int = sum(value.size for value in model.params.values())
        """Trained numbers, biases and norms included."""
        self._writer = Writer(model)

    def __repr__(self) -> str:
        name, language = self.experiment.name, self.experiment.data.tgt
        return f"<TrainedLanguageModel {name}, {language}, {self.num_parameters:,} parameters>"

    def generate(
        self,
        prompts: Iterable[str],
        *,
        max_tokens: int | None = None,
        stop: Iterable[str] = (),
        num_samples: int = 1,
        details: bool = False,
        **asked: Unpack[WishOptions],
    ) -> list[list[Written]]:
        """How each text goes on, in their order: `num_samples` texts of each, the most probable
        first by all that was drawn, its end included.

        A text ends where the model ends it, before the first of the `stop` strings, or after
        `max_tokens` tokens, by default as many as the model's context holds. `details` gives its
        tokens and their log-probabilities. What else may be asked is as in `TrainedModel.translate`
        (for `sample` say `num_samples`); with `temperature` 0 the most probable words are taken.
        The same prompt and seed give the same texts, whatever is written beside them.

        >>> import aiayn
        >>> model = aiayn.load_language_model("runs/phrasebook_lm")
        >>> ((written,),) = model.generate(["Wir"], max_tokens=3, temperature=0.0, details=True)
        >>> len(written.tokens) <= 3
        True

        Raises:
            UserError: `prompts` is one string, or holds something else than strings; a setting is
                out of its range, or does not go with another; a prompt is as long as the context.
        """
        if "ban" in asked:
            asked["ban"] = _texts(asked["ban"], "banned word", "ban")
        if "sample" in asked:
            raise UserError("sample is of translations; wanted num_samples, the texts of a prompt.")
        asked["sample"] = num_samples
        stops = tuple(_texts(stop, "stop string", "stop"))
        try:
            wishes = Wishes(**asked)
        except UserError as error:
            raise UserError(re.sub(r"^sample\b", "num_samples", str(error))) from None
        writing = Writing(max_tokens, stops, wishes)
        return list(self._writer.write(_texts(prompts, "prompt"), writing, details=details))

    def score(self, texts: Iterable[str]) -> list[PairScore]:
        """How likely the model finds each text, from its beginning to its end.

        >>> import aiayn
        >>> model = aiayn.load_language_model("runs/phrasebook_lm")
        >>> (scored,) = model.score(["Guten Morgen."])
        >>> scored.log_prob < 0 < scored.num_tokens
        True

        Raises:
            UserError: one is no string, or longer than the model's context.
        """
        return [PairScore(*found) for found in self._writer.score(_texts(texts, "text"))]

    def attention(self, text: str) -> Looks:
        """Which words each head looks at while the model reads `text`: `decoder` of the result.

        >>> import aiayn
        >>> model = aiayn.load_language_model("runs/phrasebook_lm")
        >>> looks = model.attention("Guten Morgen.")
        >>> len(looks.tokens("decoder")[0]) == looks.decoder.shape[-1]
        True

        Raises:
            UserError: it is empty, or longer than the model's context.
        """
        return look_at_text(self._writer, _text(text, "text"))


def load_language_model(path: str | PathLike[str]) -> TrainedLanguageModel:
    """The language model in a run directory or in a model's own, as `load` reads others.

    >>> import aiayn
    >>> aiayn.load_language_model("runs/phrasebook_lm").experiment.data.src
    ''

    Raises:
        UserError: there is no model, or it is damaged, or translates.
    """
    configure_jax()
    folder = place(path)
    with user_os_errors(folder):
        return TrainedLanguageModel(model_of(folder))


def load(path: str | PathLike[str], *others: str | PathLike[str]) -> TrainedModel:
    """The model in a run directory, in a model's own directory as `aiayn average` or `aiayn import`
    writes it, or of those that come along, by its name. Nothing in it is run as code.

    Of several models of the same sizes and tokenizer it is the ensemble: the probability of each
    token is the mean of theirs.

    >>> import aiayn
    >>> aiayn.load("runs/phrasebook").experiment.data.max_tokens > 0
    True

    Raises:
        UserError: there is no model, or it is damaged, or is a language model; or the others have
            another tokenizer or other sizes.
    """
    configure_jax()
    loaded: list[Model] = []
    for folder in map(place, (path, *others)):
        with user_os_errors(folder):
            loaded.append(model_of(folder))
    return TrainedModel(loaded[0], loaded[1:])


def train(
    experiment: Experiment | str | PathLike[str],
    settings: Mapping[str, object] | None = None,
    *,
    run_dir: str | PathLike[str] | None = None,
    data_dir: str | PathLike[str] = "data",
    verbose: bool = False,
) -> "aiayn.evaluation.record.Record":
    """Train an experiment to its end and score it on its test sets: `aiayn train` in Python.

    The experiment is an object, a file, or a name that `aiayn train --help` lists. `settings`
    changes some of it, by dotted names such as `{"train.num_steps": 200}`. The run is written to
    `run_dir`, by default runs/NAME; where that holds the beginning of this run, the rest is
    computed, and where it holds all, nothing. Returns the record of the run, as in its result.json.
    Prints nothing unless `verbose`, and then what the command prints.

    Raises:
        UserError: a setting or the data is wrong, `run_dir` holds another run or is in use, or the
            losses are not finite.
        Preempted: SIGTERM came, and the last step is saved; the same call continues from there.
    """
    from aiayn.data.prepare import prepare_once
    from aiayn.data.report import report, show
    from aiayn.evaluation.evaluate import unfit_tests
    from aiayn.evaluation.record import finished_record, show_record
    from aiayn.render.terminal import Terminal
    from aiayn.system import hosts
    from aiayn.tasks import task_of
    from aiayn.training.initial import check_initial
    from aiayn.training.loop import train
    from aiayn.training.run_folder import begun_run, in_use

    if not isinstance(experiment, Experiment):
        experiment = load_experiment(str(experiment))
    experiment = _changed(experiment, settings or {})
    folder = Path("runs") / experiment.name if run_dir is None else place(run_dir)
    task = task_of(experiment)
    configure_jax()
    with hosts.joined(), user_os_errors(folder):
        console = Terminal(quiet=not (verbose and hosts.first()))
        check_initial(experiment, folder)
        begun = begun_run(experiment, folder)
        prepared = prepare_once(experiment.data, place(data_dir), verbose, task.open_source, begun)
        if hosts.first():
            found, is_new = report(prepared)
            if is_new:
                show(found, console)
        for warning in unfit_tests(prepared):
            console.print(warning)
        with in_use(folder):
            if record := finished_record(experiment, folder, prepared):
                show_record(folder, record, console)
            else:
                train(experiment, folder, prepared, console, task.make_validator)
                task.evaluate(folder, prepared, console)
    return read_record(folder)  # which the first of several processes has written


def read_record(run_dir: str | PathLike[str]) -> "aiayn.evaluation.record.Record":
    """The record of a finished run: its settings, code and machine, and all scores by test set and
    weights.

    >>> import aiayn
    >>> record = aiayn.read_record("runs/phrasebook")
    >>> for test_set, by_weights in record.scores.items():
    ...     for weights, scores in by_weights.items():
    ...         assert 0 <= scores["sacrebleu"].value <= 100

    Raises:
        UserError: the run is not finished, or its record is damaged.
    """
    from aiayn.evaluation.record import read_record

    return read_record(place(run_dir))


def _changed(experiment: Experiment, settings: Mapping[str, object]) -> Experiment:
    values, known = experiment.to_dict(), all_keys(Experiment)
    for key, value in settings.items():
        if key not in known:
            raise UserError(unknown("setting", key, known))
        section, _, name = key.rpartition(".")
        (values[section] if section else values)[name] = value
    return Experiment.from_dict(values)


def _texts(given: object, name: str, argument: str = "") -> list[str]:
    """The strings of a list. Raises UserError for anything else, also for a single string, which
    would be read letter by letter.
    """
    argument = argument or f"{name}s"
    if isinstance(given, str):
        raise UserError(f"{argument} is the string {_short(given)}; wanted a list of strings.")
    if not isinstance(given, Iterable):
        raise UserError(f"{argument} is {_short(given)}; wanted a list of strings.")
    return [_text(each, f"{name} {number}") for number, each in enumerate(given, 1)]


def _text(given: object, name: str) -> str:
    """The string, without what nobody sees. Raises UserError if it is none, or cannot be written as
    UTF-8.
    """
    if not isinstance(given, str):
        raise UserError(f"{name} is {_short(given)}; wanted a string.")
    if given != given.encode(errors="replace").decode():
        raise UserError(f"{name} is {_short(given)}; wanted text that UTF-8 can encode.")
    return visible(given)


def _short(value: object) -> str:
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
