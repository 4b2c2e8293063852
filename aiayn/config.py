"""One experiment, completely described: frozen dataclasses, JSON in and out, overrides (Table 3).

A field's default is the paper's value, with its section beside it. Nothing here imports JAX, so
that `aiayn --help` and every refusal of a wrong setting answer at once.
"""

import dataclasses
import difflib
import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar, cast, get_args, get_origin, get_type_hints

from aiayn.errors import UserError

T = TypeVar("T")


def _require(condition: bool, name: str, value: object, wanted: str) -> None:
    if not condition:
        raise UserError(f"{name} is {value!r}; wanted {wanted}.")


def _positive(section: object, title: str, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(0 < value < math.inf, f"{title}.{name}", value, "a positive number")


def _not_negative(section: object, title: str, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        _require(0 <= value < math.inf, f"{title}.{name}", value, "zero or more")


@dataclass(frozen=True)
class DataConfig:
    """Sentence pairs, their cleaning, the tokenizer and the rows (§5.1).

    The pairs come from the embedded phrasebook (`corpus="phrasebook"`), else from local files where
    `folder` is set, else from the Hugging Face Hub. File patterns are relative to `folder`; one
    that holds `{lang}` names two parallel text files, any other a single file with both sides.
    """

    corpus: str = "phrasebook"
    src: str = "en"
    tgt: str = "de"
    folder: str = ""
    train_files: tuple[str, ...] = ()
    dev_files: tuple[str, ...] = ()
    test_files: tuple[str, ...] = ()
    """Each `NAME=PATTERN`; the scores of a test set are reported under its name."""
    hub: str = ""
    hub_config: str = ""
    revision: str = ""
    num_pairs: tuple[int, ...] = ()
    """Pairs that the train, dev and test splits of the Hub must hold; anything else is refused."""
    holdout_pairs: int = 0
    """Pairs taken out of train for dev and for test where the corpus has none of its own."""
    limit: int = 0
    """Keep only the first pairs of train, for trials; 0 keeps all."""
    max_words: int = 0
    """Training pairs with more words on either side are dropped; 0 drops none."""
    max_ratio: float = 0.0
    """Training pairs with over this many times the words of one side on the other are dropped."""
    deduplicate: bool = True
    vocab_size: int = 37_000  # §5.1, shared by source and target
    split_digits: bool = False
    max_tokens: int = 256
    """Training pairs with more tokens on either side, EOS included, are dropped (T2T's limit)."""
    row_widths: tuple[int, ...] = (64, 128, 256)
    src_tokens_per_update: int = 25_000  # §5.1
    tgt_tokens_per_update: int = 25_000  # §5.1

    def __post_init__(self) -> None:
        for name in ("corpus", "src", "tgt"):
            _require(bool(getattr(self, name)), f"data.{name}", getattr(self, name), "a name")
        _require(self.src != self.tgt, "data.tgt", self.tgt, "another language than data.src")
        _require(bool(self.row_widths), "data.row_widths", self.row_widths, "at least one width")
        _require(
            list(self.row_widths) == sorted(set(self.row_widths)),
            "data.row_widths",
            self.row_widths,
            "rising widths",
        )
        _require(
            all(w % 8 == 0 and w > 0 for w in self.row_widths),
            "data.row_widths",
            self.row_widths,
            "multiples of 8",
        )
        _require(
            self.max_tokens <= self.row_widths[-1],
            "data.max_tokens",
            self.max_tokens,
            f"at most the widest row, {self.row_widths[-1]}",
        )
        _require(
            300 <= self.vocab_size <= 65_535, "data.vocab_size", self.vocab_size, "300 to 65,535"
        )
        _positive(self, "data", "max_tokens", "src_tokens_per_update", "tgt_tokens_per_update")
        _not_negative(self, "data", "holdout_pairs", "limit", "max_words", "max_ratio")
        for spec in self.test_files:
            _require("=" in spec, "data.test_files", spec, "NAME=PATTERN")


@dataclass(frozen=True)
class ModelConfig:
    """The Transformer's sizes; the defaults are Table 3, row "base" (§3)."""

    num_layers: int = 6  # §3.1, N
    d_model: int = 512  # §3.1
    d_ff: int = 2048  # §3.3
    num_heads: int = 8  # §3.2.2, h
    d_k: int = 64  # §3.2.2
    d_v: int = 64  # §3.2.2
    dropout_rate: float = 0.1  # §5.4, P_drop
    attention_dropout_rate: float = 0.0  # not in the paper's text; T2T from v2 on
    relu_dropout_rate: float = 0.0  # likewise
    positions: Literal["interleaved", "halves", "huggingface", "learned"] = "interleaved"  # §3.5
    max_positions: int = 1024
    """Rows of the learned position table; sinusoids need none."""
    activation: Literal["relu", "swish"] = "relu"  # §3.3; Marian's models have swish
    layer_norm_epsilon: float = 1e-6  # not in the paper; T2T's code
    logits_bias: bool = False
    """Add a learned vector to the logits, as Marian's models do."""
    target_space_embedding: bool = False
    """Add a learned vector for the target language to the encoder's input, as T2T's code does."""
    matmul_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    """`auto` is bfloat16 on accelerators and float32 on CPU."""

    def __post_init__(self) -> None:
        _positive(
            self,
            "model",
            *("num_layers", "d_model", "d_ff", "num_heads", "d_k", "d_v", "max_positions"),
        )
        _positive(self, "model", "layer_norm_epsilon")
        _require(self.d_model % 2 == 0, "model.d_model", self.d_model, "an even number")
        for name in ("dropout_rate", "attention_dropout_rate", "relu_dropout_rate"):
            _require(
                0.0 <= getattr(self, name) < 1.0,
                f"model.{name}",
                getattr(self, name),
                "0 <= rate < 1",
            )


@dataclass(frozen=True)
class TrainConfig:
    """Schedule, optimiser, regularisation, rhythm of a run (§5.2 to §5.4). Periods are steps."""

    num_steps: int = 100_000  # §5.2
    warmup_steps: int = 4_000  # §5.3
    learning_rate_constant: float = 1.0  # §5.3
    adam_b1: float = 0.9  # §5.3
    adam_b2: float = 0.98  # §5.3
    adam_eps: float = 1e-9  # §5.3
    label_smoothing: float = 0.1  # §5.4, ε_ls
    smoothing_over: Literal["all", "others"] = "all"
    """`all` spreads ε over all V words (ε/V), `others` over the V−1 wrong ones (T2T, ε/(V−1))."""
    seed: int = 1
    log_every: int = 50
    checkpoint_every: int = 1_000
    """Steps between checkpoints; each is validated first."""
    validate_sentences: int = 200
    """Sentences of dev that validation decodes greedily; the loss is computed on all of dev."""
    keep_last: int = 20
    keep_best: int = 1
    slots_per_device: int = 32_768
    """Target slots that one device takes at once; more are accumulated. A matter of memory only."""

    def __post_init__(self) -> None:
        _positive(
            self,
            "train",
            *("num_steps", "warmup_steps", "log_every", "checkpoint_every", "keep_last"),
            *("slots_per_device", "learning_rate_constant", "adam_eps"),
        )
        _not_negative(self, "train", "seed", "validate_sentences", "keep_best")
        for name in ("adam_b1", "adam_b2"):
            _require(
                0.0 <= getattr(self, name) < 1.0, f"train.{name}", getattr(self, name), "0 <= β < 1"
            )
        _require(
            0.0 <= self.label_smoothing < 1.0,
            "train.label_smoothing",
            self.label_smoothing,
            "0 <= ε < 1",
        )


@dataclass(frozen=True)
class DecodeConfig:
    """Averaging and search (§6.1)."""

    beam_size: int = 4
    length_penalty: float = 0.6  # α of GNMT's ((5 + length) / 6)^α
    max_extra_tokens: int = 50  # the output has at most this many tokens more than the input
    average_last: int = 5  # checkpoints; 20 for the big models
    score_dev: bool = False
    """Score dev as well at the end: Table 3 is about dev, newstest2013."""
    slots_per_batch: int = 16_384
    """Beams times target slots decoded at once. A matter of memory and speed only."""

    def __post_init__(self) -> None:
        _positive(self, "decode", "beam_size", "average_last", "slots_per_batch")
        _not_negative(self, "decode", "length_penalty", "max_extra_tokens")


_COMMON: Mapping[str, Sequence[object]] = {
    "model.attention_dropout_rate": (0.0,),
    "model.relu_dropout_rate": (0.0,),
    "model.activation": ("relu",),
    "model.layer_norm_epsilon": (1e-6,),
    "model.logits_bias": (False,),
    "train.learning_rate_constant": (1.0,),
    "train.adam_b1": (0.9,),
    "train.adam_b2": (0.98,),
    "train.adam_eps": (1e-9,),
}
PRESETS: Mapping[str, Mapping[str, Sequence[object]]] = {
    "paper": {
        **_COMMON,
        "model.positions": ("interleaved", "learned"),  # learned ones are Table 3, row E
        "model.target_space_embedding": (False,),
        "train.smoothing_over": ("all",),
    },
    "t2t_v1": {
        **_COMMON,
        "model.positions": ("halves",),
        "model.target_space_embedding": (True,),
        "train.smoothing_over": ("others",),
    },
    "custom": {},
}
"""The recipe that a preset's name promises, as the values that each setting may have.

`paper` is the literal text, `t2t_v1` tensor2tensor's code of June 2017, which produced its numbers.
Sizes, step counts and what Table 3 varies belong to experiments.
"""


@dataclass(frozen=True)
class Experiment:
    """Everything that decides what a run computes."""

    name: str
    preset: str = "paper"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    decode: DecodeConfig = field(default_factory=DecodeConfig)

    def __post_init__(self) -> None:
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
        _require(
            self.train.keep_last >= self.decode.average_last,
            "train.keep_last",
            self.train.keep_last,
            f"at least decode.average_last, {self.decode.average_last}",
        )
        if self.model.positions == "learned":
            longest = 2 * self.data.row_widths[-1] + self.decode.max_extra_tokens
            _require(
                self.model.max_positions >= longest,
                "model.max_positions",
                self.model.max_positions,
                f"at least {longest}, since positions are learned and outputs can be so long",
            )

    def to_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: object) -> "Experiment":
        """The experiment that `to_dict` wrote, or whoever wrote the JSON.

        Raises:
            UserError: an unknown key (the nearest known one is named) or a value of the wrong type.
        """
        return _build(cls, values, prefix="")

    def with_overrides(self, assignments: Sequence[str]) -> "Experiment":
        """A copy with each `key.path=value` applied, checked as if it had been written so.

        Raises:
            UserError: no `=`, an unknown key, or a value of the wrong type.
        """
        values = self.to_dict()
        for assignment in assignments:
            key, equals, text = assignment.partition("=")
            if not equals:
                raise UserError(f"--set {assignment!r} has no '='; wanted key=value.")
            *sections, name = key.strip().split(".")
            target, owner = values, type(self)
            for section in sections:
                hints = get_type_hints(owner)
                if section not in hints or not dataclasses.is_dataclass(hints[section]):
                    raise UserError(unknown("key", key, all_keys(type(self))))
                target, owner = target[section], hints[section]
            if name not in target or isinstance(target[name], dict):
                raise UserError(unknown("key", key, all_keys(type(self))))
            target[name] = _parse(get_type_hints(owner)[name], text.strip())
        return self.from_dict(values)

    def is_same(self, values: object) -> bool:
        """Whether `to_dict` gave these values, now or in an earlier version.

        The values are compared, not their hashes: a setting that came later stands at its default.
        """
        try:
            return self.from_dict(values).hash() == self.hash()
        except UserError:  # a setting that is gone
            return False

    def hash(self) -> str:
        """SHA-256 over the values that decide the result; where the local files lie is not one."""
        values = self.from_dict(self.to_dict()).to_dict()  # 1 and 1.0 are the same setting
        del values["data"]["folder"]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()


def data_hash(data: DataConfig) -> str:
    """SHA-256 over what decides the prepared data; runs that agree in it can share the files.

    `folder` counts: another folder may hold other text.
    """
    return hashlib.sha256(json.dumps(dataclasses.asdict(data), sort_keys=True).encode()).hexdigest()


def unknown(kind: str, found: str, known: Sequence[str] | Mapping[str, object]) -> str:
    """What to say of a name that there is not: the nearest one, or all that there are."""
    names = list(known)
    near = difflib.get_close_matches(found, names, n=1, cutoff=0.4)
    if near and len(names) > 40:
        return f"Unknown {kind} {found!r}. Did you mean {near[0]!r}?"
    hint = f" Did you mean {near[0]!r}?" if near else ""
    return f"Unknown {kind} {found!r}.{hint} Known: {', '.join(names)}."


def all_keys(cls: type, prefix: str = "") -> list[str]:
    """The dotted names of all settings."""
    keys: list[str] = []
    for name, hint in get_type_hints(cls).items():
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            keys += all_keys(hint, f"{prefix}{name}.")
        else:
            keys.append(f"{prefix}{name}")
    return keys


def _build(cls: type[T], values: object, prefix: str) -> T:
    if not isinstance(values, Mapping):
        title = prefix.removesuffix(".") or "The experiment"
        raise UserError(f"{title} is {values!r}; wanted a table of settings.")
    hints = get_type_hints(cls)
    arguments: dict[str, Any] = {}
    for name, value in cast(Mapping[str, Any], values).items():
        if name not in hints:
            raise UserError(unknown("key", prefix + name, [prefix + known for known in hints]))
        hint = hints[name]
        if dataclasses.is_dataclass(hint):
            assert isinstance(hint, type)
            arguments[name] = _build(hint, value, f"{prefix}{name}.")
        else:
            arguments[name] = _checked(hint, value, prefix + name)
    missing = [
        f.name
        for f in dataclasses.fields(cls)  # pyright: ignore[reportArgumentType]
        if f.name not in arguments
        and f.default is dataclasses.MISSING
        and f.default_factory is dataclasses.MISSING
    ]
    if missing:
        raise UserError(f"{prefix}{missing[0]} is missing.")
    return cls(**arguments)


def _checked(hint: Any, value: Any, key: str) -> Any:
    """The value as the annotation wants it; lists become tuples, whole numbers pass as floats."""
    if get_origin(hint) is Literal:
        if value in get_args(hint):
            return value
        raise UserError(f"{key} is {value!r}; wanted one of {', '.join(map(str, get_args(hint)))}.")
    if get_origin(hint) is tuple:
        if not isinstance(value, list | tuple):
            raise UserError(f"{key} is {value!r}; wanted a list.")
        return tuple(_checked(get_args(hint)[0], item, key) for item in value)
    if hint is float and isinstance(value, int) and not isinstance(value, bool):
        try:
            return float(value)
        except OverflowError:
            raise UserError(f"{key} is {value}; wanted a number below 1e308.") from None
    if not isinstance(value, hint) or (isinstance(value, bool) and hint is not bool):
        raise UserError(f"{key} is {value!r}; wanted {hint.__name__}.")
    return value


def _parse(hint: Any, text: str) -> Any:
    """The value a `--set` text stands for; `_checked` judges it afterwards."""
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
