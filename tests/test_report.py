"""The page "reported / reproduced": what it reads, compares, and how it behaves with bad files."""

import base64
import hashlib
import html
import itertools
import json
import re
import shutil
import subprocess
import sys
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path

import pytest

from hw2_keras import records, runs
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.experiments import Experiment, Registry, Reported, experiments
from hw2_keras.report import charts, page, tables, verdict
from hw2_keras.report import results as results_module
from hw2_keras.report.results import figures, read_results
from hw2_keras.runs import open_run

ROOT = Path(__file__).parents[1]


def write_run(
    folder: Path, of: str | Experiment = "p2g", seed: int = 42, **changes: object
) -> Path:
    """A finished run's folder with made-up figures, without weights."""
    e = of if isinstance(of, Experiment) else experiments[of]
    name = e.name
    rate = changes.pop("learning_rate", e.best_rate)
    epochs = changes.pop("epochs", e.epochs)
    metric = e.metric.removeprefix("val_")
    path = folder / f"{name}-rate{rate:g}-epochs{epochs}-seed{seed}"
    (path / "plots").mkdir(parents=True)
    record = {
        "experiment": name,
        "protocol": {
            "optimizer": e.optimizer,
            "learning_rate": rate,
            "epochs": epochs,
            "batch_size": e.batch_size,
            "dropout": e.dropout,
            "selection": e.selection,
            "seed": seed,
            **e.recipe,
        },
        "source": "real",
        "fingerprint": "f" * 64,
        "finished": True,
        "best_of_sweep": False,
        "divergence": None,
        "origin": "made up",
        "notes": [],
        "metrics": {"loss": 0.5, "running_loss": 0.75, e.metric: 0.25, f"test_{metric}": 0.28},
        "training_seconds": 60.0,
    }
    (path / "run.json").write_text(json.dumps(record | changes))
    rows = [f"{n},{1 / n},{2 / n},{0.5 / n}" for n in range(1, epochs + 1)]
    header = f"epoch,loss,running_loss,{e.metric}"
    (path / "history.csv").write_text("\n".join([header, *rows]) + "\n")
    return path


class Elements(HTMLParser):
    """Checks that tags are closed, and collects ids, links and addresses of a page."""

    VOID = ("meta", "br", "img", "wbr", "path")

    def __init__(self, content: str) -> None:
        super().__init__()
        self.open, self.ids, self.links, self.sources = [], [], [], []
        self.feed(content)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        found = dict(attrs)
        self.ids += [found["id"]] if "id" in found else []
        self.links += [found["href"]] if "href" in found else []
        self.sources += [found["src"]] if "src" in found else []
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        pass

    def handle_endtag(self, tag):
        if tag not in self.VOID:
            assert self.open.pop() == tag


def row_of(content: str, *words: str) -> str:
    """The first table row that holds all the words."""
    rows = re.findall(r"<tr>.*?</tr>", content)
    return next(row for row in rows if all(word in row for word in words))


def test_seeds_become_mean_and_deviation_beside_the_reported_figure(tmp_path: Path) -> None:
    for seed, cer in ((42, 0.27), (43, 0.275), (44, 0.265)):
        metrics = {"loss": 0.5, "running_loss": 0.7, "val_cer": 0.25, "test_cer": cer}
        write_run(tmp_path, seed=seed, metrics=metrics)
    results = read_results(tmp_path)
    figure = next(f for f in figures(results.runs) if f.reported.metric == "test_cer" and f.runs)
    assert figure.values == [0.27, 0.275, 0.265]
    assert figure.difference == pytest.approx(0.27 - 0.2926)
    assert verdict.judge(figure).verdict == "better"
    content = page.render(results)
    row = row_of(content, "0.2926", "42, 43, 44")
    assert "0.2700 ± 0.0050" in row and "0.2576 to 0.2824" in row
    assert "-0.0226 better" in row
    assert "for s in 42 43 44; do python -m hw2_keras train p2g --source real" in content


def test_accuracy_is_better_upwards_losses_and_other_data_are_not_judged(tmp_path: Path) -> None:
    metrics = {"loss": 0.1, "running_loss": 0.2, "val_accuracy": 0.9, "test_accuracy": 0.8}
    errors = {"running_loss": 0.001, "test_accuracy": 0.004}
    write_run(tmp_path, "fashion_cnn", metrics=metrics, standard_errors=errors)
    notes = ["fewer images"]
    write_run(tmp_path, "kmnist_cnn", metrics=metrics, standard_errors=errors, notes=notes)
    found = {
        (f.experiment.name, f.reported.report, f.reported.metric): verdict.judge(f)
        for f in figures(read_results(tmp_path).runs)
        if f.runs
    }
    assert found["fashion_cnn", "001", "test_accuracy"].verdict == "worse"
    assert "loss" in found["fashion_cnn", "001", "running_loss"].reason
    assert found["kmnist_cnn", "002", "test_accuracy"].reason == "other data"
    content = page.render(read_results(tmp_path))
    assert "fewer images" in row_of(content, "kmnist_<wbr>cnn", "0.9577")
    for report, value in (("002", "0.9577"), ("003", "0.9541")):
        assert "fewer images" in row_of(content, "kmnist_<wbr>cnn", report, value, "test accuracy<")


def test_a_reported_figure_inside_the_interval_is_a_match(tmp_path: Path) -> None:
    for seed, cer in ((42, 0.27), (43, 0.28), (44, 0.29)):  # 0.28 ± 0.0248, reported 0.2926
        metrics = {"loss": 0.5, "running_loss": 0.7, "val_cer": 0.25, "test_cer": cer}
        write_run(tmp_path, seed=seed, metrics=metrics)
    (figure,) = (f for f in figures(read_results(tmp_path).runs) if f.runs)
    assert figure.difference == pytest.approx(-0.0126)
    assert verdict.judge(figure).verdict == "matched"
    row = row_of(page.render(read_results(tmp_path)), "0.2926", "42, 43, 44")
    assert "-0.0126 matched" in row and "<small>0.2552 to 0.3048<" in row


def test_the_page_judges_by_the_rule_of_the_verdict(tmp_path: Path) -> None:
    content = page.render(read_results(ROOT / "results"))
    judged = verdict.verdicts(read_results(ROOT / "results").runs)
    shown = re.search(r"(\d+) measured</strong>: (.*?)\.</p>", content)
    words = re.findall(r"(\d+) (better|matched|worse|not judged)", shown[2])
    assert words == [(str(n), word) for word, n in verdict.counts(judged)]
    assert int(shown[1]) == sum(bool(row.seeds) for row in judged) == len(judged)
    for row in (row for row in judged if row.verdict != "not judged"):
        name = row.experiment.replace("_", "_<wbr>")
        cells = row_of(content, f"{name}<", f"{row.reported:.4f}", row.interval)
        assert f" {row.verdict}<" in cells
    assert verdict.METHOD in html.unescape(content)
    counts = ", ".join(f"{n} {word}" for word, n in verdict.counts(judged))
    assert f"{len(judged)} measured: {counts}" in " ".join((ROOT / "README.md").read_text().split())


def test_only_full_runs_on_real_data_are_compared(tmp_path: Path) -> None:
    write_run(tmp_path, seed=1)
    write_run(tmp_path, seed=2, source="synthetic")
    write_run(tmp_path, seed=3, epochs=2)
    results = read_results(tmp_path)
    assert [run.record["protocol"]["seed"] for run in results.runs] == [1]
    assert len(results.others) == 2 and not any(not run.departures for run in results.others)
    assert "Runs that no report can be compared with" in page.render(results)


def test_runs_on_different_data_are_never_averaged(tmp_path: Path) -> None:
    write_run(tmp_path, seed=1)
    write_run(tmp_path, seed=2, fingerprint="e" * 64)
    found = [f for f in figures(read_results(tmp_path).runs) if f.reported.metric == "test_cer"]
    assert [len(f.runs) for f in found if f.experiment.name == "p2g"] == [1, 1]


def test_an_empty_folder_gives_a_page_of_missing_figures(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    written, results = page.make(tmp_path / "results", tmp_path / "site")
    content = written.read_text()
    total = sum(len(e.reported) for e in experiments.values())
    assert f"<strong>0 of {total}</strong>" in content
    assert content.count('<tr><td data-key="') >= total
    assert "python -m hw2_keras train p2g_attention --source real --out" in content
    assert results.problems == ()
    for name in experiments:
        assert f'id="{name}"' in content


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("run.json", '{"experiment": "p2g", ', "is damaged"),
        ("run.json", "[]", "is damaged"),
        ("run.json", '{"experiment": "p3g", "finished": true, "best_of_sweep": false}', "p3g"),
        (
            "run.json",
            '{"experiment": "p2g", "finished": true, "best_of_sweep": false, "protocol": {}}',
            "no 'source'",
        ),
        ("history.csv", "epoch,loss\n", "history.csv is damaged"),
        (
            "history.csv",
            "epoch,loss,val_cer\n1,1,1\n",
            "history.csv is damaged (no 'running_loss')",
        ),
        ("history.csv", "epoch,loss\n1,much\n", "history.csv"),
        ("beam_search.json", '[{"experiment": "p2g"}]', "beam_search.json is damaged"),
        ("p2g.parity.json", '{"experiment": "p2g"}', "p2g.parity.json is damaged"),
    ],
)
def test_a_broken_file_is_one_line_and_hides_nothing_else(
    tmp_path: Path, capsys: pytest.CaptureFixture, file: str, content: str, message: str
) -> None:
    results = tmp_path / "results"
    write_run(results, "p2g_attention")
    (write_run(results, "p2g") / file).write_text(content)
    assert main(["report", "--results", str(results), "--out", str(tmp_path / "site")]) == 0
    told, error = capsys.readouterr()
    assert message in error and error.count("\n") == 1
    assert told == f"{told[0]} runs in {results}; open {tmp_path / 'site' / 'index.html'}\n"
    text = (tmp_path / "site" / "index.html").read_text()
    assert "Not readable" in text and "0.2800" in row_of(text, "p2g_<wbr>attention", "0.2410")


def test_no_such_results_folder_is_bad_input(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    out = tmp_path / "site"
    assert main(["report", "--results", str(tmp_path / "nowhere"), "--out", str(out)]) == 2
    assert "nowhere is not a folder" in capsys.readouterr().err
    assert not out.exists()


def test_a_file_in_place_of_the_output_folder_is_bad_input(tmp_path: Path) -> None:
    (tmp_path / "site").write_text("")
    with pytest.raises(UsageError, match="choose another"):
        page.make(tmp_path, tmp_path / "site")


def test_the_page_of_something_else_is_not_overwritten(tmp_path: Path) -> None:
    other = tmp_path / "index.html"
    other.write_text("<title>Mine</title>")
    with pytest.raises(UsageError, match="another page"):
        page.make(tmp_path, tmp_path)
    assert other.read_text() == "<title>Mine</title>"
    other.unlink()
    page.make(tmp_path, tmp_path)
    assert page.make(tmp_path, tmp_path)[0] == other


def test_the_committed_results_make_one_small_self_contained_page(tmp_path: Path) -> None:
    written, results = page.make(ROOT / "results", tmp_path)
    content = written.read_text()
    assert list(tmp_path.iterdir()) == [written]
    assert written.stat().st_size < 5e6
    found = Elements(content)
    assert len(set(found.ids)) == len(found.ids)
    assert {link for link in found.links if link[1:] not in found.ids} == set()
    assert all(source.startswith("data:image/png;base64,") for source in found.sources)
    assert found.sources, "the committed filters are shown"
    assert "http" not in re.sub(r"data:image[^\"]*|http-equiv", "", content)
    assert "0.9091" in row_of(content, "fashion_<wbr>cnn", "0.9025")
    assert "fashion_cnn.onnx" in row_of(content, ">passed<")
    assert page.render(results) == content


def test_text_from_files_is_escaped(tmp_path: Path) -> None:
    write_run(tmp_path, origin="<script>alert(1)</script>", notes=["a & b"])
    content = page.render(read_results(tmp_path))
    assert "<script>alert" not in content and "a &amp; b" in content


def test_the_policy_allows_the_pages_own_style_and_script_and_nothing_else(tmp_path: Path) -> None:
    content = page.render(read_results(tmp_path))
    policy = html.unescape(re.search(r'Content-Security-Policy" content="([^"]*)"', content)[1])
    for tag, directive in (("style", "style-src"), ("script", "script-src")):
        (inline,) = re.findall(f"<{tag}>(.*?)</{tag}>", content, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()
        assert f"{directive} 'sha256-{digest}'" in policy
    assert "default-src 'none'" in policy and "unsafe" not in policy
    body = content.split("<body>")[1].split("<script>")[0]
    assert not re.search(r"<[^>]* (style|on\w+)=", body)


def test_the_best_of_a_row_is_marked_whoevers_it_is(tmp_path: Path) -> None:
    metrics = {"loss": 0.5, "running_loss": 0.7, "val_bleu4": 0.5, "test_bleu4": 0.505}
    for name in ("caption", "caption_attention"):
        write_run(tmp_path, name, metrics=metrics, standard_errors={"test_bleu4": 0.001})
    content = page.render(read_results(tmp_path))
    marked = re.findall(r'<span class="best">([\d.]+)', row_of(content, ">caption<", "0.4927"))
    assert marked == ["0.5050"]
    row = row_of(content, "caption_<wbr>attention", "0.5100", "0.5294")
    assert re.findall(r'<span class="best">([\d.]+)', row) == ["0.5294"]
    assert re.search(r"4 measured</strong>.* 2 better.* 0 matched.* 2 worse.* 0 not", content)
    dots = re.findall(r'class="dot (\w+)"><title>([^:]*): ([\d.]+)', content)
    assert sorted(dots) == [
        ("better", "test BLEU-4", "0.4927"),
        ("better", "test BLEU-4", "0.5000"),
        ("worse", "test BLEU-4", "0.5100"),
        ("worse", "test BLEU-4", "0.5294"),
    ]


def test_dots_are_in_order_apart_and_inside(tmp_path: Path) -> None:
    values = [0.0, 0.001, -0.5, 9e99, -9e99, 0.05]
    dots = [charts.Dot(str(value), value, "better") for value in values]
    plot = charts.dot_plot([("one", "", dots), ("two", "rate 1", dots[:1])], "title")
    places = [dot.x for dot in plot.rows[0].dots]
    assert sorted(range(6), key=lambda i: places[i]) == [4, 2, 0, 1, 5, 3]
    assert plot.left < min(places) and max(places) < plot.right
    assert plot.rows[0].dots[0].x == plot.zero == plot.rows[1].dots[0].x
    apart = [
        max(abs(a.x - b.x), abs(a.y - b.y)) for a, b in itertools.combinations(plot.rows[0].dots, 2)
    ]
    assert min(apart) >= charts.DOT - 1e-9
    assert plot.rows[0].end <= plot.rows[1].dots[0].y


def test_own_experiments_stand_in_a_chapter_of_their_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = replace(experiments["p2g"], name="own_p2g", reported=(Reported("005", "test_cer", 0.3),))
    registry = Registry((*experiments.values(), own))
    for module in (page, results_module, runs, records):
        monkeypatch.setattr(module, "experiments", registry)
    total = sum(len(e.reported) for e in experiments.values())
    write_run(tmp_path, registry["own_p2g"])
    write_run(tmp_path, registry["own_p2g"], seed=7, source="synthetic")
    content = page.render(read_results(tmp_path))
    assert f"<strong>0 of {total}</strong>" in content and "from 0 training runs" in content
    assert content.index('id="own"') > content.index('id="edition-2024-25"')
    chapter = content.split('id="own"')[1].split("</section>")[0]
    assert 'id="own_p2g"' in chapter and "0.2800" in row_of(chapter, ">42<")
    assert "synthetic" in row_of(chapter, "seed7")
    assert "own_p2g" not in content.split('id="own"')[0]
    assert 'id="others"' not in content


def test_a_diverged_run_is_shown_as_such(tmp_path: Path) -> None:
    path = write_run(
        tmp_path,
        "kmnist_cnn",
        metrics={"loss": float("nan"), "running_loss": float("nan"), "val_accuracy": 0.1},
        divergence="the loss is not finite",
    )
    history = (path / "history.csv").read_text().splitlines()
    history[-1] = "20,nan,nan,0.1"
    (path / "history.csv").write_text("\n".join(history))
    content = page.render(read_results(tmp_path))
    assert "0.0005 (the loss is not finite)" in content and "not finite</td>" in content
    assert "diverged" in row_of(content, "0.0439") and "diverged" not in row_of(content, "0.9845")
    assert "nan" not in "".join(re.findall(r"<path d=\"[^\"]*\"", content))


def test_beam_search_shows_the_gain_over_width_one(tmp_path: Path) -> None:
    rows = [
        {
            "experiment": "p2g",
            "seed": seed,
            "source": "real",
            "num_beams": width,
            "length_normalisation": True,
            "seconds": 2.0,
            "test_cer": cer,
        }
        for seed, width, cer in ((42, 1, 0.30), (43, 1, 0.32), (42, 5, 0.29), (43, 5, 0.30))
    ]
    (tmp_path / "beams").mkdir()
    (tmp_path / "beams" / "beam_search.json").write_text(json.dumps(rows))
    content = page.render(read_results(tmp_path))
    assert "0.2950 ± 0.0071" in row_of(content, "-0.0150", "42, 43")
    assert "missing" in row_of(content, "-0.0150")  # without length normalisation


def test_a_failed_parity_is_marked(tmp_path: Path) -> None:
    report = json.loads((ROOT / "results/onnx/fashion_cnn.parity.json").read_text())
    (tmp_path / "one.parity.json").write_text(json.dumps(report | {"passed": False}))
    content = page.render(read_results(tmp_path))
    assert "FAILED" in row_of(content, "one.onnx")
    assert re.search(r"Not shipped: .*\bkmnist_cnn\.onnx", content)
    assert "missing" not in content.split('id="onnx"')[1]


def test_a_rounded_file_is_shipped_with_what_rounding_changed(tmp_path: Path) -> None:
    report = {"experiment": "caption", "source": "real", "examples": 58, "answers": 116}
    report |= {"different_answers": 3, "bytes": [14_000_000, 3_600_000]}
    report |= {"metrics": {"test_bleu4": [0.5, 0.49]}}
    file = tmp_path / "caption.int8.quantization.json"
    file.write_text(json.dumps(report))
    content = page.render(read_results(tmp_path))
    row = row_of(content, "caption.int8.onnx", "3 of 116", "14.00 → 3.60 MB")
    assert "test BLEU-4 0.5000 → 0.4900" in row
    assert not re.search(r"Not shipped: .*\bcaption\.onnx", content)
    file.write_text(json.dumps(report | {"bytes": [1]}))
    (problem,) = read_results(tmp_path).problems
    assert "caption.int8.quantization.json is damaged" in problem and "repeat" in problem


def test_the_command_imports_no_framework(tmp_path: Path) -> None:
    code = (
        "import sys; from hw2_keras.cli import main; "
        f"main(['report', '--results', {str(tmp_path)!r}, '--out', {str(tmp_path / 'o')!r}]); "
        "loaded = {'tensorflow', 'keras', 'matplotlib', 'numpy'} & set(sys.modules); "
        "assert not loaded, loaded"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_reference_labels_move_apart_and_keep_their_order() -> None:
    placed = charts.spread_out([100, 101, 20, 102], 12, 120)
    assert placed == [96, 108, 20, 120]
    assert charts.spread_out([10.0, 50.0], 12, 120) == [10, 50]


def test_chart_scales_and_interrupts_at_values_that_are_not_finite() -> None:
    nan = float("nan")
    line = charts.Line("one", [1, 2, 3, 4], [0.0, nan, 1.0, 0.5], 0)
    drawn = charts.chart([line], [charts.Level("003: 0.5", 0.5, 1)], "accuracy")
    path = drawn.curves[0].path
    assert path.count("M") == 2 and path.count("L") == 1
    first_y = float(re.match(r"M[\d.]+ ([\d.]+)", path)[1])
    assert first_y > charts.HEIGHT / 2  # zero is below the middle
    assert [level.label for level in drawn.references] == ["003: 0.5"]


def test_ticks_are_round_and_within_the_range() -> None:
    assert charts.linear_ticks(0.41, 0.92) == [0.5, 0.6, 0.7, 0.8, 0.9]
    assert charts.log_ticks(0.015, 1.2) == [0.02, 0.03, 0.05, 0.07, 0.1, 0.2, 0.3, 0.5, 0.7, 1]
    assert charts.epoch_ticks(20) == [1, 5, 10, 15, 20]
    assert charts.epoch_ticks(1) == [1]
    assert charts.epoch_ticks(1000) == [1, 200, 400, 600, 800, 1000]
    assert charts.epoch_ticks(10**6)[-1] == 10**6


@pytest.mark.skipif(not shutil.which("node"), reason="needs node to run the page's script")
def test_the_page_script_is_valid_javascript() -> None:
    script = page.ASSETS / "page.js"
    done = subprocess.run(["node", "--check", script], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_what_a_reported_figure_belongs_to_is_said_beside_other_runs(tmp_path: Path) -> None:
    full, small, made, fast = (
        open_run(write_run(tmp_path, **changes))
        for changes in (
            {},
            {"epochs": 2},
            {"source": "synthetic", "seed": 1},
            {"learning_rate": 0.01},
        )
    )
    for table in (tables.run_table(full), tables.seeds_table([full])):
        assert "  reported\n" in table and "0.2926 (004)" in table
    for run, words in ((small, "20 epochs"), (made, "real data")):
        apart = f"  reported ({words})\n"
        for table in (tables.run_table(run), tables.seeds_table([full, run])):
            assert apart in table and "0.2926 (004)" in table
    for table in (tables.run_table(fast), tables.seeds_table([fast])):  # another rate
        assert "0.2926" not in table and "reported" not in table
    small, full = (
        open_run(write_run(tmp_path, "fashion_cnn", epochs=epochs)) for epochs in (2, 15)
    )
    assert "report 001  " in tables.sweep_table([full])
    assert "report 001 (15 epochs)" in tables.sweep_table([small])


def test_seeds_share_a_row_and_other_rates_and_data_do_not(tmp_path: Path) -> None:
    def opened(seed: int, **changes: object) -> runs.Run:
        return open_run(write_run(tmp_path, seed=seed, **changes))

    diverged = {"loss": 1, "running_loss": 1, "val_cer": float("nan")}
    found = [
        *(opened(seed) for seed in (42, 43)),
        *(opened(seed, learning_rate=0.01, metrics=diverged) for seed in (44, 45)),
        opened(46, source="synthetic"),
    ]
    lines = tables.seeds_table(found).splitlines()
    rows = [line for line in lines if line.startswith("p2g") and "val_cer" in line]
    assert ["42, 43" in rows[0], "44, 45" in rows[1], "46" in rows[2]] == [True] * 3
    assert "rate 0.003" in rows[0] and "0.2500 ± 0.0000" in rows[0]
    assert "rate 0.01" in rows[1] and "not finite" in rows[1]
    assert "synthetic data" in rows[2] and "real data" in rows[0]


def test_the_command_of_several_seeds_trains_the_other_rates_once(tmp_path: Path) -> None:
    metrics = {"loss": 1, "running_loss": 1, "val_accuracy": 0.9, "test_accuracy": 0.9}
    for seed, rate in ((42, 0.001), (42, 0.01), (42, 0.1), (43, 0.01), (44, 0.01)):
        write_run(tmp_path, "fashion_cnn", seed, learning_rate=rate, metrics=metrics)
    content = page.render(read_results(tmp_path))
    command = "reproduce fashion_cnn --source real --seeds 42 43 44 --out runs"
    assert f"python -m hw2_keras {command}" in content and "for s in" not in content


def test_infinities_of_both_signs_are_diverged_on_the_page(tmp_path: Path) -> None:
    for seed, value in ((42, float("inf")), (43, -float("inf"))):
        metrics = {"loss": 1, "running_loss": 1, "val_cer": 1.0, "test_cer": value}
        write_run(tmp_path, seed=seed, metrics=metrics)
    assert "diverged" in page.render(read_results(tmp_path))


def test_no_name_of_a_record_reaches_the_terminal_raw(tmp_path: Path) -> None:
    evil = "\x1b[2J\nhw2: fake"
    metrics = {"loss": 1, "running_loss": 1, "val_cer": 0.3, f"test_{evil}": 0.5}
    run = open_run(write_run(tmp_path, metrics=metrics, divergence=evil, origin=evil, notes=[evil]))
    shown = tables.run_table(run), tables.seeds_table([run]), tables.sweep_table([run])
    for text in (*shown, tables.heading(run)):
        assert r"\x1b[2J\nhw2: fake" in text
        assert all(line.isprintable() for line in text.splitlines())
