import sys
from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from aiayn.__main__ import main
from aiayn.config import DataConfig, Experiment
from aiayn.data.tokenizer import TreeTokenizer
from aiayn.errors import UserError
from aiayn.interop.ctranslate2 import _positions, _source_pieces, export
from aiayn.model.saved import Model, save_model
from aiayn.model.structure import flatten
from aiayn.model.transformer import sinusoids
from tests.support.models import MODEL, TOKENIZER, drawn_by_numpy, transformer
from tests.support.trees import random_parser

# That what is written is right, the engine itself tells: tests/parity.


@pytest.fixture
def model():
    _, params = transformer(num_words=TOKENIZER.num_words)
    return Model(Experiment("small", model=MODEL), TOKENIZER, flatten(params))


def test_without_the_engine_the_error_says_what_to_install(model, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    monkeypatch.setitem(sys.modules, "ctranslate2.specs", None)
    save_model(tmp_path / "model", model)
    assert main(["export", str(tmp_path / "model"), str(tmp_path / "out")]) == 2
    assert "pip install ctranslate2" in capsys.readouterr().err
    assert [path.name for path in tmp_path.iterdir()] == ["model"]


def test_a_folder_that_is_there_is_left_alone(model, tmp_path):
    with pytest.raises(UserError, match="exists already"):
        export(model, tmp_path)


def test_a_word_that_is_spelled_as_a_symbol_of_trees_is_no_symbol():
    tokenizer = random_parser().tokenizer
    assert isinstance(tokenizer, TreeTokenizer)
    first = tokenizer.first_piece
    pieces = _source_pieces(tokenizer, first)
    assert len(set(pieces)) == len(pieces) == tokenizer.num_words
    assert pieces[first:] == tokenizer.pieces(range(first, tokenizer.num_words))
    assert pieces[:4] == tokenizer.pieces(range(4))
    assert {*pieces[:4]} == {*tokenizer.special}
    assert not {*tokenizer.symbols} & {*pieces[:first]}
    assert _source_pieces(TOKENIZER, TOKENIZER.num_words) == TOKENIZER.pieces(
        range(TOKENIZER.num_words)
    )


@pytest.mark.parametrize("positions", ["halves", "learned"])
def test_the_vector_of_the_target_language_is_a_part_of_the_encoders_positions(positions):
    config = replace(MODEL, positions=positions, max_positions=600, target_space_embedding=True)
    params = flatten(drawn_by_numpy(config, TOKENIZER.num_words)[1])
    experiment = Experiment("small", preset="custom", model=config)
    model = Model(experiment, TOKENIZER, params)
    own = {"encoder": params.get("src_positions"), "decoder": params.get("tgt_positions")}
    if positions == "halves":
        own = dict.fromkeys(own, sinusoids(jnp.arange(1_024)[None], config.d_model, "halves")[0])
    # Every word of a source has the vector, whatever its place; the decoder has none.
    found = _positions(model, "encoder") - own["encoder"]
    np.testing.assert_allclose(
        found, np.tile(params["target_space"][0], (len(found), 1)), atol=1e-6
    )
    np.testing.assert_array_equal(_positions(model, "decoder"), own["decoder"])


def test_a_language_model_has_the_positions_that_it_was_trained_with():
    config = replace(MODEL, kind="decoder", positions="learned", max_positions=64)
    data = DataConfig(src="", max_tokens=24, row_widths=(24,), src_tokens_per_update=25_000)
    experiment = Experiment("writes", data=data, model=config, task="language_model")
    table = np.arange(64 * MODEL.d_model, dtype=np.float32).reshape(64, -1)
    model = Model(experiment, TOKENIZER, {"tgt_positions": table})
    np.testing.assert_array_equal(_positions(model, "decoder"), table[:24])


def test_there_is_a_position_for_every_word_of_training():
    longer = DataConfig(max_tokens=1_600, row_widths=(1_600,))
    model = Model(Experiment("long", model=MODEL, data=longer), TOKENIZER, {})
    table = _positions(model, "decoder")
    wanted = sinusoids(jnp.arange(1_600)[None], MODEL.d_model)[0]
    np.testing.assert_array_equal(table, wanted)
