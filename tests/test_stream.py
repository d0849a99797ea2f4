"""Letters as they come: the pieces of a stream are the text that a call gives."""

import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest

from export.quantize import quantize_weights
from export.runtime import Classifier, ModelError, load

FILES = Path(__file__).parents[1] / "results" / "onnx"
SPELL, TRANSLATE = FILES / "p2g_attention.onnx", FILES / "translate_attention.onnx"


@pytest.mark.parametrize(
    ("path", "source"),
    [
        (SPELL, "d ɪ s k ʌ v ə ɹ"),
        (SPELL, "k"),
        (TRANSLATE, "¿Dónde está mi libro?"),
    ],
)
def test_the_pieces_are_the_text(path: Path, source: str) -> None:
    model = load(path)
    text = model(source)
    assert list(model.stream(source)) == list(text)  # a letter a step
    for max_length in (1, 3, 4096):
        assert "".join(model.stream(source, max_length=max_length)) == model(
            source, max_length=max_length
        )


def test_rounded_weights_stay_in_the_step(tmp_path: Path) -> None:
    model, path = onnx.load(SPELL), tmp_path / "int8.onnx"
    assert quantize_weights(model) > 5
    path.write_bytes(model.SerializeToString())
    spell = load(path)
    assert "".join(spell.stream("d ɪ s k ʌ v ə ɹ")) == spell("d ɪ s k ʌ v ə ɹ")
    # What depends on the source is given to each step; weights are not.
    assert set(spell._stepwise.fixed) == set(load(SPELL)._stepwise.fixed)


def test_pieces_come_one_by_one() -> None:
    model = load(SPELL)
    pieces = model.stream("d ɪ s k ʌ v ə ɹ")
    assert next(pieces) == "d" and next(pieces) == "i"
    others = model.stream("k æ t")  # another begins meanwhile
    assert "".join(others) == model("k æ t")
    assert "di" + "".join(pieces) == model("d ɪ s k ʌ v ə ɹ")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"source": "k æ t", "num_beams": 5}, "num_beams is 5: the best of several beams is known"),
        ({"source": "k æ t", "num_beams": 0}, "num_beams is 0: expected a whole number"),
        ({"source": ["k æ t", "k"]}, "stream takes one source"),
        ({"source": " "}, "source 0 is blank"),
        ({"source": 3}, "stream takes one source"),
        ({"source": "k", "max_length": 5000}, "the largest is 4,096 tokens"),
    ],
)
def test_bad_input_is_refused_before_the_first_piece(given: dict, message: str) -> None:
    with pytest.raises(ModelError, match=message):
        load(SPELL).stream(**given)


def test_unknown_symbols_are_named_where_the_caller_is() -> None:
    with pytest.warns(UserWarning, match="unknown to p2g_attention.*☃") as caught:
        load(SPELL).stream("k ☃")
    assert caught[0].filename == __file__


def test_a_file_that_has_changed(tmp_path: Path) -> None:
    path = tmp_path / "spell.onnx"
    shutil.copyfile(SPELL, path)
    model = load(path)
    shutil.copyfile(TRANSLATE, path)
    with pytest.raises(ModelError, match="has changed since it was loaded: load it again"):
        next(model.stream("k æ t"))
    path.unlink()
    with pytest.raises(ModelError, match="does not exist"):
        next(model.stream("k æ t"))


def test_other_weights_under_the_same_metadata(tmp_path: Path) -> None:
    path = tmp_path / "spell.onnx"
    shutil.copyfile(SPELL, path)
    model = load(path)
    other = onnx.load(SPELL)
    weight = max(other.graph.initializer, key=lambda each: len(each.raw_data))
    weight.raw_data = bytes(len(weight.raw_data))
    path.write_bytes(other.SerializeToString())
    with pytest.raises(ModelError, match="has changed since it was loaded: load it again"):
        next(model.stream("k æ t"))


def test_a_file_that_does_not_say_its_experiment(tmp_path: Path) -> None:
    nameless = onnx.load(SPELL)
    (name,) = (each for each in nameless.metadata_props if each.key == "hw2.experiment")
    nameless.metadata_props.remove(name)
    path = tmp_path / "nameless.onnx"
    path.write_bytes(nameless.SerializeToString())
    model = load(path)
    model.info["mine"] = "a key of the caller's"
    assert "".join(model.stream("k æ t")) == model("k æ t")


def test_a_classifier_has_nothing_to_stream() -> None:
    model = load(FILES / "kmnist_cnn.onnx")
    assert isinstance(model, Classifier) and not hasattr(model, "stream")
    assert model(np.zeros((1, 28, 28, 1), np.uint8)).shape == (1,)
