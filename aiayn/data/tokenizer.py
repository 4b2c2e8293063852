"""One joint SentencePiece BPE model for both languages (§5.1): raw text in, raw text out."""

import base64
import io
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import sentencepiece

from aiayn.config import DataConfig
from aiayn.data.text import composed, composed_document
from aiayn.data.trees import unmarked
from aiayn.errors import UserError, naming
from aiayn.system.checkout import included_model
from aiayn.system.files import place

_MAX_SENTENCES = 10_000_000
_PART = 500
"""Characters of a document after which it is cut at the next line break."""
_CODE = re.compile(">>.+?<<")
INCOMPLETE = "\ufffd"
"""What a tokenizer makes of the first bytes of a character."""
_BYTE = re.compile("<0x([0-9A-F]{2})>")


def byte_of(piece: str) -> int | None:
    """The byte that a piece stands for, of characters that have no piece; None of other pieces."""
    found = _BYTE.fullmatch(piece)
    return int(found[1], 16) if found else None


class Tokenizer:
    """Text to ids and back. Every id comes from here; padding, BOS and EOS are pieces of the model.

    Pieces cover every byte, so no text is unknown. Text is composed as the training text was: NFC,
    and any run of blanks is one plain blank. Whoever takes text in leaves out what nobody sees.

    A tokenizer of documents has a piece for a line break. It takes blanks and line breaks as they
    are, and gives them back so.
    """

    has_bos = True
    """Whether BOS comes before every text. Else a text begins with its own first piece, which the
    model reads and does not predict."""
    has_eos = True
    """Whether EOS ends every text. Else it is the name of an end that no text has."""

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
        texts = list(map(self.seen, sentences))
        if self.line_break is not None:
            return list(map(self._encode_document, texts))
        return self._processor.encode(texts, num_threads=1)

    def seen(self, text: str) -> str:
        """A text as it is encoded: in Unicode's form NFC, and with single blanks where line breaks
        are no pieces."""
        return composed(text) if self.line_break is None else composed_document(text)

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
        if model.startswith(_OF_TREES):
            return TreeTokenizer(model)
        if model.startswith(WordTokenizer.START):
            return WordTokenizer(model)
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


class TreeTokenizer(Tokenizer):
    """SentencePiece's pieces for words, and one id for each symbol of trees (§6.3).

    A model of both would cut `(NP` apart, and one with symbols as its pieces would find `TO` in
    TOKYO. `model` is JSON: the symbols in the order of their ids, how many of them training had for
    each of its words, and the model of words in base64.

    First come the special pieces, then the symbols, and from `first_piece` on, a multiple of 128,
    the pieces of words. So the rows of a matrix that predict are the first ones.
    """

    def __init__(self, model: bytes):
        """Raises UserError if `model` is not such JSON."""
        self.model = model
        try:
            values = json.loads(model)
            self.symbols: tuple[str, ...] = tuple(map(str, values["symbols"]))
            self.growth: float = float(values["symbols_per_word"])
            self._words = Tokenizer(base64.b64decode(values["words"]))
            " ".join(self.symbols).encode()  # JSON can spell surrogates, which are no text
        except (ValueError, LookupError, TypeError, AttributeError) as error:
            raise UserError(f"The tokenizer of trees is damaged: {error}") from error
        special = self._words.pad, self._words.unknown, self._words.bos, self._words.eos
        are_symbols = all(len(symbol.split()) == 1 for symbol in self.symbols)
        if not are_symbols or len(set(self.symbols)) < len(self.symbols) or self.growth <= 0:
            raise UserError("The tokenizer of trees is damaged: its symbols are none of trees.")
        if special != tuple(range(_SPECIAL)):
            raise UserError("The tokenizer of trees has other special pieces than 0, 1, 2 and 3.")
        self.pad, self.unknown, self.bos, self.eos = special
        self.first_piece = first_piece(len(self.symbols))
        self._ids = {symbol: number for number, symbol in enumerate(self.symbols, _SPECIAL)}

    @property
    def num_words(self) -> int:
        return self.first_piece + self._words.num_words - _SPECIAL

    @cached_property
    def line_break(self) -> int | None:
        return None

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        """The ids of words; each word is as many pieces, of which the first alone begins with the
        mark for a blank, by which `words` finds them."""
        shift = self.first_piece - _SPECIAL
        marked = [text.replace("\u2581", "_") for text in sentences]
        return [[number + shift for number in ids] for ids in self._words.encode(marked)]

    def encode_target(self, sentences: Sequence[str]) -> list[list[int]]:
        """The ids of symbols, which have blanks between them."""
        return [[self._ids.get(s, int(self.unknown)) for s in text.split()] for text in sentences]

    def unseen(self, trees: Iterable[str]) -> str:
        """The labels and tags of trees, which are given by their symbols, that none of training
        had, each with the times that it is there; nothing if there are none."""
        known = {*map(unmarked, self.symbols)}
        symbols = (symbol for tree in trees for symbol in map(unmarked, tree.split()))
        counts = Counter(s.removeprefix("(") for s in symbols if s[0] != ")" and s not in known)
        return ", ".join(f"{name} ({count:,})" for name, count in counts.most_common())

    def words(self, ids: Sequence[int]) -> list[str]:
        """The words that these ids of a source are of."""
        found: list[list[int]] = []
        for id_, piece in zip(ids, self.pieces(ids), strict=True):
            if piece.startswith("\u2581"):
                found.append([])
            if found:
                found[-1].append(id_ - (self.first_piece - _SPECIAL))
        return self._words.decode(found)

    def files(self) -> dict[str, bytes]:
        return {"words.spm": self._words.model}

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        """Symbols, with blanks between them; all else vanishes."""
        last = _SPECIAL + len(self.symbols)
        return [
            " ".join(self.symbols[n - _SPECIAL] for n in map(int, each) if _SPECIAL <= n < last)
            for each in ids
        ]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._piece(int(number)) for number in ids]

    def _piece(self, number: int) -> str:
        if number >= self.first_piece:
            return self._words.pieces([number - self.first_piece + _SPECIAL])[0]
        if number < _SPECIAL:
            return self._words.pieces([number])[0]
        place = number - _SPECIAL
        return self.symbols[place] if place < len(self.symbols) else f"<unused {number}>"

    def ids(self, pieces: Sequence[str]) -> list[int]:
        """The ids of pieces, symbols before words."""
        shift = self.first_piece - _SPECIAL
        of_words = self._words.ids(pieces)
        return [
            self._ids.get(piece, number + shift if number >= _SPECIAL else number)
            for piece, number in zip(pieces, of_words, strict=True)
        ]

    def spell(self, sentence: str) -> list[str]:
        return self._words.spell(sentence)


_SPECIAL = 4
"""Padding, unknown, BOS and EOS, whose ids are the first."""
_OF_TREES = b'{"symbols"'
"""How the model of a tokenizer of trees begins."""


def first_piece(num_symbols: int) -> int:
    """The first id of a piece of words, after the special ones and the symbols."""
    return -(-(_SPECIAL + num_symbols) // 128) * 128


class WordTokenizer(Tokenizer):
    """A tokenizer of the library `tokenizers`, such as GPT-1's: pieces of words, in lower case.

    `model` is JSON: the library's own (`tokenizer.json`), and the id of EOS. There is no BOS; and
    where the id is null there is no EOS, whose name is one more piece behind the others.
    """

    START = b'{"tokenizers": '
    has_bos = False

    def __init__(self, model: bytes):
        """Raises UserError if `model` is not such JSON, or the library is not installed."""
        self.model = model
        try:
            library: Any = import_module("tokenizers")
        except ImportError:
            raise UserError(
                "The tokenizer is read by the library tokenizers, which is not installed; run: "
                "pip install tokenizers"
            ) from None
        try:
            values = json.loads(model)
            inner = {**values["tokenizers"]}
            inner["model"] = {**inner["model"], "dropout": None}  # which would spell at random
            unknown, eos = inner["model"].get("unk_token"), values["eos"]
            self._tokenizer: Any = library.Tokenizer.from_str(json.dumps(inner))
            self._tokenizer.encode("a b")  # which some read without complaint cannot
        except BaseException as error:  # the library raises no narrower one; its panics are wider
            if not isinstance(error, Exception) and type(error).__name__ != "PanicException":
                raise
            raise UserError(f"The tokenizer is none of the library tokenizers: {error}") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        ids: dict[str, int] = self._tokenizer.get_vocab(with_added_tokens=True)
        if sorted(ids.values()) != list(range(len(ids))):
            raise UserError("The tokenizer's table does not number its pieces 0, 1, 2, ...")
        if unknown not in ids:
            raise UserError(f"The tokenizer's unk_token is {unknown!r}; wanted one of its pieces.")
        if self._tokenizer.num_special_tokens_to_add(False):
            raise UserError("The tokenizer adds pieces to every text; wanted one that adds none.")
        if eos is None:
            eos = ids.setdefault("</s>", len(ids))
            if eos != len(ids) - 1 or len(ids) == self._tokenizer.get_vocab_size():
                raise UserError("The tokenizer has a piece </s> and no EOS; wanted that as EOS.")
            self.has_eos = False
        elif type(eos) is not int or not 0 <= eos < len(ids):
            raise UserError(f"The tokenizer's EOS is {eos!r}; wanted one of {len(ids):,} ids.")
        self.pad = self.bos = self.eos = eos
        self.unknown = ids[unknown]
        self._ids = ids
        self._pieces = {number: piece for piece, number in ids.items()}

    @property
    def num_words(self) -> int:
        return len(self._ids)

    @cached_property
    def line_break(self) -> int | None:
        return None

    def seen(self, text: str) -> str:
        """The text: what its normaliser does to it is the model's own matter."""
        return text

    def encode(self, sentences: Sequence[str]) -> list[list[int]]:
        # One by one: the library's threads and the forks of workers do not go together.
        return [self._tokenizer.encode(text, add_special_tokens=False).ids for text in sentences]

    def files(self) -> dict[str, bytes]:
        return {"tokenizer.json": self._tokenizer.to_str().encode()}

    def decode(self, ids: Sequence[Sequence[int]]) -> list[str]:
        kept = [[int(n) for n in sentence if n != self.eos] for sentence in ids]
        return [self._tokenizer.decode(sentence) for sentence in kept]

    def pieces(self, ids: Sequence[int]) -> list[str]:
        return [self._pieces[int(number)] for number in ids]

    def ids(self, pieces: Sequence[str]) -> list[int]:
        return [self._ids[piece] for piece in pieces]

    def spell(self, sentence: str) -> list[str]:
        return self.pieces(self.encode([sentence])[0])


def _spell(text: str, side: Any) -> list[str]:
    """The pieces of a text, of which a code before it is one."""
    code = _CODE.match(text.lstrip())
    text = text.lstrip() if code else text
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
    if isinstance(tokenizer, TreeTokenizer) != (data.trees != "none"):
        found = "of trees" if data.trees == "none" else "of text, without symbols of trees"
        raise UserError(
            f"{path} is a tokenizer {found}, and data.trees is {data.trees!r}; wanted one trained "
            "on the same kind of data, or none in data.tokenizer."
        )
    if not tokenizer.has_bos:
        raise UserError(
            f"{path} has no piece for BOS, which every text of training begins with; wanted a "
            "tokenizer that has one. Such a model writes and scores, but does not train here."
        )
    if data.documents != "line" and tokenizer.line_break is None:
        raise UserError(
            f"{path} has no piece for a line break, and data.documents is {data.documents!r}; "
            "wanted a tokenizer trained on such documents, or data.documents=line."
        )
    return tokenizer


def place_of_own(data: DataConfig) -> Path:
    """The file that `data.tokenizer` means."""
    path = included_model(place(data.tokenizer))
    return path / "tokenizer.model" if path.is_dir() else path


def train_tokenizer(
    sentences: Iterable[str],
    vocab_size: int,
    split_digits: bool = False,
    documents: bool = False,
    reserved: int = 0,
) -> Tokenizer:
    """A BPE model of `vocab_size` pieces from both sides of the training text, or from documents
    whose blanks and line breaks it keeps. Of the pieces, `reserved` are not in this model.

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
            vocab_size=vocab_size - reserved,
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
            reason = f"the training text allows at most {int(most[1]) + reserved}"
        elif least:
            reason = f"the characters of the training text alone need {int(least[2]) + reserved:,}"
        raise UserError(f"data.vocab_size is {vocab_size}; {reason}.") from error
    return Tokenizer(model.getvalue())


def train_tree_tokenizer(
    sentences: Iterable[str], trees: Iterable[str], vocab_size: int, split_digits: bool = False
) -> TreeTokenizer:
    """The tokenizer of sentences and of the symbols that spell their trees, `vocab_size` ids in
    all.

    Raises:
        UserError: so few leave none for words, or as `train_tokenizer`.
    """
    counts: Counter[str] = Counter()
    for tree in trees:
        counts.update(tree.split())
    symbols = sorted(counts)
    num_leaves = sum(n for symbol, n in counts.items() if symbol[0] not in "()")
    first = first_piece(len(symbols))
    if vocab_size < first + _FEWEST_PIECES:
        raise UserError(
            f"data.vocab_size is {vocab_size}, of which {first} are for the {len(symbols)} symbols "
            f"of trees; wanted {first + _FEWEST_PIECES} or more."
        )
    reserved = first - _SPECIAL
    words = train_tokenizer(sentences, vocab_size, split_digits, reserved=reserved)
    values = {
        "symbols": symbols,
        "symbols_per_word": round(counts.total() / num_leaves, 4),
        "words": base64.b64encode(words.model).decode(),
    }
    return TreeTokenizer(json.dumps(values).encode())


_FEWEST_PIECES = 300
"""As of any tokenizer: the bytes, and some more."""


def _parts(documents: Iterable[str]) -> Iterator[str]:
    """All of the documents, in parts as short."""
    for document in documents:
        for part in parts_of(document):
            yield from (part[start : start + 1000] for start in range(0, len(part), 1000))


def _short_lines(sentences: Iterable[str]) -> Iterator[str]:
    """SentencePiece drops lines past 4,192 bytes; their beginning teaches as much."""
    for sentence in sentences:
        yield sentence[:1000]
