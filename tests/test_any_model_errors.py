"""One clear line for what breaks the contract of ``export.generator`` and ``export.classifier``."""

import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

import export
from export.cli import main
from export.runtime import ModelError, load
from export.web.site import write_model

VOCABULARY = ["<pad>", "<start>", "<end>", "<unknown>", "a", "b"]
SIZE = len(VOCABULARY)
keras.utils.set_random_seed(1)  # untrained weights give texts that are almost as probable as others
EMBEDDING, LOGITS = layers.Embedding(SIZE, 4), layers.Dense(SIZE)
SOURCE = export.Symbols(VOCABULARY)


def encoder(source):
    return {"h": ops.mean(EMBEDDING(source), 1)}


def step(token, h):
    h = ops.tanh(h + EMBEDDING(token))
    return {"logits": LOGITS(h), "h": h}


def encoder_of_letters(source):
    return {"h": ops.mean(LETTERS(source), 1)}


LETTERS = layers.Embedding(8, 4)


def refused(folder: Path, message: str, **changes) -> None:
    """Exports with these changes: one line, and no file."""
    arguments = {"encoder": encoder, "step": step, "vocabulary": VOCABULARY, "source": SOURCE}
    with pytest.raises(ModelError, match=message) as raised:
        export.generator(path=folder / "x.onnx", **(arguments | changes))
    assert "\n" not in str(raised.value)
    assert not list(folder.iterdir())


def other_dtype(token, h):
    return step(token, h) | {"h": ops.cast(h, "float64")}


def other_shape(token, h):
    return step(token, h) | {"h": ops.concatenate([h, h[:, None, 0]], 1)[:, None]}


def grows_twice(token, h, k):
    return step(token, h) | {"k": ops.pad(k, [[0, 0], [0, 1], [0, 1]])}


def with_cache(source):
    return encoder(source) | {"k": ops.zeros((ops.shape(source)[0], 1, 1))}


DROPOUT = layers.Dropout(0.5, name="forgetful")
NORMAL = layers.BatchNormalization(name="normal")
PLAIN = layers.SimpleRNN(4, name="plain")
STATEFUL = layers.LSTM(4, stateful=True, name="remembers")


def in_training(token, h):
    return {"logits": LOGITS(DROPOUT(h, training=True)), "h": h}


def updates(token, h):
    return {"logits": LOGITS(NORMAL(h, training=True)), "h": h}


def broken(token, h):
    return {"logits": LOGITS(tf.reshape(h, (7, 7, 7, 7)) @ tf.ones((3, 3))), "h": h}


def not_a_number(token, h):
    return {"logits": NAN(h), "h": h}


def blind(token, h):
    return step(token, h) | {"attention": (h - h) / ops.sum(h - h)}


def without_end(token, h):
    return {"logits": INFINITE(h), "h": h}


NAN, INFINITE = layers.Dense(SIZE, name="lost"), layers.Dense(SIZE, name="endless")
for layer, weight in ((NAN, np.nan), (INFINITE, np.inf)):
    layer.build((None, 4))
    layer.kernel.assign(np.full((4, SIZE), weight))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (other_dtype, r"the state 'h' goes from float32 \(N, 4\) to float64 \(N, 4\)"),
        (other_shape, r"the state 'h' goes from float32 \(N, 4\) to float32 \(N, 1, 5\)"),
        (lambda token, h: {"h": h}, "the step returns h: expected 'logits'"),
        (lambda token, h: h, r"the vocabulary holds 6 strings, .* shape \(N, 4\)"),
        (lambda token, h: [h], "returns a list: expected a dict of tensors by name"),
        (lambda token, h: step(token, h) | {"c": h}, "returns 'c', which the encoder does not"),
        (lambda token, h, c: step(token, h), r"takes 'c', which .* \(it returns h\)"),
        (lambda token, h: {"logits": LOGITS(h)[0]}, "'logits' of the step has the shape"),
        (lambda token, h: {"logits": LOGITS(h)[:, None]}, r"float32 \(N, 1, 6\): expected float32"),
        (lambda token: {"logits": LOGITS(EMBEDDING(token))}, "the step uses nothing of what"),
        (in_training, "'forgetful' of the step is stateful or left in training mode"),
        (updates, "'normal' of the step is stateful or left in training mode"),
        (broken, r"the step cannot be traced \("),
        (not_a_number, "the weights 'lost/kernel' of the step hold NaN"),
        (blind, "the step gives attention that is NaN"),
        (without_end, "the step gives logits that are NaN: look for infinite weights"),
        (
            lambda token, h: {"logits": LOGITS(h) + tf.raw_ops.Digamma(x=LOGITS(h)), "h": h},
            "cannot convert: .*Digamma",
        ),
    ],
)
def test_a_step_that_breaks_the_contract(changed, message: str, tmp_path: Path) -> None:
    refused(tmp_path, message, step=changed)


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        (lambda source: {}, "the encoder returns nothing"),
        (lambda source: {"h": tf.zeros((1, 4))}, r"'h' of the encoder has the shape \(1, 4\)"),
        (
            lambda source: encoder(source) | {"t": tf.constant(0)},
            r"'t' .* \(\): expected the batch",
        ),
        (lambda source: {"h": STATEFUL(EMBEDDING(source))}, "stateful|cannot be traced"),
        (
            lambda source: {"h": PLAIN(EMBEDDING(source))},
            r"x\.onnx could run without end \(Loop 'encoder/plain/Loop' has no bound",
        ),
    ],
)
def test_an_encoder_that_breaks_the_contract(changed, message: str, tmp_path: Path) -> None:
    refused(tmp_path, message, encoder=changed)


def test_a_state_that_grows_along_two_axes(tmp_path: Path) -> None:
    refused(tmp_path, "the state 'k' goes from", encoder=with_cache, step=grows_twice)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"vocabulary": VOCABULARY[:5]}, "the vocabulary holds 5 strings"),
        ({"vocabulary": [*VOCABULARY[:5], "a"]}, "vocabulary holds 'a' twice, as 4 and 5"),
        ({"vocabulary": [*VOCABULARY[:5], ""]}, r"vocabulary\[5\] is ''"),
        ({"vocabulary": [*VOCABULARY[:5], "x y"], "separator": " "}, "without white space"),
        ({"vocabulary": [*VOCABULARY[:5], 7]}, r"vocabulary\[5\] is 7: expected a string"),
        ({"start": 6}, "start is 6, the vocabulary holds 6 strings: expected 0 to 5"),
        ({"end": -1}, "end is -1"),
        ({"pad": 2}, "pad and end are both 2"),
        ({"start": 2, "pad": None}, "start and end are both 2: expected a pad"),
        ({"end": None}, "end is None: expected the id of a token"),
        ({"start": "a"}, "start is 'a': expected the id of a token, a whole number"),
        ({"start": True}, "start is True: expected the id of a token, a whole number"),
        ({"vocabulary": None}, "vocabulary is None: expected a list with a string for every id"),
        ({"vocabulary": [*VOCABULARY[:5], "\ud800"]}, r"vocabulary\[5\] is '\\ud800': half of"),
        ({"length_penalty": "1"}, "length_penalty is '1': expected a number"),
        ({"max_length": 0}, "max_length is 0: expected 1 to 4,096 tokens"),
        ({"max_length": 10**9}, "max_length is 1000000000: expected 1 to 4,096 tokens"),
        ({"search": "best"}, "unknown search 'best'"),
        ({"source": "letters"}, "source is 'letters': expected Symbols"),
        ({"source": export.Array()}, "the encoder does not say what its source is"),
        ({"source": export.Array((4,), "nonsense")}, "Array: data type 'nonsense' not understood"),
        (
            {"source": export.Array((4,), "complex64")},
            "Array of complex64: expected one of float32",
        ),
        ({"sources": ["a", " "]}, "sources hold ' ': expected texts"),
        ({"sources": [3]}, "sources hold 3"),
        ({"sources": []}, "sources hold nothing"),
    ],
)
def test_arguments(changes: dict, message: str, tmp_path: Path) -> None:
    refused(tmp_path, message, **changes)


def test_sources_that_cannot_be() -> None:
    with pytest.raises(ModelError, match="Symbols holds 'a' twice"):
        export.Symbols([*VOCABULARY, "a"])
    with pytest.raises(ModelError, match=r"Words\[6\] is 'two words': .* without white space"):
        export.Words([*VOCABULARY, "two words"])
    with pytest.raises(ModelError, match="unknown is 9, the Characters holds 6"):
        export.Characters(VOCABULARY, unknown=9)
    for size in (0, 2.5, "a"):
        with pytest.raises(ModelError, match="expected pixels"):
            export.Image(size, 10)
    for shape in (5, (0,), ("a",)):
        with pytest.raises(ModelError, match="expected a size or None for each axis"):
            export.Array(shape, "int32")
    with pytest.raises(ModelError, match="unknown is 0, which is padding"):
        export.Symbols(VOCABULARY, unknown=0)
    with pytest.raises(ModelError, match=r"the mark U\+093E, which belongs to the letter before"):
        export.Characters([*VOCABULARY, "क", "ा"])
    with pytest.raises(ModelError, match="Symbols is None: expected a list"):
        export.Symbols(None)


def test_sources_with_what_the_list_has_as_a_special() -> None:
    """The lists of many examples begin with ordinary characters: they would be lost in silence."""
    usual, without = (
        export.Characters([" ", "!", ".", "a", "b"]),
        export.Characters([" ", "!", ".", "a", "b"], start=None, end=None, unknown=None),
    )
    assert usual.checked(["b"]) == ["b"] and without.checked(["a!"]) == ["a!"]
    for source, text, message in (
        (usual, "b!", "sources hold '!', which the list has as 'start': give start=None"),
        (usual, "ba", "sources hold 'a', which the list has as 'unknown': give unknown=None"),
        (without, "a b", "sources hold ' ', which the list has as padding, 0: put a string"),
    ):
        with pytest.raises(ModelError, match=message):
            source.checked([text])
    source = export.Characters(["<pad>", *" !.ab"], start=None, end=None, unknown=None)
    assert source.checked(["a b!"]) == ["a b!"]


def test_characters_of_several_code_points(tmp_path: Path) -> None:
    refused(tmp_path, "several code points", source=export.Characters([*VOCABULARY, "x\u0301"][:7]))


def test_a_path_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "folder.onnx").mkdir()
    message = r"is not a folder|ends in \.onnx|cannot write .*(Is a directory|No such file)"
    for path in (
        tmp_path / "none" / "x.onnx",
        tmp_path / "x.txt",
        tmp_path / "folder.onnx",
        Path("/proc/x.onnx"),
    ):
        with pytest.raises(ModelError, match=message):
            export.generator(encoder, step, path, vocabulary=VOCABULARY, source=SOURCE)
        with pytest.raises(ModelError, match=message):
            export.classifier(CLASSIFIER, path, labels=["a", "b", "c"])
    assert [path.name for path in tmp_path.iterdir()] == ["folder.onnx"]


CLASSIFIER = keras.Sequential(
    [keras.Input((8, 8, 3)), layers.Conv2D(4, 3), layers.GlobalMaxPooling2D(), layers.Dense(3)],
    name="flowers",
)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"labels": ["a", "b"]}, "2 labels for 3 outputs"),
        ({"labels": ["a", "b", "a"]}, "label 'a' is there twice"),
        ({"labels": ["a", "b", " "]}, "label ' ': expected a name"),
        ({"labels": ["a", "b", "\udc80"]}, r"label '\\udc80': expected a name"),
        ({"labels": "abc"}, "labels are 'abc': expected a list of names"),
        ({"labels": None}, "labels are None: expected a list of names"),
        ({"scale": np.nan}, "scale is nan: expected a number"),
        ({"scale": "1"}, "scale is '1': expected a number"),
        ({"images": np.zeros((2, 8, 8, 3), np.float32)}, r"images are float32 \(2, 8, 8, 3\)"),
        ({"images": np.zeros((2, 9, 8, 3), np.uint8)}, "images are uint8"),
    ],
)
def test_a_classifier(options: dict, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        export.classifier(
            CLASSIFIER, tmp_path / "x.onnx", **({"labels": ["a", "b", "c"]} | options)
        )
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


OF_FLOWERS = keras.Input((8, 8, 3))
FLOWERS = layers.GlobalMaxPooling2D()(OF_FLOWERS)


@pytest.mark.parametrize(
    ("model", "message"),
    [
        ("flowers", "model is 'flowers': expected a Keras model"),
        (keras.Model(OF_FLOWERS, {"y": FLOWERS}, name="m"), "'m' gives a dict: expected logits"),
        (keras.Model(OF_FLOWERS, ops.max(FLOWERS, 0), name="m"), r"'m' gives \(3,\): expected log"),
        (
            keras.Model(OF_FLOWERS, NAN(LOGITS(FLOWERS[:, :1] @ ops.ones((1, 4)))[:, :4])),
            "hold NaN",
        ),
        (
            keras.Model(OF_FLOWERS, layers.Dense(3, "sigmoid")(FLOWERS), name="m"),
            "'m' ends in a sigmoid",
        ),
        (keras.Model(OF_FLOWERS, FLOWERS * np.inf * 0, name="m"), "'m' gives NaN for 64 images"),
        (
            keras.Model(two := [OF_FLOWERS, keras.Input((8, 8, 3))], FLOWERS + ops.max(two[1])),
            "the classifier cannot be traced",
        ),
    ],
)
def test_a_model_that_is_no_classifier(model, message: str, tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=message) as raised:
        export.classifier(model, tmp_path / "x.onnx", labels=["a", "b", "c"])
    assert "\n" not in str(raised.value) and not list(tmp_path.iterdir())


def test_a_classifier_of_one_batch_size(tmp_path: Path) -> None:
    """The batch axis of the file is free, whatever Keras was told."""
    fixed = keras.Sequential(
        [keras.Input(batch_shape=(4, 8, 8, 3)), layers.GlobalMaxPooling2D()]  # logits from 0 to 1
    )
    export.classifier(fixed, tmp_path / "x.onnx", labels=["r", "g", "b"])
    assert len(load(tmp_path / "x.onnx")(np.zeros((3, 8, 8, 3), np.uint8))) == 3


def test_a_classifier_of_unknown_size(tmp_path: Path) -> None:
    free = keras.Sequential([keras.Input((None, None, 3)), layers.GlobalMaxPooling2D()])
    with pytest.raises(ModelError, match=r"takes \(None, None, 3\): expected one input"):
        export.classifier(free, tmp_path / "x.onnx", labels=["r", "g", "b"])


def test_examples_are_counted_once_and_read_as_the_runtime_reads_them(tmp_path: Path) -> None:
    letters = export.Characters([*VOCABULARY[:4], "a", "b", "é", "ˈ"])
    examples = ["e\u0301a", "'b"]
    path = tmp_path / "x.onnx"
    found = export.generator(
        encoder_of_letters, step, path, VOCABULARY, letters, examples, max_length=3
    )
    assert found.examples == 2
    assert letters.encode(["e\u0301a", "'b"]).tolist() == [[6, 4], [7, 5]]


def test_numbers_of_numpy(tmp_path: Path) -> None:
    source, path = export.Symbols(VOCABULARY, unknown=np.int64(3)), tmp_path / "x.onnx"
    numbers = {"start": np.int64(1), "end": np.int32(2), "length_penalty": np.float32(0.5)}
    export.generator(
        encoder, step, path, VOCABULARY, source, max_length=3, strings=False, **numbers
    )
    assert load(path).info["length_penalty"] == 0.5


def test_nothing_heavy_is_imported_for_a_source() -> None:
    code = "import sys, export; export.Symbols(list('pseu')); print('tensorflow' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "False\n"


def test_files_of_older_versions_still_load() -> None:
    folder = Path(__file__).parents[1] / "results" / "onnx"
    spell = load(folder / "p2g_attention.onnx")
    assert spell("k æ t") == "cat"


def test_a_file_without_unknown_and_one_of_numbers(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    letters = export.Characters(["<pad>", "a", "b", "c"], start=None, end=None, unknown=None)
    path = tmp_path / "letters.onnx"
    export.generator(encoder, step, path, VOCABULARY, letters, max_length=3)
    assert isinstance(load(path)("abc"), str)
    with pytest.raises(
        ModelError, match="unknown to letters, read as <unk>: z, which this file cannot do"
    ):
        load(path)("abz")

    def of_numbers(source):
        return {"h": source}

    path = tmp_path / "numbers.onnx"
    array = export.Array((4,), "float32")
    export.generator(of_numbers, step, path, VOCABULARY, array, max_length=3)
    model, numbers = load(path), np.arange(8, dtype=np.float32).reshape(2, 4)
    assert model(numbers) == [model(numbers[0]), model(numbers[1])]
    with pytest.raises(ModelError, match=r"sources are float32 \(2, 3\): expected float32"):
        model(numbers[:, :3])
    np.save(tmp_path / "one.npy", numbers[1])
    assert main(["run", str(path), str(tmp_path / "one.npy")]) == 0
    assert capsys.readouterr().out.splitlines()[1].endswith(f"  {model(numbers[1])}")
    assert main(["run", str(path), str(path)]) == 2
    assert "is no array: expected a file of numpy.save" in capsys.readouterr().err
    with pytest.raises(ModelError, match="takes or gives numbers alone"):
        write_model(path, tmp_path)
