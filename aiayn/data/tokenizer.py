"""One joint SentencePiece BPE model for both languages (§5.1): raw text in, raw text out."""

import base64
import io
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import sentencepiece

from aiayn.config import DataConfig
from aiayn.data.text import composed, composed_document
from aiayn.errors import UserError, naming
from aiayn.system.files import place

_MAX_SENTENCES = 10_000_000
_PART = 500
"""Characters of a document after which it is cut at the next line break."""
_CODE = re.compile(">>.+?<<")


class Tokenizer:
    """Text to ids and back. Every id comes from here; padding, BOS and EOS are pieces of the model.

    Pieces cover every byte, so no text is unknown. Text is composed as the training text was: NFC,
    and any run of blanks is one plain blank. Whoever takes text in leaves out what nobody sees.

    A tokenizer of documents has a piece for a line break. It takes blanks and line breaks as they
    are, and gives them back so.
    """

    def __init__(self, model: bytes):
        """Raises UserError if `model` is no SentencePiece model with the special pieces we need."""
        self.model = model
        self._processor: Any = sentencepiece.SentencePieceProcessor()
        try:
            self._processor.LoadFromSerializedProto(model)
        except (RuntimeError, TypeError, ValueError) as error:
            raise UserError("The tokenizer is no SentencePiece model, or is damaged.") from error
        self.pad, self.bos, self.eos, self.unknown = (
            self._processor.pad_id(),
            self._processor.bos_id(),
            self._processor.eos_id(),
            self._processor.unk_id(),
        )
        ids = {"padding": self.pad, "BOS": self.bos, "EOS": self.eos}
        if missing := [name for name, number in ids.items() if number < 0]:
            raise UserError(
                f"The tokenizer lacks a piece for {' and '.join(missing)}; wanted one trained with "
                "ids for all, such as pad_id=0, unk_id=1, bos_id=2, eos_id=3."
            )

    @property
    def num_words(self) -> int:
        """V: the pieces, special ones included."""
        return int(self._processor.get_piece_size())

    @cached_property
    def line_break(self) -> int | None:
        """The id of the piece for a line break; None where text is taken as one line."""
        number = int(self._processor.piece_to_id("\n"))
        return None if number == self.unknown else number

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """The ids of each sentence, without BOS or EOS."""
        if self.line_break is not None:
            return [self._encode_document(composed_document(text)) for text in sentences]
        return self._processor.encode([composed(text) for text in sentences], num_threads=1)

    def _encode_document(self, text: str) -> list[int]:
        """The ids of a document, in parts: the memory of SentencePiece is some 40 times the text.

        No piece reaches over a line break, so those before one make no difference but for the blank
        that SentencePiece puts before each text.
        """
        first, *others = self._processor.encode(parts_of(text), num_threads=1)
        ids: list[int] = first
        for part in others:
            ids += part[1:] if part[0] == self._blank else part
        return ids

    @cached_property
    def _blank(self) -> int:
        return int(self._processor.piece_to_id("\u2581"))

    def encode_target(self, sentences: Sequence[str]) -> list[list[int]]:
        """The ids of sentences of the target language: here the same pieces."""
        return self.encode(sentences)

    def prefix(self, ids: Sequence[int]) -> list[int]:
        """The ids that every part of a source must begin with when it is cut."""
        return []

    def files(self) -> dict[str, bytes]:
        """The SentencePiece models, by the names they are given in files."""
        return {"tokenizer.model": self.model}

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Plain text; special pieces vanish."""
        return [self._processor.decode([int(i) for i in sentence]) for sentence in ids]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """The pieces as they are, for pictures: `▁` marks the start of a word."""
        return [self._processor.id_to_piece(int(i)) for i in ids]

    @cached_property
    def special(self) -> Mapping[str, str]:
        """The special pieces and what they are in text: nothing, or a sign for what is unknown."""
        numbers = (self.pad, self.bos, self.eos, self.unknown)
        texts = self.decode([[number] for number in numbers])
        return dict(zip(self.pieces(numbers), texts, strict=True))

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """The ids of pieces."""
        return [self._processor.piece_to_id(piece) for piece in pieces]

    def spell(self, sentence: str) -> list[str]:
        """As `encode`, as pieces; what the vocabulary lacks is spelled as it is."""
        text = composed(sentence) if self.line_break is None else composed_document(sentence)
        return self._processor.encode(text, out_type=str, num_threads=1)

    @staticmethod
    def of(model: bytes) -> "Tokenizer":
        """The tokenizer whose `model` these bytes are."""
        return PairTokenizer(model) if model.startswith(b"{") else Tokenizer(model)

    @classmethod
    def load(cls, path: Path) -> "Tokenizer":
        """Raises UserError if the file is missing or no tokenizer."""
        if not path.is_file():
            raise UserError(f"{path} does not exist; wanted a SentencePiece model.")
        with naming(path):
            return cls.of(path.read_bytes())


class PairTokenizer(Tokenizer):
    """A SentencePiece model for each language and one table of ids, as Marian's models have.

    `model` is JSON: both SentencePiece models in base64, the table, and the id that outputs start
    with. A source may begin with a code such as `>>fr<<`, which is a piece of its own. Text is
    normalised as the two models were trained to.
    """

    def __init__(self, model: bytes):
        """Raises UserError if `model` is not such JSON."""
        self.model = model
        try:
            values = json.loads(model)
            self._ids: dict[str, int] = {str(k): int(v) for k, v in values["vocabulary"].items()}
            models = [base64.b64decode(values[side]) for side in ("source", "target")]
            self._sides: list[Any] = [
                sentencepiece.SentencePieceProcessor(model_proto=proto) for proto in models
            ]
            if not all(models):
                raise ValueError("a model of no bytes")
            "".join(self._ids).encode()  # JSON can spell surrogates, which are no text
            self._files: dict[str, bytes] = {"source.spm": models[0], "target.spm": models[1]}
            self.bos = int(values["starts_with"])
            self.pad, self.eos, self.unknown = (
                self._ids[piece] for piece in ("<pad>", "</s>", "<unk>")
            )
        except (
            ValueError,
            LookupError,
            TypeError,
            AttributeError,
            RuntimeError,
            OverflowError,
        ) as error:
            raise UserError(f"The tokenizer is no pair of SentencePiece models: {error}") from error
        numbers = range(len(self._ids))
        if sorted(self._ids.values()) != list(numbers) or self.bos not in numbers:
            raise UserError("The tokenizer's table does not number its pieces 0, 1, 2, ...")
        self._pieces = {number: piece for piece, number in self._ids.items()}

    @property
    def num_words(self) -> int:
        return len(self._ids)

    @cached_property
    def line_break(self) -> int | None:
        return None

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        return [self._encode(text, self._sides[0]) for text in sentences]

    def encode_target(self, sentences: Sequence[str]) -> list[list[int]]:
        return [self._encode(text, self._sides[1]) for text in sentences]

    def prefix(self, ids: Sequence[int]) -> list[int]:
        return [n for n in ids[:1] if _CODE.fullmatch(self._pieces[n])]

    def files(self) -> dict[str, bytes]:
        return self._files

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        special = {self.pad, self.eos, self.unknown}
        kept = [[n for n in map(int, sentence) if n not in special] for sentence in ids]
        texts = [self._sides[1].decode_pieces(self.pieces(sentence)) for sentence in kept]
        # The pieces that the source's model alone knows come back as they are.
        return [text.replace("\u2581", " ").strip() for text in texts]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces[int(number)] for number in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        return [self._ids[piece] for piece in pieces]

    def spell(self, sentence: str) -> list[str]:
        return _spell(sentence, self._sides[0])

    def _encode(self, text: str, side: Any) -> list[int]:
        return [self._ids.get(piece, self.unknown) for piece in _spell(text, side)]


def _spell(text: str, side: Any) -> list[str]:
    """The pieces of a text, of which a code before it is one."""
    code = _CODE.match(text)
    pieces = side.encode(text[code.end() :] if code else text, out_type=str)
    return [code[0], *pieces] if code else pieces


def parts_of(document: str) -> list[str]:
    """A document in parts of some thousand characters, of which all but the first begin with a line
    break."""
    parts: list[str] = []
    start = 0
    while (end := document.find("\n", start + _PART)) > 0:
        parts.append(document[start:end])
        start = end
    return [*parts, document[start:]]


def own_tokenizer(data: DataConfig) -> Tokenizer:
    """The tokenizer that `data.tokenizer` names: a file, or that of a run or a model.

    Raises:
        UserError: there is none, or it has another number of pieces than `data.vocab_size`, or none
            for the line breaks in documents.
    """
    path = place_of_own(data)
    tokenizer = Tokenizer.load(path)
    with naming(path):
        replace(data, vocab_size=tokenizer.num_words)  # within the bounds of the setting
    if tokenizer.num_words != data.vocab_size:
        raise UserError(
            f"data.vocab_size is {data.vocab_size}; {path} has {tokenizer.num_words} pieces: "
            f"--set data.vocab_size={tokenizer.num_words}"
        )
    if data.documents != "line" and tokenizer.line_break is None:
        raise UserError(
            f"{path} has no piece for a line break, and data.documents is {data.documents!r}; "
            "wanted a tokenizer trained on such documents, or data.documents=line."
        )
    return tokenizer


def place_of_own(data: DataConfig) -> Path:
    """The file that `data.tokenizer` means."""
    path = place(data.tokenizer)
    return path / "tokenizer.model" if path.is_dir() else path


def train_tokenizer(
    sentences: Iterable[str],
    vocab_size: int,
    split_digits: bool = False,
    documents: bool = False,
) -> Tokenizer:
    """A BPE model of `vocab_size` pieces from both sides of the training text, or from documents
    whose blanks and line breaks it keeps.

    The result depends on the sentences and their order only. Of corpora past ten million sentences
    a fixed random sample is used.

    Raises:
        UserError: the text has too few different character pairs for this number of pieces.
    """
    sentencepiece.set_random_generator_seed(1)
    model = io.BytesIO()
    kept: dict[str, Any] = {}
    if documents:
        kept = {"user_defined_symbols": ["\n"], "remove_extra_whitespaces": False}
        kept["allow_whitespace_only_pieces"] = True  # indentation
    try:
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=_parts(sentences) if documents else _short_lines(sentences),
            model_writer=model,
            model_type="bpe",
            vocab_size=vocab_size,
            character_coverage=0.9995,  # the rest is spelled in bytes
            byte_fallback=True,
            split_digits=split_digits,
            normalization_rule_name="identity",
            input_sentence_size=_MAX_SENTENCES,
            shuffle_input_sentence=True,
            pad_id=0,
            unk_id=1,
            bos_id=2,
            eos_id=3,
            minloglevel=2,
            **kept,
        )
    except RuntimeError as error:
        most = re.search(r"<= (\d+)", str(error))
        least = re.search(r"(\d+) vs (\d+)", str(error))
        reason = str(error)
        if most:
            reason = f"the training text allows at most {most[1]}"
        elif least:
            reason = f"the characters of the training text alone need {int(least[2]):,}"
        raise UserError(f"data.vocab_size is {vocab_size}; {reason}.") from error
    return Tokenizer(model.getvalue())


def _parts(documents: Iterable[str]) -> Iterator[str]:
    """All of the documents, in parts as short."""
    for document in documents:
        for part in parts_of(document):
            yield from (part[start : start + 1000] for start in range(0, len(part), 1000))


def _short_lines(sentences: Iterable[str]) -> Iterator[str]:
    """SentencePiece drops lines past 4,192 bytes; their beginning teaches as much."""
    for sentence in sentences:
        yield sentence[:1000]
