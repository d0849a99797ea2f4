"""Beam search worse than greedy: sums of log-probabilities favour short texts."""

import keras
import numpy as np

import hw2_keras as hw2
from hw2_keras.metrics import mean_bleu4
from hw2_keras.models import build_models
from hw2_keras.training.sequences import decode_split, sequence_loss, target_arrays

data = hw2.load_data("sydney")  # synthetic scenes, five captions each
words = data.target_vocabulary


def features(images: np.ndarray) -> np.ndarray:
    """The mean colours of 8x8 tiles: (N, 64, 64, 3) -> (N, 64, 3). A CNN would take minutes."""
    return (images.reshape(-1, 8, 8, 8, 8, 3).mean((2, 4)) / 256).reshape(-1, 64, 3)


target_in, target_out = target_arrays([c for group in data.train.target for c in group], words)
source = features(data.train.image).repeat([len(g) for g in data.train.target], 0)
test, truth = features(data.test.image), list(data.test.target)

models = build_models(hw2.experiments["caption"], vocabulary_size=len(words), features=(64, 3))
models.training.compile(keras.optimizers.Adam(0.003), sequence_loss())
keras.utils.set_random_seed(42)
models.training.fit([source, target_in], target_out, batch_size=32, epochs=6, verbose=0)

length = np.mean([len(caption.split()) for group in truth for caption in group])
print("search                              BLEU-4  words for each true one")
for name, arguments in (
    ("greedy", {}),
    ("5 beams, sum of log-probabilities", {"search": "beam", "length_penalty": 0.0}),
    ("5 beams, mean of log-probabilities", {"search": "beam", "length_penalty": 1.0}),
):
    texts = decode_split(models, test, words, max_length=22, **arguments)
    written = np.mean([len(text.split()) for text in texts]) / length
    print(f"{name:<35} {mean_bleu4(texts, truth):.4f}  {written:.3f}")
