"""Hugging Face's OpenAIGPTLMHeadModel with random weights, read by `aiayn import`, against ours."""

import json
from functools import partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import torch
from flax import nnx
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import OpenAIGPTConfig, OpenAIGPTLMHeadModel, OpenAIGPTTokenizer

from aiayn.config import TrainConfig
from aiayn.data.rows import Rows, make_rows
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer, Writing
from aiayn.interop.gpt import gpt_params, read_gpt
from aiayn.interop.gpt_config import model_config
from aiayn.model.loss import smoothed_cross_entropy
from aiayn.model.structure import build, flatten, unflatten
from aiayn.training.optim import optimizer

WORDS, CONTEXT = 307, 101
WHERE = Path("random")
SHAPES = {
    "gelu": {"n_embd": 30, "n_layer": 3, "n_head": 5, "afn": "gelu"},
    "silu": {"n_embd": 14, "n_layer": 2, "n_head": 7, "afn": "silu"},
}
TEXT = """There is a house on the hill. In the house there is a table; on the table there is a cup.
The cup is full of tea, and the tea is hot. Who has put the cup on the table in the house on the
hill? It was the old man, who said: "I like my tea hot, and my house on a hill." The 27 sheep, the
3 dogs and his son Zoltán did not answer. They were, as always, far away. Was that all he wanted?"""


@pytest.fixture(scope="module", params=SHAPES)
def theirs(request):
    """Norms and biases, which start as 1 and 0, are random as well."""
    torch.manual_seed(0)
    config = OpenAIGPTConfig(vocab_size=WORDS, n_positions=CONTEXT, **SHAPES[request.param])
    model = OpenAIGPTLMHeadModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.2 * torch.randn_like(parameter))
    return model


@pytest.fixture(scope="module")
def ours(theirs):
    config = model_config(theirs.config.to_dict(), WHERE)
    params = unflatten(gpt_params(_arrays(theirs.state_dict()), config, WHERE))
    return build(config, WORDS), jax.tree.map(jnp.asarray, params)


def _arrays(state):
    """Copies: both torch and JAX would go on with the same memory."""
    return {name: value.detach().numpy().copy() for name, value in state.items()}


@pytest.fixture(scope="module")
def texts():
    rng = np.random.default_rng(0)
    return [rng.integers(0, WORDS, size).tolist() for size in (CONTEXT, 2, 37, 64, 11)]


@pytest.fixture(scope="module")
def rows(texts):
    """A text a row, its own first word in the place of BOS."""
    ids, segments = np.zeros((2, len(texts), CONTEXT - 1), np.int32)
    for row, text in enumerate(texts):
        ids[row, : len(text) - 1], segments[row, : len(text) - 1] = text[1:], 1
    none = np.zeros((len(texts), 0), np.int32)
    made = make_rows(none, none, ids, segments, np.array([text[:1] for text in texts]))
    return Rows(*(jnp.asarray(field) for field in made))


def relative(ours, theirs):
    ours, theirs = np.asarray(ours, np.float64), np.asarray(theirs, np.float64)
    return np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)


def test_logits_agree_at_every_place(theirs, ours, rows, texts):
    graphdef, params = ours
    logits = jax.jit(lambda params: nnx.merge(graphdef, params)(rows))(params)
    for row, text in enumerate(texts):
        with torch.no_grad():
            wanted = theirs(torch.tensor([text])).logits[0, :-1]
        assert relative(logits[row, : len(text) - 1, :WORDS], wanted) < 1e-5


def _their_loss(theirs, texts):
    total = torch.zeros(())
    for text in texts:
        logits = theirs(torch.tensor([text])).logits[0, :-1]
        words = torch.tensor(text[1:])
        total = total + torch.nn.functional.cross_entropy(logits, words, reduction="sum")
    return total


def _our_loss(graphdef, rows, params):
    model = nnx.merge(graphdef, params)
    features, table = model.features(rows), model.embedding[...]
    words = rows.tgt_out_BT, rows.weight_BT, WORDS, 0.0
    return smoothed_cross_entropy(features, table, *words)[0]


@partial(jax.jit, static_argnums=0)
def _our_gradients(graphdef, rows, params):
    return jax.value_and_grad(partial(_our_loss, graphdef, rows))(params)


def _gradients(theirs):
    state = {name: p.grad.numpy() for name, p in theirs.named_parameters()}
    return gpt_params(state, model_config(theirs.config.to_dict(), WHERE), WHERE)


def test_the_loss_and_all_gradients_agree(theirs, ours, rows, texts):
    graphdef, params = ours
    loss, gradients = _our_gradients(graphdef, rows, params)
    theirs.zero_grad()
    their_loss = _their_loss(theirs, texts)
    their_loss.backward()
    assert float(loss) == pytest.approx(float(their_loss.detach()), rel=1e-5)
    found, wanted = flatten(gradients), _gradients(theirs)
    assert found.keys() == wanted.keys()
    total = np.sqrt(sum(np.square(value).sum() for value in wanted.values()))
    for name, value in wanted.items():
        if name.endswith("key.bias"):  # zero but for rounding: softmax ignores it
            assert np.linalg.norm(found[name]) < 1e-5 * total
        else:
            assert relative(found[name], value) < 1e-5, name


def test_three_updates_agree(theirs, ours, rows, texts):
    """Of Adam under the schedule, as in test_pytorch."""
    graphdef, params = ours
    config = model_config(theirs.config.to_dict(), WHERE)
    start = _arrays(theirs.state_dict())
    adam = torch.optim.Adam(theirs.parameters(), lr=1.0, betas=(0.9, 0.98), eps=1e-9)
    noam = torch.optim.lr_scheduler.LambdaLR(
        adam,
        lambda done: config.d_model**-0.5 * min((done + 1) ** -0.5, (done + 1) * 40**-1.5),
    )
    rule = optimizer(config, TrainConfig(warmup_steps=40))
    state, before = rule.init(params), flatten(params)
    for _ in range(3):
        adam.zero_grad()
        their_loss = _their_loss(theirs, texts)
        their_loss.backward()
        adam.step()
        noam.step()
        loss, gradients = _our_gradients(graphdef, rows, params)
        assert float(loss) == pytest.approx(float(their_loss.detach()), rel=1e-4)
        updates, state = rule.update(gradients, state, params)
        params = optax.apply_updates(params, updates)
    found, wanted = flatten(params), gpt_params(_arrays(theirs.state_dict()), config, WHERE)
    theirs.load_state_dict({name: torch.tensor(value) for name, value in start.items()})
    for name, value in wanted.items():
        if not name.endswith("key.bias"):  # whose gradient is rounding, which Adam makes large
            moved = value - before[name]
            assert np.abs(moved).max() > 1e-3
            assert relative(found[name] - before[name], moved) < 1e-2, name


@pytest.fixture(scope="module")
def folder(theirs, tmp_path_factory):
    """As `save_pretrained` writes it, with a tokenizer of as many pieces."""
    tokenizer = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.decoder = decoders.BPEDecoder(suffix="</w>")
    special = ["<unk>", *(f"<unused{number}>" for number in range(200))]
    trainer = trainers.BpeTrainer(
        vocab_size=WORDS, special_tokens=special, end_of_word_suffix="</w>", show_progress=False
    )
    tokenizer.train_from_iterator([TEXT], trainer)
    made = json.loads(tokenizer.to_str())["model"]
    assert len(made["vocab"]) == WORDS
    path = tmp_path_factory.mktemp("gpt") / "gpt"
    theirs.save_pretrained(path)
    (path / "vocab.json").write_text(json.dumps(made["vocab"]))
    merges = "".join(f"{first} {second}\n" for first, second in made["merges"])
    (path / "merges.txt").write_text(f"#version: 0.2\n{merges}")
    return path


def test_text_becomes_the_same_ids_and_ids_the_same_text(folder):
    theirs = OpenAIGPTTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"))
    ours = read_gpt(folder).tokenizer
    lines = [*TEXT.splitlines(), "", "  two  blanks ", "Zürich; 東京 <unk> </s>", "a\tb\u00a0c"]
    for line in lines:
        ids = theirs(line)["input_ids"]
        assert ours.encode([line]) == [ids]
        assert ours.decode([ids]) == [theirs.decode(ids, skip_special_tokens=True)]


def test_greedy_words_agree(theirs, folder):
    """64 of them, cached here and not there."""
    writer = Writer(read_gpt(folder))
    prompts = ["the", TEXT[:29], "a cup of tea", "who?"]
    asked = Writing(64, wishes=Wishes(sample=1, temperature=0.0))
    written = [found for (found,) in writer.write(prompts, asked, details=True)]
    for prompt, found in zip(prompts, written, strict=True):
        (ids,) = writer.tokenizer.encode([prompt])
        with torch.no_grad():
            settings = {"do_sample": False, "max_new_tokens": 64, "use_cache": False}
            wanted = theirs.generate(torch.tensor([ids]), **settings)[0].tolist()
        assert [*ids, *writer.tokenizer.ids(found.tokens)] == wanted
