import json
from dataclasses import replace

import jax
import numpy as np
import pytest
from flax import nnx

from aiayn.config import DataConfig, Experiment
from aiayn.decoding.heads import KINDS, all_weights, draw, look
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.model.saved import Model
from aiayn.model.structure import flatten
from aiayn.model.transformer import MultiHeadAttention
from tests.support.models import MODEL, TOKENIZER, drawn_by_numpy, one_packed_row, random_pairs

SOURCE, TARGET = "one two three", "four five"


@pytest.fixture(scope="module")
def translator():
    _, params = drawn_by_numpy(num_words=TOKENIZER.num_words)
    experiment = Experiment("small", data=DataConfig(max_tokens=64), model=MODEL)
    return Translator(Model(experiment, TOKENIZER, flatten(params)))


@pytest.fixture(scope="module")
def looks(translator):
    return look(translator, SOURCE, TARGET)


def test_the_weights_are_those_that_the_model_attends_with(monkeypatch):
    # Each call of attention in a forward pass, in order, against what is drawn.
    graphdef, params = drawn_by_numpy()
    rows = one_packed_row(random_pairs([(3, 4), (5, 3)]))
    used = []
    original = MultiHeadAttention.__call__

    def recorded(self, x, memory, mask, noise=None):
        used.append(self.weights(x, memory, mask))
        return original(self, x, memory, mask, noise)

    def forward(params):
        with jax.disable_jit():  # or the second layer would repeat the program of the first
            nnx.merge(graphdef, params)(rows)
        return used

    monkeypatch.setattr(MultiHeadAttention, "__call__", recorded)
    used = jax.jit(forward)(params)
    monkeypatch.undo()
    found = all_weights(graphdef, params, rows)
    # Two encoder layers; then self-attention and encoder-decoder attention of two decoder layers.
    for name, calls in (("encoder", (0, 1)), ("decoder", (2, 4)), ("cross", (3, 5))):
        for layer, call in enumerate(calls):
            np.testing.assert_allclose(getattr(found, name)[layer], used[call], atol=2e-6)
    assert len(used) == 6


def test_every_kind_has_its_tokens_and_rows_that_sum_to_one(looks):
    for kind in KINDS:
        weights_LHQM = looks.of(kind)
        query, memory = looks.tokens(kind)
        assert weights_LHQM.shape == (2, 2, len(query), len(memory))
        np.testing.assert_allclose(weights_LHQM.sum(-1), 1.0, rtol=1e-5)
    assert np.triu(looks.decoder, 1).max() == 0.0, "the decoder never looks ahead"
    assert looks.tgt_in_tokens[1:] == looks.tgt_out_tokens[:-1]


def test_the_pieces_of_a_word_look_together(looks):
    tokens = looks.src_tokens
    places = looks.places("encoder", "two")
    assert "".join(tokens[place] for place in places) == "\u2581two"
    assert looks.places("cross", "</s>") == [len(looks.tgt_out_tokens) - 1]
    with pytest.raises(UserError, match="wanted one of one, two, three"):
        looks.places("encoder", "seven")


@pytest.mark.parametrize(
    ("tokens", "words"),
    [
        ("\u2581The \u2581c at </s>", {"The": [0], "cat": [1, 2], "</s>": [3]}),
        ("\u2581caf <0xC3> <0xA9> \u2581is", {"café": [0, 1, 2], "is": [3]}),
        ("hello</w> wor ld</w> .</w>", {"hello": [0], "world": [1, 2], ".": [3]}),
        ("(TOP (S NN )S )TOP </s>", {"(S": [1], "NN": [2], ")TOP": [4]}),
    ],
)
def test_words_are_found_whatever_says_where_they_begin(looks, tokens, words):
    looked = replace(looks, src_tokens=tokens.split())
    for word, places in words.items():
        assert looked.places("encoder", word) == places


def test_pictures_and_json_are_written(looks, tmp_path):
    draw(looks, "encoder", 1, [2], "two", tmp_path / "new", "small")
    files = {path.name for path in (tmp_path / "new").iterdir()}
    assert files == {"attention.json", "heatmap.png", "links.png"}
    values = json.loads((tmp_path / "new/attention.json").read_text())
    np.testing.assert_allclose(values["cross"], looks.cross, atol=1e-6)
    assert values["src_tokens"] == list(looks.src_tokens)


@pytest.mark.parametrize(
    ("layer", "heads", "message"),
    [(0, [], "--layer is 0; wanted 1 to 2"), (3, [], "--layer"), (1, [3], "--heads names 3")],
)
def test_layers_and_heads_that_there_are_not(looks, tmp_path, layer, heads, message):
    with pytest.raises(UserError, match=message):
        draw(looks, "cross", layer, heads, "", tmp_path, "small")


def test_a_side_without_words_or_with_too_many_is_refused(translator):
    with pytest.raises(UserError, match="The target has 0 tokens; wanted 1 to 63"):
        look(translator, SOURCE, " ")
    with pytest.raises(UserError, match="The source has"):
        look(translator, "one " * 100, TARGET)
