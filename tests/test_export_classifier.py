"""A classifier's file: the contract, parity with Keras, the runtime, and bad input."""

import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import Image

import export
import hw2_keras as hw2
from export import convert, passes, runtime, verify
from export.cli import main
from export.runtime import MAX_BYTES, Classifier, ModelError, inspect, load
from hw2_keras.runs import Run


@pytest.fixture(scope="module")
def file(small_run: Run, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("onnx") / "kmnist_cnn.onnx"
    export.to_onnx(small_run, path)
    return path


@pytest.fixture(scope="module")
def classify(file: Path) -> Classifier:
    return load(file)


def test_the_file_keeps_the_contract(file: Path, small_run: Run) -> None:
    model = onnx.load(file)
    onnx.checker.check_model(model, full_check=True)
    assert {(o.domain, o.version) for o in model.opset_import} == {("", 20), ("ai.onnx.ml", 4)}
    assert {node.domain for node in model.graph.node} == {"", "ai.onnx.ml"}
    shapes = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in (*model.graph.input, *model.graph.output)
    }
    assert shapes == {
        "image": (onnx.TensorProto.UINT8, ["N", 28, 28, 1]),
        "label": (onnx.TensorProto.STRING, ["N"]),
        "probabilities": (onnx.TensorProto.FLOAT, ["N", 10]),
    }
    names = {initializer.name for initializer in model.graph.initializer}
    assert {"conv1/kernel", "conv1/bias", "dense1/kernel", "logits/bias"} <= names
    assert not any("StatefulPartitionedCall" in n for node in model.graph.node for n in node.output)
    named = {node.name: node.op_type for node in model.graph.node}
    assert named["conv1/Conv"] == "Conv" and named["dense1/MatMul"] == "MatMul"
    assert all(name.split("/")[-1].startswith(op) for name, op in named.items() if "/" in name)
    assert not any("const_" in name for name in names)
    assert not {"Shape", "Slice", "Concat"} & {node.op_type for node in model.graph.node}
    metadata = {p.key: json.loads(p.value) for p in model.metadata_props}
    assert metadata["hw2.experiment"] == "kmnist_cnn"
    assert metadata["hw2.edition"] == "2022-23"
    assert metadata["hw2.source"] == "synthetic"
    assert metadata["hw2.labels"] == list(small_run.data().classes)
    assert metadata["hw2.metrics"]["test_accuracy"] == small_run.metrics["test_accuracy"]
    assert "MIT" in metadata["hw2.licence"]


@pytest.mark.parametrize("name", ["fashion_cnn", "intel_cnn_bn"])
def test_every_network_converts_and_agrees(name: str, tmp_path: Path) -> None:
    network = hw2.build(name)
    rng = np.random.default_rng(0)
    for variable in network.variables:  # batch norm at its initial values would hide a mistake
        if variable.path.split("/")[-1] in ("gamma", "beta", "moving_mean", "moving_variance"):
            variable.assign(rng.uniform(0.5, 1.5, variable.shape))
    classes = [f"class {i}" for i in range(network.output_shape[-1])]
    model = convert.classifier_graph(network, classes)
    convert.add_metadata(model, {"kind": "classifier", "labels": classes})
    path = tmp_path / "model.onnx"
    path.write_bytes(model.SerializeToString())
    image = rng.integers(0, 256, (5, *network.input_shape[1:]), np.uint8)
    logits = np.asarray(network(image / np.float32(256)), np.float64)
    expected = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    np.testing.assert_allclose(load(path).probabilities(image), expected, atol=1e-5)
    assert load(path)(image).tolist() == [classes[i] for i in logits.argmax(1)]


def test_parity_report(file: Path, small_run: Run) -> None:
    parity = verify.verify_run(file, small_run)
    assert parity.passed
    assert parity.examples == 448 and parity.batch_sizes == (1, 7, 64)
    assert "448 test examples (a multiple of 7 and of 64; the accuracy is on all)" in str(parity)
    assert parity.onnx == parity.keras == small_run.metrics["test_accuracy"]
    assert 0 < parity.max_difference < 1e-5
    written = json.loads(file.with_suffix(".parity.json").read_text())
    assert written["passed"] is True and 0 < written["milliseconds"] < 1000
    assert f"{parity.milliseconds:.3g} ms an answer, one at a time" in str(parity)


def test_the_time_of_an_answer_is_the_median_of_single_examples() -> None:
    asked = []

    def ask(sources: np.ndarray) -> None:
        asked.append(sources.tolist())
        time.sleep(0.2 if len(asked) == 1 else 0.004)  # the first one warms up

    found = verify.time_of_answer(ask, np.arange(100))
    assert asked == [[i] for i in range(64)]
    assert 4 <= found < 100


def test_a_file_that_disagrees_is_not_left_behind(
    small_run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = convert.classifier_graph

    def wrong(*arguments):
        model = original(*arguments)
        bias = next(i for i in model.graph.initializer if i.name == "logits/bias")
        shifted = onnx.numpy_helper.to_array(bias) + np.eye(10, dtype=np.float32)[3] * 0.5
        bias.CopyFrom(onnx.numpy_helper.from_array(shifted, bias.name))
        return model

    monkeypatch.setattr(convert, "classifier_graph", wrong)
    with pytest.raises(ModelError, match=r"disagrees with Keras: \d+ different answers, largest"):
        export.to_onnx(small_run, tmp_path / "wrong.onnx")
    assert not list(tmp_path.iterdir())


def test_unsupported_operators_are_refused() -> None:
    import tensorflow as tf

    with pytest.raises(ModelError, match="cannot convert"):
        convert.convert_function(
            lambda x: tf.raw_ops.Digamma(x=x), [tf.TensorSpec((None,), tf.float32, "x")], ["y"]
        )


def test_clean_names_are_unique() -> None:
    prefix = "StatefulPartitionedCall/net_1/conv1_1"
    nodes = [
        onnx.helper.make_node("Relu", ["x"], [f"{prefix}/Relu:0"]),
        onnx.helper.make_node("Relu", [f"{prefix}/Relu:0"], [f"{prefix}/Relu__12:0"]),
        onnx.helper.make_node("Relu", [f"{prefix}/Relu__12:0"], ["y"]),
    ]
    graph = onnx.helper.make_graph(
        nodes,
        "g",
        [onnx.helper.make_tensor_value_info("x", 1, [1])],
        [onnx.helper.make_tensor_value_info("y", 1, [1])],
    )
    passes.clean_names(graph, "net")
    assert [list(node.output) for node in graph.node] == [["conv1/Relu"], ["conv1/Relu_2"], ["y"]]
    assert [list(node.input) for node in graph.node] == [["x"], ["conv1/Relu"], ["conv1/Relu_2"]]


def test_unused_nodes_are_removed_but_what_a_subgraph_reads_stays() -> None:
    statements = """
    kept = Neg (x)
    dropped = Neg (weight)
    y = If (condition) <
        then_branch = yes () => (float[N] a) { a = Identity (kept) },
        else_branch = no () => (float[N] b) { b = Neg (x) }
    >
    """
    model = passes.parse_model(
        ["float[N] x", "bool condition"], ["float[N] y"], statements, {"weight": np.float32(1)}
    )
    passes.remove_unused(model.graph)
    assert [node.output[0] for node in model.graph.node] == ["kept", "y"]
    assert not model.graph.initializer
    onnx.checker.check_model(model, full_check=True)


def test_runtime_batches_and_reports_progress(classify: Classifier, small_run: Run) -> None:
    image, label = small_run.data().test
    seen: list[tuple[int, int]] = []
    labels = classify(
        image[:20], batch_size=8, progress=lambda done, total: seen.append((done, total))
    )
    assert seen == [(8, 20), (16, 20), (20, 20)]
    assert (labels == classify(image[:20])).all()
    assert classify(image[0]).tolist() == classify(image[:1, :, :, 0]).tolist() == [labels[0]]
    assert (classify(each for each in image[:20]) == labels).all()
    accuracy = (classify(image) == np.array(classify.labels)[label]).mean()
    assert accuracy == small_run.metrics["test_accuracy"]
    np.testing.assert_allclose(classify.probabilities(image[:20]).sum(1), 1, atol=1e-6)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (np.zeros((2, 28, 28, 1), np.float32), "images are float32: expected raw pixels as uint8"),
        (np.zeros((2, 28, 28, 3), np.uint8), r"\(2, 28, 28, 3\): expected \(N, 28, 28, 1\)"),
        (np.zeros((2, 32, 32, 1), np.uint8), r"expected \(N, 28, 28, 1\)"),
        (np.zeros((0, 28, 28, 1), np.uint8), "no images"),
        ([], "no images"),
        (None, "no images: give them one by one"),
        ([np.zeros((28, 28), np.uint8), np.zeros((27, 28), np.uint8)], "different sizes"),
    ],
)
def test_wrong_images(classify: Classifier, images: np.ndarray, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        classify(images)


def test_metadata_hold_finite_numbers(file: Path) -> None:
    model = onnx.load(file)
    with pytest.raises(ModelError, match="the metrics of this model hold NaN or infinity"):
        convert.add_metadata(model, {"metrics": {"val_loss": float("nan")}})
    assert model == onnx.load(file)


def test_what_could_not_be_loaded_is_not_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(runtime, "MAX_WORK", 3)
    path, facts = tmp_path / "deep.onnx", {"kind": "classifier", "labels": ["a"]}
    with pytest.raises(ModelError, match=r"^/.*/deep\.onnx could run without end \(.* 3 are the"):
        convert.write_verified(onnx.load(file), facts, path, lambda _: pytest.fail("compared"))
    assert not list(tmp_path.iterdir())


def test_bad_files(file: Path, tmp_path: Path) -> None:
    content = file.read_bytes()
    cases = {
        "truncated": (content[: len(content) // 2], "truncated or no ONNX"),
        "text": (b"hello, this is no model at all", "truncated or no ONNX"),
        "empty": (b"", "truncated or no ONNX"),
    }
    foreign = onnx.load(file)
    del foreign.metadata_props[:]
    cases["foreign"] = (foreign.SerializeToString(), "was not made by this package")
    contrib = onnx.load(file)
    contrib.graph.node[0].domain = "com.microsoft"
    cases["contrib"] = (contrib.SerializeToString(), "operators of com.microsoft")
    external = onnx.load(file)
    external.graph.initializer[0].data_location = onnx.TensorProto.EXTERNAL
    cases["external"] = (external.SerializeToString(), "keeps weights in other files")
    sparse = onnx.load(file)
    values = sparse.graph.sparse_initializer.add().values
    values.external_data.add(key="location", value="secret")
    cases["sparse"] = (sparse.SerializeToString(), "Graph has an unknown field 15")
    attribute = onnx.load(file)
    tensors = attribute.graph.node[0].attribute.add(name="x").tensors
    tensors.add().data_location = onnx.TensorProto.EXTERNAL
    cases["attribute"] = (attribute.SerializeToString(), "keeps weights in other files")
    function = onnx.load(file)
    function.functions.add(name="f", domain="local")
    cases["function"] = (function.SerializeToString(), "operators of local")
    unlabelled = onnx.load(file)
    unlabelled.metadata_props.remove(
        next(p for p in unlabelled.metadata_props if p.key == "hw2.labels")
    )
    cases["unlabelled"] = (unlabelled.SerializeToString(), "lacks hw2.labels")
    for name, (bad, message) in cases.items():
        path = tmp_path / f"{name}.onnx"
        path.write_bytes(bad)
        with pytest.raises(ModelError, match=message) as raised:
            load(path)
        assert "\n" not in str(raised.value)
    with pytest.raises(ModelError, match=r"the limit is 1,000"):
        load(file, max_bytes=1000)
    with pytest.raises(ModelError, match=r"did you mean kmnist_cnn\.onnx"):
        load(file.with_name("kmnist.onnx"))
    with pytest.raises(ModelError, match="provider CUDAExecutionProviders is not available"):
        load(file, providers=["CUDAExecutionProviders"])
    assert file.stat().st_size < MAX_BYTES


def test_damaged_files_never_give_another_error(file: Path) -> None:
    content = onnx.load(file)
    for initializer in content.graph.initializer:
        initializer.raw_data = initializer.raw_data[:8]
    whole, rng = content.SerializeToString(), np.random.default_rng(0)
    refused = 0
    for _ in range(2000):
        damaged = bytearray(whole)
        for position in rng.integers(len(whole), size=3):
            damaged[position] = rng.integers(256)
        try:
            inspect(bytes(damaged), file)
        except ModelError:
            refused += 1
    assert 500 < refused < 2000


def test_metadata_is_read_without_running_the_file(file: Path) -> None:
    assert inspect(file.read_bytes(), file)["experiment"] == "kmnist_cnn"


def test_command_line_without_tensorflow(file: Path, small_run: Run, tmp_path: Path) -> None:
    picture = tmp_path / "glyph.png"
    image = small_run.data().test.image[0, :, :, 0]
    Image.fromarray(image).resize((56, 56), Image.Resampling.NEAREST).convert("RGB").save(picture)
    code = (
        "import sys\nfrom export.cli import main\n"
        f"status = main(['run', {str(file)!r}, {str(picture)!r}])\n"
        "sys.exit(status or bool({'tensorflow', 'keras', 'onnx'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    best = done.stdout.split(": ")[1].split(" ")[0]
    assert best == load(file)(image)[0]
    assert "56x56, resized to 28x28" in done.stderr


def test_info_command(file: Path, capsys: pytest.CaptureFixture) -> None:
    assert main(["info", str(file)]) == 0
    shown = capsys.readouterr().out
    assert "['N', 28, 28, 1]" in shown
    assert "kmnist_cnn" in shown and "2022-23" in shown


def test_convert_and_verify_commands(
    small_run: Run, tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    path = tmp_path / "model.onnx"
    assert main(["convert", str(small_run.path), "--output", str(path)]) == 0
    printed = capsys.readouterr()
    assert "verdict          passed" in printed.out
    steps = ("kmnist_cnn: data and weights", "converting the network", "comparing the file")
    told = printed.err.splitlines()
    assert all(line.startswith(step) for line, step in zip(told, steps, strict=False))
    assert len(told) >= len(steps) and "batch size 64 of (1, 7, 64)" in printed.err
    report = path.with_suffix(".parity.json")
    assert main(["verify", str(path), "--run", str(small_run.path)]) == 0
    stored = report.read_bytes()
    assert main(["verify", str(path), "--run", str(small_run.path)]) == 0
    assert report.read_bytes() == stored  # the time of an answer is not taken again
    other = shutil.copytree(small_run.path, tmp_path / "other")
    record = json.loads((other / "run.json").read_text())
    (other / "run.json").write_text(json.dumps(record | {"experiment": "fashion_cnn"}))
    assert main(["verify", str(path), "--run", str(other)]) == 2
    assert "holds kmnist_cnn and" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "none.onnx", "x.png"], "none.onnx does not exist"),
        (["run", "{file}", "none.png"], "none.png does not exist"),
        (["run", "{file}", "{file}"], "is not a readable picture"),
        (["convert", "none", "-o", "x.onnx"], "none is not a run"),
        (["convert", "{run}", "-o", "x.txt"], "expected a file name that ends in .onnx"),
        (["convert", "{run}", "-o", "none/x.onnx"], "none is not a folder"),
    ],
)
def test_bad_commands(
    arguments: list[str],
    message: str,
    file: Path,
    small_run: Run,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture,
) -> None:
    monkeypatch.chdir(tmp_path)
    filled = [a.format(file=file, run=small_run.path) for a in arguments]
    assert main(filled) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not list(tmp_path.iterdir())
