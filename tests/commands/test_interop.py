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
