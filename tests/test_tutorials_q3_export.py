"""The tutorials of Question 3 and of the export, run as a reader would, for one epoch."""

import itertools
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import hw2_keras as hw2

FOLDER = Path(__file__).resolve().parents[1] / "tutorials"
SCRIPTS = {
    "captioning": "2021_22/q3_captioning.py",
    "translation": "2022_23/q3_translation.py",
    "spelling": "2024_25/q3_phonemes_to_spelling.py",
    "export": "export/from_keras_to_any_app.py",
}
SCREEN = 40  # lines of code in one cell


class Ran:
    """What a tutorial printed, and the folder that it ran in."""

    def __init__(self, script: str, folder: Path) -> None:
        command = [sys.executable, FOLDER / script, "--epochs", "1"]
        environment = os.environ | {"PYTHONIOENCODING": "utf-8"}
        done = subprocess.run(
            command,
            cwd=folder,
            env=environment,
            capture_output=True,
            encoding="utf-8",
            timeout=280,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        self.folder, self.text, self.errors = folder, done.stdout, done.stderr

    def numbers(self, pattern: str) -> list[float]:
        """Every match of the pattern's one group, as numbers."""
        return [float(found) for found in re.findall(pattern, self.text)]

    def record(self, name: str) -> dict:
        """The record of the run of one experiment."""
        (path,) = self.folder.glob(f"runs/{name}-synthetic-*/run.json")
        return json.loads(path.read_text(encoding="utf-8"))

    def check_common(self, *names: str) -> None:
        """Formulas by hand agree, figures are there, reports beside ours, the file passed."""
        assert len(differences := self.numbers(r"largest difference.*:\s+(\S+)")) >= len(names)
        assert all(difference < 1e-4 for difference in differences)
        pictures = re.findall(r"plot: (\S+)", self.text)
        assert pictures
        assert all((self.folder / picture).stat().st_size > 5_000 for picture in pictures)
        progress = re.compile(
            r"\w+ \(synthetic\) rate \S+  (epoch \d|training: \d|trained; )|image features: \d|"
            r"starting TensorFlow, which takes some seconds$"
        )
        assert [line for line in self.errors.splitlines() if not progress.match(line)] == []
        for name in names:  # written out in the script, which asserts that it is hw2.build's
            assert re.search(rf"^{name}: [\d,]+ parameters; largest difference", self.text, re.M)
            record = self.record(name)
            assert record["protocol"]["epochs"] == 1
            for reported in hw2.experiments[name].reported:
                ours = f"{record['metrics'][reported.metric]:.4f}"
                theirs = rf"{reported.value:.4f} \({reported.report}\)"
                row = rf"{name} +42 +{reported.metric} +{re.escape(ours)} .*{theirs}"
                assert re.search(row, self.text), row
        if names:  # the network with attention is summed up, and both are fitted in view
            (total,) = re.findall(r"Total params: (\S+) ", self.text)
            assert f"{names[1]}: {total} parameters" in self.text
            fits = re.findall(r"^\d+/\d+ - .*loss: (\S+)$", self.text, re.MULTILINE)
            assert len(fits) == 2 and all(0 < float(loss) < 10 for loss in fits)
        assert "different        0 answers" in self.text
        assert "verdict          passed" in self.text
        assert "What to try next" not in self.text  # prose stays in the cells


@pytest.fixture(params=SCRIPTS)
def cells(request: pytest.FixtureRequest) -> list[list[str]]:
    text = (FOLDER / SCRIPTS[request.param]).read_text(encoding="utf-8")
    return [cell.splitlines() for cell in re.split(r"^# %%\n", text, flags=re.MULTILINE)]


def test_format_of_the_gallery(cells: list[list[str]]) -> None:
    docstring, *rest = cells
    titles = {line for cell in cells for line, rule in itertools.pairwise(cell) if "# --" in rule}
    printed = [line for cell in rest for line in cell if line.startswith("tutorial.section(")]
    assert {f"# {line[18:-2]}" for line in printed} <= titles
    assert docstring[0] == '"""'
    assert docstring[2] == "=" * len(docstring[1])
    assert "# What to try next" in rest[-1]
    for cell in rest:
        assert cell[0].startswith("# "), "a cell starts with prose"
        prose = next((i for i, line in enumerate(cell) if not line.startswith("#")), len(cell))
        assert len(cell[prose:]) <= SCREEN
        for heading, line in itertools.pairwise(cell):
            if re.fullmatch("# -+", line):
                assert len(line) == len(heading)


def test_captioning(tmp_path: Path) -> None:
    ran = Ran(SCRIPTS["captioning"], tmp_path)
    ran.check_common("caption", "caption_attention")
    by_hand, by_package = (ran.numbers(rf"{who} (\d\.\d+)") for who in ("by hand", "by package"))
    assert by_hand == by_package
    assert by_hand[0] > 0 == by_hand[1]
    (mean,) = ran.numbers(r"mean over images (\S+)")
    assert mean == round(ran.record("caption_attention")["metrics"]["test_bleu4"], 4)
    for image, caption in ran.record("caption")["metrics"]["captions"].items():
        assert f"without attention, image {image}: {caption}\n" in ran.text


def test_translation(tmp_path: Path) -> None:
    ran = Ran(SCRIPTS["translation"], tmp_path)
    ran.check_common("translate", "translate_attention")
    assert "(1/2 + 0/17) / 2  = 0.250" in ran.text
    assert "(1 + 0) / (2 + 17) = 0.053" in ran.text
    by_hand, by_package = re.findall(r"by (?:hand|package): +(.*)", ran.text)
    assert by_hand == by_package != ""
    for name in ("translate", "translate_attention"):
        rows = re.findall(rf"{name} +(\d+) +(?:on|off) +1 .*error_rate (\S+)", ran.text)
        assert [width for width, _ in rows] == ["1", "1", "2", "2", "5", "5", "10", "10"]
        greedy = ran.record(name)["metrics"]["test_error_rate"]
        assert {value for width, value in rows if width == "1"} == {f"{greedy:.4f}"}
    (mean,) = ran.numbers(r"mean over sentences (\d\S+)")
    assert mean == round(ran.record("translate_attention")["metrics"]["test_error_rate"], 4)


def test_spelling(tmp_path: Path) -> None:
    ran = Ran(SCRIPTS["spelling"], tmp_path)
    ran.check_common("p2g", "p2g_attention")
    (padding,) = ran.numbers(r"(\S+) of this batch is padding")
    wrong_before, wrong_after = ran.numbers(r"score +0: (\S+) on average")
    assert abs(wrong_before - padding) < 0.1  # a fresh network cannot tell padding from phonemes
    assert wrong_after > 0
    assert ran.numbers(r"score -1e\+09: \S+ on average, up to (\S+)") == [0, 0]
    wrong, right = ran.numbers(r"context changes by up to (\S+)")
    assert right < 1e-4 < wrong
    at = ran.numbers(r"WER@\d: (\S+)")
    assert len(at) == 3
    assert at == sorted(at, reverse=True)
    assert at[2] == round(ran.record("p2g_attention")["metrics"]["test_wer_at_3"], 4)
    drawn = ran.numbers(r"drawn (\d\S+)")
    assert abs(sum(drawn) - 1) < 0.005 * len(drawn)
    assert ran.text.count("drawn never") == 3


def test_export(tmp_path: Path) -> None:
    ran = Ran(SCRIPTS["export"], tmp_path)
    ran.check_common()
    assert "loaded: numpy onnxruntime\n" in ran.text
    assert ran.text.count("Loop, body:") == 2
    assert "0 different answers in 300 words" in ran.text
    first, again = re.findall(r"^(\[.*\])(?: \(the same seed\))?$", ran.text, re.MULTILINE)[-2:]
    assert first == again
    assert "unknown to p2g_attention, read as <unk>: ☃" in ran.text
    assert re.search(r"error: +n_best is 3 with num_beams 2", ran.text)
    wer, keras_wer = re.search(r"wrong words (\S+), in Keras (\S+)", ran.text).groups()
    assert wer == keras_wer == f"{ran.record('p2g_attention')['metrics']['test_wer']:.4f}"
    assert (tmp_path / "runs/tutorials/from_keras_to_any_app/sample.parity.json").exists()
