"""
From Keras to any app
=====================

A trained network is of use when a program can call it that has never heard of Keras: a web page, a
phone, a server written in Go. **ONNX** is a file format for such networks: a graph of standard
operations with their weights, which *onnxruntime* runs from a dozen languages. This tutorial
starts with a small model of your own, makes one ``.onnx`` file of it, and asks it from Python, Node
and a browser. Then it takes one of this package's runs, a speller that reads phonemes (the sounds
of a word) and writes letters, looks inside its file, and uses it without TensorFlow.

.. code-block:: bash

    python tutorials/export/from_keras_to_any_app.py                  # made-up words
    python tutorials/export/from_keras_to_any_app.py --source real    # the homework's words

With ``--source real`` the finished run in ``results`` is opened. Where there is none, or with
another ``--out``, it is trained. Files are written to ``runs/tutorials/from_keras_to_any_app``.
"""

# %%
# A model of your own
# -------------------
# Forty lines of Keras that read "two hundred five" and write "205". ``read`` and ``write`` are used
# twice: by the model that is trained, and below by the two functions that are exported.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=8)  # before Keras, which it starts

import statistics
import subprocess
import sys
import time
import warnings
from collections import Counter

import keras
import numpy as np
import onnx
import onnxruntime
from keras import layers, ops

import export
from export.runtime import ModelError, load
from hw2_keras import metrics
from hw2_keras.plots import of_texts

# %%
# The data: every number below a thousand, once in words and once in digits.

SPECIALS = ["<pad>", "<start>", "<end>", "<unknown>"]
ONES = "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
ONES = (ONES + "fifteen sixteen seventeen eighteen nineteen").split()
TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]
WORDS, DIGITS = [*SPECIALS, *ONES, *TENS, "hundred"], [*SPECIALS, *"0123456789"]


def in_words(number):
    if number < 20:
        return [ONES[number]]
    if number < 100:
        return [TENS[number // 10 - 2], *([ONES[number % 10]] if number % 10 else [])]
    return [ONES[number // 100], "hundred", *(in_words(number % 100) if number % 100 else [])]


def padded(rows):
    return keras.utils.pad_sequences(rows, padding="post", dtype="int32")


source = padded([[WORDS.index(word) for word in in_words(number)] for number in range(1000)])
digits = [[DIGITS.index(digit) for digit in str(number)] for number in range(1000)]
target_in, target_out = padded([[1, *row] for row in digits]), padded([[*row, 2] for row in digits])

# %%
# The network: a bidirectional GRU reads, a GRU with attention writes. Padding is masked.

keras.utils.set_random_seed(0)
of_word, of_digit = layers.Embedding(len(WORDS), 32), layers.Embedding(len(DIGITS), 32)
reader = layers.Bidirectional(layers.GRU(32, return_sequences=True, return_state=True))
writer = layers.GRU(64, return_sequences=True, return_state=True)
attention, to_logits = layers.Attention(), layers.Dense(len(DIGITS))


def read(source):
    mask = ops.not_equal(source, 0)
    memory, forward, backward = reader(of_word(source), mask=mask)
    return memory, ops.concatenate([forward, backward], -1), mask


def write(digits, h, memory, mask):
    output, h = writer(of_digit(digits), initial_state=h)
    context, look = attention([output, memory], mask=[None, mask], return_attention_scores=True)
    return to_logits(ops.concatenate([output, context], -1)), h, look


inputs = [keras.Input((None,), dtype="int32"), keras.Input((None,), dtype="int32")]
memory, h, mask = read(inputs[0])
model = keras.Model(inputs, write(inputs[1], h, memory, mask)[0])
loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True, ignore_class=0)
model.compile(keras.optimizers.Adam(0.01), loss)
history = model.fit([source, target_in], target_out, batch_size=50, epochs=12, verbose=0)
print(f"loss {history.history['loss'][0]:.3f} -> {history.history['loss'][-1]:.3f}")

# %%
# One call, one file: the *encoder* says what is known before the first digit, the *step* takes one
# digit and what is known, and returns the scores of the next digit and what has changed (here
# ``h``). Search, vocabulary and the numbering of the words go into the file. The call compares it
# with Keras and returns the report; a file that answers differently is not left behind.


def encoder(source):
    memory, h, mask = read(source)
    return {"memory": memory, "h": h, "mask": mask}


def step(token, h, memory, mask):
    logits, h, look = write(token[:, None], h, memory, mask)
    return {"logits": logits[:, 0], "h": h, "attention": look[:, 0]}


numbers_file = tutorial.file("numbers.onnx")
report = export.generator(
    encoder,
    step,
    numbers_file,
    vocabulary=DIGITS,
    source=export.Words(WORDS),
    sources=[" ".join(in_words(number)) for number in range(0, 1000, 15)],
    max_length=5,
)
print(report)
to_digits = load(numbers_file)
print(to_digits("two hundred five"), to_digits(["ninety nine", "six hundred"]))
print(to_digits("seven hundred", num_beams=5, n_best=3))

# %%
# In Node, or in a browser with ``onnxruntime-web``, the same file gives the same answer:
#
# .. code-block:: javascript
#
#     const session = await ort.InferenceSession.create("numbers.onnx");
#     const int64 = (number) => new ort.Tensor("int64", [BigInt(number)], []);
#     const { text_out } = await session.run({
#       text: new ort.Tensor("string", ["two hundred five"], [1]),
#       num_beams: int64(1),
#       max_length: int64(5),
#     });
#     console.log(text_out.data[0]); // 205
#
# ``python -m export web numbers.onnx --out page`` makes a page of it, ``python -m export run
# numbers.onnx "two hundred five"`` asks it from a shell. Images, characters, caches of Transformers
# and files for runtimes without strings: see "Export your own model" in the documentation.
#
# A trained run
# -------------
# The speller is the one of edition 2024-25, Question 3, with attention. A *run* is a folder with
# its weights, its vocabularies (which symbol has which number) and a record of how it was made.

run = tutorial.train("p2g_attention", options, weights=True)
print(*sorted(path.name for path in run.path.iterdir()))

# %%
# One call, one file
# ------------------
# ``to_onnx`` converts the run and then *proves* that the file answers as Keras does. The **parity
# report** says on how many test words the two were compared, how many answers differ (none may),
# and the largest difference of a score and of an attention weight. A file that fails is not left
# behind. On the command line it is ``python -m export convert RUN -o spell.onnx``.

file = tutorial.file("spell.onnx")
parity = export.to_onnx(run, file)
print(parity)

# %%
# What the file holds
# -------------------
# Everything: the application passes in a text and gets texts back. The numbering of the symbols is
# inside, and so are search, metrics, protocol and licence. Named axes such as ``N`` may have any
# length. The same on the command line: ``python -m export info spell.onnx``.

spell = load(file)
for name, kind, shape in spell.signature():
    print(f"{name:12} {kind:16} {shape}")
for key in ("experiment", "source", "search", "max_length", "licence"):
    print(f"{key}: {spell.info[key]}")
print("metrics:", {name: round(value, 4) for name, value in spell.info["metrics"].items()})

# %%
# Greedy search writes the most probable letter at every step; *beam search* with ``num_beams``
# keeps that many beginnings. Either is a loop, and its length depends on the word. Usually the loop
# is left to the application, once more in every language. Here it is a node of the graph, an ONNX
# ``Loop``, whose *body* is one step of the decoder:
#
# .. code-block:: text
#
#     text -> numbers -> encoder -> memory ----------------+  (one vector per phoneme)
#                                                          |
#       +--> last letter -> LSTM cell -> attention <-------+
#       |                                    |
#       |                      probabilities of all letters
#       |                                    |
#       +---- the best of them <-------------+----> append its text; all words ended? leave
#
# Each step changes the state and the texts, and only these are carried from step to step. Memory
# and weights stay outside of the loop; its body simply refers to them. Every level of the file,
# with its number of nodes:


def outline(graph, depth=0):
    kinds = Counter(node.op_type for node in graph.node).most_common(4)
    print(f"{'  ' * depth}{len(graph.node)} nodes:", ", ".join(f"{n} {kind}" for kind, n in kinds))
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                print(f"{'  ' * depth}{node.op_type}, {attribute.name}:")
                outline(attribute.g, depth + 1)


model = onnx.load(file)
outline(model.graph)
print("operators of:", [entry.domain or "ai.onnx" for entry in model.opset_import])

# %%
# The ``If`` chooses between two loops: one beam needs no sorting of beams. All operators are
# standard (``ai.onnx`` and ``ai.onnx.ml``), so no runtime needs an extension.
#
# In a program without TensorFlow
# -------------------------------
# ``export/runtime.py`` needs numpy and onnxruntime. It can be installed with this package, or
# copied into yours: it is one file. Here it runs in a fresh process that says what it has loaded.

words = run.data().test.source
word = max(words[:50], key=len)
program = """
import sys
from export.runtime import load

spell = load(sys.argv[1])
print(sys.argv[2], "->", spell(sys.argv[2]))
print("loaded:", *sorted({"numpy", "onnxruntime", "keras", "tensorflow"} & set(sys.modules)))
"""
command = [sys.executable, "-c", program, str(file), word]
started = time.perf_counter()
done = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
print(done.stdout, f"{time.perf_counter() - started:.1f} s, from start to end", sep="")
if "tensorflow" in done.stdout or "keras" in done.stdout:
    raise RuntimeError("the runtime loaded TensorFlow or Keras")

# %%
# Several proposals, many words, and where it looked
# --------------------------------------------------
# ``n_best`` asks for that many texts with their scores, best first. A *score* is the logarithm of
# the text's probability, divided by its number of letters.

for text, score in spell(word, num_beams=5, n_best=3):
    print(f"{score:8.3f}  {text}")

# %%
# A list of words is answered as a list. Words that share a call share the work of a step, and all
# of them wait for the longest.

spell(words)  # warm up
started = time.perf_counter()
answers = spell(words)
together = (time.perf_counter() - started) / len(words)


def seconds(source):
    started = time.perf_counter()
    spell(source)
    return time.perf_counter() - started


alone = statistics.median(seconds(source) for source in words[:100])
wrong = metrics.wer(answers, run.data().test.target)
print(f"{1000 * alone:.2f} ms for a word alone, {1000 * together:.2f} ms each for {len(words)}")
print(f"share of wrong words {wrong:.4f}, in Keras {run.metrics['test_wer']:.4f}")

# %%
# A model with attention can show which phoneme each letter came from.

text, look = spell(word, attention=True)
figure = of_texts.attention_map(look, word.split(), [*text, "end"])
tutorial.show(figure, "attention")

# %%
# When the input is wrong
# -----------------------
# A symbol that training has not seen is read as "unknown", with a warning; anything that cannot be
# meant is a ``ModelError`` whose one line says what to do.

with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    print("answer: ", spell(f"{word} ☃"))
    print("warning:", caught[0].message)
try:
    spell(word, num_beams=2, n_best=3)
except ModelError as error:
    print("error:  ", error)

# %%
# The sampler
# -----------
# *Nucleus sampling* draws each letter at random among the most probable ones, those that together
# reach the probability ``top_p``. Random numbers differ from runtime to runtime, so the file takes
# them as an input, ``uniforms``: the same numbers give the same text in Python, in Node and in a
# browser. ``load`` draws them from a seed.

sampler_file = tutorial.file("sample.onnx")
parity = export.to_onnx(run, sampler_file, search="nucleus")
print(f"{parity.different_answers} different answers in {parity.examples} words")
sample = load(sampler_file)
print(sample([word] * 5, top_p=0.95, seed=1))
print(sample([word] * 5, top_p=0.95, seed=1), "(the same seed)")

# %%
# From any language
# -----------------
# ``load`` is a convenience. This is what it does underneath, and what a program in C#, Java, Rust
# or Swift does with its own onnxruntime:

session = onnxruntime.InferenceSession(file)
inputs = {
    "text": np.array([word], object),  # N texts
    "num_beams": np.array(3, np.int64),
    "max_length": np.array(50, np.int64),
}
texts, scores = session.run(["text_out", "scores"], inputs)
print(texts.shape, texts[0])

# %%
# - **Node**: ``examples/node/spell.mjs`` is the same in JavaScript: ``node spell.mjs spell.onnx "h
#   ə l o ʊ"``.
# - **Browser**: ``python -m export web spell.onnx --out page`` makes a folder for any web server;
#   the network then runs on the visitor's machine.
# - **Smaller**: ``python -m export quantize spell.onnx`` stores the weights as 8-bit integers,
#   about a quarter of the size, and measures what that changes on the test words.
# - **GPU**: ``load("spell.onnx", providers=("CUDAExecutionProvider",))``.
# - **Shell**: ``python -m export run spell.onnx "d ɪ s k ʌ v ə ɹ" --num-beams 5``.
#
# What to try next
# ----------------
# - Ask for the 20 best spellings of a word. At which score do they stop to make sense?
# - ``export.to_onnx(run, file, length_penalty=0)`` scores with the plain sum. Which words get
#   shorter with ``num_beams=10``?
# - Export a classifier: its file takes raw pixels and answers with the name of the class.
# - Open ``spell.onnx`` at netron.app and find the ``Loop``.
