"""All searches that the benchmark compares find the same tokens."""

import importlib
import importlib.util
from pathlib import Path

import numpy as np
import pytest

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
    np.testing.assert_array_equal(generators.stepwise(*sessions, ids, generators.STEPS), expected)
    if importlib.util.find_spec("torch"):
        generators.torch_load(generators.keras_weights())
        np.testing.assert_array_equal(generators.torch_search(ids), expected)
