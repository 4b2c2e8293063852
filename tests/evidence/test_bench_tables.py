from typing import Any

from aiayn.evidence.bench_tables import _a_line_each, _side_by_side, render_bench, render_simpler
from tests.support.records import contest_record


def _on(cpu, platform="cpu", **changes) -> dict[str, Any]:
    record = contest_record()
    about = {"cpu": cpu, "platform": platform, "device": cpu}
    return {**record, "hardware": {**record["hardware"], **about}, **changes}


def test_a_contest_is_summed_up_in_one_line_above_the_seconds_behind_it():
    text = render_bench([contest_record()])
    # Of 1e11 and 2e11 the best is what shares are of.
    assert "large product: 200 GFLOP/s in the best round, 100 in the worst; a step's" in text
    line = "| Training, workload T1 | hf | 1.10 (0.50–2.00) |"
    assert line in text
    step = "| Training, workload T1 | 2.00 (1.00–4.00); 1/s; 50.0%; 1.00 GB; first 2.0 s. XLA's l"
    assert step in text
    # 1e11 FLOPs in 2 seconds are an eighth of the data sheet's 4e11 a second.
    assert "MFU of ours 12.5% of the data sheet's 400 GFLOP/s" in text
    assert text.index(line) < text.index(step)
    assert "on 2 cores, a CPU: 0123456789ab, jax 0, Python 3." in text


def test_machines_are_columns_and_each_figure_leads_to_its_record():
    slower = {"ratios": {"hf": [3.0], "hf, large pages": [2.5]}}
    text = render_bench(
        [
            _on("a", file="bench/a.json"),
            _on("b", workload="T2"),
            _on("b", file="bench/b.json", **slower),
            _on("c", "gpu"),
        ]
    )
    glance, *_ = text.split("### A step")
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in glance.splitlines()]
    head, _, *body = [row for row in rows if row]
    assert head == ["work", "beside", "2 cores, a", "2 cores, b", "1 × c"]
    plain = "1.10 (0.50–2.00)"
    large = "[3.00 (3.00–3.00)](results/bench/b.json); 2.50 (2.50–2.50) with large pages"
    linked = f"[{plain}](results/bench/a.json)"
    assert body == [
        ["Training, workload T1", "hf", linked, large, plain],
        ["Training, workload T2", "hf", "–", plain, "–"],
    ]
    # What a step takes on an accelerator is a table of its own.
    on_cpu, on_gpu = (text.split("### A step of training and of decoding, on ")[n] for n in (1, 2))
    assert on_cpu.startswith("processors")
    assert "| work | 2 cores, a | 2 cores, b |" in on_cpu
    assert "| work | 1 × c |" in on_gpu


def test_two_records_of_one_work_on_one_machine_are_both_shown():
    text = render_bench([_on("a"), _on("a", ratios={"hf": [3.0]})])
    assert "| hf | 1.10 (0.50–2.00); 3.00 (3.00–3.00) |" in text


def test_a_work_without_a_peer_is_not_beside_anybody():
    text = render_bench([_on("a", ratios={})])
    assert "Beside others" not in text
    assert "| Training, workload T1 | 2.00 (1.00–4.00); 1/s;" in text


def test_a_share_of_old_is_named_as_what_it_was():
    record = contest_record()
    for found in record["contenders"].values():
        found["share_of_ceiling"] = found.pop("share_of_xla_product")
    del record["best_xla_product_flops_per_second"], record["xla_product_flops_per_second"]
    record["ceilings"]["matmul_flops_per_second"] = 2e11
    text = render_bench([record])
    assert "; 50.0% once; " in text
    assert "timed once before all rounds: 200 GFLOP/s" in text
    assert "ceiling" not in text
    assert "% once" not in render_bench([contest_record()])


def test_of_several_records_of_a_work_on_a_machine_the_fastest_is_shown():
    def took(seconds, cpu, file):
        record = _on(cpu, file=file)
        ours = {**record["contenders"]["aiayn"], "median_seconds_per_step": seconds}
        return {**record, "contenders": {**record["contenders"], "aiayn": ours}}

    every = [took(2.5, "a", "1.json"), took(1.5, "a", "2.json"), took(9.0, "b", "3.json")]
    _, steps = render_bench(every).split("### A step")
    assert "(results/1.json)" not in steps
    assert "| [1.50](results/2.json) (1.00–4.00); " in steps
    assert "| [9.00](results/3.json) (1.00–4.00); " in steps


_TABLES = {
    "x": [["of", "ms", "share"], ["1", "2", "–"], ["3", "4", "5%"]],
    "y": [["of", "ms", "share"], ["3", "6", "7%"], ["8", "no room", ""]],
}


def test_tables_are_put_side_by_side_by_what_their_rows_begin_with():
    assert _side_by_side(_TABLES).splitlines() == [
        "| of | x: ms | x: share | y: ms | y: share |",
        "| --- | --- | --- | --- | --- |",
        "| 1 | 2 | – | – | – |",
        "| 3 | 4 | 5% | 6 | 7% |",
        "| 8 | – | – | no room |  |",
    ]


def test_a_table_becomes_a_line_with_a_cell_of_named_figures_for_each_of_its_rows():
    assert _a_line_each("program", _TABLES).splitlines() == [
        "| program | 1 | 3 | 8 |",
        "| --- | --- | --- | --- |",
        "| x | 2 ms | 4 ms; 5% share | – |",
        "| y | – | 6 ms; 7% share | no room |",
    ]


def test_a_second_machines_server_has_columns_of_its_own():
    def record(name, speed):
        contenders = {"aiayn": {"clients_seconds": [10 / speed]}}
        about = {"bench": "serve", "experiment": "m", "file": f"bench/{name}.json"}
        sizes = {"text": "t", "lines": 5, "beam_size": 4, "clients": 2, "sentences": 10}
        return _on("a", contenders=contenders, ratios={}, same={}, **about, **sizes)

    text = render_bench([record("serve-m", 2), record("serve-m-zen5", 5)])
    assert "| m: 2 clients, sentences/s |" in text
    assert "| m-zen5: 2 clients, sentences/s |" in text
    assert "| aiayn | 2 |  | – |  | – |  | 5 |  |" in text


def test_choices_of_other_workloads_are_columns_of_their_own():
    def record(workload, ratio):
        choice = {"instead": "none", "predicted": 1.25, "ratio": ratio, "ratios": [ratio]}
        kinds = {"bench": "choices", "workload": workload, "step": {"first_loss": 7.0}}
        return _on("a", choices={"dropout": {**choice, "first_loss": 7.5}}, **kinds)

    text = render_bench([record("T1", 1.5), record("base", 2.5)])
    assert "| choice | instead of it | T1 on 2 cores, a | base on 2 cores, a |" in text
    cells = "1.50 (1.50–1.50), expected 1.25, +0.5000 | 2.50 (2.50–2.50), expected 1.25, +0.5000"
    assert f"| dropout | none | {cells} |" in text


def test_models_of_the_same_text_are_beside_ours_in_one_table():
    nats = {"nats": 50.0, "characters": 20, "seconds": 3.0, "updates": 4, "parameters": 5}
    f1 = {"f1": 70.04, "f1_short": None, "tags": None, "failed": 0}
    nano = {**_on("a"), "bench": "nano", "experiment": "s", "file": "bench/n.json"}
    nano |= {"ours": nats, "nano": {**nats, "nats": 60.0}}
    pcfg = {**_on("a"), "bench": "pcfg", "experiment": "p"}
    pcfg |= {"sets": {"dev": {"parsers": {"usual": f1, "ours": {**f1, "f1": 71.0}}}}}
    lines = render_simpler([contest_record(), nano, pcfg]).splitlines()
    recipe = "nanoGPT's recipe, trained as long, 3.000"
    assert f"| [s](results/bench/n.json) | dev | nats per character | 2.500 | {recipe} |" in lines
    assert "| p | dev | F1 | 71.0 | grammar over each word's usual tag 70.0 |" in lines
    (note,) = (line for line in lines if "`aiayn bench" in line)
    assert "`aiayn bench nano`, `aiayn bench pcfg`; each" in note
    assert render_simpler([contest_record()]) == ""
