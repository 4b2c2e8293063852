import pytest

from aiayn.data.plain import check_plain
from aiayn.errors import UserError

PLAIN = ["Er kam.", "Sie sah @home und a@@b.", "<em>Wir</em> siegten.", ""]


@pytest.mark.parametrize(
    ("line", "what"),
    [
        ("Er ka@@ m .", "subword markers"),
        ("gin@@", "subword markers"),
        ("▁Er ▁kam", "subword markers"),
        ('<seg id="1">Er kam.</seg>', "SGML tags"),
        ("  </doc>", "SGML tags"),
    ],
)
def test_a_tenth_is_told_and_more_is_refused(line, what):
    # Of 40 lines 4 are a tenth, 5 are more.
    lines = [*PLAIN * 9, *[line] * 4]
    (warning,) = check_plain("references", lines)
    assert warning.startswith(f"4 of 40 references hold {what}, the first in line 37, ")
    with pytest.raises(UserError, match=f"5 of 40 .* hold {what}.*wanted plain, detokenised"):
        check_plain("references", [line, *lines[1:]])


def test_plain_text_has_nothing_to_tell():
    assert check_plain("references", PLAIN * 10) == []
    assert check_plain("references", []) == []
