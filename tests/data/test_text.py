from aiayn.data.text import normalise


def test_normalised_sentences_are_words_alone():
    assert normalise("  1. Déjà-vu, she said: “No!” (2)  ") == "déjà vu she said no"
    assert normalise("कि") != normalise("का")  # Vowel signs tell words apart.
    assert normalise("1984?!") == ""
