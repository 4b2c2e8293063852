import pytest

from tests.mutations import MUTATIONS, ROOT, broken, main


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: f"{m.path}: {m.new}")
def test_a_mutation_is_still_one_change_of_a_module_with_tests(mutation):
    text = (ROOT / mutation.file).read_text(encoding="utf-8")
    changed = broken(mutation, text)
    assert changed != text
    compile(changed, mutation.file, "exec")
    assert (ROOT / mutation.tests).is_file()


@pytest.mark.slow
def test_a_broken_formula_is_noticed_by_its_own_tests(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["mutations", "training/optim"])
    assert main() == 0
    assert "2 of 2 noticed" in capsys.readouterr().out
