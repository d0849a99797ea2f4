"""Hostile files, inputs and commands: a sample of the seeded cases, and the ones found before."""

import contextlib
import errno
import importlib.util
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import onnx
import pytest
from PIL import ExifTags, Image

from export import runtime
from export.cli import main, picture
from export.runtime import ModelError, inspect, load
from export.web.site import build_site
from hw2_keras.files import new_file

ROOT = Path(__file__).parents[1]
FILES = ROOT / "results" / "onnx"


def module(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    loaded = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(loaded)
    return loaded


cases = module(ROOT / "tests" / "fuzz" / "onnx_cases.py")
SEEDS = {"bytes": 150, "forbidden": 40, "metadata": 20, "signature": 20, "call": 30}
SEEDS |= {"commands": 40, "picture": 10}


@pytest.mark.parametrize("name", SEEDS)
def test_seeded_cases(name: str, tmp_path: Path) -> None:
    for seed in range(SEEDS[name]):
        try:
            cases.CHECKS[name](seed, tmp_path)
        except BaseException as error:
            error.add_note(f"case {name} {seed}")
            raise


@pytest.mark.parametrize("path", sorted(FILES.glob("*.onnx")), ids=lambda path: path.stem)
def test_committed_files_are_seen_alike(path: Path) -> None:
    assert cases.seen_alike(path.read_bytes())


def test_the_tiny_file_runs(tmp_path: Path) -> None:
    path = tmp_path / "tiny.onnx"
    path.write_bytes(cases.tiny())
    assert load(path)(np.zeros((2, 2), np.uint8)).tolist() == ["a"]


@pytest.mark.parametrize("name", ["high_tag", "long_varint", "group", "unknown", "merged"])
def test_other_readings_are_refused(name: str) -> None:
    import random

    for seed in range(60):
        mutated = getattr(cases, name)(cases.tiny(), random.Random(seed))
        with pytest.raises(ModelError):
            inspect(mutated, Path("case.onnx"))


def test_external_data_behind_a_high_tag(tmp_path: Path) -> None:
    """onnxruntime once kept the low 32 bits of such a tag and gave a file's content as answer."""
    (tmp_path / "secret").write_bytes(bytes(32))
    model = onnx.load_from_string(cases.tiny())
    kernel = next(w for w in model.graph.initializer if w.name == "kernel")
    del kernel.float_data[:]
    kernel.ClearField("raw_data")
    kernel.external_data.add(key="location", value="secret")
    content = model.SerializeToString()
    (start, value, end), *_ = [f[:3] for f in cases.fields(content) if f[3] == 13 << 3 | 2]
    high = cases.varint((13 << 3 | 2) | 1 << 32) + cases.varint(end - value) + content[value:end]
    path = tmp_path / "high.onnx"
    path.write_bytes(cases.nested(content, start, end, high))
    with pytest.raises(ModelError, match="unknown field"):
        load(path)


def test_two_writers_of_one_name(tmp_path: Path) -> None:
    path = tmp_path / "same.onnx"
    with new_file(path) as first, new_file(path) as second:
        assert first != second
        first.write_text("first")
        second.write_text("second")
    assert path.read_text() == "first"  # renamed last
    assert [each.name for each in tmp_path.iterdir()] == ["same.onnx"]


def test_a_folder_that_cannot_be_written() -> None:
    message = r"^cannot write /proc/x\.onnx: "
    with pytest.raises(ModelError, match=message), new_file(Path("/proc/x.onnx"), ModelError):
        raise AssertionError("nothing is done before")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["convert", "none", "-o", "x.onnx/"], "x.onnx/: expected a file name"),
        (["convert", "none", "-o", "/proc/x.onnx"], "cannot write /proc/x.onnx ("),
        (["convert", "none", "-o", "n" * 250 + ".onnx"], "(File name too long)"),
        (["convert", "none", "-o", "a\nb.txt"], r"a\nb.txt: expected a file name"),
        (["info", "a\nb\x1b[31m.onnx"], r"a\nb\x1b[31m.onnx does not exist"),
        (["info", "n" * 300 + ".onnx"], "cannot be read (File name too long)"),
        (["info", "/proc/self/mem"], "/proc/self/mem cannot be read (Input/output error)"),
        (["run", str(FILES / "p2g_attention.onnx"), "k", "--top-p", "0.5"], "does not apply"),
        (["run", str(FILES / "kmnist_cnn.onnx"), "x.png", "--seed", "-1"], "does not apply"),
        (["run", str(FILES / "p2g_attention.onnx"), "k", "--num-beams", "100000"], "is 1000"),
    ],
)
def test_commands_in_one_line(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(words) == 2
    told = capsys.readouterr().err
    assert message in told and told.count("\n") == 1


@pytest.mark.parametrize("statements", cases.ENDLESS.values(), ids=cases.ENDLESS)
def test_loops_without_a_bound(statements: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    monkeypatch.setattr(cases, "ENDLESS", {"only": statements})
    with pytest.raises(ModelError, match=r"could run without end \(.*\): export it again"):
        inspect(cases.endless(random.Random(0)), Path("case.onnx"))


@pytest.mark.parametrize(
    ("inputs", "is_refused"),
    [("int64 max_length", False), ("int64[1, N] max_length", True), ("int64 source", True)],
)
def test_rounds_that_the_caller_gives(inputs: str, is_refused: bool) -> None:
    """The runtime bounds ``max_length``; what else is called so, it takes for a source."""
    name = inputs.split()[-1]
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : 20]> g (float[N] x, {inputs}) => (float[N] out) '
        f"<bool yes = {{1}}> {{ n = Squeeze ({name}) "
        f"out = Loop (n, yes, x) <body = {cases.BODY}> }}"
    )
    refused = pytest.raises(ModelError, match="Loop '' has no bound that can be seen")
    with refused if is_refused else contextlib.nullcontext():
        inspect(model.SerializeToString(), Path("case.onnx"))


def searches(nodes: int) -> bytes:
    """Two loops of so many nodes a round, one of which runs."""
    chain = "".join(f"w{i + 1} = Neg (w{i}) " for i in range(nodes))
    loop = (
        "{name} = Loop (max_length, yes, x) <body = b (int64 i, bool c, float[N] w0) => "
        f"(bool d, float[N] w{nodes}) {{{{ d = Identity (c) {chain}}}}}>"
    )
    greedy, beam = (loop.format(name=name) for name in "yz")
    model = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (float[N] x, int64 max_length) => '
        f"(float[N] out) <bool yes = {{1}}> {{ out = If (yes) <then_branch = t () => (float[N] y) "
        f"{{ {greedy} }}, else_branch = e () => (float[N] z) {{ {beam} }}> }}"
    )
    return model.SerializeToString()


def test_one_branch_of_two_is_counted() -> None:
    """A step may have about 2,400 nodes."""
    inspect(searches(2400), Path("case.onnx"))
    message = r"one text could take 10,244,098 nodes, 10,000,000 are the most: a step of fewer lay"
    with pytest.raises(ModelError, match=message):
        inspect(searches(2500), Path("case.onnx"))


@pytest.mark.parametrize("statements", cases.GROWING.values(), ids=cases.GROWING)
def test_texts_that_would_fill_the_memory(statements: str, monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    monkeypatch.setattr(cases, "GROWING", {"only": statements})
    message = r"could fill the memory with texts \(.*\): export it again"
    with pytest.raises(ModelError, match=message):
        inspect(cases.growing(random.Random(0)), Path("case.onnx"))


def test_texts_that_a_search_writes_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    import random

    for statements in ("w = StringConcat (v, a)", "p = StringConcat (a, a) w = Identity (p)"):
        monkeypatch.setattr(cases, "GROWING", {"only": statements})
        inspect(cases.growing(random.Random(0)), Path("case.onnx"))


def test_a_shape_with_a_thousand_million_axes() -> None:
    """onnxruntime would follow it for minutes before the file is open."""
    model = onnx.load(FILES / "p2g_attention.onnx")
    beams = next(value for value in model.graph.input if value.name == "num_beams")
    beams.type.tensor_type.shape.dim.add().dim_value = 10**9
    with pytest.raises(ModelError, match="a shape of over 64 axes: export it again"):
        inspect(model.SerializeToString(), Path("case.onnx"))
    for size in (
        "<int64[1] size = {1000000000}> {",
        "{ size = Constant <value_ints = [1000000000]> ()",
    ):
        made = onnx.parser.parse_model(
            '<ir_version: 10, opset_import: ["" : 20]> g (float[N] x) => (float[N] out) '
            f"{size} shape = ConstantOfShape <value = int64[1] {{1}}> (size) "
            "out = Expand (x, shape) }"
        )
        with pytest.raises(ModelError, match="a shape of over 64 axes: export it again"):
            inspect(made.SerializeToString(), Path("case.onnx"))


@pytest.mark.parametrize("name", cases.AXES)
def test_values_of_many_axes(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """onnxruntime needs seconds and gigabytes for a few million, while it opens a file."""
    import random

    monkeypatch.setattr(cases, "AXES", {name: cases.AXES[name]})
    with pytest.raises(ModelError, match="a shape of over 64 axes: export it again"):
        inspect(cases.many_axes(random.Random(0)), Path("case.onnx"))


@pytest.mark.parametrize(
    ("step", "grows"),
    [
        ("w = Gather (v, v)", True),
        ("w = Unsqueeze (v, axis)", True),
        ("u = Unsqueeze (v, axis) w = Squeeze (u, axis)", False),
        ("u = Unsqueeze (v, both) w = Squeeze (u, both)", False),
        ("u = Unsqueeze (v, both) w = Squeeze (u, twice)", True),
        ("u = Unsqueeze (v, axis) w = ReduceMax <keepdims = 0> (u, axis)", False),
        ("u = Unsqueeze (v, axis) w = ReduceMax (u, axis)", True),
    ],
)
def test_a_loop_that_adds_axes(step: str, grows: bool) -> None:
    made = onnx.parser.parse_model(
        '<ir_version: 10, opset_import: ["" : 20]> g (int64[N, M] x) => (int64 out) '
        "<bool yes = {1}, int64 times = {30}, int64[1] axis = {0}, int64[2] twice = {0, 0}, "
        "int64[2] both = {0, 1}> { out = Loop (times, yes, x) <body = b (int64 i, bool c, int64 v) "
        f"=> (bool d, int64 w) {{ d = Identity (c) {step} }}> }}"
    )
    content = made.SerializeToString()
    if grows:
        with pytest.raises(ModelError, match="axes of a value grow from round to round"):
            inspect(content, Path("case.onnx"))
    else:
        inspect(content, Path("case.onnx"))


def test_sparse_tensors(tmp_path: Path) -> None:
    """onnxruntime makes them dense, outside of the pool, while it opens a file."""
    import random

    path = tmp_path / "sparse.onnx"
    for seed in range(12):
        model = onnx.load_from_string(cases.tiny())
        cases.sparse(model, random.Random(seed))
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=r"\((Graph|Attribute|Type) has an unknown field"):
            load(path)


@pytest.mark.parametrize("inputs", ["", "int64 max_length"])
def test_a_file_without_sources(inputs: str, tmp_path: Path) -> None:
    text = '<ir_version: 10, opset_import: ["" : 20]> g (INPUTS) => (string[1, 1] text_out) '
    text += '<string[1, 1] word = {"a"}> { text_out = Identity (word) }'
    model = onnx.parser.parse_model(text.replace("INPUTS", inputs))
    facts = cases.facts_of(onnx.load(FILES / "p2g_attention.onnx"))
    path = tmp_path / "sourceless.onnx"
    for kind in ("speller", "array", "sampler", "classifier"):
        cases.add_facts(model, facts | {"kind": kind, "source_kind": "array", "labels": ["a"]})
        path.write_bytes(model.SerializeToString())
        with pytest.raises(ModelError, match=r"sourceless\.onnx (takes|gives) .*export it again"):
            load(path)


def test_a_file_without_outputs(tmp_path: Path) -> None:
    model = onnx.load_from_string(cases.tiny())
    model.graph.input[0].name = "other"
    model.graph.node[0].input[0] = "other"
    del model.graph.output[:]
    path = tmp_path / "silent.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"silent\.onnx takes other .*: a classifier takes image"):
        load(path)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_json_does_not_have(number: str) -> None:
    """``JSON.parse`` of a browser refuses a whole list of files for one of them."""
    model = onnx.load_from_string(cases.tiny())
    model.metadata_props.add(key="hw2.metrics", value=f'{{"test_accuracy": {number}}}')
    with pytest.raises(ModelError, match=r"hw2\.metrics that is no JSON: export it again"):
        inspect(model.SerializeToString(), Path("case.onnx"))


def test_no_flatbuffer_in_disguise(tmp_path: Path) -> None:
    import random

    path = tmp_path / "both.onnx"
    path.write_bytes(cases.ort_format(random.Random(0)))
    assert path.read_bytes()[4:8] == b"ORTM"
    assert load(path)(np.zeros((2, 2), np.uint8)).tolist() == ["a"]  # as the protocol buffer


def test_ten_megabytes_of_tiny_fields() -> None:
    size = 10_000_000
    content = b"\x3a" + cases.varint(size) + b"\x0a\x00" * (size // 2)
    start = time.process_time()
    with pytest.raises(ModelError, match="over 500,000 fields"):
        inspect(content, Path("case.onnx"))
    assert time.process_time() - start < 2


def in_time(content: bytes, message: str) -> None:
    """A file is refused within two seconds."""
    start = time.process_time()
    with pytest.raises(ModelError, match=message):
        inspect(content, Path("case.onnx"))
    assert time.process_time() - start < 2


def test_a_name_that_is_defined_twice() -> None:
    """Each node of so many would look at each definition of its shape."""
    model = onnx.load_from_string(cases.tiny())
    for i in range(2000):
        model.graph.node.add(op_type="Expand", input=["one", "size"], output=[f"all{i}"])
        model.graph.initializer.add(name="size", data_type=7, dims=[1], int64_data=[2])
    in_time(model.SerializeToString(), "defines a name twice in one graph: export it again")


def test_many_names_of_one_list() -> None:
    """A list is read once, whatever is called by it, and not at all where it is long."""
    model = onnx.load_from_string(cases.tiny())
    names = [f"size{i}" for i in range(20_000)]
    values = onnx.helper.make_tensor("v", 7, [400], [300] * 400)
    model.graph.node.append(onnx.helper.make_node("Constant", [], names, value=values))
    for name in names:
        model.graph.node.add(op_type="Expand", input=["one", name], output=[f"all_{name}"])
    in_time(model.SerializeToString(), "a shape of over 64 axes: export it again")
    model = onnx.load_from_string(cases.tiny())
    values = onnx.helper.make_tensor("values", 7, [50_000], [3] * 50_000)
    model.graph.initializer.append(values)
    body = model.graph.node[3].attribute[0].g
    loops = ["Loop", ["values", "yes"], []]
    model.graph.node.extend(onnx.helper.make_node(*loops, body=body) for _ in range(40))
    in_time(model.SerializeToString(), "Loop '' has no bound that can be seen")


def test_the_largest_that_would_do() -> None:
    spell = load(FILES / "p2g_attention.onnx")
    with pytest.raises(ModelError, match=r"num_beams is 100,000: the largest .* is 1000$"):
        spell("k æ t", num_beams=100_000)
    with pytest.raises(ModelError, match=r"num_beams is 1,000: the largest .* is 655$"):
        spell("k æ t", num_beams=1000, max_length=400)
    assert spell("k æ t", num_beams=655, max_length=2)
    with pytest.raises(ModelError, match=r"max_length is 100,000: the largest is 4,096 tokens"):
        spell("k æ t", max_length=100_000)
    with pytest.raises(ModelError, match="num_beams is 1: not possible"):
        spell("k " * 200_000)


def test_a_picture_is_no_source_of_symbols() -> None:
    caption = load(FILES / "caption.int8.onnx")
    with pytest.raises(ModelError, match=r": the largest with max_length 20 is \d+$"):
        caption(np.zeros((64, 64, 3), np.uint8), num_beams=100_000, max_length=20)


def test_many_sources_with_a_wide_beam_are_split() -> None:
    spell, told = load(FILES / "p2g_attention.onnx"), []
    spell(["k æ t"] * 6, 500, max_length=200, progress=lambda done, _: told.append(done))
    assert told == [2, 4, 6]


def test_memory_is_bounded(tmp_path: Path) -> None:
    text = cases.TINY.replace(
        "flat = Reshape (pixels, shape)",
        "root = Constant <value = int64[1] {31622}> () size = Mul (root, root) "
        "all = Expand (one, size) "
        "mean = ReduceMean <keepdims = 0> (all) more = Add (pixels, mean) "
        "flat = Reshape (more, shape)",
    )
    model = onnx.parser.parse_model(text)
    cases.add_facts(model, {"kind": "classifier", "labels": ["a", "b"]})
    path = tmp_path / "large.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"large\.onnx can.*needs over 1\.5 GiB, give a smaller"):
        load(path)(np.zeros((2, 2), np.uint8))


def test_a_file_that_does_not_say_its_experiment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load(FILES / "p2g_attention.onnx")
    facts = cases.facts_of(model)
    for name in ("experiment", "source", "fingerprint"):
        facts.pop(name, None)
    cases.add_facts(model, facts)
    path = tmp_path / "nameless.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.warns(UserWarning, match="unknown to nameless, read as <unk>: ☃"):
        load(path)("d ☃")
    assert main(["info", str(path)]) == 0
    assert main(["quantize", str(path)]) == 2
    told = capsys.readouterr().err
    assert "does not say which data it was trained on" in told and told.count("\n") == 1


def test_a_page_on_a_full_disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_, **__) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(shutil.copytree, "__defaults__", (False, None, full, False, False))
    message = r"site \(\[Errno 28\] No space left on device\)$"
    with pytest.raises(ModelError, match=message):
        build_site([FILES / "kmnist_cnn.onnx"], tmp_path / "site")
    assert not list(tmp_path.iterdir())


FOLDED = {
    # onnxruntime would compute and keep 30 of 100 MB
    "large ones": (5000, "sum0 = Identity (pixels)", 1e9),
    # these it keeps, while a call fills the pool with one of 1.44 GB
    "small ones": (
        1000,
        "many = Constant <value = int64[2] {19000, 19000}> () all = Expand (pixel, many) "
        "most = ReduceMax <keepdims = 0> (all) sum0 = Add (pixels, most)",
        2e9,
    ),
}


@pytest.mark.parametrize(("side", "first", "most"), FOLDED.values(), ids=FOLDED)
def test_memory_is_bounded_with_what_depends_on_no_input(
    side: int, first: str, most: float, tmp_path: Path
) -> None:
    statements = (
        f"size = Constant <value = int64[2] {{{side}, {side}}}> () "
        f"pixel = ReduceMax <keepdims = 0> (pixels) {first} "
    )
    for i in range(30):
        statements += (
            f"one{i} = Constant <value = float {{{i}.0}}> () all{i} = Expand (one{i}, size) "
            f"with{i} = Add (all{i}, pixel) top{i} = ReduceMax <keepdims = 0> (with{i}) "
            f"sum{i + 1} = Add (sum{i}, top{i}) "
        )
    text = cases.TINY.replace("(pixels, shape)", "(sum30, shape)")
    model = onnx.parser.parse_model(text.replace("flat =", statements + "flat ="))
    cases.add_facts(model, {"kind": "classifier", "labels": ["a", "b"]})
    path = tmp_path / "folded.onnx"
    path.write_bytes(model.SerializeToString())
    code = (  # ru_maxrss would begin at what this process has
        "import re, sys, numpy; from export.runtime import load; load(sys.argv[1])"
        "(numpy.zeros((2, 2), 'u1')); status = open('/proc/self/status').read(); "
        "print(re.search(r'VmHWM:\\s+(\\d+) kB', status)[1])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, path], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) * 1024 < most


@pytest.mark.parametrize("source", ["\ud800", ["k", "a\udfffb"]])
def test_half_characters(source: object) -> None:
    with pytest.raises(ModelError, match="holds half a character: expected Unicode text"):
        load(FILES / "p2g_attention.onnx")(source)


def test_errors_when_it_runs_name_the_file(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    model = onnx.load_from_string(cases.tiny())
    shape = next(w for w in model.graph.initializer if w.name == "shape")
    shape.CopyFrom(onnx.numpy_helper.from_array(np.array([-1, 3]), "shape"))
    path = tmp_path / "fails.onnx"
    path.write_bytes(model.SerializeToString())
    with pytest.raises(ModelError, match=r"fails\.onnx can") as raised:
        load(path)(np.zeros((1, 2, 2, 1), np.uint8))
    assert "\n" not in str(raised.value)
    assert not capfd.readouterr().err


@pytest.mark.parametrize(
    ("source", "note"),
    [
        ("d ɔ g", "p2g_attention reads g (U+0067) as ɡ (U+0261)"),
        ("k i:", "p2g_attention reads i: (U+0069 U+003A) as iː (U+0069 U+02D0)"),
        ("k ʼ kʼ", ""),
        ("ʤ æ", "p2g_attention reads ʤ (U+02A4) as d͡ʒ (U+0064 U+0361 U+0292)"),
    ],
)
def test_lookalikes_are_mapped_and_named(source: str, note: str) -> None:
    spell = load(FILES / "p2g_attention.onnx")
    with pytest.warns(UserWarning) as told:
        spell(source)
    assert str(told[0].message) == note or (not note and "unknown to" in str(told[0].message))


@pytest.mark.filterwarnings("ignore:p2g_attention reads")
def test_lookalikes_give_the_same_text() -> None:
    spell = load(FILES / "p2g_attention.onnx")
    assert spell("d ɔ g") == spell("d ɔ ɡ") == "dog"


def test_other_unknown_symbols_get_a_suggestion() -> None:
    with pytest.warns(UserWarning, match=r"<unk>: G ☃; for G did you mean ɡ \(U\+0261\)\?$"):
        load(FILES / "p2g_attention.onnx")("d ɔ G ☃")


@pytest.mark.parametrize("words", [["run", "k æ t ☃"], ["info"]])
def test_letters_that_the_terminal_does_not_have(words: list[str]) -> None:
    command = [sys.executable, "-m", "export", words[0], str(FILES / "p2g_attention.onnx")]
    done = subprocess.run(
        [*command, *words[1:]],
        capture_output=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONIOENCODING": "ascii"},
    )
    assert done.returncode == 0 and b"Traceback" not in done.stderr
    assert rb"\xe6" in done.stdout or words == ["info"]


def test_a_speller_spells_no_file_names(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["run", str(FILES / "p2g_attention.onnx"), "picture.png"]) == 2
    told = capsys.readouterr()
    assert "picture.png is the name of a picture: a speller takes phonetic symbols" in told.err
    assert not told.out


def test_a_photograph_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    path, pixels = tmp_path / "photo.png", np.arange(6, dtype=np.uint8).reshape(2, 3)
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # a quarter turn to the right
    Image.fromarray(pixels).save(path, exif=exif)
    assert picture(str(path), "L").tolist() == np.rot90(pixels, -1).tolist()
    Image.fromarray(pixels).save(path, exif=b"damaged")
    assert picture(str(path), "L").tolist() == pixels.tolist()


def test_sixteen_bits_become_eight(tmp_path: Path) -> None:
    path, levels = tmp_path / "deep.png", np.array([[0, 128, 129, 30_000, 65_535]], np.uint16)
    Image.fromarray(levels).save(path)
    assert picture(str(path), "L").tolist() == [[0, 0, 1, 117, 255]]
    assert picture(str(path)).shape == (1, 5, 3)


@pytest.mark.parametrize(("top", "advice"), [(1.0, '(x * 255).astype("uint8")'), (255.0, "x.as")])
def test_floats_get_advice(top: float, advice: str) -> None:
    with pytest.raises(ModelError) as raised:
        load(FILES / "kmnist_cnn.onnx")(np.full((28, 28), top))
    assert advice in str(raised.value) and "; scaling is inside the file, give" in str(raised.value)


def test_sixteen_threads_give_the_same_answers() -> None:
    cases.soak(seed=0, calls=8)


def test_limits_are_those_of_the_gate() -> None:
    assert runtime.MAX_STEPS**2 > runtime.MAX_WORK  # no two loops from inputs in one another
