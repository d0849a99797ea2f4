"""ONNX answers differ: the file is right, what Keras was given is not the same."""

from pathlib import Path

import numpy as np

import hw2_keras as hw2
from export.runtime import load

results = Path(__file__).parents[2] / "results"
file = load(results / "onnx" / "kmnist_cnn.onnx")
network = hw2.open_run(results / "kmnist_cnn-real-rate0.0005-epochs20-seed42").model()
images = hw2.load_data("kmnist").test.image[:200]
expected = file.probabilities(images)

print("what Keras is given       different answers of 200  largest difference")
for name, scaled, training in (
    ("images / 256", images / np.float32(256), False),
    ("images / 255", images / np.float32(255), False),
    ("images, not scaled", images.astype("float32"), False),
    ("1 - images / 256", 1 - images / np.float32(256), False),
    ("training=True (dropout)", images / np.float32(256), True),
):
    logits = network(scaled, training=training).numpy()
    found = np.exp(logits - np.logaddexp.reduce(logits, axis=1, keepdims=True))
    different = (found.argmax(1) != expected.argmax(1)).sum()
    print(f"{name:<25} {different:<25} {np.abs(found - expected).max():.2g}")
