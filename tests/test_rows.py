"""Steps on rows: fewer nodes, the same numbers."""

import numpy as np
import onnx
import onnxruntime
import pytest

from export import fold
from export.passes import parse_model
from export.rows import compute_on_rows

RNG = np.random.default_rng(0)
WEIGHTS = {
    "matrix": RNG.normal(size=(8, 8)).astype(np.float32),
    "wide": RNG.normal(size=(8, 5)).astype(np.float32),
    "vector": RNG.normal(size=8).astype(np.float32),
    "zeros": np.zeros(8, np.float32),
    "axis_1": np.array([1]),
    "all_and_first": np.array([10**9, 1]),
    "everything": np.array([10**9, 10**9]),
    "starts": np.array([0, 0]),
    "axes": np.array([0, 1]),
    "two": np.array([2]),
    "axis_0": np.array([0]),
    "start": np.array([0]),
    "matrix_shape": np.array([-1, 8]),
    "sequence_shape": np.array([-1, 1, 8]),
    "heads_shape": np.array([-1, 2, 1, 4]),
    "size": np.array(6),
    "none": np.array(0),
    "table": RNG.normal(size=(6, 8)).astype(np.float32),
}

# A dense layer with residual and normalization on a sequence of one, then heads, as tf2onnx has it.
LAYERS = """
    sequence = Unsqueeze (x, axis_1)
    same = Slice (sequence, starts, everything, axes)
    normal = LayerNormalization <axis = -1> (same, vector, zeros)
    flat = Reshape (normal, matrix_shape)
    product = MatMul (flat, matrix)
    dense = Reshape (product, sequence_shape)
    biased = Add (dense, vector)
    active = Tanh (biased)
    residual = Add (same, active)
    logits_of_all = MatMul (residual, wide)
    first = Slice (logits_of_all, starts, all_and_first, axes)
    logits = Squeeze (first, axis_1)
    heads = Reshape (residual, heads_shape)
    turned = Transpose <perm = [0, 2, 1, 3]> (heads)
    shown = Mul (turned, turned)
"""


def step(statements: str, outputs: list[str], inputs: tuple[str, ...] = ()) -> onnx.ModelProto:
    model = parse_model(["float[R, 8] x", *inputs], outputs, statements, WEIGHTS)
    fold.name_axes(model.graph)
    return model


def answers(model: onnx.ModelProto, **values: np.ndarray) -> list[np.ndarray]:
    onnx.checker.check_model(model, full_check=True)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = {"x": RNG.normal(size=(3, 8)).astype(np.float32)} | values
    return [values, session.run(None, {i.name: values[i.name] for i in session.get_inputs()})]


def rewritten(statements: str, outputs: list[str], *inputs: str, **values) -> list[str]:
    """The operators of a step on rows, which gives the same numbers."""
    before, after = (step(statements, outputs, inputs) for _ in range(2))
    compute_on_rows(after)
    given, expected = answers(before, **values)
    for found, wanted in zip(answers(after, **given)[1], expected, strict=True):
        np.testing.assert_allclose(found, wanted, rtol=1e-6, atol=1e-6)
    return [node.op_type for node in after.graph.node]


def test_layers_read_rows() -> None:
    kinds = rewritten(LAYERS, ["float[R, 5] logits", "float[R, 1, 2, 4] shown"])
    layers = ["LayerNormalization", "MatMul", "Add", "Tanh", "Add", "MatMul"]
    assert kinds == [*layers, "Reshape", "Mul", "Reshape"]


def test_an_output_of_one_axis_more_is_shaped_at_the_end() -> None:
    statements = "sequence = Unsqueeze (x, axis_1)\n a = Tanh (sequence)\n b = MatMul (a, matrix)"
    statements += "\n flat = Reshape (b, matrix_shape)\n y = Exp (flat)\n z = Relu (b)"
    kinds = rewritten(statements, ["float[R, 8] y", "float[R, 1, 8] z"])
    assert sorted(kinds) == sorted(["Tanh", "MatMul", "Exp", "Relu", "Reshape"])


@pytest.mark.parametrize(
    ("statements", "output"),
    [
        # Rows are left out, elements change places, or axes of size 1 are stretched.
        ("s = Unsqueeze (x, axis_1)\n t = Slice (s, start, two, axis_0)\n y = Tanh (t)", "Q, 1, 8"),
        (
            "h = Reshape (x, heads_shape)\n t = Transpose <perm = [0, 3, 2, 1]> (h)\ny = Tanh (t)",
            "R, 4, 1, 2",
        ),
        (
            "h = Reshape (x, heads_shape)\n t = Transpose <perm = [0, 2, 1, 3]> (h)\n"
            "y = Add (h, t)",
            "R, 2, 2, 4",
        ),
    ],
)
def test_what_is_no_view_stays(statements: str, output: str) -> None:
    kinds = rewritten(statements, [f"float[{output}] y"])
    assert len(kinds) == len(statements.split("\n"))


def test_sequences_of_free_length_stay() -> None:
    statements = "s = MatMul (memory, matrix)\n q = Unsqueeze (x, axis_1)\n y = Add (s, q)"
    memory = RNG.normal(size=(3, 4, 8)).astype(np.float32)
    kinds = rewritten(statements, ["float[R, T, 8] y"], "float[R, T, 8] memory", memory=memory)
    assert sorted(kinds) == ["Add", "MatMul", "Unsqueeze"]


def test_negative_indices_need_no_sum() -> None:
    statements = "below = Less (i, none)\n added = Add (i, {n})\n j = Where (below, added, i)"
    statements += "\n found = Gather (table, j)\n y = Add (x, found)"
    numbers = np.array([2, -1, -6])
    for size, count in (("size", 2), ("none", 5)):
        before, after = (
            step(statements.format(n=size), ["float[R, 8] y"], ("int64[R] i",)) for _ in range(2)
        )
        fold.indices_as_they_are(after.graph)
        assert len(after.graph.node) == count  # a sum with another number is kept
        given, expected = answers(before, i=numbers)
        np.testing.assert_array_equal(answers(after, **given)[1][0], expected[0])


def test_a_bias_goes_into_the_table_of_tokens() -> None:
    statements = "found = Gather (table, token)\n product = MatMul (x, matrix)"
    statements += "\n sum = Add (found, product)\n y = Add (sum, vector)"
    before, after = (step(statements, ["float[R, 8] y"], ("int32[R] token",)) for _ in range(2))
    fold.sums_from_tokens(after.graph)
    fold.tables_of_tokens(after.graph, 6)
    assert sorted(node.op_type for node in after.graph.node) == ["Add", "Gather", "MatMul"]
    given, expected = answers(before, token=np.array([5, 0, 2], np.int32))
    np.testing.assert_allclose(answers(after, **given)[1][0], expected[0], atol=1e-6)
