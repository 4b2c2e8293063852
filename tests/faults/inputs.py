"""Hostile inputs: the files a reader is given, each set a pure function of a random generator.

Most begin as what a careful program would write, since a reader throws noise away at its first
byte; then a part of them is damaged.
"""

import bz2
import gzip
import hashlib
import io
import json
import lzma
import random
import struct
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from typing import Any
from xml.sax.saxutils import escape

Files = dict[str, bytes]
"""Contents by path, relative to the folder that they are written to."""

BOM = b"\xef\xbb\xbf"
BITING = (
    *("e\u0301\u0327", "\u0301", "\u200d", "\u202eabc\u202c", "\u2066x\u2069", "\u0628\u0651"),
    *(
        "\0",
        "\u2028",
        "\u2029",
        "\x85",
        "\v",
        "\f",
        "\x1c",
        "\r",
        "\t",
        "\x1b[2J",
        "\x7f",
        "\u00a0",
    ),
    *("\ufeff", "\ud83d", "\udcff", "\ufffe", "\U0010ffff", "\U0001f469\u200d\U0001f52c"),
    *("\u2581", "\u2581\r\u2581", "</s>", "<s>", "<pad>", "<0x0A>", ">>de<<", "&amp;", "]]>", "<"),
    *('"', "\\", "\\ud800", "{lang}", "NaN", "[bold]", "\u3000", "\u00ad", "\ufdfa", "I\u0307"),
)
"""Text that has broken programs: marks, bidi controls, foreign line ends, halves of characters."""
BROKEN = (
    *(b"\xff\xfe", b"\xc0\xaf", b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xe2\x82", b"\x80"),
    *(BOM, b"\r\n", b"\r", b"\n", b"\n\n", b"\0", b"\t", b'"', b"{", b"<", b"&#0;", b"9" * 30),
)
"""Bytes to put into a file: most are no UTF-8, the others mean something to some format."""
SUMS = "sha256.json"
"""The checksums that a model and a checkpoint bring."""
DEEP = "@deep@"
"""Stands in a JSON tree for an array a hundred thousand deep, which `json.dumps` cannot write."""
ODD = (
    *(None, True, -1, 0, 10**400, 2**62, 1_000_000, 1e308, float("nan"), float("inf"), ""),
    *("\ud800", "x" * 5_000, "../../x", "/etc/passwd", [], {}, [[]], {"": None}, ["a", 1], DEEP),
)
"""What may stand in a JSON file where something else is wanted."""


def text(rng: random.Random) -> str:
    """A sentence, as a rule with something in it that bites."""
    if rng.random() < 0.0005:
        return rng.choice(("one ", "x", "e\u0301", "\u2028")) * 250_000
    words = rng.choices(
        ("one", "two", "drei", "\u4e09", "\u043f\u044f\u0442\u044c", ""), k=rng.randrange(6)
    )
    for _ in range(rng.choice((0, 0, 1, 1, 2, 5))):
        words.insert(rng.randint(0, len(words)), rng.choice(BITING))
    return rng.choice(("", " ")).join(words)


def pairs(rng: random.Random) -> list[tuple[str, str]]:
    return [(text(rng), text(rng)) for _ in range(rng.choice((0, 1, 2, 3, 5, 8)))]


def damage(rng: random.Random, data: bytes) -> bytes:
    """The bytes after one to four accidents."""
    for _ in range(rng.randint(1, 4)):
        start = rng.randint(0, len(data))
        end = min(len(data), start + rng.choice((0, 1, 2, 8, 64, 1_000)))
        match rng.randrange(7):
            case 0:
                data = data[:start]
            case 1:
                data = data[:start] + data[end:]
            case 2:
                data = data[:start] + rng.choice(BROKEN) + data[start:]
            case 3:
                bits = bytes(byte ^ (1 << rng.randrange(8)) for byte in data[start:end])
                data = data[:start] + bits + data[end:]
            case 4:
                place = rng.randint(0, len(data))
                data = data[:place] + data[start:end] + data[place:]
            case 5:
                data = data[:start] + rng.randbytes(end - start) + data[end:]
            case _:
                data = BOM + data if rng.random() < 0.5 else data.replace(b"\n", b"\r\n")
    return data


def written(rng: random.Random, name: str, content: str | bytes) -> Files:
    """A file, whole as often as not; sometimes packed, and then damaged before, after or never."""
    data = encoded(rng, content) if isinstance(content, str) else content
    data = damage(rng, data) if rng.random() < 0.4 else data
    if rng.random() < 0.02:
        data = rng.choice((b"", BOM, BOM + b"\n", b"\n", b"\0"))
    if rng.random() < 0.15 and not name.endswith((".parquet", ".json")):
        pack, suffix = rng.choice(PACKERS)
        data = damage(rng, pack(data)) if rng.random() < 0.3 else pack(data)
        return {f"{name}{suffix if rng.random() < 0.8 else ''}": data}
    return {name: data}


PACKERS: tuple[tuple[Callable[[bytes], bytes], str], ...] = (
    (partial(gzip.compress, compresslevel=1, mtime=0), ".gz"),
    (bz2.compress, ".bz2"),
    (partial(lzma.compress, preset=0), ".xz"),
)


def encoded(rng: random.Random, content: str) -> bytes:
    """The text in UTF-8, or as seldom in one of the encodings that files come in."""
    if rng.random() < 0.85:
        return content.encode("utf-8", "surrogatepass")
    encoding = rng.choice(("utf-16", "utf-32", "utf-16-le", "utf-16-be", "latin-1", "gb18030"))
    sound = content.encode("utf-8", "replace").decode()
    return sound.encode(encoding, "replace")


# --- Parallel text ------------------------------------------------------------------------------


def lines(rng: random.Random) -> Files:
    end = rng.choice(("\n", "\n", "\r\n"))
    return written(rng, "a.en", end.join(side for side, _ in pairs(rng)) + rng.choice(("", end)))


def parallel(rng: random.Random) -> Files:
    made = pairs(rng)
    ends = [rng.choice(("", "\n"))] * 2 if rng.random() < 0.8 else ["", "\n"]
    files: Files = {}
    for side, name in enumerate(("a.en", "a.de")):
        files |= written(rng, name, "\n".join(pair[side] for pair in made) + ends[side])
    return files


def tsv(rng: random.Random) -> Files:
    before, after = rng.choice((("", ""), ("", ""), ("0.5\t", ""), ("", "\tCC-BY")))
    odd = rng.choice(("", "\t", "\tx"))
    rows = [f"{before}{src}\t{tgt}{rng.choice((after, after, odd))}" for src, tgt in pairs(rng)]
    header = rng.choice(("", "", *HEADERS))
    return written(rng, "a.tsv", header + "\n".join(rows)) | chosen_columns(rng)


HEADERS = (
    *("id\tde\ten\n", "EN\tDe\n", "en\tfr\n", "source\ttarget\n", "English\tGerman\n"),
    *("score\tsentence_de\tsentence_en\n", "input\toutput\n", "eng\tdeu_Latn\n"),
)


def chosen_columns(rng: random.Random) -> Files:
    """What `data.columns` is, in a file of its own."""
    if rng.random() < 0.7:
        return {}
    names = ("1", "2", "3", "99", "en", "de", "source", "target", "translation.en", "", "\u0661")
    return {"columns": "\n".join(rng.sample(names, 2)).encode()}


def jsonl(rng: random.Random) -> Files:
    rows: list[str] = []
    for src, tgt in pairs(rng):
        row: Any = {"en": src, rng.choice(("de", "DE", " de ", "deu", "de-AT")): tgt}
        row = rng.choice((row, {"translation": row, "id": 1}, {"source": src, "target": tgt}))
        if rng.random() < 0.15:
            row = with_odd_value(rng, row)
        rows.append(to_json(row, ascii_only=rng.random() < 0.5))
    return written(rng, "a.jsonl", "\n".join(rows)) | chosen_columns(rng)


def trees(rng: random.Random) -> Files:
    """A treebank of odd words, in which now and then a bracket is empty, or holds too much."""
    made: list[str] = []
    for _ in range(rng.choice((0, 1, 2, 3, 5, 8))):
        between = rng.choice((" ", " ", "", "\n  "))
        depth, parts = 1, [f"({rng.choice(('', 'TOP', 'S1', 'S'))}"]
        for _ in range(rng.randrange(12)):
            if rng.random() < 0.3:
                depth, parts = depth + 1, [*parts, f"({rng.choice(('S', 'NP-SBJ=1', 'ROOT'))}"]
            elif rng.random() < 0.2 and depth > 1:
                depth, parts = depth - 1, [*parts, ")"]
            else:
                word = rng.choice(("one", "-LRB-", "\u043f\u044f\u0442\u044c", *BITING))
                parts.append(f"({rng.choice(('NN', '-NONE-', '.', 'XX-1'))} {word})")
        made.append(between.join([*parts, ")" * depth]))
    if rng.random() < 0.005:
        made.append("(S " * 100_000 + "(NN x)" + ")" * rng.choice((100_000, 99_999, 1)))
    return written(rng, "a.mrg", "\n".join(made))


def tmx(rng: random.Random) -> Files:
    units: list[str] = []
    for sides in pairs(rng):
        variants: list[str] = []
        for lang, side in zip(("en-US", "de"), sides, strict=True):
            allowed = "".join(c for c in side if c in "\t\r" or " " <= c < "\ud800" or c > "\uffff")
            seg = escape(allowed)
            for _ in range(rng.choice((0, 0, 0, 1, 3))):
                mark = (
                    "<hi>{}</hi>",
                    "{}<bpt i='1'>&lt;b></bpt>",
                    "{}<!-- c -->",
                    "{}&#x2028;&#1234;",
                )
                seg = rng.choice((*mark, "<![CDATA[<]]>{}", "{}<?pi?>")).replace("{}", seg)
            variants.append(f'<tuv xml:lang="{lang}"><seg>{seg}</seg></tuv>')
        units.append(f"<tu>{''.join(variants)}</tu>")
    if rng.random() < 0.01:
        units.append(
            "<tu><tuv lang='en'><seg>" + "<hi>" * 3_000 + "</hi>" * 3_000 + "</seg></tuv></tu>"
        )
    subset = (
        *("<!ENTITY a 'b'>", "<!ENTITY a SYSTEM '/etc/hostname'>", "<!ENTITY % a 'b'> %a;"),
        *("<!ATTLIST tu x CDATA 'default'>", "<!ELEMENT tu ANY>", "<!NOTATION n SYSTEM 'x'>"),
    )
    doctype = rng.choice(("", '<!DOCTYPE tmx SYSTEM "tmx14.dtd">'))
    if rng.random() < 0.1:
        doctype = f"<!DOCTYPE tmx [{rng.choice(subset)}]>"
        units.append("<tu><tuv xml:lang='en'><seg>&a;</seg></tuv></tu>")
    encoding = rng.choice(("utf-8",) * 20 + ("latin-1", "utf-16", "utf-7", "x-unknown"))
    xml = (
        f'<?xml version="1.0" encoding="{encoding}"?>{doctype}<tmx version="1.4"><header/><body>'
        f"{''.join(units)}</body></tmx>"
    )
    if encoding == "utf-16":
        return written(rng, "a.tmx", xml.encode("utf-16", "surrogatepass"))
    return written(rng, "a.tmx", xml.encode("utf-8", "surrogatepass"))


def parquet(rng: random.Random) -> Files:
    arrow: Any = import_module("pyarrow")
    made = pairs(rng)
    columns: dict[str, Any] = {}
    for side, lang in enumerate(("en", "de")):
        sides = [pair[side].encode("utf-8", "surrogatepass") for pair in made]
        values = [None if rng.random() < 0.05 else side for side in sides]
        # Strings that are no UTF-8, too, which a cast would refuse.
        column = arrow.array(values, arrow.binary()).view(arrow.string())
        match rng.randrange(10):
            case 0:
                column = column.cast(rng.choice((arrow.binary(), arrow.large_string())), safe=False)
            case 1:
                column = column.dictionary_encode()
            case 2:
                column = arrow.array(range(len(made)))
            case _:
                pass
        columns[rng.choice((lang, lang, lang.upper(), f"{lang}-{lang}"))] = column
    if rng.random() < 0.4:
        nested = arrow.StructArray.from_arrays(list(columns.values()), list(columns))
        columns = {"id": arrow.array(range(len(made))), "translation": nested}
    buffer = io.BytesIO()
    import_module("pyarrow.parquet").write_table(
        arrow.table(columns),
        buffer,
        row_group_size=rng.choice((1, 2, 100)),
        compression=rng.choice(("none", "snappy", "gzip", "zstd")),
        use_dictionary=rng.random() < 0.5,
        store_schema=rng.random() < 0.5,
    )
    return written(rng, "a.parquet", buffer.getvalue()) | chosen_columns(rng)


# --- Settings and models ------------------------------------------------------------------------


def to_json(tree: Any, ascii_only: bool = True) -> str:
    """The tree as JSON, with `DEEP` written out and what is not finite spelled as Python does."""
    return json.dumps(tree, ensure_ascii=ascii_only).replace(
        f'"{DEEP}"', "[" * 100_000 + "]" * 100_000
    )


def with_odd_value(rng: random.Random, tree: Any) -> Any:
    """A copy of a JSON tree in which one value, or all, is another, gone, or under another name."""
    if not isinstance(tree, dict) or not tree or rng.random() < 0.05:
        return rng.choice(ODD)
    changed = dict(tree)
    key = rng.choice(list(changed))
    if isinstance(changed[key], dict) and rng.random() < 0.9:
        changed[key] = with_odd_value(rng, changed[key])
        return changed
    match rng.randrange(6):
        case 0:
            del changed[key]
        case 1:
            changed[rng.choice(("", "\ud800", "d_modle", "x" * 3_000))] = changed.pop(key)
        case 2:
            changed[key] = rng.choice(list(changed.values()))
        case _:
            changed[key] = rng.choice(ODD)
    return changed


def damaged_json(rng: random.Random, data: bytes) -> bytes:
    if rng.random() < 0.2:
        return damage(rng, data)
    return to_json(with_odd_value(rng, json.loads(data))).encode()


def settings(rng: random.Random) -> Files:
    """Arguments of `--set`, with NUL between them, which no argument can hold."""
    from aiayn.config import Experiment, all_keys

    values = ("", "1", "0", "-1", "1e999", "nan", "9" * 5_000, "true", "a,b", "1,2", "8,16", ",,")
    chosen: list[str] = []
    usual = Experiment("small").to_dict()
    for _ in range(rng.randint(1, 2)):
        key = rng.choice(all_keys(Experiment))
        section, _, name = key.rpartition(".")
        value = str((usual[section] if section else usual)[name]).strip("()")
        if rng.random() < 0.1:
            key = damage(rng, key.encode()).decode("utf-8", "replace")
        if rng.random() < 0.6:
            value = rng.choice((*values, text(rng)))
        chosen.append(f"{key}{rng.choice(('=', '=', '=', ' = ', ''))}{value}".replace("\0", ""))
    return {"settings": "\0".join(chosen).encode("utf-8", "surrogatepass")}


def one_damaged(rng: random.Random, files: Mapping[str, bytes]) -> Files:
    """The files of a folder with something wrong in one of them, or with one missing."""
    files = dict(files)
    name = rng.choice([name for name, data in files.items() if data])
    if rng.random() < 0.03:
        del files[name]
    elif name.endswith((".json", ".jsonl", "METADATA", "metadata")) or files[name][:1] == b"{":
        first, *rest = (
            files[name].splitlines(keepends=True) if name.endswith("l") else [files[name]]
        )
        try:
            files[name] = damaged_json(rng, first) + b"\n" + b"".join(rest)
        except ValueError:
            files[name] = damage(rng, files[name])
    elif name.endswith(".safetensors"):
        files[name] = damaged_safetensors(rng, files[name])
    else:
        files[name] = damage(rng, files[name])
    return files if name.endswith(SUMS) or rng.random() < 0.1 else with_true_sums(files)


def with_true_sums(files: Mapping[str, bytes]) -> Files:
    """The files with the checksums that they have: whoever means harm writes those as well."""
    summed = dict(files)
    for place in (name for name in files if name.endswith(SUMS)):
        folder = place.removesuffix(SUMS)
        names = [name for name in json.loads(files[place]) if folder + name in files]
        sums = {name: hashlib.sha256(files[folder + name]).hexdigest() for name in names}
        summed[place] = json.dumps(sums).encode()
    return summed


def damaged_safetensors(rng: random.Random, data: bytes) -> bytes:
    """A header with odd values and its true length, a wrong length, bytes damaged, or a pickle."""
    length = int.from_bytes(data[:8], "little")
    match rng.randrange(5):
        case 0:
            return damage(rng, data)
        case 1:
            return (
                struct.pack("<Q", rng.choice((0, 2, length + 1, 2**31, 2**63, 2**64 - 1)))
                + data[8:]
            )
        case 2:
            return HOSTILE_PICKLE
        case _:
            header = json.loads(data[8 : 8 + length])
            name = rng.choice(list(header))
            match rng.randrange(4):
                case 0:
                    kinds = ("F64", "F16", "BF16", "I64", "BOOL", "C64", "F8_E4M3", "U8", "X")
                    header[name]["dtype"] = rng.choice(kinds)
                case 1:
                    header[name]["shape"] = rng.choice(([2**62, 4], [-1], [0], [], ["a"], None))
                case 2:
                    header[name]["data_offsets"] = rng.choice(([0, 0], [2**63, 0], [8, 4], [0]))
                case _:
                    header = with_odd_value(rng, header)
            text = to_json(header).encode()
            return struct.pack("<Q", len(text)) + text + data[8 + length :]


class _Touches:
    """Unpickled, it would make a file in the folder it is run in."""

    def __reduce__(self) -> tuple[Callable[..., object], tuple[str, str]]:
        return open, ("code-was-run", "w")


def _pickled() -> bytes:
    return import_module("pickle").dumps(_Touches())


HOSTILE_PICKLE = _pickled()


def of_folder(name: str, rng: random.Random) -> Files:
    """A folder of that kind with something wrong in one file."""
    folders: Any = import_module(".folders", __package__)
    return one_damaged(rng, getattr(folders, name)())


run = partial(of_folder, "run_folder")
model = partial(of_folder, "model_folder")
marian = partial(of_folder, "marian_folder")
checkpoint = partial(of_folder, "checkpoint_folder")


def tokenizer(rng: random.Random) -> Files:
    """A SentencePiece model with damaged bytes or odd fields, or a pair of them in JSON."""
    folders: Any = import_module(".folders", __package__)
    files: Files = rng.choice((folders.tokenizer_folder, folders.pair_folder))()
    if rng.random() < 0.6 and not files["tokenizer.model"].startswith(b"{"):
        return {"tokenizer.model": odd_sentencepiece(rng, files["tokenizer.model"])}
    return one_damaged(rng, files)


def odd_sentencepiece(rng: random.Random, data: bytes) -> bytes:
    proto: Any = import_module("sentencepiece.sentencepiece_model_pb2").ModelProto.FromString(data)
    for _ in range(rng.randint(1, 2)):
        piece = rng.choice(proto.pieces)
        match rng.randrange(7):
            case 0:
                piece.piece = rng.choice(("", "\u2581", "<0x41>", "x" * 1_000, "\0", "one", "</s>"))
            case 1:
                piece.type = rng.randint(1, 6)
            case 2:
                piece.score = rng.choice((float("nan"), float("inf"), -1e38))
            case 3:
                proto.trainer_spec.model_type = rng.randint(1, 4)
            case 4:
                name = rng.choice(("unk_id", "bos_id", "eos_id", "pad_id"))
                setattr(proto.trainer_spec, name, rng.choice((-1, 0, 7, 10**6, 2**31 - 1)))
            case 5:
                proto.normalizer_spec.precompiled_charsmap = rng.randbytes(rng.randrange(1, 400))
            case _:
                del proto.pieces[rng.randrange(1, len(proto.pieces)) :]
    return proto.SerializeToString()


def translate(rng: random.Random) -> Files:
    """What `translate` is given: some dozen lines."""
    end = rng.choice(("\n", "\n", "\r\n"))
    data = end.join(text(rng) for _ in range(40)).encode("utf-8", "surrogatepass")
    return {"stdin": damage(rng, data) if rng.random() < 0.7 else data}


def stdin(rng: random.Random) -> Files:
    """A few lines in some encoding, sometimes packed."""
    data = encoded(rng, "\n".join(text(rng) for _ in range(rng.randrange(8))))
    data = rng.choice(PACKERS)[0](data) if rng.random() < 0.1 else data
    return {"stdin": damage(rng, data) if rng.random() < 0.3 else data}
