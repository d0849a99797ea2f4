"""Records from disk: each broken one is refused in one line, each sound or older one is read."""

import json
import os
import random
import re
import shutil
from pathlib import Path

import pytest
from markupsafe import escape
from record_cases import (
    BEAMS,
    CAPTIONS,
    PARITY,
    ROOT,
    RUN,
    assert_one_line,
    mutated,
    places,
    write_results,
)

from hw2_keras import records
from hw2_keras.cli import main
from hw2_keras.errors import UsageError
from hw2_keras.report.page import render
from hw2_keras.report.results import read_results
from hw2_keras.runs import Run, open_run


@pytest.mark.parametrize("path", sorted((ROOT / "results").glob("*/run.json")), ids=str)
def test_every_committed_run_is_read_as_it_stands(path: Path) -> None:
    record = open_run(path.parent).record
    assert record == json.loads(path.read_text())
    history = Run(path.parent, record).history
    assert history["epoch"] == list(range(1, record["protocol"]["epochs"] + 1))


def test_other_committed_records_are_read_as_they_stand() -> None:
    assert records.read_beam_rows(BEAMS) == json.loads(BEAMS.read_text())
    for path in PARITY.parent.glob("*.parity.json"):
        assert records.read_parity_record(path) == json.loads(path.read_text())


def test_an_older_record_gets_defaults_and_keeps_what_is_unknown(tmp_path: Path) -> None:
    content = json.loads((RUN / "run.json").read_text())
    for name in ("notes", "divergence", "origin", "sizes", "vocabularies", "versions", "edition"):
        del content[name]
    content["weather"] = {"rain": [1, None]}
    content["protocol"]["moon"] = "full"
    file = tmp_path / "run.json"
    file.write_text(json.dumps(content))
    record = records.read_run_record(file)
    added = {"notes": [], "divergence": None, "origin": "origin not recorded"}
    assert record == content | added | {"sizes": {}, "vocabularies": {}}


def test_a_diverged_run_may_hold_figures_that_are_not_finite(tmp_path: Path) -> None:
    content = json.loads((RUN / "run.json").read_text())
    content["metrics"] |= {"loss": float("nan"), "val_loss": float("inf")}
    file = tmp_path / "run.json"
    file.write_text(json.dumps(content))
    assert records.read_run_record(file)["metrics"]["val_loss"] == float("inf")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": {}}, "(protocol: no 'optimizer')"),
        ({"protocol": 3}, "(protocol: Expected 'object', got 'int')"),
        ({"training_seconds": "long"}, "(training_seconds: Expected 'float', got 'str')"),
        ({"training_seconds": float("nan")}, "(training_seconds: Expected 'float' >= 0.0)"),
        ({"metrics": {"loss": 1, "running_loss": 1}}, "(metrics: no 'val_accuracy')"),
        ({"vocabularies": {"../x": "0"}}, "Expected 'str' matching regex '^(source|target)$'"),
        ({"standard_errors": {"test_accuracy": float("nan")}}, "Expected 'float' >= 0.0"),
        ({"standard_errors": {"test_accuracy": -0.1}}, "Expected 'float' >= 0.0"),
        ({"standard_errors": {"test_accuracy": 1e200}}, "Expected 'float' <= 1e+100"),
        ({"experiment": "parameter_cnn"}, "parameter_cnn is counted, not trained"),
        ({"experiment": "kmnist_can"}, "did you mean 'kmnist_cnn'?"),
        ({"experiment": ["p2g"]}, "(experiment: Expected 'str', got 'array')"),
        ({"fingerprint": 7}, "(fingerprint: Expected 'str', got 'int')"),
        ({"notes": "none"}, "(notes: Expected 'array', got 'str')"),
    ],
)
def test_the_message_names_file_key_and_remedy(tmp_path: Path, change: dict, message: str) -> None:
    file = tmp_path / "run.json"
    file.write_text(json.dumps(json.loads((RUN / "run.json").read_text()) | change))
    with pytest.raises(UsageError) as raised:
        records.read_run_record(file)
    assert message in str(raised.value)
    assert_one_line(raised.value, file)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("test_accuracy", 1.5, "0 to 1"),
        ("val_accuracy", -1, "0 to 1"),
        ("test_beam5_bleu4", 1.01, "0 to 1"),
        ("test_confusion", [], "classes by classes"),
        ("test_confusion", [[0, 0], [0, 0]], "classes by classes"),
        ("test_confusion", [[1, 2], [3]], "classes by classes"),
        ("test_confusion", [[1, 2]], "classes by classes"),
    ],
)
def test_a_figure_that_cannot_be_is_one_line(
    tmp_path: Path, name: str, value: object, message: str
) -> None:
    content, file = json.loads((RUN / "run.json").read_text()), tmp_path / "run.json"
    content["metrics"][name] = value
    file.write_text(json.dumps(content))
    with pytest.raises(UsageError, match=message) as raised:
        records.read_run_record(file)
    assert f"metrics.{name}" in str(raised.value)
    assert_one_line(raised.value, file)


def test_error_rates_may_be_above_1_and_figures_of_a_diverged_run_nan(tmp_path: Path) -> None:
    content, file = json.loads((RUN / "run.json").read_text()), tmp_path / "run.json"
    content["metrics"] |= {"test_cer": 1.5, "val_loss": 7.0, "test_accuracy": float("nan")}
    file.write_text(json.dumps(content))
    assert records.read_run_record(file)["metrics"]["test_cer"] == 1.5


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"\xff\xfe{}", "no UTF-8 at byte 0"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"experiment": "p2g", "\\ud800": 1}', "surrogates not allowed"),
        (b"", "Expecting value"),
        (b"1" * 10_000, "integer string conversion"),
    ],
)
def test_what_is_no_json_text_is_one_line(tmp_path: Path, content: bytes, message: str) -> None:
    file = tmp_path / "run.json"
    file.write_bytes(content)
    with pytest.raises(UsageError, match=message) as raised:
        records.read_run_record(file)
    assert_one_line(raised.value, file)


def test_what_is_no_small_file_is_one_line(tmp_path: Path) -> None:
    folder, huge, absent = (tmp_path / name for name in ("run.json", "huge.json", "absent.json"))
    folder.mkdir()
    with huge.open("wb") as file:
        file.truncate(records.LARGEST_FILE + 1)
    for path, message in ((folder, "it is no file"), (huge, "larger than"), (absent, "no file")):
        with pytest.raises(UsageError, match=message) as raised:
            records.read_run_record(path)
        assert_one_line(raised.value, path)
    with pytest.raises(UsageError, match="is not a run"):
        open_run(tmp_path)
    with pytest.raises(UsageError, match="is not a run"):
        open_run(tmp_path / ("x" * 5000))


@pytest.mark.skipif(os.geteuid() == 0, reason="root reads everything")
def test_a_file_without_permission_is_one_line(tmp_path: Path) -> None:
    file = shutil.copy(PARITY, tmp_path)
    file.chmod(0)
    with pytest.raises(UsageError, match="make it readable"):
        records.read_parity_record(file)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no epoch"),
        ("epoch,loss,running_loss\n", "no epoch"),
        ("epoch,loss\n1,2\n", "no 'running_loss'"),
        ("epoch,loss,running_loss\n1,2\n", "float"),
        ("epoch,loss,running_loss\n1,2,3,4\n", "float"),
        ("epoch,loss,running_loss\n2,2,3\n", "epoch: Expected 1, 2, 3"),
        ("epoch,loss,running_loss\nnan,2,3\n", "epoch: Expected 1, 2, 3"),
        ("epoch,loss,running_loss\n1,1e300,3\n", "loss: Expected numbers up to 1e\\+100"),
        ('epoch,loss,running_loss\n1,"2,3\n', "unexpected end of data"),
        ("epoch,loss,running_loss\n1,2," + "3" * 200_000 + "\n", "field larger than field limit"),
    ],
)
def test_a_damaged_history_is_one_line(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "history.csv"
    file.write_text(text)
    with pytest.raises(UsageError, match=message) as raised:
        records.read_history(file)
    assert_one_line(raised.value, file)


@pytest.mark.parametrize(
    ("original", "read"),
    [
        (RUN / "run.json", records.read_run_record),
        (PARITY, records.read_parity_record),
        (BEAMS, records.read_beam_rows),
    ],
    ids=["run", "parity", "beams"],
)
def test_a_mutated_record_is_read_or_refused_in_one_line(tmp_path: Path, original, read) -> None:
    content, draw = json.loads(original.read_text()), random.Random(7)
    content = content[:3] if isinstance(content, list) else content
    file, refused = tmp_path / original.name, 0
    for _ in range(400):
        file.write_text(mutated(content, draw))
        try:
            json.dumps(read(file), ensure_ascii=False).encode()
        except UsageError as error:
            assert_one_line(error, file)
            refused += 1
    assert refused > 150  # the rest is sound, e.g. another number or an unknown key


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return write_results(tmp_path / "results")


@pytest.mark.parametrize(
    "name", [f"{CAPTIONS.name}/run.json", f"{RUN.name}/run.json", PARITY.name, BEAMS.name]
)
def test_no_value_of_a_record_becomes_an_element_of_the_page(results: Path, name: str) -> None:
    file, evil = results / name, "<b id=x>"
    original = json.loads(file.read_text())
    shown = 0
    for *outer, last in places(original):
        if "test_confusion" in outer:
            continue
        content = json.loads(json.dumps(original))
        part = content
        for key in outer:
            part = part[key]
        part[last] = evil if not isinstance(part[last], list) else [evil]
        if isinstance(part, dict) and isinstance(part[last], str):
            part[evil] = evil
        file.write_text(json.dumps(content))
        found = read_results(results)
        page = render(found)
        assert evil not in page and len(found.problems) <= 1
        shown += "&lt;b id=x&gt;" in page
    assert shown > 0


def test_a_page_of_mutated_records_is_still_a_page(results: Path) -> None:
    draw, refused = random.Random(11), 0
    files = [results / CAPTIONS.name / "run.json", results / PARITY.name, results / BEAMS.name]
    originals = {file: json.loads(file.read_text()) for file in files}
    for _ in range(60):
        for file, content in originals.items():
            file.write_text(mutated(content, draw))
        found = read_results(results)
        page = render(found)
        assert "<b id=x>" not in page
        assert all(line.isprintable() and str(escape(line)) in page for line in found.problems)
        assert [run.path.name for run in found.runs if run.path.name == RUN.name] == [RUN.name]
        refused += len(found.problems)
    assert refused > 60


@pytest.mark.parametrize(
    "values",
    [["1e99", "-1e99", "0"], ["1", "1.0000000000000002", "1"], ["0", "5e-324", "0"], ["nan"] * 3],
)
def test_curves_of_any_numbers_are_drawn_or_left_out(results: Path, values: list[str]) -> None:
    history = results / CAPTIONS.name / "history.csv"
    rows = [f"{n},{value},{value},{value}" for n, value in enumerate(values, 1)]
    history.write_text("\n".join(["epoch,loss,running_loss,val_bleu4", *rows]) + "\n")
    content = render(read_results(results))
    assert not re.search(r' d="[^"]*(nan|inf)', content)


def test_folders_and_plots_that_cannot_be_read_are_listed(
    results: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plots = results / RUN.name / "plots"
    (plots / "filters_conv1.png").mkdir(parents=True)
    (plots / "filters_conv2.png").write_text("<svg onload=alert(1)>")
    (results / "closed").mkdir()
    (results / "run.json").mkdir()
    scandir = os.scandir

    def refuse(path):
        if Path(path).name == "closed":
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    found = read_results(results)
    assert len(found.runs) == 2 and found.plots == ()
    assert [line.split(": ")[0].removeprefix("cannot list ") for line in found.problems] == [
        f"{results / 'closed'} (Permission denied)",
        f"{results} is not a run",
        f"cannot read {plots / 'filters_conv1.png'} (Is a directory)",
        f"{plots / 'filters_conv2.png'} is no PNG file",
    ]


def test_a_folder_without_a_readable_run_says_so(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    (tmp_path / "results").mkdir()
    out = tmp_path / "site"
    assert main(["report", "--results", str(tmp_path / "results"), "--out", str(out)]) == 2
    assert "no readable run under" in capsys.readouterr().err
    assert (out / "index.html").is_file()
