"""LibreTranslate's dialect: what its clients send and read, and its refusals."""

import asyncio
from types import SimpleNamespace

import pytest

from aiayn.serve.engine import Engine
from aiayn.serve.libretranslate import Translate, Translations
from aiayn.serve.refusals import Refusal

ASKED = {"q": "one two", "source": "en", "target": "de"}


@pytest.fixture(scope="module")
def wanted(pair):
    """The best translations of a sentence."""
    (found,) = pair.served.model.translate(["one two"], num_best=3)
    return [each.text for each in found]


def translate(client, **asked):
    found = client.post("/translate", json={**ASKED, **asked})
    assert found.status_code == 200, found.text
    return found.json()


def test_a_text_is_translated_however_it_is_sent(client, wanted):
    found = [
        client.post("/translate", json=ASKED),
        client.post("/translate", data=ASKED),
        client.post("/translate", params=ASKED),
        client.post("/translate", files={name: (None, value) for name, value in ASKED.items()}),
        client.post("/translate", json={**ASKED, "format": "text", "api_key": "any"}),
    ]
    assert [each.status_code for each in found] == [200] * 5
    assert [each.json() for each in found] == [{"translatedText": wanted[0]}] * 5


def test_a_list_is_answered_by_a_list(client, wanted):
    assert translate(client, q=["one two", "", "one two"]) == {
        "translatedText": [wanted[0], "", wanted[0]]
    }
    form = {**ASKED, "q": ["one two", "one two"]}
    assert client.post("/translate", data=form).json() == {"translatedText": [wanted[0]] * 2}


def test_alternatives_come_after_the_best(client, wanted):
    found = translate(client, alternatives=2)
    assert [found["translatedText"], *found["alternatives"]] == wanted
    found = translate(client, q=["one two"], alternatives=1)
    assert found == {"translatedText": wanted[:1], "alternatives": [wanted[1:2]]}


def test_lines_blanks_and_tags_stay(client, wanted):
    text = translate(client, q=" one two\n\none two\t")["translatedText"]
    assert text == f" {wanted[0]}\n\n{wanted[0]}\t"
    found = translate(client, q="<p>one two</p> <br>", format="html")["translatedText"]
    assert found.startswith("<p>")
    assert found.endswith("</p> <br>")


def test_the_language_of_a_text_is_found_among_those_served(client, wanted):
    found = translate(client, source="auto")
    assert found["translatedText"] == wanted[0]
    assert found["detectedLanguage"] == {"confidence": 100.0, "language": "en"}
    found = translate(client, q=["one two", "six"], source="auto")
    assert [each["language"] for each in found["detectedLanguage"]] == ["en", "en"]


def test_a_language_is_detected(client):
    for request in (
        {"json": {"q": "Guten Morgen, wie geht es dir?"}},
        {"data": {"q": "Guten Tag"}},
    ):
        best, other = client.post("/detect", **request).json()
        assert (best["language"], other["language"]) == ("de", "en")
        assert 50 < best["confidence"] <= 100
        assert best["confidence"] + other["confidence"] == pytest.approx(100, abs=0.2)


def test_languages_have_names_and_targets(client):
    wanted = [
        {"code": "en", "name": "English", "targets": ["de"]},
        {"code": "de", "name": "German", "targets": []},
    ]
    assert client.get("/languages").json() == wanted
    with_body = client.request("GET", "/languages", data={"api_key": "x"})  # as its client sends
    assert with_body.json() == wanted


def test_other_kinds_of_a_language_are_the_language(client, wanted):
    assert translate(client, source="en-GB", target="de_AT") == {"translatedText": wanted[0]}


def test_settings_name_the_limits_and_the_first_pair(client):
    found = client.get("/frontend/settings").json()
    assert found["charLimit"] == 50_000
    assert found["keyRequired"] is False
    assert found["language"]["source"] == {"code": "en", "name": "English"}
    assert found["language"]["target"] == {"code": "de", "name": "German"}


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"q": None}, "Invalid request: missing q parameter"),
        ({"source": None}, "Invalid request: missing source parameter"),
        ({"target": None}, "Invalid request: missing target parameter"),
        ({"q": ""}, "Invalid request: missing q parameter"),
        ({"q": []}, "Invalid request: missing q parameter"),
        ({"source": "zz"}, "zz is not supported"),
        ({"target": "zz"}, "zz is not supported"),
        ({"target": "en"}, "en is not supported"),
        ({"source": "de"}, "de is not supported"),
        ({"q": 3}, "Expected `str | array`, got `int` - at `$.q`"),
        ({"q": ["a"] * 1_001}, "q has 1,001 texts; wanted at most 1,000."),
        ({"q": "a" * 50_001}, "Invalid request: request (50001) exceeds text limit (50000)"),
        ({"format": "pdf"}, "Invalid enum value 'pdf'"),
        ({"alternatives": 3}, "alternatives is 3; wanted at most 2"),
        ({"alternatives": -1}, "Expected `int` >= 0"),
    ],
)
def test_what_cannot_be_is_refused_in_their_words(client, asked, message):
    values = {name: value for name, value in {**ASKED, **asked}.items() if value is not None}
    found = client.post("/translate", json=values)
    assert found.status_code == 400
    assert message in found.json()["error"]


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'{"q": "\xff"}'])
@pytest.mark.parametrize("path", ["/translate", "/detect"])
@pytest.mark.parametrize(
    "kind", ["application/json", "application/x-www-form-urlencoded", "multipart/form-data"]
)
def test_what_is_neither_json_nor_a_form_is_refused(client, path, body, kind):
    found = client.post(path, content=body, headers={"content-type": kind})
    assert found.status_code == 400
    assert found.json()["error"]


@pytest.mark.parametrize("charset", ["undefined", "utf-7", '"unicode_escape"', "none of them"])
@pytest.mark.parametrize("kind", ["multipart/form-data; boundary=x", "text/plain"])
def test_a_form_is_utf8(client, kind, charset):
    found = client.post(
        "/translate", content=b"q=one", headers={"content-type": f"{kind}; charset={charset}"}
    )
    assert found.status_code == 400
    assert "wanted utf-8" in found.json()["error"]


def test_files_are_not_taken(client):
    found = client.post("/translate", data=ASKED, files={"file": ("a.txt", b"one")})
    assert found.status_code == 400


def test_a_code_of_any_length_is_not_looked_up(client):
    found = client.post("/translate", json={**ASKED, "source": "x" * 51})
    assert found.status_code == 400
    assert "length <= 50" in found.json()["error"]


class _Named(Engine):
    """An engine of a pair, which translates into its own name."""

    def __init__(self, src, tgt):
        self.served = SimpleNamespace(kind="translation", languages=(src, tgt))
        self.name = f"{src} {tgt}"


def _translations(monkeypatch, *pairs):
    monkeypatch.setattr("aiayn.serve.libretranslate._translation", lambda engine, *_: engine)

    async def answered(engine, works):
        return [[SimpleNamespace(text=each.name)] for each in works]

    monkeypatch.setattr("aiayn.serve.libretranslate.answered", answered)
    return Translations([_Named(*pair) for pair in pairs])


def _said(translations, q, source, target):
    found = asyncio.run(translations.translate(Translate(q=q, source=source, target=target)))
    return found["translatedText"]


def test_the_source_is_one_that_is_translated_into_the_target(monkeypatch):
    both = _translations(monkeypatch, ("de", "en"), ("en", "de"))
    texts = ["How are you?", "", "12", "OK"]
    assert _said(both, texts, "auto", "de") == ["en de"] * 4, "nothing else is translated into it"
    kinds = _translations(monkeypatch, ("en", "de"), ("en-GB", "fr"))
    assert _said(kinds, "a", "en", "fr") == "en-GB fr"
    assert _said(kinds, "a", "en", "de") == "en de"
    with pytest.raises(Refusal, match="fr is not available as a target language from de"):
        _said(_translations(monkeypatch, ("en", "fr"), ("de", "en")), "a", "de", "fr")
    with pytest.raises(Refusal, match="pl is not supported"):
        _said(both, "a", "pl", "de")
