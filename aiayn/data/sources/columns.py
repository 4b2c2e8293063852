"""Which columns of a table, or keys of an object, hold the source and the target (§5.1).

They are named after the languages, or after their part in a pair. What is neither is refused with
what was found and with the setting that says it: nothing is guessed from the text itself.
"""

import re
from collections.abc import Sequence
from itertools import chain

from aiayn.data import languages
from aiayn.data.sources.opening import TOO_LONG
from aiayn.errors import UserError

SAMPLE_LINES, SAMPLE_CHARACTERS = 1_000, 1_000_000
"""The beginning of a file, by which its columns are judged."""
_NUMBER = re.compile(r"\s*[-+]?[.,:eE%/-]*\d[\d.,:eE%/-]*\s*")
_ROLES = {"source": 0, "src": 0, "target": 1, "tgt": 1, "trg": 1}
_ABOUT = {
    *("id", "index", "line", "no", "nr", "score", "similarity", "alignment", "url", "license"),
    *("lang", "language", "label"),
}
"""Words that stand above columns that hold something else than text."""
_HEADINGS = {
    *_ROLES,
    *_ABOUT,
    *("text", "sentence", "segment", "string", "phrase", "document", "doc", "corrected", "simple"),
    *("input", "output", "original", "translation", "translated", "reference", "ref", "hypothesis"),
    *("prompt", "completion", "question", "answer"),
}
"""Words that stand above columns, and seldom alone as a sentence."""


def sides(names: Sequence[str], src: str, tgt: str) -> tuple[int, int] | None:
    """The places of source and target among the names of columns, or None.

    Without a source they are the same one: that of the target's language, or of text.
    """
    codes = [_code(name, src or tgt, tgt) for name in names]
    if not src:
        lower = [name.strip().lower() for name in names]
        place = _place(tgt, names, codes)
        found = lower.index("text") if place is None and lower.count("text") == 1 else place
        return None if found is None else (found, found)
    places = [_place(wanted, names, codes) for wanted in (src, tgt)]
    if None in places or places[0] == places[1]:
        parts = [_role(name) for name in names]
        places = [parts.index(part) if parts.count(part) == 1 else None for part in (0, 1)]
    first, second = places
    return None if first is None or second is None else (first, second)


def _place(wanted: str, names: Sequence[str], codes: Sequence[str]) -> int | None:
    """The place of a language, or None where several columns may be meant: `id` beside
    "Indonesian" is a number as likely as the code."""
    place = languages.find(wanted, codes)
    if place is None:
        return None
    same = [number for number, code in enumerate(codes) if code == codes[place]]
    exact = [n for n in same if names[n].strip().lower() == codes[n].lower()]
    if len(same) == 1:
        return place
    is_clear = len(exact) == 1 and not _ABOUT.intersection(_words(names[exact[0]]))
    return exact[0] if is_clear else None


def _code(name: str, src: str, tgt: str) -> str:
    """The code of the language that a column is named after, such as `de` for "German" and
    "sentence_de"; the name itself where it is none, and nothing where it is about a text.
    """
    name = name.strip()
    words = _words(name)
    ours = {word for word in words if any(languages.matches(code, word) for code in (src, tgt))}
    if ours and _ABOUT.intersection(words) - ours:
        return ""
    for code in (src, tgt):
        if languages.matches(code, name):
            return name
    rest = [word for word in words if word in ours or word not in _HEADINGS]
    for code in (src, tgt):
        # Names are looked up only where there could be one.
        if rest and len(name) <= 40 and " ".join(rest) in languages.names(code):
            return code
        if len(words) > 1 and len(rest) == 1 and languages.matches(code, rest[0]):
            return rest[0]
    return name


def _role(name: str) -> int | None:
    """0 for "source", "src_text" and the like, 1 for "target"."""
    words = _words(name)
    if _ABOUT.intersection(words):
        return None
    parts = {_ROLES[word] for word in words if word in _ROLES}
    return parts.pop() if len(parts) == 1 and set(words) <= _HEADINGS else None


def _words(name: str) -> list[str]:
    return re.findall(r"[^\W_]+", name.lower())


def _is_heading(cell: str) -> bool:
    """Whether a cell names a column rather than being a sentence."""
    words = _words(cell)
    if not words or len(cell) > 40 or re.search("[.!?]", cell):
        return False
    rest = [word for word in words if word not in _HEADINGS]
    return (
        not rest
        or languages.is_code(cell)
        or " ".join(rest) in languages.english_names()
        or (len(words) > 1 and len(rest) == 1 and languages.is_code(rest[0]))
    )


def of_table(
    path: object, lines: Sequence[str], src: str, tgt: str, columns: Sequence[str]
) -> tuple[int, int, bool]:
    """The columns of source and target in a TSV that begins with these lines, from 0, and whether
    its first line is a header.

    Raises:
        UserError: the columns that were asked for are not there; or none were, and it has more than
            two without a header that tells, other names in its header, no tab, or numbers in a
            column; or, without a source, more than one.
    """
    rows = [line.split("\t") for line in lines if line is not TOO_LONG and line.strip()]
    if not rows:
        return 0, 1 if src else 0, False
    header = [cell.strip().strip('"') for cell in rows[0]]
    if not columns:
        _check_quotes(path, rows)
    if columns:
        return _asked(path, rows, header, src, tgt, columns)
    if found := sides(header, src, tgt):
        return *found, True
    if not src:
        if (width := max(map(len, rows))) > 1:
            raise UserError(
                f"{path} has {width} columns and no header that names {tgt!r} or text: "
                f"{_examples(rows)}. {_how([2])}"
            )
        return 0, 0, False
    if len(header) > 1 and len({cell.lower() for cell in header}) > 1:
        filled = [cell for cell in header if cell]
        if all(map(_is_heading, filled)):
            raise UserError(
                f"{path} begins with the header {_listed(header)}; wanted {src!r} and {tgt!r} in "
                f"it, or source and target. {_how(header[:2])} If it is a pair, data.columns=1,2."
            )
    widths = [len("\t".join(row).rstrip().split("\t")) for row in rows]
    if len(rows) >= 3 and max(widths) < 2:
        raise UserError(
            f"{path} has no tab in its lines: {_examples(rows)}. Wanted columns of TSV."
        )
    paired = [width for width in widths if width > 1]
    numbers = [place for place in range(max(widths)) if _is_numbers(rows, place)]
    texts = [place + 1 for place in range(max(widths)) if place not in numbers]
    proposed = [*texts, 1, 2][:2]
    if sum(width > 2 for width in paired) * 2 > len(paired):
        raise UserError(
            f"{path} has {max(widths)} columns and no header that names {src!r} and {tgt!r}: "
            f"{_examples(rows)}. {_how(proposed)}"
        )
    if numbers and numbers[0] < 2:
        raise UserError(
            f"{path} has nearly nothing but numbers in column {numbers[0] + 1}: {_examples(rows)}. "
            f"{_how([1, 2])}"
        )
    return 0, 1, False


def _check_quotes(path: object, rows: Sequence[Sequence[str]]) -> None:
    """Refuse a table whose cells are quoted, as spreadsheets write them: quotes would be trained
    on, and a cell of two lines would be half of one.

    Raises:
        UserError: most cells are, or the header and any other.
    """
    first, *others = ([cell.strip() for cell in row if cell.strip()] for row in rows)
    quoted = [_is_quoted(cell) for row in others for cell in row]
    names = [cell[1:-1] for cell in first if _is_quoted(cell)]
    is_header = len(names) == len(first) and all(map(_is_heading, names))
    if (is_header and any(quoted)) or sum(quoted) * 2 > len(quoted) > 3:
        raise UserError(
            f"{path} has quotes around its cells: {_examples(rows)}. Wanted plain text with tabs "
            "between; save it without quoting (pandas: quoting=csv.QUOTE_NONE)."
        )


def _is_quoted(cell: str) -> bool:
    return len(cell) > 1 and cell[0] == cell[-1] == '"'


def _asked(
    path: object,
    rows: Sequence[Sequence[str]],
    header: Sequence[str],
    src: str,
    tgt: str,
    columns: Sequence[str],
) -> tuple[int, int, bool]:
    """The columns that the setting names, by the header's words or by number."""
    named = [header.index(name) if name in header else None for name in columns]
    first, second = named[0], named[-1]
    if first is not None and second is not None:
        return first, second, True
    if not all(re.fullmatch("[1-9][0-9]?", name) for name in columns):
        raise UserError(
            f"{path} begins with {_listed(header)}, and data.columns is {','.join(columns)}; "
            "wanted names from there, or numbers of columns."
        )
    first, second = int(columns[0]) - 1, int(columns[-1]) - 1
    if max(map(len, rows)) <= max(first, second):
        raise UserError(
            f"{path} has {max(map(len, rows))} columns, and data.columns is {','.join(columns)}: "
            f"{_examples(rows)}."
        )
    chosen = [header[place] if place < len(header) else "" for place in (first, second)]
    words = [_words(cell) for cell in chosen]
    differ = words[0] != words[1] or not src
    above = all(words) and differ and set(words[0] + words[1]) <= _HEADINGS
    return first, second, above or sides(chosen, src, tgt) is not None


def _is_numbers(rows: Sequence[Sequence[str]], place: int) -> bool:
    cells = [row[place] for row in rows if len(row) > place]
    return len(cells) >= 3 and sum(map(bool, map(_NUMBER.fullmatch, cells))) >= 0.9 * len(cells)


def not_found(
    where: str, keys: Sequence[str], src: str, tgt: str, columns: Sequence[str]
) -> UserError:
    """What to say of objects or of a table without the two sides."""
    names = columns or [name for name in (src, tgt) if name]
    wanted = " and ".join(map(repr, names)) + ("" if src or columns else " or 'text'")
    hint = "" if columns else f" {_how(_proposed(keys)[: len(names)])}"
    return UserError(
        f"{where} has the columns {', '.join(map(_short, keys[:50]))}; wanted {wanted}.{hint}"
    )


def _proposed(keys: Sequence[str]) -> list[str]:
    return [*(key for key in keys if key != "translation"), "SOURCE", "TARGET"][:2]


def _how(columns: Sequence[object]) -> str:
    what = "hold the source and the target" if len(columns) == 2 else "holds the text"
    return f"Say which {what}, for example --set data.columns={','.join(map(str, columns))}."


def _listed(cells: Sequence[str]) -> str:
    return ", ".join(repr(_short(cell)) for cell in cells[:20])


def _examples(rows: Sequence[Sequence[str]]) -> str:
    return "; ".join(" | ".join(_short(cell) for cell in row[:6]) for row in rows[:3])


def _short(text: str) -> str:
    text = " ".join(text.encode("utf-8", "replace").decode().split())
    return text if len(text) <= 40 else f"{text[:39]}…"


def by_path(
    names: Sequence[Sequence[str]], src: str, tgt: str, columns: Sequence[str]
) -> tuple[int, int] | None:
    """The places of source and target among columns that are named by paths, such as
    `translation`, `de`.
    """
    dotted = [".".join(name) for name in names]
    if columns:
        known = list(chain(dotted, (d.removeprefix("translation.") for d in dotted)))
        if any(name not in known for name in columns):
            return None
        places = [known.index(name) % len(dotted) for name in columns]
        return places[0], places[-1]
    for inside in (False, True):
        places = [n for n, name in enumerate(names) if (name[0] == "translation") == inside]
        found = sides([names[n][-1] for n in places], src, tgt)
        if found:
            return places[found[0]], places[found[1]]
    return (0, 0) if not src and len(names) == 1 else None
