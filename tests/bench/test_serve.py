"""The benchmark of servers asks each for the same, as often as its record says."""

import json
import sys
from collections import Counter
from dataclasses import replace

import pytest
from rich.console import Console

import aiayn.bench.serve
from aiayn.bench.contest import Worker
from aiayn.bench.serve import FILE, ONE_SLOT, OURS, _parts, bench_serve, figures
from aiayn.errors import UserError
from aiayn.evidence.bench_tables import render_bench
from aiayn.model.saved import Model, save_model
from tests.support.servers import translation_model

SERVER = """
import json, sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

class Translator(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        print(json.dumps(asked["q"]), file=log, flush=True)
        answer = json.dumps({"translatedText": asked["q"]}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, *_):
        pass

log = open(sys.argv[1], "a")
ThreadingHTTPServer((sys.argv[3], int(sys.argv[5])), Translator).serve_forever()
"""


@pytest.fixture
def few(monkeypatch):
    """Little of everything."""
    for name, value in {"ROUNDS": 2, "CLIENTS": 3, "EACH": 2, "ALONE": 4, "MOST_TEXTS": 5}.items():
        monkeypatch.setattr(aiayn.bench.serve, f"_{name}", value)


def _with_beam(size):
    model = translation_model()
    decode = replace(model.experiment.decode, beam_size=size)
    return Model(replace(model.experiment, decode=decode), model.tokenizer, model.params)


@pytest.fixture
def written(tmp_path):
    """A model and a text of eight lines."""
    save_model(tmp_path / "model", _with_beam(4))
    (tmp_path / "src").write_text("".join(f"line {number}\n" for number in range(8)))
    return tmp_path / "model", tmp_path / "src"


def test_each_server_is_asked_for_the_same(few, written, tmp_path, monkeypatch):
    class Told(Worker):
        def __init__(self, *_):
            pass

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def run(self, steps):
            return {"seconds": 2.0 * steps}

    def commands(*_):
        server = [sys.executable, "-c", SERVER]
        return {name: ([*server, str(tmp_path / name)], {}) for name in (OURS, ONE_SLOT)}

    monkeypatch.setattr(aiayn.bench.serve, "_commands", commands)
    monkeypatch.setattr(aiayn.bench.serve, "Worker", Told)
    record = bench_serve(*written, None, tmp_path / "out", Console(quiet=True))
    assert json.loads((tmp_path / "out/serve-pairs.json").read_text()) == record
    asked = {
        name: [json.loads(line) for line in (tmp_path / name).read_text().splitlines()]
        for name in (OURS, ONE_SLOT)
    }
    files = [each for each in asked[OURS] if isinstance(each, list)]
    assert sorted(map(len, files)) == [3] * 3 + [5] * 3, "the file, once in each of three rounds"
    single = Counter(each for each in asked[OURS] if isinstance(each, str))
    assert single.total() == 1 + 3 * (6 + 4), "whether it serves, then clients and one alone"
    assert single == Counter(asked[ONE_SLOT])
    assert {len(found) for each in record["contenders"].values() for found in each.values()} == {2}
    assert record["same"] == {ONE_SLOT: 1.0}
    for measure, ratios in record["ratios"][FILE].items():
        own = record["contenders"][OURS][measure]
        assert ratios == [2.0 / seconds for seconds in own]
    head, ours, _, of_file = figures(record)
    assert head[1] == "3 clients, sentences/s"
    assert (ours[2], of_file[1], of_file[5]) == ("", "–", "4")
    assert "Sentences with the same translation as ours: of pairs aiayn, one slot 100.0%" in (
        render_bench([record])
    )


def test_a_server_that_ends_at_once_is_named(few, written, tmp_path, monkeypatch):
    command = [sys.executable, "-c", "pass"]
    monkeypatch.setattr(aiayn.bench.serve, "_commands", lambda *_: {OURS: (command, {})})
    with pytest.raises(UserError, match="pass does not serve; its own message is above"):
        bench_serve(*written, None, tmp_path, Console(quiet=True))


def test_a_peer_that_is_not_there_is_named_with_what_installs_it(written, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"`make \.venv-libretranslate/\.done` installs it"):
        bench_serve(*written, "libretranslate", tmp_path, Console(quiet=True))


def test_a_beam_that_the_peer_does_not_have_is_refused(written, tmp_path):
    save_model(tmp_path / "wide", _with_beam(5))
    with pytest.raises(UserError, match="a beam of 5; wanted 4, which is what libretranslate has"):
        bench_serve(tmp_path / "wide", written[1], "libretranslate", tmp_path, Console(quiet=True))


@pytest.mark.slow
def test_our_server_and_the_command_are_beside_each_other(few, written, tmp_path):
    record = bench_serve(*written, None, tmp_path / "out", Console(quiet=True))
    assert record["contenders"].keys() == {OURS, ONE_SLOT, FILE}
    assert record["same"] == {ONE_SLOT: 1.0}


def test_a_file_is_asked_for_in_requests_that_a_server_takes():
    lines = ["x" * 300] * 400 + ["y"] * 700
    parts = _parts(lines)
    assert [line for part in parts for line in part] == lines
    assert max(map(len, parts)) <= 500
    assert max(len("".join(part)) for part in parts) <= 50_000
    assert list(map(len, parts)) == [166, 166, 68 + 432, 268]
    assert _parts([]) == [[]]
