import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.data.sources import documents as module
from aiayn.data.sources.documents import documents, folded, lines_of, unfolded
from aiayn.data.sources.opening import TOO_LONG
from aiayn.errors import UserError

BREAK = "\u2028"


def texts(lines, how):
    return [document.text for document in documents(lines, how, "here")]


@pytest.mark.parametrize(
    ("how", "wanted"),
    [
        ("line", ["", "one", "  two", "\t", "", "three", ""]),
        ("blank_line", [f"one{BREAK}  two", "three"]),
        ("file", [f"one{BREAK}  two{BREAK}\t{BREAK}{BREAK}three"]),
    ],
)
def test_a_document_is_a_line_a_paragraph_or_a_file(how, wanted):
    assert texts(["", "one", "  two", "\t", "", "three", ""], how) == wanted


def test_a_document_knows_its_first_line():
    lines = ["", "one", "two", " ", "", "three"]
    found = {how: [d.line for d in documents(lines, how, "")] for how in ("blank_line", "file")}
    assert found == {"blank_line": [2, 6], "file": [2]}


def test_no_text_is_an_empty_file_and_no_paragraph():
    for lines in ([], ["", " "]):
        assert texts(lines, "file") == [""]
        assert texts(lines, "blank_line") == []
    assert texts([], "line") == []


def test_other_line_breaks_within_lines_count_as_such_where_they_are_kept():
    line = "a\x85b\u2028c\u2029d\re"
    assert texts([line], "line") == ["a b c d e"]
    assert texts([line], "file") == [BREAK.join("abcde")]


@given(st.text())
def test_a_folded_document_is_one_line_and_comes_back(text):
    line = folded(text)
    assert not {*"\n\r\x85\u2029"} & {*line}
    assert folded(unfolded(line)) == line
    as_read = "".join("\n" if c in "\r\x85\u2028\u2029" else c for c in text.replace("\r\n", "\n"))
    assert unfolded(line) == as_read


def test_a_line_too_long_spoils_its_document_alone():
    lines = ["one", "", "two", TOO_LONG, "", "three"]
    for how, wanted in (("line", [4]), ("blank_line", [3]), ("file", [1])):
        assert [d.line for d in documents(lines, how, "") if d.too_long] == wanted


def test_a_document_past_all_memory_is_refused_or_left_out_before_it_is_held(monkeypatch):
    monkeypatch.setattr(module, "LONGEST_DOCUMENT", 20)
    read = []

    def lines():
        for number in range(1_000):
            read.append(number)
            yield "four"

    with pytest.raises(UserError, match=r"big\.txt has over 20 char.*wanted at most 20\. Cut"):
        list(documents(lines(), "file", "big.txt"))
    assert len(read) == 5, "five characters a line: the fifth is one too many"
    found = list(documents(["one", "", *["four"] * 9, "", "two"], "blank_line", ""))
    assert [(d.text, d.too_long) for d in (found[0], found[2])] == [("one", False), ("two", False)]
    assert found[1].too_long
    assert len(texts(["four"] * 4, "file")) == 1


def test_a_cell_is_read_as_a_file_is():
    assert lines_of("a\r\nb\rc\n\nd") == ["a", "b", "c", "", "d"]
    assert lines_of(TOO_LONG)[0] is TOO_LONG
