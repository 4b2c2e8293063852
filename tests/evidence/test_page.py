import json
import re

from aiayn.evidence.age import Age
from aiayn.evidence.claims import Claim
from aiayn.evidence.page import as_html, as_json, as_markdown

CLAIMS = [
    Claim("a", "§1", "x < y & z", "1 | 2", "3", "holds", "here"),
    Claim("b", "§2", "text", "4", "–", "not run here", "make it"),
]


ABOUT = {
    "commit": "0123456789abcdef",
    "versions": {"jax": "0.10.2"},
    "hardware": {"num_devices": 1, "platform": "cpu", "cpu": "a CPU"},
}


def test_the_page_says_the_same_in_three_forms():
    markdown = as_markdown(CLAIMS, ABOUT)
    assert "| §1 | x < y & z | 1 \\| 2 | 3 | holds | here |" in markdown
    assert (
        "2 claims: 1 holds, 0 arithmetic, 0 measured, 0 differs, 1 not run here, 0 fails"
        in markdown
    )
    page = as_html(CLAIMS, ABOUT)
    assert "<td>x &lt; y &amp; z</td>" in page
    assert len(re.findall("<tr id=", page)) == 2
    values = json.loads(as_json(CLAIMS, ABOUT))
    assert [Claim(**value) for value in values["claims"]] == CLAIMS
    assert values["counts"]["holds"] == 1


def test_the_page_says_how_old_each_record_is():
    old = [Age("x.json", "0123456789abcdef", 1_234), Age("bench/y.json", "unknown", None)]
    markdown = as_markdown(CLAIMS, ABOUT, old)
    assert "| x.json | 0123456789ab | 1,234 |\n| bench/y.json | unknown | not known here |" in (
        markdown
    )
    page = as_html(CLAIMS, ABOUT, old)
    assert re.findall('<tr id="(.)">', page) == ["a", "b"]
    assert "<td>1,234</td>" in page
    assert json.loads(as_json(CLAIMS, ABOUT, old))["records"][1]["commits"] is None
