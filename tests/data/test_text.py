from aiayn.data.text import clean, normalise


def test_normalised_sentences_are_words_alone():
    assert normalise("  1. Déjà-vu, she said: “No!” (2)  ") == "déjà vu she said no"
    assert normalise("कि") != normalise("का")  # Vowel signs tell words apart.
    assert normalise("1984?!") == ""


def test_clean_text_has_one_plain_blank_between_words_and_composed_letters():
    assert clean("  a\u00a0b\t\n c\u2028d ") == "a b c d"
    assert clean("e\u0301") == "é"
