import ast
import json
import re
import shlex
from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from safetensors.numpy import load_file, save_file

from aiayn.__main__ import main
from aiayn.config import ModelConfig
from aiayn.decoding.translator import Translator
from aiayn.errors import UserError
from aiayn.interop.marian import _tokenizer, _vocabulary, read_marian
from aiayn.interop.tensors import read_state
from aiayn.model.saved import load_model
from aiayn.model.structure import build, flatten, unflatten
from aiayn.model.transformer import sinusoids
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
_HEADER = b'{"x":{"dtype":"F8_E4M3","shape":[4],"data_offsets":[0,4]}}'
OF_8_BITS = len(_HEADER).to_bytes(8, "little") + _HEADER + bytes(4)
"""A sound file of numbers that numpy does not have."""
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
    config = json.loads((folder / "config.json").read_text())
    tokenizer = _tokenizer(folder, _vocabulary(folder, config), config["decoder_start_token_id"])
    coded, plain = tokenizer.encode([">>de<< one two", "one two"])
    assert tokenizer.prefix(coded) == [WORDS]
    assert coded == [WORDS, *plain]
    assert tokenizer.prefix(plain) == []


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("model.safetensors", None, "a pickle"),
        ("model.safetensors", b"torn", "is damaged"),
        ("model.safetensors", b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        ("model.safetensors", OF_8_BITS, "numbers of a type unknown here"),
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


def change_tensors(folder, **changes):
    path = folder / "model.safetensors"
    state = {name: np.asarray(value) for name, value in load_file(path).items()}
    save_file({**state, **changes}, path)


def test_embeddings_are_scaled_only_where_the_config_says_so(folder):
    change(folder, scale_embedding=False)
    model = read_marian(folder)
    graphdef = build(model.experiment.model, WORDS)
    ids, positions = jnp.array([[5, 6, 7]]), jnp.arange(3)[None]
    params = jax.tree.map(jnp.asarray, unflatten(model.params))
    found = nnx.merge(graphdef, params).embed(ids, positions, "src")
    table = load_file(folder / "model.safetensors")["model.shared.weight"]
    wanted = table[5:8] + np.asarray(sinusoids(positions, 8, "huggingface")[0])
    np.testing.assert_allclose(found[0], wanted, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("numbers", ["float16", "float32"])
def test_copies_of_the_matrix_and_computed_positions_may_be_in_the_file(folder, numbers):
    table = load_file(folder / "model.safetensors")["model.shared.weight"]
    positions = np.asarray(sinusoids(jnp.arange(30)[None], 8, "huggingface")[0]).astype(numbers)
    change_tensors(
        folder,
        **{
            "lm_head.weight": table,
            "model.encoder.embed_tokens.weight": table,
            "model.decoder.embed_tokens.weight": table,
            "model.encoder.embed_positions.weight": positions,
            "model.decoder.embed_positions.weight": positions,
        },
    )
    read_marian(folder)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lm_head.weight", (WORDS, 8), "lm_head.weight is another matrix than model.shared"),
        ("model.decoder.embed_positions.weight", (30, 8), "holds other positions than sinusoids"),
        ("model.encoder.layers.2.fc1.weight", (20, 8), r"holds model\.encoder\.layers\.2\.fc1"),
        ("model.encoder.layer_norm.weight", (8,), "holds model.encoder.layer_norm.weight"),
        ("model.encoder.layers.0.fc1.weight.SCB", (20,), "which is no part of a MarianMTModel"),
        ("model.shared.weight", (WORDS - 1, 8), "shared.weight has the shape .*config needs"),
        ("final_logits_bias", (1, WORDS - 1), "final_logits_bias has the shape"),
        ("final_logits_bias", (WORDS,), "final_logits_bias has the shape"),
    ],
)
def test_a_tensor_that_would_not_be_read_as_it_is_is_refused_by_name(folder, name, shape, message):
    change_tensors(folder, **{name: np.full(shape, 0.5, np.float32)})
    with pytest.raises(UserError, match=message):
        read_marian(folder)


def test_numbers_of_a_quantised_model_are_no_weights(folder):
    change_tensors(folder, **{"model.encoder.layers.0.fc1.weight": np.ones((20, 8), np.int8)})
    with pytest.raises(UserError, match=r"fc1\.weight holds numbers of type int8; wanted float32"):
        read_marian(folder)


@pytest.mark.parametrize("key", ["d_model", "encoder_ffn_dim decoder_ffn_dim"])
def test_sizes_past_all_bounds_are_refused_before_anything_is_made_of_them(folder, key):
    change(folder, **dict.fromkeys(key.split(), 10**18))
    with pytest.raises(UserError, match=r"is 1000000000000000000; wanted at most"):
        read_marian(folder)


def test_more_layers_than_there_are_tensors_for_are_refused(folder):
    change(folder, encoder_layers=100, decoder_layers=100)
    with pytest.raises(UserError, match=r"holds no model\.encoder\.layers\.2\."):
        read_marian(folder)


@pytest.fixture
def sharded(folder):
    """The same weights in two files."""
    whole = folder / "model.safetensors"
    state = load_file(whole)
    names = sorted(state)
    files = [f"model-0000{n}-of-00002.safetensors" for n in (1, 2)]
    for number, file in enumerate(files):
        save_file({name: state[name] for name in names[number::2]}, folder / file)
    table = {name: files[number % 2] for number, name in enumerate(names)}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": table}))
    return folder


def test_weights_in_several_files_are_those_of_one(sharded):
    wanted = read_marian(sharded).params
    (sharded / "model.safetensors").unlink()
    found = read_marian(sharded).params
    assert found.keys() == wanted.keys()
    for name in wanted:
        np.testing.assert_array_equal(found[name], wanted[name], err_msg=name)


def test_a_missing_part_of_the_weights_is_named(sharded):
    (sharded / "model.safetensors").unlink()
    first, second = sorted(sharded.glob("model-*"))
    index = sharded / "model.safetensors.index.json"
    whole = index.read_text()
    for text, message in (
        (whole.replace(second.name, "../out.safetensors"), "names the file '../out.safetensors'"),
        (whole.replace(second.name, first.name), f"{first.name} holds no "),
        ("{}", "holds no weight_map"),
    ):
        index.write_text(text)
        with pytest.raises(UserError, match=message):
            read_marian(sharded)
    index.write_text(whole)
    second.unlink()
    with pytest.raises(UserError, match=f"holds no {second.name}, a part of the weights"):
        read_marian(sharded)


def test_a_pickle_alone_is_refused_with_the_command_that_converts_it(folder):
    (folder / "model.safetensors").rename(folder / "pytorch_model.bin")
    with pytest.raises(UserError, match=r"but pytorch_model\.bin") as caught:
        read_marian(folder)
    assert f'M.from_pretrained("{folder}").save_pretrained("{folder}")' in str(caught.value)


def test_the_command_that_converts_is_right_whatever_the_folder_is_called(tmp_path):
    folder = tmp_path / """it's "$HOME" """
    folder.mkdir()
    with pytest.raises(UserError) as caught:
        read_state(folder, "MarianMTModel")
    *_, code = shlex.split(str(caught.value).partition("installed: ")[2])
    calls = [node for node in ast.walk(ast.parse(code)) if isinstance(node, ast.Constant)]
    assert [call.value for call in calls] == [str(folder)] * 2


@pytest.mark.parametrize("kind", ["t5", "gpt2", "mbart", "bart", "m2m_100", "nllb"])
def test_a_folder_of_another_kind_is_refused_for_what_it_is(tmp_path, kind):
    # None of its other files, nor of Marian's settings, is there.
    values = {"model_type": kind, "architectures": ["SomeModel"]}
    (tmp_path / "config.json").write_text(json.dumps(values))
    with pytest.raises(UserError, match=rf"model_type is '{kind}'; wanted 'marian' \(SomeModel\)"):
        read_marian(tmp_path)


def test_a_model_of_our_own_is_no_model_to_import(folder, tmp_path):
    main(["import", str(folder), str(tmp_path / "ours")])
    with pytest.raises(UserError, match="is of a model of aiayn's own"):
        read_marian(tmp_path / "ours")


@pytest.mark.parametrize(
    ("name", "changes", "message"),
    [
        ("tokenizer_config", {"separate_vocabs": True}, "separate_vocabs is True"),
        (
            "tokenizer_config",
            {"tokenizer_class": "T5Tokenizer"},
            "tokenizer_class is 'T5Tokenizer'",
        ),
        ("tokenizer_config", {"pad_token": "[PAD]"}, r"pad_token is '\[PAD\]'; wanted <pad>"),
        (
            "tokenizer_config",
            {"additional_special_tokens": ["</s>", {"content": "<ctx>"}]},
            "tokenizer_config.json adds the token '<ctx>'; wanted none besides <pad>, </s>, <unk>",
        ),
        (
            "tokenizer_config",
            {"added_tokens_decoder": {"0": {"content": "</s>"}, "9": {"content": "<ctx>"}}},
            "tokenizer_config.json adds the token '<ctx>'",
        ),
        ("vocab", {"<pad>": "0"}, "'<pad>' is '0'; wanted the number"),
        ("config", {"pad_token_id": 7}, "pad_token_id is 7; wanted 0, as vocab.json"),
    ],
)
def test_settings_of_another_tokenizer_are_refused_by_name(folder, name, changes, message):
    change(folder, name, **changes)
    with pytest.raises(UserError, match=message):
        read_marian(folder)


@pytest.mark.parametrize(
    ("name", "values"),
    [
        ("added_tokens", {"<ctx>": 5}),
        ("special_tokens_map", {"additional_special_tokens": ["<ctx>"]}),
    ],
)
def test_a_token_that_was_added_to_the_pieces_is_refused(folder, name, values):
    path = folder / f"{name}.json"
    path.write_text(json.dumps(values))
    with pytest.raises(UserError, match=rf"{name}\.json adds the token '<ctx>'"):
        read_marian(folder)
    # What every such folder has, in the form of newer versions.
    path.write_text(json.dumps({"</s>": 0} if name == "added_tokens" else {"eos_token": "</s>"}))
    pieces = {"0": {"content": "</s>"}, "1": {"content": "<unk>"}, "5": {"content": "<pad>"}}
    change(folder, "tokenizer_config", added_tokens_decoder=pieces, additional_special_tokens=[])
    read_marian(folder)


def test_generation_config_is_heeded(folder, tmp_path, capsys):
    (folder / "generation_config.json").write_text(
        json.dumps(
            {"num_beams": 3, "length_penalty": 0.5, "bad_words_ids": [[5]], "max_length": 61}
        )
    )
    model = read_marian(folder)
    decode = model.experiment.decode
    assert (decode.beam_size, decode.length_penalty, decode.max_extra_tokens) == (3, 0.5, 30)
    assert model.experiment.data.max_tokens == 30
    assert set(np.flatnonzero(model.params["logits_bias"] < -1_000)) == {TOKENIZER.pad, 5}
    assert main(["import", str(folder), str(tmp_path / "out")]) == 0
    assert re.search("3 beams and the length penalty 0.5", capsys.readouterr().out)
