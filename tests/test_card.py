"""Model cards: generated beside every verified file, the same as `export info` prints."""

import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import onnx
import pytest

import export
from export import card, convert
from export.cli import main
from export.quantize import quantize
from export.runtime import ModelError, load
from hw2_keras.runs import Run

FILES = sorted((Path(__file__).parents[1] / "results" / "onnx").glob("*.onnx"))


@pytest.fixture(scope="module")
def flowers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file of a model that is not of this package."""
    model = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    path = tmp_path_factory.mktemp("card") / "flowers.onnx"
    export.classifier(model, path, labels=["daisy", "rose"])
    return path


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_committed_cards_are_those_of_the_files(path: Path) -> None:
    assert path.with_suffix(".md").read_text(encoding="utf-8") == card.card_of(path)


def program(text: str) -> str:
    return re.search(r"```python\n(.*?)```", text, re.DOTALL)[1]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_its_program_is_short_and_runs(
    path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(path.parent)
    code = program(card.card_of(path))
    assert code.count("\n") <= 10
    exec(compile(code, path.name, "exec"), {})
    shown = capsys.readouterr().out
    model = load(path)
    answer = model(np.zeros((1, *model.image_shape), np.uint8))[0] if "labels" in model.info else ""
    assert str(answer) in shown and shown.count("\n") == 2


def test_info_prints_the_card_with_figures_limits_and_signature(
    capsys: pytest.CaptureFixture,
) -> None:
    path = next(path for path in FILES if path.stem == "kmnist_cnn")
    assert main(["info", str(path)]) == 0
    shown = capsys.readouterr().out
    assert shown == path.with_suffix(".md").read_text(encoding="utf-8")
    assert "| test_accuracy | 0.9580 |" in shown and "seed 42" in shown
    assert "8,000 training images" in shown and "CC BY-SA 4.0" in shown
    assert "Data: real, `kmnist`." in shown
    assert re.search(r"\| in  \| `image` +\| tensor\(uint8\) +\| `\['N', 28, 28, 1\]` \|", shown)


def test_a_model_of_yours_gets_a_card_that_promises_nothing(flowers: Path) -> None:
    text = flowers.with_suffix(".md").read_text(encoding="utf-8")
    assert text.startswith("# flowers.onnx\n")
    assert "The file holds none" in text and "the file states none" in text
    assert 'labels: ["daisy", "rose"]' in text


def test_a_run_of_this_package_says_that_its_data_are_synthetic(
    small_run: Run, tmp_path: Path
) -> None:
    export.to_onnx(small_run, tmp_path / "model.onnx")
    text = (tmp_path / "model.md").read_text(encoding="utf-8")
    assert "its figures say nothing about real ones" in text
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "model.md",
        "model.onnx",
        "model.parity.json",
    ]


def test_a_text_of_yours_is_not_written_over(flowers: Path, tmp_path: Path) -> None:
    path = tmp_path / "notes.onnx"
    path.write_bytes(flowers.read_bytes())
    path.with_suffix(".md").write_text("my notes")
    with pytest.raises(ModelError, match=r"notes\.md is not a card of notes\.onnx: move it away"):
        card.write(path)
    assert path.with_suffix(".md").read_text() == "my notes"


def test_a_text_of_yours_is_seen_before_any_work(flowers: Path, tmp_path: Path) -> None:
    text, path = tmp_path / "README.md", tmp_path / "README.onnx"
    text.write_text("# My project")
    for start in (
        lambda: convert.check_options(path, "generation", "beam", 1.0),
        lambda: quantize(flowers, path, data="none is looked at"),
    ):
        with pytest.raises(ModelError, match=r"README\.md is not a card of README\.onnx"):
            start()
    assert list(tmp_path.iterdir()) == [text]
    text.unlink()
    text.mkdir()
    with pytest.raises(ModelError, match=r"README\.md is not a card of README\.onnx"):
        card.check_place(path)


def test_metadata_that_are_sparse_or_odd_make_a_card(flowers: Path, tmp_path: Path) -> None:
    path = tmp_path / "odd.onnx"
    model = onnx.load(flowers)
    odd = {"protocol": "[1]", "title": '"a\\n# b"', "notes": '["c\\n# d"]'}
    for name, value in odd.items():
        model.metadata_props.add(key=f"hw2.{name}", value=value)
    path.write_bytes(model.SerializeToString())
    text = card.card_of(path)
    assert text.count("\n# ") == 0 and "protocol: [1]" in text and r"- c\n# d" in text


def test_a_card_needs_neither_keras_nor_tensorflow() -> None:
    code = (
        f"import sys; from export.cli import main; main(['info', {str(FILES[0])!r}])\n"
        "print(sorted({'keras', 'tensorflow', 'onnx'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines()[-1] == "[]"
