import json
from string import ascii_lowercase

import jax
import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from aiayn.__main__ import main
from aiayn.decoding.wishes import Wishes
from aiayn.decoding.writer import Writer, Writing
from aiayn.errors import UserError
from aiayn.evaluation.perplexity import text_losses
from aiayn.interop.gpt import read_gpt
from aiayn.model.saved import load_model
from tests.support import gpt

TEXT = "he said that the train is late"
LONGEST = "q " * (gpt.CONTEXT - 1)
PANICS = json.dumps(
    {
        "model": {
            **{"type": "BPE", "unk_token": "<unk>", "continuing_subword_prefix": "##"},
            **{"vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3}, "merges": [["a", "b"]]},
        },
    }
).encode()
"""At the second piece of which, without its prefix, the library stops with an error of its own."""
GREEDY = Writing(wishes=Wishes(sample=1, temperature=0.0))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return read_gpt(gpt.write(tmp_path_factory.mktemp("gpt") / "gpt-small", gpt.files()))


@pytest.fixture(scope="module")
def writer(model):
    return Writer(model)


@pytest.fixture
def folder(tmp_path):
    return gpt.write(tmp_path / "gpt", gpt.files())


def by_formula(ids):
    """The log-probabilities of all words at each place."""
    return np.asarray(jax.nn.log_softmax(gpt.logits(gpt.state(), ids)))


def test_every_place_has_the_probabilities_of_the_formula(model, writer):
    (ids,) = model.tokenizer.encode([TEXT])
    assert 10 < len(ids) < gpt.CONTEXT
    found, wanted = writer.log_probs([ids])[0], by_formula(ids)
    np.testing.assert_allclose(found[1:], wanted[np.arange(len(ids) - 1), ids[1:]], atol=1e-5)
    assert np.isnan(found[0]), "nothing predicts the first word"


def test_texts_go_on_with_the_words_of_the_formula(model, writer):
    """Up to the context, cached here and not there; all at once, each after a first word of its
    own."""
    prompts = [TEXT, "the", LONGEST, "she is not here"]
    written = [texts[0] for texts in writer.write(prompts, GREEDY, details=True)]
    for prompt, found in zip(prompts, written, strict=True):
        (ids,) = model.tokenizer.encode([prompt])
        longer = list(ids)
        while len(longer) < gpt.CONTEXT:
            longer.append(int(gpt.logits(gpt.state(), longer)[-1].argmax()))
        assert model.tokenizer.ids(found.tokens) == longer[len(ids) :], prompt
        assert found.ended == "limit", "there is no EOS"


def test_the_end_that_the_model_does_not_have_takes_no_probability(model, writer):
    (ids,) = model.tokenizer.encode([TEXT])
    assert model.tokenizer.eos == gpt.WORDS, "a row behind the others"
    end = writer.log_probs([[*ids, model.tokenizer.eos]])[0][-1]
    assert np.exp(np.float32(end)) == 0


def test_samples_of_a_model_without_an_end_have_none_however_warm(writer):
    # So warm that all words are alike: of 308 the end would be one, in most of these texts.
    wishes = Wishes(sample=40, seed=1, temperature=1e6)
    (found,) = writer.write(["the"], Writing(19, wishes=wishes), details=True)
    assert len(found) == 40
    assert {(each.ended, len(each.tokens)) for each in found} == {("limit", 19)}
    assert len({each.text for each in found}) == 40


def test_the_first_word_of_a_text_counts_where_words_may_not_come_again(writer):
    # So warm that words are alike: 104 texts of 19 words of 307, and each may have its prompt's.
    prompts = list(ascii_lowercase)

    def that_come_again(**asked):
        asked = Writing(19, wishes=Wishes(sample=4, seed=1, temperature=1e6, **asked))
        found = zip(prompts, writer.write(prompts, asked, details=True), strict=True)
        return [p for p, texts in found if any(f"{p}</w>" in each.tokens for each in texts)]

    assert that_come_again() != []
    assert that_come_again(no_repeat=1) == []


def test_a_banned_word_that_begins_with_the_first_one_is_not_finished(model, writer):
    prompts, one = list(ascii_lowercase), Writing(1, wishes=Wishes())
    plain = [found for (found,) in writer.write(prompts, one, details=True)]
    # Of the first words that a whole word follows, the two together.
    pairs = zip(prompts, plain, strict=True)
    prompt, found = next(pair for pair in pairs if pair[1].tokens[0].endswith("</w>"))
    asked = Writing(1, wishes=Wishes(ban=[f"{prompt}{found.text}"]))
    ((other,), *others) = writer.write([prompt, *prompts], asked, details=True)
    assert other.tokens != found.tokens
    changed = [p for p, a, (b,) in zip(prompts, plain, others, strict=True) if a != b]
    assert changed == [prompt], "after other words it may come"


def test_only_words_that_something_predicts_are_counted(model, writer):
    (ids,) = model.tokenizer.encode([TEXT])
    (loss,) = text_losses(writer, [TEXT])
    own = by_formula(ids)[np.arange(len(ids) - 1), ids[1:]].sum()
    assert (loss.tokens, loss.nats) == (len(ids) - 1, pytest.approx(-own, abs=1e-4))
    assert writer.score([TEXT]) == [(pytest.approx(own, abs=1e-4), len(ids) - 1)]


def test_a_prompt_must_have_a_word_and_leave_room_for_one(writer):
    with pytest.raises(UserError, match="The prompt is empty; wanted a word"):
        next(writer.write([""], GREEDY))
    with pytest.raises(UserError, match="has 21 tokens; wanted at most 20"):
        next(writer.write([LONGEST + "q"], GREEDY))


def test_an_end_that_the_model_has_is_one(tmp_path):
    (end,) = [number for piece, number in gpt.vocabulary()[0].items() if piece == "z</w>"]
    found = read_gpt(gpt.write(tmp_path, gpt.files(eos_token_id=end)))
    assert (found.tokenizer.eos, found.tokenizer.has_eos) == (end, True)
    assert found.tokenizer.num_words == gpt.WORDS
    assert not found.experiment.model.logits_bias
    # transformers ends texts by generation_config.json alone, where there is one.
    (tmp_path / "generation_config.json").write_text("{}")
    assert not read_gpt(tmp_path).tokenizer.has_eos


def change(folder, **changes):
    path = folder / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))


def change_tensors(folder, **changes):
    path = folder / "model.safetensors"
    save_file({**load_file(path), **changes}, path)


def same(found, wanted):
    assert found.params.keys() == wanted.params.keys()
    for name, value in found.params.items():
        np.testing.assert_array_equal(value, wanted.params[name], err_msg=name)
    assert found.tokenizer.encode([TEXT]) == wanted.tokenizer.encode([TEXT])


def test_files_of_all_versions_are_read(folder, model):
    whole = load_file(folder / "model.safetensors")
    bare = {name.removeprefix("transformer."): value for name, value in whole.items()}
    mask = np.tril(np.ones((1, 1, gpt.CONTEXT, gpt.CONTEXT), np.float32))
    buffers = {"h.0.attn.bias": mask, "position_ids": np.arange(gpt.CONTEXT)}
    head = {"lm_head.weight": bare["tokens_embed.weight"]}
    save_file({**bare, **buffers, **head}, folder / "model.safetensors")
    same(read_gpt(folder), model)
    # In parts, as large models are saved.
    names = sorted(whole)
    parts = {"model-1.safetensors": names[::2], "model-2.safetensors": names[1::2]}
    for file, held in parts.items():
        save_file({name: whole[name] for name in held}, folder / file)
    (folder / "model.safetensors").unlink()
    where = {name: file for file, held in parts.items() for name in held}
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": where}))
    same(read_gpt(folder), model)


def test_the_matrix_may_have_the_name_of_the_head_alone(folder, model):
    path = folder / "model.safetensors"
    whole = load_file(path)
    table = whole.pop("transformer.tokens_embed.weight")
    save_file({**whole, "lm_head.weight": table}, path)
    same(read_gpt(folder), model)


def test_what_bans_no_word_is_read(folder, model):
    values = {"suppress_tokens": [], "bad_words_ids": None, "temperature": 0.5, "max_length": 20}
    (folder / "generation_config.json").write_text(json.dumps(values))
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "OpenAIGPTTokenizer"}')
    same(read_gpt(folder), model)


def test_a_tokenizer_may_be_one_file_or_two(folder, model):
    (folder / "tokenizer.json").write_bytes(model.tokenizer.files()["tokenizer.json"])
    (folder / "vocab.json").unlink()
    (folder / "merges.txt").unlink()
    same(read_gpt(folder), model)


@pytest.mark.parametrize(
    ("name", "shape", "message"),
    [
        ("lm_head.weight", (307, 12), "lm_head.weight is another matrix than tokens_embed.weight"),
        ("transformer.ln_f.weight", (12,), "holds ln_f.weight, which is no part of a OpenAIGPTLM"),
        ("multiple_choice_head.summary.bias", (1,), "holds multiple_choice_head.summary.bias"),
        ("transformer.tokens_embed.weight", (306, 12), r"\(306, 12\); the config needs \(307, 12"),
        ("transformer.positions_embed.weight", (20, 12), r"\(20, 12\); the config needs \(21, 12"),
        ("transformer.h.1.attn.c_attn.weight", (36, 12), r"\(36, 12\); the config needs \(12, 36"),
        ("transformer.h.0.mlp.c_fc.bias", (12,), r"\(12,\); the config needs \(48\)"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused_by_name(folder, name, shape, message):
    change_tensors(folder, **{name: np.ones(shape, np.float32)})
    with pytest.raises(UserError, match=message):
        read_gpt(folder)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("config.json", None, "holds no config.json; wanted a model of Hugging Face's"),
        ("model.safetensors", None, "from transformers import OpenAIGPTLMHeadModel as M"),
        ("model.safetensors", b"torn", "model.safetensors is damaged"),
        ("vocab.json", None, "holds no tokenizer.json and no vocab.json; wanted one of them"),
        ("vocab.json", b'{"<unk>": 0, "a": 2}', "vocab.json: The tokenizer"),
        ("vocab.json", b'{"<unk>": "x"}', "vocab.json: The tokenizer is none of the library"),
        ("merges.txt", None, "holds no merges.txt, which goes with vocab.json"),
        ("merges.txt", b"a b c\n", "merges.txt has the line 'a b c'; wanted two pieces a line"),
        ("merges.txt", b"\xff", "merges.txt is damaged"),
        ("tokenizer.json", b"{}", "tokenizer.json: The tokenizer is none of the library"),
        ("tokenizer.json", PANICS, "tokenizer.json: The tokenizer is none of the library"),
        ("generation_config.json", b'{"eos_token_id": 307}', "eos_token_id is 307; wanted one id"),
        (
            "generation_config.json",
            b'{"bad_words_ids": [[5]]}',
            r"bad_words_ids is \[\[5\]\]; wante",
        ),
        ("generation_config.json", b'{"forced_bos_token_id": 0}', "forced_bos_token_id is 0; want"),
        (
            *("tokenizer_config.json", b'{"tokenizer_class": "RobertaTokenizer"}'),
            "tokenizer_class is 'RobertaTokenizer', and there is no tokenizer.json; wanted that",
        ),
    ],
)
def test_missing_and_damaged_files_are_named(folder, name, content, message):
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_bytes(content)
    with pytest.raises(UserError, match=message):
        read_gpt(folder)


def test_a_tokenizer_of_another_model_is_refused(folder):
    change(folder, vocab_size=308)
    change_tensors(folder, **{"transformer.tokens_embed.weight": np.zeros((308, 12), np.float32)})
    with pytest.raises(UserError, match=r"vocab.json has 307 words; config.json expects 308"):
        read_gpt(folder)


def test_an_imported_model_is_one_of_our_own(folder, model, tmp_path, capsys):
    out = tmp_path / "models" / "gpt"
    assert main(["import", str(folder), str(out)]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.endswith(" parameters")
    assert second.startswith("Goes on with texts of up to 21 tokens")
    again = load_model(out)
    same(again, model)
    assert again.experiment.model == model.experiment.model
