"""Which of the languages served a text is in."""

from aiayn.serve.detection import Detector

DETECTOR = Detector()


def test_the_likeliest_comes_first_and_all_are_100_together():
    found = DETECTOR.detect("Wo ist bitte der Bahnhof?", ["en", "fr", "de"])
    assert found[0]["language"] == "de"
    assert [each["confidence"] for each in found] == sorted(
        (each["confidence"] for each in found), reverse=True
    )
    assert abs(sum(each["confidence"] for each in found) - 100) < 0.2


def test_a_code_is_the_language_that_it_names_and_an_unknown_one_has_no_confidence():
    found = DETECTOR.detect("Where is the station, please?", ["xx", "en-GB"])
    assert found == [
        {"confidence": 100.0, "language": "en-GB"},
        {"confidence": 0.0, "language": "xx"},
    ]


def test_a_text_of_nothing_may_be_anything():
    assert {each["language"] for each in DETECTOR.detect("", ["de", "en"])} == {"de", "en"}
