import subprocess
import sys
from argparse import ArgumentParser, ArgumentTypeError
from contextlib import suppress
from pathlib import Path

import pytest

from aiayn.__main__ import _VERBS, main
from aiayn.commands.serve import _named
from aiayn.commands.verb import check_read_once, existing, text_file
from aiayn.errors import UserError
from aiayn.system.streams import STANDARD_INPUT


def refusal(capsys, *arguments) -> str:
    """What a command says before it ends with status 2: one line."""
    assert main([str(argument) for argument in arguments]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("aiayn: ")
    assert err.count("\n") == 1
    return err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("", "the following arguments are required: COMMAND"),
        ("trian phrasebook", "Unknown command 'trian'. Did you mean 'train'?"),
        ("train", "the following arguments are required: experiment. `aiayn train --help`"),
        ("train frasebook", "Unknown experiment 'frasebook'. Did you mean 'phrasebook'?"),
        ("train phrasebook --rundir x", "'--rundir'. Did you mean '--run-dir'?"),
        ("score setup.cfg", "setup.cfg does not exist."),
        ("prepare phrasebook x", "Unknown argument of prepare 'x'"),
        ("train phrasebook --set train.num_step=1", "Did you mean 'train.num_steps'?"),
        ("train phrasebook --set train.seed", "--set 'train.seed' has no '='; wanted key=value."),
        ("train phrasebook --set train.seed=one", "is 'one'; wanted a whole number."),
        ("train phrasebook --set data.row_widths=64,x", "is 'x'; wanted a whole number."),
        ("translate tests --beam-size 0", "--beam-size is 0; wanted 1 or more."),
        ("translate tests --beam-size x", "--beam-size is 'x'; wanted a whole number."),
        ("translate tests --length-penalty x", "--length-penalty is 'x'; wanted a number."),
        ("translate test", "test does not exist. Did you mean tests?"),
        ("translate phrasbook-of-mine", "phrasbook-of-mine does not exist."),
        ("export tests x --quantization int4", "--quantization is 'int4'; wanted one of 'float32'"),
    ],
)
def test_a_wrong_command_line_is_refused_on_one_line(arguments, message, capsys):
    assert message in refusal(capsys, *arguments.split())


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        (["generate", "phrasebook", "RO\udcffMEO"], "prompt"),
        (["generate", "phrasebook", "--stop", "a", "--stop", "\udc80"], "stop"),
        (["attention", "phrasebook", "Good\udcff"], "sentence"),
        (["attention", "phrasebook", "Good", "--target", "Gut\udcff"], "target"),
    ],
)
def test_bytes_that_are_no_text_are_refused_on_one_line(arguments, name, capsys):
    assert f"{name} is " in (line := refusal(capsys, *arguments))
    assert "which is no UTF-8; wanted text." in line


def test_a_name_with_a_line_break_is_refused_on_one_line(capsys):
    assert r"'a\nb'" in refusal(capsys, "a\nb")
    assert r"'x\ny'" in refusal(capsys, "train", "phrasebook", "--set", "x\ny=1")


@pytest.mark.parametrize("verb", _VERBS, ids=lambda verb: verb.name)
def test_each_verb_has_help_that_begins_as_the_list_of_all_says(verb, capsys):
    texts = []
    for arguments in (["--help"], [verb.name, "--help"]):
        with pytest.raises(SystemExit, match=r"^0$"):
            main(arguments)
        texts.append(capsys.readouterr().out)
    (listed,) = (line for line in texts[0].splitlines() if line.split()[:1] == [verb.name])
    summary = listed.split(maxsplit=1)[1]
    assert len(listed) <= 80
    assert summary.endswith(".")
    assert f"\n{summary}\n" in texts[1]


def test_a_tilde_that_the_shell_left_is_the_users_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert existing("~") == tmp_path
    with pytest.raises(UserError, match=r"nothing does not exist"):
        existing("~/nothing")
    with pytest.raises(UserError, match="~nobody-here"):
        existing("~nobody-here/x")


def test_a_dash_is_standard_input_which_is_one_text(tmp_path):
    assert text_file("-") == STANDARD_INPUT
    assert text_file(str(tmp_path)) == tmp_path
    check_read_once([tmp_path, STANDARD_INPUT, None, None, tmp_path])
    with pytest.raises(UserError, match="which is one text"):
        check_read_once([STANDARD_INPUT, None, STANDARD_INPUT])


@pytest.mark.parametrize("verb", _VERBS, ids=lambda verb: verb.name)
def test_every_argument_that_is_a_path_takes_a_tilde(verb, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    (tmp_path / "x").mkdir()
    parser = ArgumentParser()
    verb.add_arguments(parser)
    found = {a.dest: _read(a.type, "~/x") for a in parser._actions if callable(a.type)}
    paths = {name: value for name, value in found.items() if isinstance(value, Path)}
    assert paths, "each verb reads or writes somewhere"
    assert paths == dict.fromkeys(paths, tmp_path / "x")


def _read(argument_type, text):
    is_named = argument_type is _named  # NAME=PATH of serve
    with suppress(ArgumentTypeError, ValueError):
        return argument_type(f"x={text}").path if is_named else argument_type(text)


def test_help_and_refusals_answer_without_jax_and_numpy():
    code = (
        "import sys\n"
        "from aiayn.__main__ import main\n"
        "for line in sys.argv[1:]:\n"
        "    try: main(line.split())\n"
        "    except SystemExit: pass\n"
        "print({'jax', 'numpy', 'rich'} & set(sys.modules))"
    )
    lines = [
        *("--help", "train --help", "trian", "train frasebook", "train phrasebook --set train.x=1"),
        *("translate nowhere", "evaluate tests --src tests", "bench data --profile"),
    ]
    command = [sys.executable, "-c", code, *lines]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.stderr.count("aiayn: ") == 6, done.stderr
    assert done.stdout.count("usage: ") == 2
    assert done.stdout.endswith("\nset()\n")
