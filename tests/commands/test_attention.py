import json

from aiayn.__main__ import main
from tests.commands.test_verb import refusal


def test_attention_is_drawn_for_a_translation_of_ones_own(model, tmp_path, capsys):
    out = tmp_path / "pictures"
    choice = ["--target", "three four", "--kind", "encoder", "--layer", "1", "--heads", "1"]
    arguments = ["attention", str(model), "one two", *choice, "--out", str(out)]
    assert main([*arguments, "--word", "two"]) == 0
    assert capsys.readouterr().out.startswith(f"Written to {out}"), "no translation is asked for"
    assert (out / "links.png").stat().st_size > 0
    assert set(json.loads((out / "attention.json").read_text())) >= {"encoder", "decoder", "cross"}
    assert "wanted one of one, two" in refusal(capsys, *arguments, "--word", "nothing")
    assert "wanted 1" in refusal(capsys, "attention", model, "one", "--target", "x", "--layer", "2")
    assert "--kind is 'self'" in refusal(capsys, "attention", model, "one", "--kind", "self")
