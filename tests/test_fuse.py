"""The same values in fewer nodes, and what must stay as it is."""

from collections import Counter

import numpy as np
import onnx
import onnxruntime
import pytest

from export.fuse import fuse

RNG = np.random.default_rng(0)
WEIGHTS = {
    "kernel": RNG.normal(size=(4, 12)),
    "table": RNG.normal(size=(5, 12)),
    "bias": RNG.normal(size=12),
    "joined_kernel": RNG.normal(size=(7, 6)),
    "joined_bias": RNG.normal(size=6),
}
GIVEN = {
    "token": np.array([1, 4]),
    "h": RNG.normal(size=(2, 4)).astype(np.float32),
    "scores": RNG.normal(size=(2, 1, 5)).astype(np.float32),
    "values": RNG.normal(size=(2, 5, 3)).astype(np.float32),
}
GATES = """
    of_token = Gather (table, token)
    product = MatMul (h, kernel)
    sums = Add (of_token, product)
    i, f, c, o = Split <axis = 1, num_outputs = 4> (sums)
    input_gate = Sigmoid (i)
    forget_gate = Sigmoid (f)
    output_gate = Sigmoid (o)
    candidate = Tanh (c)
    kept = Mul (forget_gate, candidate)
    added = Add (input_gate, kept)
    out = Mul (output_gate, added)
"""
CONTEXT = """
    weights = Softmax <axis = 2> (scores)
    mean = MatMul (weights, values)
    row = Reshape (mean, row_shape)
    joined = Concat <axis = 1> (h, row)
    product = MatMul (joined, joined_kernel)
    out = Add (product, joined_bias)
"""


def graph_of(statements: str) -> onnx.ModelProto:
    named = {name: value.astype(np.float32) for name, value in WEIGHTS.items()}
    named |= {"row_shape": np.array([-1, 3]), "middle": np.array([1])}
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> step (int64[R] token, float[R, 4] h, '
        f"float[R, 1, S] scores, float[R, S, 3] values) => (float[R, W] out) {{ {statements} }}"
    )
    read = {name for node in model.graph.node for name in node.input}
    model.graph.initializer.extend(
        onnx.numpy_helper.from_array(value, name) for name, value in named.items() if name in read
    )
    return model


def answers(model: onnx.ModelProto) -> list[np.ndarray]:
    session = onnxruntime.InferenceSession(model.SerializeToString())
    return session.run(None, {each.name: GIVEN[each.name] for each in session.get_inputs()})


def fused(statements: str, look: bool = False) -> tuple[onnx.ModelProto, Counter]:
    """The graph after all passes, which answers as before, and how many nodes of each kind."""
    model = graph_of(statements)
    if look:
        model.graph.output.append(
            onnx.helper.make_tensor_value_info("look", onnx.TensorProto.FLOAT, ["R", "S"])
        )
    before = answers(model)
    fuse(model, ["values"])
    onnx.checker.check_model(model)
    for one, other in zip(before, answers(model), strict=True):
        np.testing.assert_allclose(one, other.reshape(one.shape), 1e-5, 1e-6)
    return model, Counter(node.op_type for node in model.graph.node)


def test_one_sigmoid_for_three_gates() -> None:
    _, kinds = fused(GATES)
    assert kinds == Counter(Gather=1, Gemm=1, Split=2, Sigmoid=1, Tanh=1, Mul=2, Add=1)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("candidate = Tanh (c)", "d = MatMul (h, kernel) e = ReduceSum (d) candidate = Add (c, e)"),
        ("candidate = Tanh (c)", "candidate = Mul (c, i)"),
        ("output_gate = Sigmoid (o)", "output_gate = Tanh (o)"),
    ],
    ids=["a kernel that others read", "a part that others read", "two gates"],
)
def test_other_gates_stay(old: str, new: str) -> None:
    _, kinds = fused(GATES.replace(old, new))
    assert kinds["Sigmoid"] == GATES.replace(old, new).count("Sigmoid")


def test_a_context_is_a_mean_of_products() -> None:
    model, kinds = fused(CONTEXT)
    assert kinds == Counter(Softmax=1, MatMul=2, Add=1, Reshape=1, Gemm=1)
    once = [node for node in model.graph.node if node.input[0] == "values"]
    assert [node.op_type for node in once] == ["MatMul"]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("Softmax <axis = 2> (scores)", "Sigmoid (scores)"),
        ("Softmax <axis = 2> (scores)", "Softmax <axis = 0> (scores)"),
        ("(weights, values)", "(weights, varied)"),
        ("(h, row)", "(row, h)"),
    ],
    ids=["no softmax", "another axis", "values that vary", "another order"],
)
def test_other_contexts_stay(old: str, new: str) -> None:
    statements = CONTEXT.replace(old, new)
    if "varied" in new:
        statements = "first = ReduceSum (h) varied = Add (values, first)" + statements
    assert fused(statements)[1]["Concat"] == 1


def test_a_look_keeps_its_axes() -> None:
    statements = CONTEXT + "look = Squeeze (weights, middle)"
    model, kinds = fused(statements, look=True)
    assert not kinds["Squeeze"]
    assert len(model.graph.output[1].type.tensor_type.shape.dim) == 3
