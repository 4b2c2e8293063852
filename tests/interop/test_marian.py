import json
from dataclasses import replace

import numpy as np
import pytest
from safetensors.numpy import save_file

from aiayn.__main__ import main
from aiayn.config import ModelConfig
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.interop.marian import _tokenizer, read_marian
from aiayn.model.saved import load_model
from aiayn.model.structure import flatten
from tests.support.models import TOKENIZER, transformer

CONFIG = ModelConfig(
    num_layers=2,
    d_model=8,
    d_ff=20,
    num_heads=2,
    d_k=4,
    d_v=4,
    activation="swish",
    positions="huggingface",
    layer_norm_epsilon=1e-5,
    logits_bias=True,
)
WORDS = TOKENIZER.num_words
THEIRS = {
    "self_attention": "self_attn",
    "cross_attention": "encoder_attn",
    "self_norm": "self_attn_layer_norm",
    "cross_norm": "encoder_attn_layer_norm",
    "feed_forward.inner": "fc1",
    "feed_forward.outer": "fc2",
    "feed_forward_norm": "final_layer_norm",
    "query": "q_proj",
    "key": "k_proj",
    "value": "v_proj",
    "out": "out_proj",
}


def their_name(name: str) -> str:
    """`decoder.0.cross_attention.key.kernel` as Hugging Face spells it."""
    stack, number, rest = name.split(".", 2)
    rest = rest.removesuffix(".kernel").removesuffix(".scale").removesuffix(".bias")
    for ours, theirs in THEIRS.items():
        rest = ".".join(theirs if part == ours else part for part in rest.split("."))
        rest = theirs if rest == ours else rest
    kind = "bias" if name.endswith("bias") else "weight"
    return f"model.{stack}.layers.{number}.{rest}.{kind}"


@pytest.fixture
def folder(tmp_path):
    """Our own random parameters in the form of Hugging Face's."""
    _, params = transformer(CONFIG, WORDS)
    flat = flatten(params)
    state = {
        "model.shared.weight": flat.pop("embedding")[:WORDS],
        "final_logits_bias": flat.pop("logits_bias")[None, :WORDS],
    }
    for name, value in flat.items():
        value = value.T if name.endswith("kernel") else value
        state[their_name(name)] = np.ascontiguousarray(value)
    path = tmp_path / "opus-mt-en-de"
    path.mkdir()
    save_file(state, path / "model.safetensors")
    vocabulary = {TOKENIZER.pieces([number])[0]: number for number in range(WORDS)}
    config = {
        "model_type": "marian",
        "vocab_size": WORDS,
        "d_model": 8,
        "encoder_layers": 2,
        "decoder_layers": 2,
        "encoder_attention_heads": 2,
        "decoder_attention_heads": 2,
        "encoder_ffn_dim": 20,
        "decoder_ffn_dim": 20,
        "activation_function": "swish",
        "scale_embedding": True,
        "decoder_start_token_id": TOKENIZER.pad,
    }
    for name, values in (
        ("config", config),
        ("vocab", vocabulary),
        ("tokenizer_config", {"source_lang": "en", "target_lang": "de"}),
    ):
        (path / f"{name}.json").write_text(json.dumps(values))
    for side in ("source", "target"):
        (path / f"{side}.spm").write_bytes(TOKENIZER.model)
    return path


def change(folder, name="config", **changes):
    path = folder / f"{name}.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def test_every_tensor_finds_its_place(folder):
    model = read_marian(folder)
    assert model.experiment.model == CONFIG
    assert (model.experiment.data.src, model.experiment.data.tgt) == ("en", "de")
    _, params = transformer(CONFIG, WORDS)
    wanted = flatten(params)
    assert model.params.keys() == wanted.keys()
    # Padding must never be said, whatever the others' logits are.
    assert model.params["logits_bias"][TOKENIZER.pad] < -1_000
    model.params["logits_bias"][TOKENIZER.pad] = wanted["logits_bias"][TOKENIZER.pad]
    for name, value in model.params.items():
        found = value[:WORDS] if name in ("embedding", "logits_bias") else value
        np.testing.assert_array_equal(found, wanted[name][: len(found)], err_msg=name)
        assert not value[len(found) :].any(), "rows of no word"


def test_the_tokenizer_has_two_sides_and_one_table(folder):
    tokenizer = read_marian(folder).tokenizer
    text = "one two three"
    assert tokenizer.encode([text]) == tokenizer.encode_target([text]) == TOKENIZER.encode([text])
    assert tokenizer.decode(tokenizer.encode([text])) == [text]
    assert (tokenizer.bos, tokenizer.num_words) == (TOKENIZER.pad, WORDS)
    # A code is looked up as a whole; this table has none.
    assert tokenizer.pieces(tokenizer.encode([">>fr<< one"])[0])[0] == "<unk>"


def test_an_imported_model_translates(folder, tmp_path, capsys):
    out = tmp_path / "models" / "en-de"
    assert main(["import", str(folder), str(out)]) == 0
    assert "parameters" in capsys.readouterr().out
    again = load_model(out)
    assert again.tokenizer.encode(["one"]) == TOKENIZER.encode(["one"])
    short = again.experiment.with_overrides(["data.max_tokens=8", "decode.max_extra_tokens=4"])
    lines = Translator(replace(again, experiment=short)).translate(["one two", "three " * 20])
    assert all(hypotheses[0].text is not None for hypotheses in lines)
    assert main(["import", str(folder), str(out)]) == 2
    assert "exists already" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"normalize_before": True}, "normalize_before is True; wanted False"),
        ({"decoder_layers": 1}, "layers are 2, the decoder's 1"),
        ({"activation_function": "gelu"}, "activation_function is 'gelu'"),
        ({"vocab_size": WORDS + 1}, "vocab.json has"),
        ({"vocab_size": 1}, "config.json: data.vocab_size is 1"),
        ({"activation_function": None}, "activation_function is None"),
        ({"model_type": "t5"}, "model_type is 't5'; wanted 'marian'"),
        ({"encoder_ffn_dim": 24, "decoder_ffn_dim": 24}, "belongs to another model"),
    ],
)
def test_other_kinds_of_models_are_refused_by_name(folder, changes, message):
    change(folder, **changes)
    with pytest.raises(UserError, match=message):
        read_marian(folder)


def test_a_config_that_lacks_a_setting_is_refused_by_its_name(folder):
    path = folder / "config.json"
    values = json.loads(path.read_text())
    del values["encoder_layers"]
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match="has no encoder_layers"):
        read_marian(folder)


def test_every_part_of_a_cut_line_keeps_the_code_of_its_language(folder):
    change(folder, "vocab", **{">>de<<": WORDS})
    change(folder, vocab_size=WORDS + 1)
    tokenizer = _tokenizer(folder, json.loads((folder / "config.json").read_text()))
    coded, plain = tokenizer.encode([">>de<< one two", "one two"])
    assert tokenizer.prefix(coded) == [WORDS]
    assert coded == [WORDS, *plain]
    assert tokenizer.prefix(plain) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "a pickle"),
        ("model.safetensors", b"torn", "is damaged"),
        ("config.json", b"{", "is damaged"),
        ("vocab.json", None, "holds no vocab.json"),
        ("source.spm", None, "holds no source.spm"),
        ("target.spm", b"torn", "no pair of SentencePiece models"),
    ],
)
def test_missing_and_damaged_files_are_named(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_marian(folder)
