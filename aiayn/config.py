"""One experiment, completely described: frozen dataclasses, JSON in and out, overrides (Table 3).

A field's default is the paper's value, with its section beside it. Nothing here imports JAX, so
that `aiayn --help` and every refusal of a wrong setting answer at once.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import PurePath
from typing import (
    Annotated,
    Any,
    ClassVar,
    Literal,
    NamedTuple,
    cast,
    get_args,
    get_origin,
    get_type_hints,
)

from aiayn.errors import UserError


class _Where(NamedTuple):
    """Which values of its type a setting can have."""

    holds: Callable[[Any], bool]
    wanted: str


Name = Annotated[str, _Where(bool, "a name")]
TestFiles = Annotated[str, _Where(lambda spec: "=" in spec, "NAME=PATTERN")]
Positive = Annotated[int, _Where(lambda value: value > 0, "a positive number")]
Count = Annotated[int, _Where(lambda value: value >= 0, "zero or more")]


def _most(most: int) -> _Where:
    """A bound far above anything of use: past it a typing error takes all memory, or for ever."""
    return _Where(lambda value: value <= most, f"at most {most:,}")


# What a machine cannot hold of a number, by what the number counts.
Steps = Annotated[Positive, _most(1_000_000_000)]  # a state counts them in 32 bits
Seed = Annotated[Count, _most(4_294_967_295)]
Pairs = Annotated[Count, _most(1_000_000_000_000)]
Layers = Annotated[Positive, _most(1_000)]
LayersTaken = Annotated[Count, _most(1_000)]
Width = Annotated[Positive, _most(65_536)]
InnerWidth = Annotated[Positive, _most(1_048_576)]
Places = Annotated[Positive, _most(1_048_576)]
Slots = Annotated[Positive, _most(16_777_216)]
Tokens = Annotated[Positive, _most(100_000_000)]
Beams = Annotated[Positive, _most(1_000)]
Outputs = Annotated[
    Count,
    _most(65_536),
    _Where(lambda value: value % 128 == 0, "a multiple of 128, in which matrices are padded"),
]
Kept = Annotated[Count, _most(100_000)]
KeptLast = Annotated[Positive, _most(100_000)]
ExtraTokens = Annotated[Count, _most(10_000)]
Even = Annotated[Width, _Where(lambda value: value % 2 == 0, "an even number")]
VocabSize = Annotated[int, _Where(lambda value: 300 <= value <= 65_535, "300 to 65,535")]
PositiveReal = Annotated[
    float,
    _Where(lambda value: 1.2e-38 < value < math.inf, "a positive number that float32 holds"),
]
LARGEST_PENALTY = 10.0
"""α with which the penalty of 1,000 words, in either form, is still a number of 32 bits."""
Penalty = Annotated[float, _Where(lambda value: 0 <= value <= LARGEST_PENALTY, "0 to 10")]
NotNegative = Annotated[float, _Where(lambda value: 0 <= value < math.inf, "zero or more")]
Rate = Annotated[float, _Where(lambda value: 0 <= value < 1, "0 <= rate < 1")]
Columns = Annotated[
    tuple[Name, ...],
    _Where(lambda names: len(set(names)) == len(names), "two different ones"),
]
MOST_WIDTHS = 32
RowWidth = Annotated[
    Positive, _Where(lambda width: width % 8 == 0, "multiples of 8"), _most(16_384)
]
RowWidths = Annotated[
    tuple[RowWidth, ...],
    _Where(bool, "at least one width"),
    _Where(
        lambda widths: len(widths) <= MOST_WIDTHS,
        f"at most {MOST_WIDTHS} widths, each of which is compiled",
    ),
    _Where(lambda widths: list(widths) == sorted(set(widths)), "rising widths"),
]


@dataclass(frozen=True)
class _Settings:
    """Settings, checked by their annotations wherever they come from: Python, JSON or `--set`.

    Whole numbers given for floats become floats and lists become tuples: equal settings are equal,
    and have the same hash.
    """

    prefix: ClassVar[str] = ""
    """The section as messages name it, up to the name of the setting."""

    def __post_init__(self) -> None:
        for name, hint in _hints(type(self)).items():
            checked = _checked(hint, getattr(self, name), self.prefix + name)
            object.__setattr__(self, name, checked)

    def require(self, condition: bool, name: str, wanted: str) -> None:
        """Refuse the value of a setting that does not go with another."""
        if not condition:
            raise UserError(f"{self.prefix}{name} is {getattr(self, name)!r}; wanted {wanted}.")

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


LEAST_EXTRA = 2
"""Symbols of the smallest tree beyond those of its words: one bracket."""
TREES = "trees"
"""Stands for the target language where targets are trees."""


@dataclass(frozen=True)
class DataConfig(_Settings):
    """Sentence pairs or plain text, their cleaning, the tokenizer and the rows (§5.1).

    The pairs come from the embedded phrasebook (`corpus="phrasebook"`), trees from the embedded
    treebook (`corpus="treebook"`), else from local files where `folder` is set, else from the
    Hugging Face Hub. File patterns are relative to `folder`; one that holds `{lang}` names two
    parallel text files, any other a single file with both sides.

    Where `src` is empty there is text in the language `tgt` instead, from the same places: of a
    corpus of pairs, that side. Settings that count pairs count its documents.
    """

    prefix: ClassVar[str] = "data."
    corpus: Name = "phrasebook"
    src: str = "en"
    """Nothing for text without a translation, which a language model learns from."""
    tgt: Name = "de"
    documents: Literal["line", "blank_line", "file"] = "line"
    """What one document of text is: a line, what lies between blank lines, or a whole file. In a
    table or on the Hub each cell is as a file. Line breaks inside documents are kept."""
    trees: Literal["none", "tags", "xx", "marked"] = "none"
    """Files are treebanks: sources are the words of a tree, targets the symbols that spell it, of
    which tags stand for words; or XX, but for punctuation (§6.3); or tags marked with three bits of
    their word, so that none is lost in counting."""
    folder: str = ""
    train_files: tuple[str, ...] = ()
    dev_files: tuple[str, ...] = ()
    test_files: tuple[TestFiles, ...] = ()
    """Each `NAME=PATTERN`; the scores of a test set are reported under its name."""
    columns: Columns = ()
    """Source and target in TSV (a number, or a name in its header), JSONL (a key), Parquet and the
    Hub (a column). By default those named after the languages, or the only two of a TSV. Of text
    the one column, by default that named after the language, or `text`, or the only one."""
    hub: str = ""
    hub_config: str = ""
    revision: str = ""
    num_pairs: tuple[int, ...] = ()
    """Pairs that the train, dev and test splits of the Hub must hold; anything else is refused."""
    holdout_pairs: Pairs = 0
    """Pairs taken out of train for dev and for test where the corpus has none of its own."""
    limit: Pairs = 0
    """Keep only the first pairs of train, for trials; 0 keeps all."""
    max_words: Pairs = 0
    """Training pairs with more words on either side are dropped; 0 drops none."""
    max_ratio: NotNegative = 0.0
    """Training pairs with over this many times the words of one side on the other are dropped."""
    deduplicate: bool = True
    vocab_size: VocabSize = 37_000  # §5.1, shared by source and target
    split_digits: bool = False
    tokenizer: str = ""
    """A SentencePiece model to use instead of training one, or the directory of a run or model that
    has one; data.vocab_size is its number of pieces."""
    max_tokens: Positive = 256
    """Training pairs with more tokens on either side, EOS included, are dropped (T2T's limit).
    Documents of text are cut into pieces of at most so many."""
    row_widths: RowWidths = (64, 128, 256)
    src_tokens_per_update: Tokens = 25_000  # §5.1
    tgt_tokens_per_update: Tokens = 25_000  # §5.1

    def __post_init__(self) -> None:
        super().__post_init__()
        wanted = "another language than data.src, or a kind of it such as 'en-x-simple'"
        self.require(self.src != self.tgt, "tgt", wanted)
        widest = self.row_widths[-1]
        self.require(self.max_tokens <= widest, "max_tokens", f"at most the widest row, {widest}")
        self._check_trees()
        if self.src:
            wanted = "two, source first, or none"
            self.require(len(self.columns) in (0, 2), "columns", wanted)
            wanted = "'line', since data.src is set and pairs are of sentences"
            self.require(self.documents == "line", "documents", wanted)
            return
        self.require(len(self.columns) < 2, "columns", "one or none, since data.src is empty")
        for name in ("max_ratio", "src_tokens_per_update"):
            default = getattr(DataConfig, name)
            wanted = f"{default}, since data.src is empty and there is no source"
            self.require(getattr(self, name) == default, name, wanted)

    def _check_trees(self) -> None:
        """Refuse settings that do not go with treebanks, and theirs without one."""
        if self.trees == "none":
            wanted = "a language; 'trees' is for data.trees=tags, xx or marked"
            self.require(self.tgt != TREES, "tgt", wanted)
            wanted = "another one, or task=parsing with data.trees=tags: its targets are trees"
            self.require(self.corpus != "treebook", "corpus", wanted)
            return
        since = f"since data.trees is {self.trees!r}"
        self.require(self.tgt == TREES, "tgt", f"{TREES!r}, {since}")
        self.require(self.corpus != "phrasebook", "corpus", f"a name of yours, {since}")
        self.require(self.src != "", "src", f"the language of the words, {since}")
        self.require(not self.hub, "hub", f"nothing, {since} and treebanks are files")
        self.require(not self.columns, "columns", f"none, {since}")
        self.require(self.max_ratio == 0, "max_ratio", f"0, {since}: a tree is as long as it is")

    @property
    def noun(self) -> str:
        """What messages call the units of the text."""
        if self.trees != "none":
            return "trees"
        return "pairs" if self.src else "documents"

    @property
    def tokens_per_update(self) -> int:
        """Of source and target together, where there is a source."""
        return self.tgt_tokens_per_update + (self.src_tokens_per_update if self.src else 0)


@dataclass(frozen=True)
class ModelConfig(_Settings):
    """The Transformer's sizes; the defaults are Table 3, row "base" (§3)."""

    prefix: ClassVar[str] = "model."
    kind: Literal["encoder_decoder", "decoder"] = "encoder_decoder"
    """`decoder` is a language model: the decoder alone, without attention to an encoder."""
    num_layers: Layers = 6  # §3.1, N
    d_model: Even = 512  # §3.1
    d_ff: InnerWidth = 2048  # §3.3
    num_heads: Width = 8  # §3.2.2, h
    d_k: Width = 64  # §3.2.2
    d_v: Width = 64  # §3.2.2
    dropout_rate: Rate = 0.1  # §5.4, P_drop
    attention_dropout_rate: Rate = 0.0  # not in the paper's text; T2T from v2 on
    relu_dropout_rate: Rate = 0.0  # likewise
    positions: Literal["interleaved", "halves", "huggingface", "learned"] = "interleaved"  # §3.5
    max_positions: Places = 1024
    """Rows of the learned position table; sinusoids need none."""
    activation: Literal["relu", "swish", "gelu"] = "relu"
    """§3.3; Marian's models have swish, GPT-1 has GELU in its form with tanh."""
    scale_embedding: bool = True  # §3.4, by √d_model; GPT-1's is not
    layer_norm_epsilon: PositiveReal = 1e-6  # not in the paper; T2T's code
    logits_bias: bool = False
    """Add a learned vector to the logits, as Marian's models do."""
    target_space_embedding: bool = False
    """Add a learned vector for the target language to the encoder's input, as T2T's code does."""
    num_outputs: Outputs = 0
    """Only so many words, the first of the vocabulary, are predicted; 0 predicts all. A parser's
    vocabulary begins with the symbols of trees, and pieces of words are never predicted."""
    initializer: Literal["glorot", "t2t", "normal"] = "glorot"
    """How weights are drawn at first; the paper does not say. `glorot` draws each map alone, with
    N(0, 1/d_model) for the embedding; `t2t` likewise, but maps of the same input as one, as its
    code does, which makes those of self-attention smaller by √2; `normal` draws all from
    N(0, 0.02²), as GPT-1 does."""
    matmul_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 on accelerators and float32 on CPU."""


@dataclass(frozen=True)
class TrainConfig(_Settings):
    """Schedule, optimiser, regularisation, rhythm of a run (§5.2 to §5.4). Periods are steps."""

    prefix: ClassVar[str] = "train."
    num_steps: Steps = 100_000  # §5.2
    warmup_steps: Steps = 4_000  # §5.3
    learning_rate_constant: PositiveReal = 1.0  # §5.3
    adam_b1: Rate = 0.9  # §5.3
    adam_b2: Rate = 0.98  # §5.3
    adam_eps: PositiveReal = 1e-9  # §5.3
    label_smoothing: Rate = 0.1  # §5.4, ε_ls
    smoothing_over: Literal["all", "others"] = "all"
    """`all` spreads ε over all V words (ε/V), `others` over the V−1 wrong ones (T2T, ε/(V−1))."""
    seed: Seed = 1
    initial: str = ""
    """The directory of a run or model whose weights training starts from, instead of random ones;
    its tokenizer is used as well."""
    initial_layers: LayersTaken = 1_000
    """At most so many layers of that model are taken, of each stack the lowest; the rest of it
    always is."""
    log_every: Steps = 50
    checkpoint_every: Steps = 1_000
    """Steps between checkpoints; each is validated first."""
    validate_sentences: Pairs = 200
    """Sentences of dev that validation decodes greedily; the loss is computed on all of dev."""
    keep_last: KeptLast = 20
    keep_best: Kept = 1
    slots_per_device: Slots = 32_768
    """Target slots that one device takes at once, or a row more; more are accumulated. A matter of
    memory only."""

    def __post_init__(self) -> None:
        super().__post_init__()
        default = TrainConfig.initial_layers
        wanted = f"{default:,}, since train.initial is empty"
        self.require(bool(self.initial) or self.initial_layers == default, "initial_layers", wanted)


@dataclass(frozen=True)
class DecodeConfig(_Settings):
    """Averaging and search (§6.1)."""

    prefix: ClassVar[str] = "decode."
    beam_size: Beams = 4
    length_penalty: Penalty = 0.6  # α of GNMT's ((5 + length) / 6)^α
    length_penalty_form: Literal["gnmt", "length"] = "gnmt"
    """`length` divides by length^α instead, as fairseq and Hugging Face's toolkits do."""
    max_extra_tokens: ExtraTokens = 50  # the output has at most so many tokens above the input
    average_last: KeptLast = 5  # checkpoints; 20 for the big models
    score_dev: bool = False
    """Score dev as well at the end: Table 3 is about dev, newstest2013."""
    slots_per_batch: Slots = 16_384
    """Beams times target slots decoded at once. A matter of memory and speed only."""


_COMMON: Mapping[str, Sequence[object]] = {
    "model.attention_dropout_rate": (0.0,),
    "model.relu_dropout_rate": (0.0,),
    "model.activation": ("relu",),
    "model.scale_embedding": (True,),
    "model.layer_norm_epsilon": (1e-6,),
    "model.logits_bias": (False,),
    "model.initializer": ("glorot",),
    "train.learning_rate_constant": (1.0,),
    "train.adam_b1": (0.9,),
    "train.adam_b2": (0.98,),
    "train.adam_eps": (1e-9,),
}
_PAPER: Mapping[str, Sequence[object]] = {
    **_COMMON,
    "model.positions": ("interleaved", "learned"),  # learned ones are Table 3, row E
    "model.target_space_embedding": (False,),
    "train.smoothing_over": ("all",),
}
_T2T: Mapping[str, Sequence[object]] = {
    **_COMMON,
    "model.kind": ("encoder_decoder",),
    "model.positions": ("halves",),
    "model.target_space_embedding": (True,),
    "model.initializer": ("t2t", "glorot"),  # the latter before there was a choice
    "train.smoothing_over": ("others",),
}
_TUNED = "model.attention_dropout_rate", "train.learning_rate_constant"
"""What §6.3 says was tuned for parsing, besides dropout and beam, which no preset fixes."""
PRESETS: Mapping[str, Mapping[str, Sequence[object]]] = {
    "paper": _PAPER,
    "paper_parsing": {key: values for key, values in _PAPER.items() if key not in _TUNED},
    "t2t_v1": _T2T,
    "t2t_parsing": {
        **_T2T,
        "model.attention_dropout_rate": (0.0, 0.2),
        "train.learning_rate_constant": (5.0,),
    },
    "gpt1": {
        "model.kind": ("decoder",),
        "model.positions": ("learned",),
        "model.activation": ("gelu",),
        "model.scale_embedding": (False,),
        "model.layer_norm_epsilon": (1e-5,),
        "model.dropout_rate": (0.1,),
        "model.attention_dropout_rate": (0.1,),
        "model.relu_dropout_rate": (0.0,),
        "model.logits_bias": (False,),
        "model.initializer": ("normal", "glorot"),  # the latter before there was a choice
        "train.label_smoothing": (0.0,),
    },
    "custom": {},
}
"""The recipe that a preset's name promises, as the values that each setting may have.

`paper` is the literal text, for a language model that of its decoder; `t2t_v1` tensor2tensor's code
of June 2017, which produced its numbers; `paper_parsing` and `t2t_parsing` are the same two for
parsers, the text with what it says was tuned left open, the code with five times the rate; `gpt1`
the model of Radford et al. (2018), the same blocks with learned positions and GELU, whose schedule
and optimiser are the experiment's.
Sizes, step counts and what Table 3 varies belong to experiments.
"""


_PATHS = ("data", "tokenizer"), ("train", "initial")
"""Paths of this machine, besides `data.folder`."""
_LATER = (
    *_PATHS,
    ("data", "columns"),
    ("data", "documents"),
    ("data", "trees"),
    ("model", "kind"),
    ("model", "scale_embedding"),
    ("model", "num_outputs"),
    ("model", "initializer"),
    ("train", "initial_layers"),
    ("decode", "length_penalty_form"),
)
"""What was no setting when hashes were first recorded; it counts where it is not the default."""


@dataclass(frozen=True)
class Experiment(_Settings):
    """Everything that decides the result of a run."""

    name: str
    preset: str = "paper"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)
    task: Literal["translation", "translation_of_tokens", "language_model", "parsing"] = (
        "translation"
    )
    """The kind of text that goes in and comes out, and its scores (`aiayn/tasks.py`)."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.train.initial and not self.data.tokenizer:
            data = dataclasses.replace(self.data, tokenizer=self.train.initial)
            object.__setattr__(self, "data", data)
        if self.preset not in PRESETS:
            raise UserError(unknown("preset", self.preset, PRESETS))
        for key, allowed in PRESETS[self.preset].items():
            section, name = key.split(".")
            found = getattr(getattr(self, section), name)
            if found not in allowed:
                wanted = " or ".join(map(repr, allowed))
                raise UserError(
                    f"{key} is {found!r}, but the preset {self.preset!r} means {wanted}. "
                    f"Keep it, or say so with preset=custom."
                )
        self._check_kind()
        names = [spec.partition("=")[0] for spec in self.data.test_files]
        wanted = "false, since a test set in data.test_files is called dev"
        self.decode.require(not (self.decode.score_dev and "dev" in names), "score_dev", wanted)
        last = self.decode.average_last
        wanted = f"at least decode.average_last, {last}"
        self.train.require(self.train.keep_last >= last, "keep_last", wanted)
        if self.model.positions == "learned":
            longest = self.data.row_widths[-1]
            if self.model.kind == "encoder_decoder":
                longest = 2 * longest + self.decode.max_extra_tokens
            wanted = f"at least {longest}, the longest output, since positions are learned"
            enough = self.model.max_positions >= longest
            self.model.require(enough, "max_positions", wanted)

    def _check_kind(self) -> None:
        """Refuse a model of another kind than the task's, or data of another."""
        is_text, since = self.task == "language_model", f"since the task is {self.task!r}"
        kind = "decoder" if is_text else "encoder_decoder"
        self.model.require(self.model.kind == kind, "kind", f"{kind!r}, {since}")
        wanted = "no source: a language model reads text" if is_text else "the source language"
        self.data.require((self.data.src == "") == is_text, "src", f"{wanted}, {since}")
        is_parser = self.task == "parsing"
        wanted = f"sinusoids, {since} and sentences of any length are parsed as a whole"
        self.model.require(not is_parser or self.model.positions != "learned", "positions", wanted)
        wanted = f"{'tags, xx or marked' if is_parser else 'none'}, {since}"
        self.data.require((self.data.trees != "none") == is_parser, "trees", wanted)
        wanted = f"{'128 or more, for the symbols of trees' if is_parser else 0}, {since}"
        self.model.require((self.model.num_outputs > 0) == is_parser, "num_outputs", wanted)
        if is_parser:
            self.model.require(not self.model.logits_bias, "logits_bias", f"false, {since}")
            enough = self.decode.max_extra_tokens >= LEAST_EXTRA
            wanted = f"{LEAST_EXTRA} or more, {since}: brackets are more than the words"
            self.decode.require(enough, "max_extra_tokens", wanted)
        has_target_space = self.model.target_space_embedding
        self.model.require(
            not (is_text and has_target_space), "target_space_embedding", f"false, {since}"
        )

    def to_dict(self) -> dict[str, Any]:
        values = super().to_dict()
        if self.data.tokenizer == self.train.initial:  # it follows from the other
            values["data"]["tokenizer"] = ""
        return values

    @classmethod
    def from_dict(cls, values: object) -> "Experiment":
        """The experiment that `to_dict` wrote, or whoever wrote the JSON.

        Raises:
            UserError: an unknown key (the nearest known one is named) or a value of the wrong type.
        """
        return _built(cls, values)

    def with_overrides(self, assignments: Sequence[str]) -> "Experiment":
        """A copy with each `key.path=value` applied, checked as if it had been written so.

        Raises:
            UserError: no `=`, an unknown key, or a value of the wrong type.
        """
        values = self.to_dict()
        settings = _all_hints(type(self))
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UserError(f"--set {assignment!r} has no '='; wanted key=value.")
            key = key.strip()
            if key not in settings:
                raise UserError(unknown("key", key, list(settings)))
            section, _, name = key.rpartition(".")
            target = values[section] if section else values
            target[name] = _parse(settings[key], text.strip())
        return self.from_dict(values)

    def is_same(self, values: object) -> bool:
        """Whether `to_dict` gave these values, now or in an earlier version.

        The values are compared, not their hashes: a setting that came later has its default.
        """
        try:
            return self.from_dict(values).hash() == self.hash()
        except UserError:  # a setting that is gone
            return False

    def portable(self) -> dict[str, Any]:
        """As `to_dict`, without the folders of one machine: of a model or a tokenizer its name."""
        values = self.to_dict()
        values["data"]["folder"] = ""
        for section, name in _PATHS:
            path = values[section][name]
            values[section][name] = PurePath(path).name or path
        tokenizer, initial = (values[section][name] for section, name in _PATHS)
        if tokenizer and tokenizer == initial:  # of one name only, else it were empty
            values["data"]["tokenizer"] = f"./{tokenizer}"
        return values

    def hash(self) -> str:
        """SHA-256 over the values that decide the result; the place of local files is not one."""
        values = self.portable()
        del values["data"]["folder"]
        if self.task == "translation":  # the only task when hashes were first recorded
            del values["task"]
        default = Experiment(self.name).to_dict()
        for section, name in _LATER:
            if values[section][name] == default[section][name]:
                del values[section][name]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def training_hash(data: DataConfig) -> str:
    """SHA-256 over what decides the text, tokenizer and rows of training: not the test sets, which
    training never reads, nor the place of local files."""
    return data_hash(dataclasses.replace(data, folder="", test_files=()))


def data_hash(data: DataConfig) -> str:
    """SHA-256 over what decides the prepared data; runs that agree in it can share the files.

    `folder` counts: another folder may hold other text.
    """
    values = data.to_dict()
    default = DataConfig().to_dict()
    for section, name in _LATER:
        if section == "data" and values[name] == default[name]:
            del values[name]
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def unknown(kind: str, found: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """What to say of a name that there is not: the nearest one, or all that there are."""
    names = list(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.4)
    if near and len(names) > 40:
        return f"Unknown {kind} {found!r}. Did you mean {near[0]!r}?"
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {found!r}.{hint} Known: {', '.join(names)}."


def all_keys(cls: type[_Settings]) -> list[str]:
    """The dotted names of all settings."""
    return list(_all_hints(cls))


@cache
def _hints(cls: type[_Settings]) -> dict[str, Any]:
    hints = get_type_hints(cls, include_extras=True)
    return {each.name: hints[each.name] for each in dataclasses.fields(cls)}


def _all_hints(cls: type[_Settings]) -> dict[str, Any]:
    """The annotations of all settings, by dotted name."""
    found: dict[str, Any] = {}
    for name, hint in _hints(cls).items():
        found |= _all_hints(hint) if _is_section(hint) else {cls.prefix + name: hint}
    return found


def _is_section(hint: Any) -> bool:
    return isinstance(hint, type) and issubclass(hint, _Settings)


def _built(cls: type[_Settings], values: object) -> Any:
    """Settings of this class from a dictionary with a table for each section."""
    if not isinstance(values, Mapping):
        title = cls.prefix.removesuffix(".") or "The experiment"
        raise UserError(f"{title} is {values!r}; wanted a table of settings.")
    given: dict[str, Any] = {}
    hints = _hints(cls)
    for name, value in cast(Mapping[str, Any], values).items():
        if name not in hints:
            known = [cls.prefix + known for known in hints]
            raise UserError(unknown("key", f"{cls.prefix}{name}", known))
        if _is_section(hints[name]):
            given[name] = _built(hints[name], value)
        else:
            given[name] = _checked(hints[name], value, cls.prefix + name)
    for each in dataclasses.fields(cls):
        no_default = each.default is each.default_factory is dataclasses.MISSING
        if no_default and each.name not in given:
            raise UserError(f"{cls.prefix}{each.name} is missing.")
    return cls(**given)


_TYPES = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


_OF_FILES = {
    *("data.folder", "data.train_files", "data.dev_files", "data.test_files"),
    *("data.tokenizer", "train.initial"),
}
"""Settings that name files, whose names may be any bytes."""


def _checked(hint: Any, value: Any, key: str) -> Any:
    """The value as its annotation demands."""
    if get_origin(hint) is Annotated:
        inner, *conditions = get_args(hint)
        value = _checked(inner, value, key)
        for condition in conditions:
            if not condition.holds(value):
                raise UserError(f"{key} is {value!r}; wanted {condition.wanted}.")
        return value
    if get_origin(hint) is tuple and isinstance(value, list | tuple):
        return tuple(_checked(get_args(hint)[0], item, key) for item in value)
    if hint is float and type(value) is int:
        try:
            return float(value)
        except OverflowError:
            raise UserError(f"{key} is {value}; wanted a number below 1e308.") from None
    if get_origin(hint) is Literal:
        fits, wanted = value in get_args(hint), f"one of {', '.join(get_args(hint))}"
    elif get_origin(hint) is tuple:
        fits, wanted = False, "a list"
    else:
        fits = isinstance(value, hint) and (hint is bool or not isinstance(value, bool))
        wanted = _TYPES.get(hint, hint.__name__)
        if hint is str and fits and key not in _OF_FILES:
            fits, wanted = not any("\ud800" <= each <= "\udfff" for each in str(value)), "UTF-8"
    if not fits:
        raise UserError(f"{key} is {value!r}; wanted {wanted}.")
    return value


def _parse(hint: Any, text: str) -> Any:
    """The value of a `--set` text; `_checked` judges it afterwards."""
    if get_origin(hint) is Annotated:
        return _parse(get_args(hint)[0], text)
    if get_origin(hint) is tuple:
        inner = get_args(hint)[0]
        return [_parse(inner, part.strip()) for part in text.split(",") if part.strip()]
    if hint is bool:
        return {"true": True, "false": False}.get(text.lower(), text)
    if hint in (int, float):
        try:
            return hint(text)
        except ValueError:
            return text
    return text
