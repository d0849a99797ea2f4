"""The loss falls but BLEU does not: a target that is not shifted shows the decoder its answer."""

import keras

import hw2_keras as hw2
from hw2_keras.metrics import corpus_bleu
from hw2_keras.models import build_models
from hw2_keras.training.sequences import decode_split, sequence_loss, target_arrays

data = hw2.load_data("p2g")  # synthetic: pseudo-words
sources, words = data.source_vocabulary, data.target_vocabulary
source, test = sources.encode_batch(data.train.source), sources.encode_batch(data.test.source[:100])
target_in, target_out = target_arrays(data.train.target, words)
truth = [[" ".join(word)] for word in data.test.target[:100]]  # BLEU of letters

print("the decoder reads  loss    BLEU-4")
for name, seen in (("the target itself", target_out), ("SOS + the target", target_in)):
    models = build_models(
        hw2.experiments["p2g_attention"], source_size=len(sources), target_size=len(words)
    )
    models.training.compile(keras.optimizers.Adam(0.003), sequence_loss())
    keras.utils.set_random_seed(42)
    for _ in range(2):
        history = models.training.fit(
            [source, seen], target_out, batch_size=64, epochs=3, verbose=0
        ).history["loss"]
        texts = decode_split(models, test, words, max_length=20)
        bleu = corpus_bleu([" ".join(text) for text in texts], truth)
        print(f"{name:<18} {history[-1]:.4f}  {bleu:.4f}")
