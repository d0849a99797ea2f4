"""int8 weights: what is rounded and how, what is reported, and what happens to bad input."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import numpy_helper

import export
import hw2_keras as hw2
from export import convert, passes, verify
from export import quantize as module
from export.cli import main
from export.quantize import Quantization, quantize, quantize_weights, round_weight
from export.runtime import ModelError, load
from hw2_keras.experiments import experiments
from hw2_keras.models import build_models
from hw2_keras.runs import Run


@pytest.fixture(scope="module", autouse=True)
def short_timing():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "SECONDS", 0.1)
        yield


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return hw2.train("p2g_attention", epochs=1, out=tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def file(run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "spell.onnx"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(verify, "BATCH_SIZES", (64,))
        export.to_onnx(run, path)
    return path


@pytest.fixture(scope="module")
def rounded(file: Path) -> tuple[Path, Quantization]:
    path = file.with_name("small.onnx")
    return path, quantize(file, path)


def initializers(path: Path) -> dict[str, np.ndarray]:
    return {i.name: numpy_helper.to_array(i) for i in onnx.load(path).graph.initializer}


def test_a_speller_of_a_quarter_of_the_size(file: Path, rounded, run: Run) -> None:
    path, report = rounded
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx.ml"}
    before, after = initializers(file), initializers(path)
    kernel, recurrent = "encoder/encoder_lstm/W", "encoder/encoder_lstm/R"
    step = ("step/decoder_lstm/lstm_cell/recurrent_kernel", "lstm_cell/Add/table")
    for name in (kernel, recurrent, *step):
        assert name not in after and after[f"{name}_int8"].dtype == np.int8
        assert after[f"{name}_int8"].shape == before[name].shape
    assert "encoder/encoder_lstm/B" in after  # biases stay as they are
    assert report.bytes == (file.stat().st_size, path.stat().st_size)
    assert 3 < report.bytes[0] / report.bytes[1] < 4
    assert report.metrics["test_cer"][0] == run.metrics["test_cer"]
    assert set(report.metrics) == {
        "test_cer",
        "test_wer",
        "test_beam5_cer",
        "test_beam5_wer",
    }
    spell, source = load(path), list(run.data().test.source)
    # 9 weights of Keras, of which the output layer's is in two: the state's and the context's part
    assert spell.info["quantization"]["tensors"] == report.tensors == 10
    found, expected = spell.search(source, 1), load(file).search(source, 1)
    changed = (found.texts != expected.texts).mean()
    assert changed < 0.2 and np.abs(found.scores - expected.scores).max() > 0
    assert report.different_answers >= changed * len(source)


def test_the_report_is_saved_beside_the_file(rounded) -> None:
    path, report = rounded
    saved = json.loads(path.with_suffix(".quantization.json").read_text())
    assert saved["bytes"] == list(report.bytes)
    assert saved["recommended"] is not bool(report.objections)
    assert saved["recommendation"] in str(report)
    card = path.with_suffix(".md").read_text()
    assert card.startswith(f"# {path.name}\n") and "Its weights are rounded" in card


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_rounding_is_within_half_a_scale(axis: int) -> None:
    weight = np.random.default_rng(0).normal(size=(3, 4, 5)).astype(np.float32)
    weight[0] = 0
    weight = np.moveaxis(weight, 0, axis)
    whole, scale = round_weight(weight, axis)
    shape = np.ones(3, int)
    shape[axis] = -1
    steps = scale.reshape(shape)
    assert scale.shape == (weight.shape[axis],)
    assert (np.abs(whole * steps - weight) <= steps / 2 * (1 + 1e-6)).all()
    assert np.abs(whole).max() == 127 and (whole[weight == 0] == 0).all()


def test_the_channels_are_chosen_by_their_error() -> None:
    size = np.exp(np.random.default_rng(0).normal(size=64)).astype(np.float32)
    rows = np.random.default_rng(1).normal(size=(64, 64)).astype(np.float32) * size[:, None]
    for weight, axis in ((rows, 0), (rows.T.copy(), 1)):
        model = passes.parse_model(
            ["float[N, 64] x"], ["float[N, 64] y"], "y = MatMul (x, w)", {"w": weight}
        )
        assert quantize_weights(model) == 1
        assert model.graph.node[0].op_type == "DequantizeLinear"
        assert model.graph.node[0].attribute[0].i == axis


def test_weights_inside_a_loop_body() -> None:
    weight = np.random.default_rng(0).normal(size=(64, 64)).astype(np.float32) / 8
    statements = """
    x_found = Loop (steps, yes, x) <
        body = step (int64 t, bool going, float[N, 64] x_in) => (bool go_on, float[N, 64] x_out)
        {
            go_on = Identity (going)
            x_out = MatMul (x_in, inner)
        }
    >
    y = MatMul (x_found, outer)
    """
    weights = {"steps": np.int64(3), "yes": np.bool_(True), "outer": weight}
    model = passes.parse_model(["float[N, 64] x"], ["float[N, 64] y"], statements, weights)
    inner = numpy_helper.from_array(weight, "inner")
    model.graph.node[0].attribute[0].g.initializer.append(inner)
    x = np.random.default_rng(1).normal(size=(2, 64)).astype(np.float32)
    assert quantize_weights(model) == 2
    onnx.checker.check_model(model, full_check=True)
    body = next(n for n in model.graph.node if n.op_type == "Loop").attribute[0].g
    assert [i.name for i in body.initializer] == ["inner_int8", "inner_scale"]
    session = onnxruntime.InferenceSession(model.SerializeToString())
    (found,) = session.run(None, {"x": x})
    expected = x @ np.linalg.matrix_power(weight, 4)
    assert 0 < np.abs(found - expected).max() < 0.1


def test_a_classifier(small_run: Run, tmp_path: Path) -> None:
    path, small = tmp_path / "cnn.onnx", tmp_path / "cnn.int8.onnx"
    export.to_onnx(small_run, path)
    assert main(["quantize", str(path)]) == 0
    report = json.loads(small.with_suffix(".quantization.json").read_text())
    before, after = report["metrics"]["test_accuracy"]
    image, label = small_run.data().test
    assert before == small_run.metrics["test_accuracy"]
    assert after == (load(small)(image) == np.array(small_run.data().classes)[label]).mean()
    assert report["examples"] == report["answers"] == len(image)
    probabilities = load(small).probabilities(image[:50])
    np.testing.assert_allclose(probabilities, load(path).probabilities(image[:50]), atol=0.05)


def test_a_sampler_and_a_second_time(run: Run, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(verify, "BATCH_SIZES", (64,))
    path, small, again = (tmp_path / f"{name}.onnx" for name in ("sample", "small", "again"))
    export.to_onnx(run, path, search="nucleus")
    report = quantize(path, small)
    assert set(report.metrics) == {"test_nucleus_cer", "test_nucleus_wer"}
    assert report.metrics["test_nucleus_cer"][0] == run.metrics["test_nucleus_cer"]
    second = quantize(small, again)
    assert second.tensors == second.different_answers == 0
    assert second.recommendation.startswith("keep the original: the file is 100% of its size")
    assert load(again).info["quantization"] == load(small).info["quantization"]


def test_a_captioner_and_a_translator(tmp_path: Path) -> None:
    for name, source in (("translate_attention", True), ("caption_attention", False)):
        data = hw2.load_data(name)
        vocabularies = data.target_vocabulary, data.source_vocabulary if source else None
        sizes = (
            {"source_size": len(vocabularies[1]), "target_size": len(vocabularies[0])}
            if source
            else {"vocabulary_size": len(data.target_vocabulary), "features": None}
        )
        models = build_models(experiments[name], **sizes)
        model = convert.generator_graph(models, *vocabularies)
        facts = convert.generator_facts(*vocabularies, "beam", 1.0, 12)
        facts |= {"experiment": name, "source": "synthetic", "fingerprint": data.fingerprint}
        convert.add_metadata(model, facts)
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(model.SerializeToString())
        report = quantize(path, tmp_path / "small.onnx")
        assert report.tensors >= 8 and report.bytes[1] < 0.4 * report.bytes[0]
        assert report.answers == 2 * report.examples


REPORT = Quantization(
    experiment="p2g",
    source="synthetic",
    tensors=3,
    examples=100,
    answers=200,
    different_answers=4,
    metrics={"test_cer": (0.2, 0.202), "test_bleu4": (0.3, 0.31)},
    bytes=(4_000_000, 1_000_000),
    milliseconds=(1.0, 1.05),
)


@pytest.mark.parametrize(
    ("changes", "recommendation"),
    [
        ({}, "use the int8 file: 4.0 times smaller"),
        ({"bytes": (100, 95)}, "keep the original: the file is 95% of its size"),
        ({"milliseconds": (1.0, 2.5)}, "keep the original: an answer takes 2.5 times as long"),
        (
            {"metrics": {"test_cer": (0.2, 0.21), "test_wer": (0.5, 0.4)}},
            "keep the original: test_cer goes from 0.2000 to 0.2100",
        ),
        (
            {"metrics": {"test_accuracy": (0.9, 0.85)}, "milliseconds": (1.0, 1.2)},
            "keep the original: test_accuracy goes from 0.9000 to 0.8500, an answer takes 1.2",
        ),
        ({"metrics": {"test_accuracy": (0.85, 0.9)}}, "use the int8 file"),
    ],
)
def test_recommendations(changes: dict, recommendation: str) -> None:
    report = replace(REPORT, **changes)
    assert report.recommendation.startswith(recommendation)
    assert str(report).endswith(report.recommendation)


def test_bad_commands(
    file: Path, rounded, run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path, _ = rounded
    other = onnx.load(file)
    entry = next(p for p in other.metadata_props if p.key == "hw2.fingerprint")
    entry.value = json.dumps("0" * 64)
    (tmp_path / "other.onnx").write_bytes(other.SerializeToString())
    before = sorted(tmp_path.iterdir())
    for arguments, message in (
        (["quantize", "none.onnx"], "none.onnx does not exist"),
        (["quantize", str(file), "-o", str(file)], "expected the name of another file"),
        (["quantize", str(file), "-o", "none/x.onnx"], "in a folder that exists"),
        (["quantize", str(file), "--out", str(tmp_path / "x.txt")], "that ends in .onnx"),
        (["quantize", str(tmp_path / "other.onnx")], "was trained on other p2g data"),
        (["verify", str(path), "--run", str(run.path)], "holds rounded weights"),
    ):
        assert main(arguments) == 2
        error = capsys.readouterr().err
        assert message in error and error.count("\n") == 1
    assert sorted(tmp_path.iterdir()) == before


def test_a_file_that_cannot_be_measured_is_not_left_behind(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_) -> None:
        raise ModelError("stopped")

    monkeypatch.setattr(module, "compare", fail)
    with pytest.raises(ModelError, match="stopped"):
        quantize(file, tmp_path / "x.onnx")
    assert not list(tmp_path.iterdir())
