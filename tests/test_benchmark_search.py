"""The benchmarks: all searches find the same tokens, every file gets inputs, rows are told."""

import importlib
import importlib.util
import sys
import warnings
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from export.runtime import load
from hw2_keras import load_data

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture
def generators(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.syspath_prepend(BENCHMARKS)
    module = importlib.import_module("generators")
    layer = module.keras_models().training.get_layer("target_embedding")
    layer.embeddings.assign(20 * np.asarray(layer.embeddings))  # fresh weights repeat one token
    return module


def test_every_search_finds_the_same(generators, tmp_path: Path) -> None:
    ids = generators.source_ids(5)
    generators.keras_export(str(tmp_path))
    expected = generators.keras_search(ids.astype(np.int32))
    assert expected.shape == (5, generators.STEPS) and len(np.unique(expected)) > 4
    texts = [generators.VOCABULARY.decode(row) for row in expected]
    found = generators.speller(str(tmp_path)).search(generators.source_texts(5))
    assert found.texts[:, 0].tolist() == texts
    sessions = [generators.session(str(tmp_path), name) for name in ("encoder", "step")]
    tokens, looks = generators.stepwise(*sessions, ids, generators.STEPS)
    np.testing.assert_array_equal(tokens, expected)
    np.testing.assert_allclose(looks, np.stack(found.attention), atol=1e-5)
    if importlib.util.find_spec("torch"):
        generators.torch_load(generators.keras_weights())
        np.testing.assert_array_equal(generators.torch_search(ids), expected)


def test_every_committed_file_gets_inputs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    gpu = importlib.import_module("gpu")
    monkeypatch.setattr(gpu, "load_data", lambda name, source: load_data(name, source="synthetic"))
    paths = sorted(gpu.FILES.glob("*.onnx"))
    assert any(path.stem.startswith("caption") for path in paths)
    for path in paths:
        model = load(path)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # symbols of the synthetic data may be unknown
            assert len(model(gpu.inputs(model, 3), batch_size=3)) == 3


def test_rows_are_told_as_they_come(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(BENCHMARKS)
    bench = importlib.import_module("bench")

    def rows():
        yield bench.Row("gpu", "kmnist_cnn, a run", "min", 1.25, 2.5, 2.0)
        raise RuntimeError("the next one fails")

    monkeypatch.setitem(sys.modules, "gpu", SimpleNamespace(rows=rows))
    with pytest.raises(RuntimeError):
        bench.main(["gpu"])
    assert "kmnist_cnn, a run  min  1.25  2.5  2.00" in capsys.readouterr().err
