"""A ladder: which runs stand on it, what a rung gained, its table, plot and command."""

import json
import math
import os
import statistics
import subprocess
import sys
from pathlib import Path

import pytest
from test_report import write_run

import hw2_keras as hw2
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.plots import of_ladders
from hw2_keras.report import ladder, page
from hw2_keras.report.results import read_results, spread

# validation accuracy of each rung by seed: two sure gains, nothing, a loss, and a gain again
ACCURACY = {
    "kmnist_cnn": (0.950, 0.948, 0.949),
    "kmnist_one_cycle": (0.960, 0.959, 0.958),
    "kmnist_resnet": (0.972, 0.970, 0.969),
    "kmnist_smoothed": (0.974, 0.966, 0.972),
    "kmnist_cropped": (0.963, 0.956, 0.962),
    "kmnist_cutout": (0.990, 0.981, 0.988),
}


def put(folder: Path, name: str, seed: int, accuracy: float, **changes: object) -> None:
    metrics = {"loss": 0.5, "running_loss": 0.7, "val_accuracy": accuracy}
    metrics["test_accuracy"] = round(accuracy - 0.5, 4)  # known again wherever it is printed
    write_run(folder, name, seed, metrics=metrics, **changes)


@pytest.fixture
def results(tmp_path: Path) -> Path:
    folder = tmp_path / "results"
    for name, values in ACCURACY.items():
        for seed, accuracy in zip((42, 43, 44), values, strict=True):
            put(folder, name, seed, accuracy, training_seconds=100.0 + seed)
    return folder


def test_the_registry_has_the_rungs_in_their_order() -> None:
    assert ladder.names() == ["kmnist"]
    assert [record.name for record in ladder.records_of("kmnist")] == list(ACCURACY)


def test_gains_are_paired_by_seed_and_judged_by_their_interval(results: Path) -> None:
    found = hw2.ladder("kmnist", results)
    assert [rung.judgement for rung in found.rungs] == [
        *("", "better", "better", "no sure gain", "worse", "better")
    ]
    cycle = found.rungs[1]
    gains = [0.010, 0.011, 0.009]
    assert cycle.gains == pytest.approx(gains)
    half = 4.303 * statistics.stdev(gains) / 3**0.5
    assert cycle.interval == pytest.approx((0.010 - half, 0.010 + half))
    assert cycle.seconds == 142.0


def test_the_table_says_what_each_rung_gave_and_tests_the_top_alone(results: Path) -> None:
    shown = str(hw2.ladder("kmnist", results))
    row = next(line for line in shown.splitlines() if line.startswith("kmnist_one_cycle"))
    for part in ("0.9590 ± 0.0010", "42, 43, 44", "+0.0100", "+0.0075 to +0.0125", "better"):
        assert part in row
    assert row.endswith("420,906") and "142" in row
    assert "Top rung: kmnist_cutout" in shown and "test accuracy: 0.4863 ± 0.0047" in shown
    for name in list(ACCURACY)[:-1]:
        assert f"{statistics.fmean(ACCURACY[name]) - 0.5:.4f}" not in shown


def put_parity(folder: Path, file: str, name: str, milliseconds: float | None) -> None:
    report = {"experiment": name, "source": "real", "examples": 448, "batch_sizes": [1, 7, 64]}
    report |= {"different_answers": 0, "max_difference": 1e-7, "metric": "test_accuracy"}
    report |= {"keras": 0.9, "onnx": 0.9, "bytes": 10, "passed": True, "milliseconds": milliseconds}
    (folder / f"{file}.parity.json").write_text(json.dumps(report))


def test_rungs_of_one_network_share_the_time_of_its_file(results: Path) -> None:
    assert [rung.milliseconds for rung in hw2.ladder("kmnist", results).rungs] == [None] * 6
    put_parity(results, "kmnist_cnn", "kmnist_cnn", None)  # verified before times were kept
    put_parity(results, "kmnist_cutout", "kmnist_cutout", 0.256)
    put_parity(results, "mine", "kmnist_cnn", 0.7)  # of whatever protocol
    found = hw2.ladder("kmnist", results)
    assert [rung.milliseconds for rung in found.rungs] == [None, None, *[0.256] * 4]
    put_parity(results, "kmnist_resnet", "kmnist_resnet", 12.3)  # its own is before another's
    found = hw2.ladder("kmnist", results)
    assert [rung.answer for rung in found.rungs] == ["", "", "12 ms", *["12 ms"] * 2, "0.26 ms"]
    assert "482,378     0.26 ms" in str(found) and "one answer" in str(found)
    assert ">0.26 ms<" in page.render(read_results(results))


def test_the_length_of_a_text_depends_on_the_weights_so_its_time_is_not_shared() -> None:
    speller = hw2.experiments["p2g"]
    assert not ladder._is_as_fast(speller, speller)
    assert ladder._is_as_fast(hw2.experiments["kmnist_cnn"], hw2.experiments["kmnist_one_cycle"])


def test_the_top_rung_need_not_be_the_last(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name, values in ACCURACY.items():
        put(other, name, 42, 0.5 if name == "kmnist_cutout" else values[0])
    found = ladder.ladder("kmnist", other)
    assert found.top is not None and found.top.experiment.name == "kmnist_smoothed"
    assert found.rungs[1].judgement == "one seed: no interval" and found.rungs[1].interval is None


def test_a_missing_rung_is_named_with_its_command_and_nothing_is_tested(tmp_path: Path) -> None:
    put(tmp_path, "kmnist_cnn", 42, 0.95)
    put(tmp_path, "kmnist_cnn", 43, 0.99, learning_rate=0.01)  # of its sweep, not of the ladder
    put(tmp_path, "kmnist_one_cycle", 43, 0.96)
    put(tmp_path, "kmnist_resnet", 42, 0.99, epochs=3)
    found = ladder.ladder("kmnist", tmp_path)
    assert [len(rung.runs) for rung in found.rungs] == [1, 1, 0, 0, 0, 0]
    assert found.rungs[1].judgement == "nothing to compare with"
    assert found.top is None and "test accuracy" not in str(found)
    command = "python -m hw2_keras reproduce kmnist_resnet kmnist_smoothed kmnist_cropped "
    assert f"{command}kmnist_cutout --seeds 42 43 44 --source real --out {tmp_path}" in str(found)


def test_a_copy_is_no_second_seed_and_equal_gains_have_no_interval(tmp_path: Path) -> None:
    for seed in (42, 43):
        put(tmp_path, "kmnist_cnn", seed, 0.9 + seed / 1000)
        put(tmp_path, "kmnist_one_cycle", seed, 0.91 + seed / 1000)
    put(tmp_path / "z_copy", "kmnist_one_cycle", 42, 0.99)
    cycle = ladder.ladder("kmnist", tmp_path).rungs[1]
    assert cycle.values == pytest.approx([0.952, 0.953])
    assert cycle.judgement == "equal gains: no interval"


def test_a_diverged_rung_is_neither_top_nor_a_gain(results: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    for name, values in ACCURACY.items():
        for seed, value in zip((42, 43, 44), values, strict=True):
            bad = {42: math.inf, 43: -math.inf, 44: math.nan}[seed]
            put(other, name, seed, bad if name == "kmnist_cutout" else value)
    found = ladder.ladder("kmnist", other)
    assert found.rungs[-1].judgement == "diverged" and "not finite" in str(found)
    assert "not finite" in page.render(read_results(other))
    assert ladder.draw(found, tmp_path / "drawn")[0].exists()
    assert found.top is not None and found.top.experiment.name == "kmnist_smoothed"


def test_a_rung_of_another_recipe_does_not_count(results: Path) -> None:
    file = next(results.glob("kmnist_cutout-*seed42")) / "run.json"
    text = file.read_text()
    file.write_text(text.replace('"cutout": 8', '"cutout": 4'))
    other = hw2.open_run(file.parent)
    assert other.departures == ["cutout 8"]
    assert len(hw2.ladder("kmnist", results).rungs[-1].runs) == 2
    file.write_text(text.replace('"momentum": 0.9', '"momentum": -1'))
    with pytest.raises(UsageError, match=r"run.json is damaged \(protocol.momentum: Expected"):
        hw2.open_run(file.parent)


def test_what_is_no_ladder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(UsageError, match="no ladder 'fashion_cnn': expected kmnist"):
        hw2.ladder("fashion_cnn")
    with pytest.raises(UsageError, match="is not a folder"):
        hw2.ladder("kmnist", tmp_path / "nothing")
    with pytest.raises(UsageError, match=r"no run of ladder kmnist .* train it with 'python"):
        hw2.ladder("kmnist", tmp_path)
    put(tmp_path, "kmnist_cnn", 42, 0.95)
    put(tmp_path, "kmnist_cnn", 43, 0.95, fingerprint="e" * 64)
    assert main(["ladder", "kmnist", "--results", str(tmp_path)]) == 2
    error = capsys.readouterr().err
    assert "different data" in error and error.count("\n") == 1


def test_the_committed_ladder_is_whole_and_the_page_of_the_docs_has_its_figures() -> None:
    root = Path(__file__).parents[1]
    found = ladder.ladder("kmnist", root / "results")
    assert found.top is not None and all(len(rung.runs) == 3 for rung in found.rungs)
    text = (root / "docs" / "beyond.rst").read_text(encoding="utf-8")
    for rung in found.rungs:
        row = next(
            r for r in text.splitlines() if f"``{rung.experiment.name}``" in r and " ± " in r
        )
        assert spread(rung.values) in row
        assert row.endswith(f" {rung.seconds:<7.0f}  {rung.answer}") and rung.answer
        if rung.gain is not None and rung.interval is not None:
            low, high = rung.interval
            assert f"{rung.gain:+.4f}  {low:+.4f} to {high:+.4f}  {rung.judgement}" in row
    tested = [run.metrics["test_accuracy"] for run in found.top.runs]
    assert f"``{found.top.experiment.name}``, test accuracy {spread(tested)}." in text


def test_the_command_prints_and_draws_without_a_framework(results: Path, tmp_path: Path) -> None:
    code = "from hw2_keras.cli import main; import sys; status = main(sys.argv[1:]); "
    code += "sys.exit(status or bool({'keras', 'tensorflow'} & set(sys.modules)))"
    out = tmp_path / "out"
    command = [sys.executable, "-c", code, "ladder", "kmnist", "--results", results, "--out", out]
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[1])}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    assert (
        "Top rung: kmnist_cutout" in done.stdout and str(out / "ladder_kmnist.png") in done.stdout
    )
    assert (out / "ladder_kmnist.png").stat().st_size > 5_000


def test_the_plot_stands_the_rungs_above_each_other() -> None:
    steps = [
        of_ladders.Step("as in the homework", (0.2, 0.3), "", 9.0),
        of_ladders.Step("an idea", (0.5, 0.7), "better", 12.4),
    ]
    (axes,) = of_ladders.ladder_plot(steps, "val_accuracy", "kmnist").axes
    assert [label.get_text() for label in axes.get_yticklabels()] == [s.idea for s in steps]
    line = axes.lines[0]
    assert list(line.get_xdata()) == pytest.approx([0.25, 0.6])
    assert list(line.get_ydata()) == [0, 1]
    assert axes.texts[1].get_text() == "0.6000, 12 s\nbetter"
    assert axes.get_xlabel() == "validation accuracy"
    with pytest.raises(UsageError, match="no rung"):
        of_ladders.ladder_plot([], "val_accuracy", "kmnist")


def test_the_page_has_the_ladder_and_no_test_figure_of_its_rungs(results: Path) -> None:
    content = page.render(read_results(results))
    chapter = content.split('<section id="beyond"')[1].split("</section>")[0]
    assert "Top rung: kmnist_cutout" in chapter and "+0.0075 to +0.0125" in chapter
    assert 'id="kmnist_resnet"' in chapter and "He et al. 2016" in chapter
    assert "momentum 0.9; weight decay 0.005; schedule one cycle; label smoothing 0.1" in chapter
    for name in list(ACCURACY)[1:-1]:
        for accuracy in ACCURACY[name]:
            assert f"{accuracy - 0.5:.4f}" not in chapter
    assert 'id="own"' not in content and "kmnist_resnet.onnx" not in content
    assert "kmnist_cnn.onnx" in content


def test_the_page_without_a_ladder_says_how_to_train_it(tmp_path: Path) -> None:
    content = page.render(read_results(tmp_path))
    chapter = content.split('<section id="beyond"')[1].split("</section>")[0]
    assert "no run of ladder kmnist" in chapter and 'id="kmnist_cutout"' in chapter
