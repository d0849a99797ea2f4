"""
Question 2: why images want convolutions
========================================

Edition 2022-23. A *convolutional network* (CNN) reads ten old Japanese characters, Kuzushiji-MNIST,
and the question makes three claims about it: it has fewer parameters than a network without
convolutions, it does better on new images, and all of that is due to the neighbourhoods of the
pixels. We test each claim by an experiment. Then the network of the homework is trained with three
learning rates; the figures of reports 002 and 003 stand beside ours.

.. code-block:: bash

    python tutorials/2022_23/q2_kuzushiji_cnn.py                  # drawn Greek letters
    python tutorials/2022_23/q2_kuzushiji_cnn.py --source real    # Kuzushiji-MNIST

With ``--source real`` the finished runs in ``results`` are opened. With a new folder as ``--out``,
or with the complete set in place of its 10,000 test images, they are trained: two to three minutes
per learning rate on two cores with 8,000 images, six times as long with the complete set. Figures
are saved under ``runs/tutorials/q2_kuzushiji_cnn``.
"""

# %%
# Setup
# -----
# ``options`` holds what was given on the command line: where the data come from, how many *epochs*
# (passes over the training images) to train, and where the runs are kept.

from hw2_keras import tutorial

options = tutorial.arguments(epochs=4)  # before Keras, which it starts

import keras
import numpy as np
from keras import layers
from matplotlib.figure import Figure

import export
import hw2_keras as hw2
from export import runtime
from hw2_keras.plots import curves, of_images, of_runs
from hw2_keras.report import tables
from hw2_keras.theory import derivation

experiment = hw2.experiments["kmnist_cnn"]
data = hw2.load_data("kmnist", source=options.source)
print(
    f"{data.source} data: {len(data.train.label):,} training images of {data.train.image.shape[1:]}"
)
for note in data.notes:
    print(note)

# %%
# Question 2.1: a fair comparison
# -------------------------------
# The rival is a **multi-layer perceptron** (MLP): it lays all pixels side by side and connects each
# of them to each of 128 hidden units. Both networks take the same image and give the same ten
# scores. The CNN has two convolutions of 3x3 pixels, each followed by *max-pooling*, which keeps
# the largest of 2x2 numbers, and one linear layer.
#
# To take away the neighbourhoods we **permute the pixels**: one random order, drawn once, the same
# for every image. No information is lost, but pixels that lay side by side are now anywhere.


def permute_pixels(image, seed=42):
    """(N, H, W, C) -> the same, every image with its pixels in one and the same random order."""
    flat = image.reshape(len(image), -1, image.shape[-1])
    order = np.random.default_rng(seed).permutation(flat.shape[1])
    return flat[:, order].reshape(image.shape)


tutorial.section("Question 2.1: a fair comparison")
pictures = {"original": data.train.image[:6], "permuted": permute_pixels(data.train.image[:6])}
figure = Figure(figsize=(6.3, 2.4), layout="constrained")
panels = figure.subplots(2, 6)
for row, (name, images) in enumerate(pictures.items()):
    for column, picture in enumerate(images):
        panels[row, column].imshow(picture[:, :, 0], cmap="gray")
        panels[row, column].set(xticks=[], yticks=[])
        panels[0, column].set_title(data.classes[data.train.label[column]], fontsize=9)
    panels[row, 0].set_ylabel(name)
tutorial.show(figure, "permuted_pixels")

# %%
# The two networks. Beside each layer stands the shape of what it gives for 28x28 pixels.


def cnn(shape=(28, 28, 1), classes=10):
    pixels = keras.Input(shape)
    x = layers.Conv2D(16, 3, padding="same", activation="relu")(pixels)  # 28x28x16
    x = layers.MaxPooling2D(2)(x)  # 14x14x16
    x = layers.Conv2D(32, 3, padding="same", activation="relu")(x)  # 14x14x32
    x = layers.MaxPooling2D(2)(x)  # 7x7x32
    x = layers.Flatten()(x)  # 1,568
    return keras.Model(pixels, layers.Dense(classes)(x), name="cnn")


def mlp(shape=(28, 28, 1), classes=10):
    pixels = keras.Input(shape)
    x = layers.Flatten()(pixels)  # 784
    x = layers.Dense(128, activation="relu")(x)  # 128
    return keras.Model(pixels, layers.Dense(classes)(x), name="mlp")


# %%
# Both are trained on both kinds of images, in the same way and for equally many epochs, and tested
# on images that they have never seen. They are small and quick, so they get twice as many epochs as
# the network of the homework below, up to 8. The loss is the negative logarithm of the probability
# of the right class; *Adam* is gradient descent that adapts the length of the step to each weight.


def train(build, image, label, epochs, seed=42):
    """Build a network for images (N, H, W, C) uint8 and train it; the seed decides all chance."""
    keras.utils.set_random_seed(seed)
    model = build(image.shape[1:], int(label.max()) + 1)
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    model.fit(image / np.float32(256), label, batch_size=32, epochs=epochs, verbose=0)
    return model


def accuracy(model, image, label):
    """The share of the images (N, H, W, C) uint8 whose class the network names."""
    scores = model.predict(image / np.float32(256), batch_size=256, verbose=0)
    return float(np.mean(scores.argmax(axis=1) == label))


rounds = min(8, 2 * (options.epochs or 4))
print(f"{data.source} data, {rounds} epochs")
print("network        parameters  test accuracy")
parameters, right = {}, {}
for order, change in (("", np.asarray), (", permuted", permute_pixels)):
    for build in (cnn, mlp):
        model = train(build, change(data.train.image), data.train.label, rounds)
        name = model.name + order
        parameters[name] = model.count_params()
        right[name] = accuracy(model, change(data.test.image), data.test.label)
        print(f"{name:13}  {parameters[name]:10,}  {right[name]:13.1%}")

# %%
# **Claim 1: fewer parameters.** The filter of a convolution is as small as its window, and it is
# the same at every place. Every hidden unit of the MLP has a weight for each of the 784 pixels.

print(f"the MLP has {parameters['mlp'] / parameters['cnn']:.1f} times as many parameters")

# %%
# **Claim 2: it generalises better**, that is, it does better on new images. What is learned at one
# place is known at all others, so it takes fewer examples.

points = 100 * (right["cnn"] - right["mlp"])
print(f"CNN minus MLP: {points:+.1f} points of test accuracy")

# %%
# **Claim 3: it is the neighbourhoods.** To the MLP the order of the pixels means nothing, and but
# for chance it does as well as before. The CNN still looks for edges and corners among neighbours
# that are none. Convolution is not better as such; it is right about images.

for name in ("cnn", "mlp"):
    points = 100 * (right[f"{name}, permuted"] - right[name])
    print(f"{name.upper()}: {points:+.1f} points by the permutation")
points = 100 * (right["cnn, permuted"] - right["mlp, permuted"])
print(f"CNN minus MLP on permuted pixels: {points:+.1f} points")

# %%
# Question 2.2: the network of the homework
# -----------------------------------------
# Two convolutions with ReLU (``max(0, x)``) and pooling, then three *dense* layers, in which every
# output sees every input. *Dropout* sets a random 30 % of the numbers to 0 while training.

tutorial.section("Question 2.2: the network of the homework")
keras.utils.set_random_seed(42)
pixels = keras.Input((28, 28, 1))
x = layers.Conv2D(8, 5, padding="same", activation="relu")(pixels)  # 28x28x8
x = layers.MaxPooling2D(2)(x)  # 14x14x8
x = layers.Conv2D(16, 3, activation="relu")(x)  # 12x12x16: no padding
x = layers.MaxPooling2D(2)(x)  # 6x6x16
x = layers.Flatten()(x)  # 576
x = layers.Dense(600, activation="relu")(x)  # 600
x = layers.Dropout(0.3)(x)
x = layers.Dense(120, activation="relu")(x)  # 120
logits = layers.Dense(10)(x)  # 10, one score per class
network = keras.Model(pixels, logits, name="by_hand")
network.summary()

# %%
# ``hw2.build`` makes the same network: as many parameters, and with the same weights the same
# scores. Where the parameters come from, layer by layer:

of_package = hw2.build("kmnist_cnn")
of_package.set_weights(network.get_weights())
some = data.val.image[:32] / 256
gap = np.abs(network(some) - of_package(some)).max()
print(f"largest difference from hw2.build: {gap:.1e}")
assert gap < 1e-5 and network.count_params() == of_package.count_params()
for row in derivation.derive(of_package):
    if row.parameters:
        print(f"{row.name:8} {row.parameter_formula}")
print(f"Keras counts {network.count_params():,}, the homework {experiment.parameters:,}")

# %%
# One epoch through the first 1,000 images, in batches of 8 as in the homework. ``compile`` says
# what to minimise and how, ``fit`` does it.

loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
network.compile(keras.optimizers.Adam(5e-4), loss, metrics=["accuracy"])
image, label = data.train.image[:1000] / 256, data.train.label[:1000]
validation = (data.val.image / 256, data.val.label)
network.fit(image, label, batch_size=8, epochs=1, validation_data=validation, verbose=2)
print("1 of 10 would be right by chance (accuracy 0.1); one epoch is only the beginning")

# %%
# Question 2.3: three learning rates
# ----------------------------------
# The package does the same for all images and epochs, once for each **learning rate**, which scales
# all steps of Adam. ``tutorial.sweep`` is ``hw2.sweep`` but for finished runs, which it opens. The
# best run is the one with the best accuracy on the *validation* images, which are not trained on.
# The *test* images have no part in the choice. ``running loss`` is the course's training loss, the
# mean over all batches since the first epoch.

tutorial.section("Question 2.3: three learning rates")
runs = tutorial.sweep("kmnist_cnn", options)
print(tables.heading(runs[0]))
if options.source == "synthetic":
    print("report rows are Kuzushiji-MNIST, 20 epochs; 'this run' is drawn letters: do not compare")
print(tables.sweep_table(runs))

# %%
# The rows of the reports are Kuzushiji-MNIST with 50,000 training images and 20 epochs. Compare
# what the rates do, not the numbers.
#
# The smallest rate is safe but slow. The largest is *unstable*: a step that is too long lands where
# the next gradient is larger still, and once every ReLU of a layer gives 0 no gradient comes back.
# Report 003 saw exactly that: about 10 % right, the same class for every image. Report 002 with the
# same rate was lucky. Neither made a mistake; with such a rate the outcome is chance, so one run
# proves nothing. What happened here:

histories = {run.learning_rate: run.history for run in runs}
best = next(run for run in runs if run.best)
reported = experiment.reported if options.source == "real" else ()
tutorial.show(curves.sweep_curves(histories, best.learning_rate, reported), "curves_all_rates")
for run in runs:
    fate = run.record["divergence"] or f"validation accuracy {run.metrics['val_accuracy']:.4f}"
    print(f"rate {run.learning_rate:g}: {fate}")
print(f"best rate {best.learning_rate:g}, the reports' best {experiment.best_rate:g}")

# %%
# Question 2.4: both curves of the best run
# -----------------------------------------

tutorial.section("Question 2.4: both curves of the best run")
of_best_rate = of_runs.reported_at(best) if reported else ()
tutorial.show(curves.curves(best.history, of_runs.title(best), of_best_rate), "curves")

# %%
# In the reports the test accuracy is below the validation accuracy with every rate, by about three
# points with the best. The validation images are a random part of the official training images, the
# test images are a set of their own: what was learned carries over less well to them. Where both
# are drawn alike (the letters made in code, or the subset of 10,000 official test images) this gap
# has no reason to appear, and a difference is chance.

gap = 100 * (best.metrics["val_accuracy"] - best.metrics["test_accuracy"])
print(f"this run:   validation minus test {gap:+.1f} points")
for number in ("002", "003"):
    values = {
        r.metric: r.value for r in experiment.reported_at(best.learning_rate) if r.report == number
    }
    if values:
        gap = 100 * (values["val_accuracy"] - values["test_accuracy"])
        print(f"report {number}: validation minus test {gap:+.1f} points")

# %%
# Question 2.5: what the first convolution sees
# ---------------------------------------------
# One training image and its eight *activation maps*: the output of each of the first eight filters,
# before the ReLU. Red is positive and passes the ReLU, blue is negative and becomes 0. The filters
# start at random and the smallest rate hardly changes them. A good rate makes them differ: some
# answer to one side of a stroke, some to strokes of one direction. Where a run has collapsed, all
# eight maps may be blue: the ReLU lets nothing through, so no gradient comes back either. Only runs
# that kept their weights can be looked into; ``results`` keeps those of the best rate.

tutorial.section("Question 2.5: what the first convolution sees")
with_weights = [run for run in runs if (run.path / "model.weights.h5").exists()]
for run in runs:
    if run not in with_weights:
        print(f"rate {run.learning_rate:g}: no weights in {run.path}; --out trains your own")
picture = data.train.image[0]
maps = {run.learning_rate: of_runs.first_maps(run.model(), picture) for run in with_weights}
tutorial.show(of_images.activation_maps(picture, maps), "activation_maps")

# %%
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes the network in ONNX, a format that many programs can run, with the
# division of the pixels by 256 and the names of the classes inside. It compares the file with
# Keras on the test images before it is kept. ``load`` needs numpy and onnxruntime alone.

tutorial.section("Take it away as one file")
path = tutorial.file("kmnist_cnn.onnx")
print(export.to_onnx(best, path))
classify = runtime.load(path)
sure = classify.probabilities(data.test.image[0]).max()
print(f"ONNX says {classify(data.test.image[0])[0]} ({sure:.0%} sure), ", end="")
print(f"the truth is {data.classes[data.test.label[0]]}")

# %%
# What to try next
# ----------------
# - Train the largest rate with five seeds (``hw2.train("kmnist_cnn", 0.01, seed=...)``). How often
#   does it collapse?
# - Permute only within blocks of 4x4 pixels (change ``permute_pixels``). How much of the advantage
#   comes back?
# - Give the MLP 20 hidden units, so that it has about as many parameters as the CNN. Which claim
#   does that test?
# - Does the order of the three accuracies change with 20 epochs (``--epochs 20``)?
# - :ref:`sphx_glr_gallery_2024_25_q2_intel_cnn.py` asks the same of colour images.
