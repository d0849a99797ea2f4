from pathlib import Path

import keras
from keras import layers, ops

import export

phonemes = ["<pad>", "<start>", "<end>", "<unknown>", "k", "æ", "t", "d", "ɔ", "ɡ"]
letters = ["<pad>", "<start>", "<end>", "<unknown>", *"abcdefghijklmnopqrstuvwxyz"]
embedding = layers.Embedding(len(phonemes), 32, mask_zero=True)
gru = layers.GRU(64, return_sequences=True, return_state=True)
target_embedding = layers.Embedding(len(letters), 32)
cell, logits = layers.GRUCell(64), layers.Dense(len(letters))


def encoder(source):  # int32 (N, S)
    memory, h = gru(embedding(source))
    return {"memory": memory, "h": h, "is_symbol": ops.not_equal(source, 0)}


def step(token, memory, h, is_symbol):  # token int32 (N,)
    h, _ = cell(target_embedding(token), [h])
    scores = ops.where(is_symbol, ops.einsum("nd,nsd->ns", h, memory), -1e9)
    look = ops.softmax(scores)
    context = ops.einsum("ns,nsd->nd", look, memory)
    return {"logits": logits(ops.concatenate([h, context], -1)), "h": h, "attention": look}


# Your training stands here; a first call makes the weights, so that the example runs without it.
keras.utils.set_random_seed(0)
step(ops.array([1]), **encoder(ops.array([[4, 5, 6]])))

Path("runs").mkdir(exist_ok=True)
report = export.generator(
    encoder,
    step,
    "runs/own_speller.onnx",
    vocabulary=letters,
    source=export.Symbols(phonemes),
    sources=["k æ t", "d ɔ ɡ"],
)
print(report)
