"""What is kept of a text when it is translated, and what is not."""

import html

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aiayn.data.text import visible
from aiayn.serve.text import document


def _put_together(found):
    """The document with each part as it was."""
    parts = "".join(part.before + found.written(part.line) for part in found.parts)
    return parts + found.after


@given(st.text(st.sampled_from("ab. \n\r\t\u2028\u00a0<>&é"), max_size=40))
def test_blanks_and_line_breaks_stay_where_they_are(text):
    found = document(text)
    assert _put_together(found) == text
    assert all(part.line == part.line.strip() != "" for part in found.parts)
    assert all(len(part.line.splitlines()) == 1 for part in found.parts)


@given(st.text(st.sampled_from("<>/!-pb\"'= &;amscrit\n"), max_size=60))
def test_html_keeps_every_tag(text):
    found = document(text, is_html=True)
    # A line break within a text may be a blank.
    assert html.unescape(_put_together(found)).split() == html.unescape(text).split()


def test_the_lines_of_a_text_are_its_parts():
    found = document("  One.\n\n\tTwo. \r\nThree")
    assert [tuple(part) for part in found.parts] == [
        ("  ", "One."),
        ("\n\n\t", "Two."),
        (" \r\n", "Three"),
    ]
    assert found.after == ""


def test_only_text_between_tags_is_translated():
    text = (
        '<p title="a > b">One &amp; <b>two</b></p><!-- no --><script>x = "<p>three</p>"</script>'
        "<style>p {}</style>four<br/>"
    )
    found = document(text, is_html=True)
    assert [part.line for part in found.parts] == ["One &", "two", "four"]
    assert _put_together(found) == text


def test_a_line_break_of_html_is_a_blank_but_where_lines_are_kept():
    text = "<p>One\n  two.</p>\n<pre>three\nfour</pre>five\nsix<textarea>\nseven"
    found = document(text, is_html=True)
    lines = ["One two.", "three", "four", "five six", "seven"]
    assert [part.line for part in found.parts] == lines
    assert _put_together(found) == text.replace("\n  two", " two").replace("five\n", "five ")


def test_signs_of_html_in_a_translation_are_no_tags():
    assert document("x", is_html=True).written("a < b & c") == "a &lt; b &amp; c"
    assert document("x").written("a < b & c") == "a < b & c"


def test_what_nobody_sees_is_left_out_of_what_is_translated():
    (part,) = document("one\u200b two\u2066").parts
    assert part.line == visible("one\u200b two\u2066") == "one two"


@pytest.mark.parametrize("tag", ["<a", '<a "', "<script>", "<!--", "<style", "&", "<"])
def test_tags_that_never_end_take_no_longer_than_others(tag):
    text = tag * (50_000 // len(tag))
    assert html.unescape(_put_together(document(text, is_html=True))) == text
