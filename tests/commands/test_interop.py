from aiayn.__main__ import main
from aiayn.model.saved import load_model
from tests.commands.test_verb import refusal
from tests.faults import folders, readers


def test_import_writes_a_model_into_a_new_folder_only(tmp_path, capsys):
    readers.write(tmp_path / "marian", folders.marian_folder())
    out = tmp_path / "models" / "mine"
    assert main(["import", str(tmp_path / "marian"), str(out)]) == 0
    size = sum(param.size for param in load_model(out).params.values())
    first, second = capsys.readouterr().out.splitlines()
    assert first == f"{out}: {size:,} parameters"
    assert second.startswith("Translates with 1 beams and the length penalty 1 "), "how, too"
    assert f"{out} exists already" in refusal(capsys, "import", tmp_path / "marian", out)


def test_import_of_another_folder_is_refused(model, tmp_path, capsys):
    assert str(model) in refusal(capsys, "import", model, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_a_small_model_is_written_into_a_new_folder_only(model, tmp_path, capsys):
    out = tmp_path / "small"
    assert main(["export", str(model), str(out), "--small"]) == 0
    size = sum(path.stat().st_size for path in out.iterdir()) / 1e6
    assert capsys.readouterr().out == f"{out}: for aiayn, {size:.1f} MB\n"
    assert load_model(out).params.keys() == load_model(model).params.keys()
    assert f"{out} exists already" in refusal(capsys, "export", model, out, "--small")
    both = ("export", model, tmp_path / "other", "--small", "--quantization", "int8")
    assert "--quantization" in refusal(capsys, *both)
