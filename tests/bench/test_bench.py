"""Benchmarks time what they say; the figures themselves are nobody's to assert."""

import json
from dataclasses import replace
from functools import partial
from unittest.mock import patch

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rich.console import Console

import aiayn.bench.choices
import aiayn.bench.contest
import aiayn.bench.growth
import aiayn.bench.start
from aiayn.__main__ import main
from aiayn.bench import ours
from aiayn.bench.choices import CHOICES, Choice, bench_choices, library_attention
from aiayn.bench.choices import summary as summary_of_choices
from aiayn.bench.contest import ABOUT, beside, figures, flops_of, summary
from aiayn.bench.growth import bench_growth, points
from aiayn.bench.profile import Kernel, kernels
from aiayn.bench.worker import rows_of
from aiayn.bench.workloads import DECODING, TRAINING
from aiayn.evidence.bench_tables import render_bench
from aiayn.model.transformer import attention, causal_mask, padding_mask
from aiayn.training.mesh import data_mesh
from tests.support.runs import environment


@pytest.fixture(autouse=True)
def one_device(monkeypatch):
    """As users have. What is timed in this process is compiled anew, but not what follows."""
    monkeypatch.setattr(ours, "data_mesh", lambda: data_mesh(jax.devices()[:1]))
    yield
    jax.config.update("jax_enable_compilation_cache", True)


def test_workloads_hold_the_tokens_they_name():
    for name, tokens in {"T1": 64 * 32, "T2": 32 * 32, "base": 26_208, "big": 26_208}.items():
        workload = TRAINING[name]
        src, tgt, segments = rows_of(workload)
        assert workload.tokens == tokens == (segments > 0).sum()
        assert segments.max() == workload.sentences_per_row
        for side in (src, tgt):
            assert ((side >= 4) == (segments > 0)).all(), "words where sentences are"
            assert side.max() < workload.num_words
        lengths = np.bincount(segments[0])[1:]
        assert lengths.tolist() == [workload.length] * workload.sentences_per_row


@pytest.mark.parametrize(("name", "gigaflops"), [("T1", 94.6), ("T2", 390.6)])
def test_flops_of_a_step_are_those_that_others_count(name, gigaflops):
    # Others' count of the same work: two FLOPs a multiply-add of every dot of a traced step.
    assert flops_of(TRAINING[name]) / 1e9 == pytest.approx(gigaflops, abs=0.05)


def test_growth_is_timed_and_fitted(tmp_path, monkeypatch):
    monkeypatch.setattr(aiayn.bench.growth, "_ROUNDS", 1)
    small = replace(TRAINING["tiny"], num_rows=32, num_words=600)
    few = replace(DECODING["tiny"], num_sentences=2)
    some = ("sentence length", "beam")

    def few_points(train, decode):
        found = points(train, decode)
        return {name: (found[name][0][:2], found[name][1]) for name in some}

    monkeypatch.setattr(aiayn.bench.growth, "points", few_points)
    record = bench_growth(tmp_path, Console(quiet=True), small, few)
    assert tuple(record["growth"]) == some
    lengths = record["growth"]["sentence length"]
    # As many tokens in longer sentences: nothing grows but the products of attention.
    assert lengths["sizes"] == [16, 32]
    assert 0.0 < lengths["flops_exponent"] < 0.2
    # Twice the hypotheses take twice the decoder, but one encoder.
    assert 0.0 < record["growth"]["beam"]["flops_exponent"] < 1.0
    assert (tmp_path / "growth.png").stat().st_size > 10_000
    assert "| sentence length | 16 | 32 |" in render_bench([record])


def _losses(workload, choice=None):
    """After four updates and after eight; without the choice, where there is one."""
    if not choice:
        run = ours.trainer(workload).run
        return [run(4)["loss"], run(4)["loss"]]
    with choice.change():
        run = ours.trainer(choice.workload(workload)).run
        return [run(4 // choice.steps_at_once)["loss"] for _ in range(2)]


def test_without_a_choice_the_step_computes_the_same():
    workload = replace(TRAINING["tiny"], width=32)  # two sentences a row
    wanted = _losses(workload)
    undropped = replace(workload, model=replace(workload.model, dropout_rate=0.0))
    wanted_undropped = _losses(undropped)
    assert wanted_undropped != wanted
    for name, choice in CHOICES.items():
        if not choice.fits(workload):
            assert {"kernel", "cuBLAS"} & set(name.replace(",", "").split()), "which need a GPU"
        elif name == "dropout at all":
            assert _losses(workload, choice) == pytest.approx(wanted_undropped, rel=1e-6), name
        elif choice.instead.startswith(("Threefry", "RBG")):  # other masks, as many
            found = _losses(workload, choice)
            assert found != wanted, name
            assert found == pytest.approx(wanted, rel=0.1), name
        elif name == "packed rows":  # masks go by rows
            assert _losses(undropped, choice) == pytest.approx(wanted_undropped, rel=1e-5), name
        else:
            rel = 1e-2 if name == "type of products" else 1e-5
            assert _losses(workload, choice) == pytest.approx(wanted, rel=rel), name


@pytest.mark.parametrize("length", [64, 192])
def test_attention_of_packed_rows_is_that_of_jax(length):
    rng = np.random.default_rng(0)
    q, k, v, seen = (jnp.asarray(rng.normal(size=(2, 2, length, 8)), jnp.float32) for _ in range(4))
    segments = jnp.asarray(np.sort(rng.integers(1, 4, (2, length)), axis=1))

    @partial(jax.jit, static_argnums=0)
    def values_and_gradients(attend, mask):
        def loss(q, k, v):
            found = attend(q, k, v, mask)
            return (found * seen).sum(), found

        return jax.value_and_grad(loss, argnums=(0, 1, 2), has_aux=True)(q, k, v)

    other = partial(library_attention, implementation="xla")
    for mask in (padding_mask(segments, segments), causal_mask(segments)):
        found, wanted = (values_and_gradients(attend, mask) for attend in (attention, other))
        for one, same in zip(jax.tree.leaves(found), jax.tree.leaves(wanted), strict=True):
            np.testing.assert_allclose(one, same, rtol=1e-4, atol=1e-5)


def test_choices_are_timed_in_turns_with_the_step(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(aiayn.bench.choices, "ROUNDS", 2)

    def broken(*_):
        so_far = json.loads((tmp_path / "choices-tiny.json").read_text())
        assert list(so_far["choices"]) == ["a program for each step"], "what is done is written"
        raise RuntimeError("no kernel\nfor this device")

    some = {name: CHOICES[name] for name in ("a program for each step", "packed rows")}
    some["attention"] = Choice(
        "none", change=partial(patch, "aiayn.model.transformer.attention", broken)
    )
    record = bench_choices("tiny", tmp_path, Console(), some)
    assert list(record["choices"]) == ["a program for each step", "attention"], "a sentence a row"
    found, failed = record["choices"].values()
    assert found["ratios"] == [
        pair["without"]["seconds_per_step"] / pair["with"]["seconds_per_step"]
        for pair in found["rounds"]
    ]
    assert [next(iter(pair)) for pair in found["rounds"]] == ["with", "without"]
    assert json.loads((tmp_path / "choices-tiny.json").read_text()) == record
    text = render_bench([record])
    assert "| a program for each step | 4 steps in one program | – | " in text
    assert "| attention | none | – | no kernel |  |  |" in text
    keys = set(found) | set(failed) | set(record["step"]) | set(found["rounds"][0]["with"])
    assert keys <= set(record["definitions"]), "every figure is defined"
    record["choices"].pop("a program for each step")
    assert summary_of_choices(record) == "None of them could be left out here."


@pytest.mark.parametrize("what", ["train", "decode"])
def test_a_workload_is_run_and_recorded(what, tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", environment(num_devices=1)["XLA_FLAGS"])  # as users have
    monkeypatch.setattr(aiayn.bench.contest, "BEAM_SIZES", (4,))
    assert main(["bench", what, "--workload", "tiny", "--out", str(tmp_path)]) == 0
    assert "ing, workload tiny" in capsys.readouterr().out
    name, tokens = {"train": ("train-tiny", 8 * 16), "decode": ("decode-tiny-beam4", 4 * 5)}[what]
    record = json.loads((tmp_path / f"{name}.json").read_text())
    assert (tmp_path / f"{name}.png").read_bytes().startswith(b"\x89PNG")
    (found,) = record["contenders"].values()
    assert len(found["rounds"]) == 6
    if what == "train":
        losses = [r["loss"] for r in found["rounds"]]
        assert len(set(losses)) == 6, "each round is of other steps"
        assert max(losses) < 7.0  # ln 300 is 5.7
    else:
        assert {r["tokens"] for r in found["rounds"]} == {tokens}, "every output has its length"
    assert found["target_tokens_per_second"] == pytest.approx(
        tokens / found["median_seconds_per_step"]
    )
    share = record["flops_per_step"] / found["median_seconds_per_step"]
    share /= record["ceilings"]["matmul_flops_per_second"]
    assert found["share_of_ceiling"] == pytest.approx(share)
    assert record["hardware"]["platform"] == "cpu"
    assert found["rounds"][0]["programs"] == found["rounds"][-1]["programs"] > 0, "all compiled"
    keys = set(record) | set(found) | set(found["rounds"][0])
    assert keys - set(ABOUT) <= set(record["definitions"]), "every figure is defined"


def test_a_record_is_written_without_matplotlib_as_well(tmp_path, monkeypatch):
    monkeypatch.setattr(aiayn.bench.contest, "find_spec", lambda name: None)
    aiayn.bench.contest._write(tmp_path / "train-tiny.json", {"bench": "train"})
    assert [path.name for path in tmp_path.iterdir()] == ["train-tiny.json"]


def test_a_peer_that_was_not_at_its_best_is_named_so():
    record = {"ratios": {"ctranslate2": [1.0]}, "contenders": {"ctranslate2": {"threads": 2}}}
    assert beside(record) == "ctranslate2, batch by batch"
    record["contenders"]["ctranslate2"]["batches_at_once"] = 2
    assert beside(record) == "ctranslate2"


def test_a_start_is_timed_without_and_with_compiled_programs(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", environment(num_devices=1)["XLA_FLAGS"])
    monkeypatch.setattr(aiayn.bench.start, "_TIMES", 2)
    assert main(["bench", "start", "--workload", "tiny", "--out", str(tmp_path)]) == 0
    assert "first update, compiled before" in capsys.readouterr().out
    record = json.loads((tmp_path / "start-tiny.json").read_text())
    assert {what: len(found) for what, found in record["seconds"].items()} == {
        "help": 2,
        "cold": 1,
        "warm": 2,
    }
    assert record["seconds"].keys() == record["definitions"].keys()
    assert "| first update, nothing compiled |" in render_bench([record])


@pytest.mark.parametrize(("peer", "where"), [("hf", "parity"), ("fairseq", "fairseq")])
def test_a_peer_that_is_not_installed_is_named(tmp_path, capsys, monkeypatch, peer, where):
    monkeypatch.chdir(tmp_path)
    assert main(["bench", "train", "--workload", "tiny", "--peer", peer]) == 2
    assert f"`make .venv-{where}/.done` installs the peer" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("train --workload base --peer hf", "hf has no packed rows, which base is"),
        ("train --peer ctranslate2", "ctranslate2 does not train"),
        ("decode --peer torch", "torch takes part in training only"),
    ],
)
def test_work_that_a_peer_has_not_is_refused(arguments, message, capsys):
    assert main(["bench", *arguments.split()]) == 2
    assert message in capsys.readouterr().err


# --- Profiles -----------------------------------------------------------------------------------


def _event(name, begins, lasts, thread=1, module="jit_f"):
    about = {"ph": "X", "pid": 1, "tid": thread, "ts": begins, "dur": lasts}
    return {**about, "args": {"hlo_op": name, "hlo_module": module} if name else {}}


def test_a_kernels_time_is_its_own_and_its_part_the_innermost_scope():
    program = """
HloModule jit_f, is_scheduled=true
  %dot.1 = f32[8,4]{1,0} dot(%a, %b), metadata={op_name="jit(f)/transpose(jvp(attention))/dot"}
  ROOT fusion.2 = (f32[3]{0}, s32[]) fusion(%c), metadata={op_name="jit(f)/loss/dropout/mul"}
  %while.3 = s32[] while(%d), metadata={op_name="jit(f)/while"}
"""
    events = [
        _event("while.3", 0, 10_000),  # holds both runs of dot.1
        _event("dot.1", 1_000, 3_000),
        _event("dot.1", 5_000, 4_000),
        _event("fusion.2", 2_000, 6_000, thread=2),
        _event(None, 0, 50_000),
        _event("dot.1", 20_000, 9_000, module="jit_other"),
        {"ph": "M", "pid": 1, "name": "process_name"},
    ]
    assert kernels(events, program) == [
        Kernel("dot.1", "attention", "f32[8,4]", pytest.approx(0.007), 2),
        Kernel("fusion.2", "dropout", "(f32[3], s32[])", pytest.approx(0.006), 1),
        Kernel("while.3", "other", "s32[]", pytest.approx(0.003), 1),
    ]


@pytest.mark.parametrize("what", ["train", "decode"])
def test_a_profile_names_the_parts_of_the_model(what, tmp_path, capsys):
    arguments = ["--workload", "tiny", "--profile", "--out", str(tmp_path)]
    assert main(["bench", what, *arguments]) == 0
    record = json.loads((tmp_path / f"profile-{what}-tiny.json").read_text())
    seen = {kernel["part"] for kernel in record["kernels"]}
    both = {"attention", "feed_forward", "norm"}
    assert both | {"train": {"loss", "optimizer"}, "decode": {"logits"}}[what] <= seen
    assert "feed_forward" in capsys.readouterr().out
    assert list((tmp_path / f"profile-{what}-tiny").rglob("*.trace.json.gz"))


# --- What is shown ------------------------------------------------------------------------------


def test_ratios_are_of_the_same_round():
    def rounds(*seconds):
        memory = {"peak_rss_bytes": 10**9, "peak_device_bytes": None}
        return [{"seconds_per_step": s, "others": 0.1, **memory} for s in seconds]

    def contender(*seconds):
        return {
            "rounds": rounds(*seconds),
            "median_seconds_per_step": seconds[1],
            "target_tokens_per_second": 1.0,
            "share_of_ceiling": 0.5,
            "first_step_seconds": 2.0,
        }

    contenders = {"aiayn": contender(1.0, 2.0, 4.0), "hf": contender(2.0, 2.2, 2.0)}
    ratios = {"hf": [2.0, 1.1, 0.5]}
    record = {"bench": "train", "contenders": contenders, "ratios": ratios}
    assert figures(record)[2][:3] == ["hf", "2.20", "2.00–2.20"], "three digits"
    assert "in pairs: hf 1.10 (2.00, 1.10, 0.50)." in summary(record)
    assert "At most 0.10 processors" in summary(record)
    contenders["hf"]["rounds"][1]["others"] = None
    assert summary(record).endswith("What else the machine did was not measured.")
    about = {
        "workload": "T1",
        "ceilings": {"matmul_flops_per_second": 2e11, "datasheet_flops_per_second": 4e11},
        "flops_per_step": 1e11,
        "commit": "0123456789abcdef",
        "versions": {"jax": "0", "python": "3"},
        "hardware": {"platform": "cpu", "cpu_count": 2, "cpu": "a CPU"},
    }
    assert "of the ceiling" not in figures(record)[0], "older records of decoding have none"
    text = render_bench([{**record, **about}])
    assert "| of the ceiling |" in text
    line = "| Training, workload T1 | hf | 1.10 (0.50–2.00) | – | 2 cores, a CPU | 0123456789ab |"
    assert line in text, "at a glance"
    assert "(MFU) ours has 12.5%" in text
    assert text.index(line) < text.index("## Training, workload T1, beside hf")
