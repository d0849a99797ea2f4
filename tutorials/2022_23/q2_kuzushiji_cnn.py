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

With ``--source real`` the finished runs in ``results`` are opened. Where there are none, or with
another ``--out``, they are trained: two to three minutes per learning rate on two cores with 8,000
images, six times as long with the complete set. Figures are saved under
``runs/tutorials/q2_kuzushiji_cnn``.
"""

# %%
# Setup
# -----
# ``options`` holds what was given on the command line: where the data come from, how many *epochs*
# (passes over the training images) to train, and where the runs are kept.

import sys
from pathlib import Path

from matplotlib.figure import Figure

import export
import hw2_keras as hw2
from export import runtime
from hw2_keras.plots import curves, of_images, of_runs
from hw2_keras.report import tables
from hw2_keras.theory import derivation

sys.path.extend([str(Path(sys.argv[0]).resolve().parents[1]), ".."])  # for helpers.py
import helpers

options = helpers.arguments(epochs=4)
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

permuted = helpers.permute_pixels(data)
figure = Figure(figsize=(6.3, 2.4), layout="constrained")
panels = figure.subplots(2, 6)
for column in range(6):
    for row, shown in enumerate((data, permuted)):
        panels[row, column].imshow(shown.train.image[column, :, :, 0], cmap="gray")
        panels[row, column].set_xticks([])
        panels[row, column].set_yticks([])
    panels[0, column].set_title(data.classes[data.train.label[column]], fontsize=9)
panels[0, 0].set_ylabel("original")
panels[1, 0].set_ylabel("permuted")
helpers.show(figure, "permuted_pixels")

# %%
# Both networks are trained on both kinds of images, in the same way and for equally many epochs,
# and tested on images that they have never seen. They are small and quick, so they get twice as
# many epochs as the network of the homework below, up to 8.

rounds = min(8, 2 * (options.epochs or 4))
cnn, mlp, cnn_permuted, mlp_permuted = helpers.cnn_against_mlp(data, epochs=rounds)
print(f"{data.source} data, {rounds} epochs")
print(helpers.format_scores([cnn, mlp, cnn_permuted, mlp_permuted]))

# %%
# **Claim 1: fewer parameters.** The filter of a convolution is as small as its window, and it is
# the same at every place. Every hidden unit of the MLP has a weight for each of the 784 pixels.

print(f"the MLP has {mlp.parameters / cnn.parameters:.1f} times as many parameters")

# %%
# **Claim 2: it generalises better**, that is, it does better on new images. What is learned at one
# place is known at all others, so it takes fewer examples.

print(f"CNN minus MLP: {100 * (cnn.accuracy - mlp.accuracy):+.1f} points")

# %%
# **Claim 3: it is the neighbourhoods.** To the MLP the order of the pixels means nothing, and but
# for chance it does as well as before. The CNN still looks for edges and corners among neighbours
# that are none. Convolution is not better as such; it is right about images.

print(f"CNN: {100 * (cnn_permuted.accuracy - cnn.accuracy):+.1f} points by the permutation")
print(f"MLP: {100 * (mlp_permuted.accuracy - mlp.accuracy):+.1f} points by the permutation")
advantage = 100 * (cnn_permuted.accuracy - mlp_permuted.accuracy)
print(f"CNN minus MLP on permuted pixels: {advantage:+.1f} points")

# %%
# Question 2.2: the network of the homework
# -----------------------------------------
# Two convolutions with ReLU (``max(0, x)``) and pooling, then three *dense* layers, in which every
# output sees every input. *Dropout* sets a random 30 % of the numbers to 0 while training.

network = hw2.build("kmnist_cnn")
for row in derivation.derive(network):
    if row.parameters:
        print(f"{row.name:8} {row.parameter_formula}")
print(f"Keras counts {network.count_params():,}, the homework {experiment.parameters:,}")

# %%
# Question 2.3: three learning rates
# ----------------------------------
# *Adam* is gradient descent that adapts the length of the step to each weight; the **learning
# rate** scales them all. The best run is the one with the best accuracy on the *validation* images,
# which are not trained on. The *test* images have no part in the choice. ``running loss`` is the
# course's training loss, the mean over all batches since the first epoch.

runs = hw2.sweep("kmnist_cnn", epochs=options.epochs, source=options.source, out=options.out)
print(tables.heading(runs[0]))
print(tables.sweep_table(runs))

# %%
# The rows of the reports are Kuzushiji-MNIST with 50,000 training images and 20 epochs. Without
# ``--source real`` ours are 2,000 drawn letters and few epochs: compare what the rates do, not the
# numbers.
#
# The smallest rate is safe but slow. The largest is *unstable*: a step that is too long lands where
# the next gradient is larger still, and once every ReLU of a layer gives 0 no gradient comes back.
# Report 003 saw exactly that: about 10 % right, the same class for every image. Report 002 with the
# same rate was lucky. Neither made a mistake; with such a rate the outcome is chance, so one run
# proves nothing.

histories = {run.learning_rate: run.history for run in runs}
best = next(run for run in runs if run.best)
reported = experiment.reported if options.source == "real" else ()
helpers.show(curves.sweep_curves(histories, best.learning_rate, reported), "curves_all_rates")
print(f"best rate {best.learning_rate:g}, the reports' best {experiment.best_rate:g}")

# %%
# Question 2.4: both curves of the best run
# -----------------------------------------

of_best_rate = of_runs.reported_at(best) if reported else ()
helpers.show(curves.curves(best.history, of_runs.title(best), of_best_rate), "curves")

# %%
# In the reports the test accuracy is below the validation accuracy with every rate, by about three
# points with the best. The validation images are a random part of the official training images, the
# test images are a set of their own: what was learned carries over less well to them. If your data
# are the subset of 10,000 images, all of them are official test images, and this gap cannot appear.

gap = 100 * (best.metrics["val_accuracy"] - best.metrics["test_accuracy"])
print(f"this run:   validation minus test {gap:+.1f} points")
for number in ("002", "003"):
    values = {r.metric: r.value for r in of_runs.reported_at(best) if r.report == number}
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
# eight maps may be blue: the ReLU lets nothing through, so no gradient comes back either.

with_weights = [run for run in runs if (run.path / "model.weights.h5").exists()]
for run in runs:
    if run not in with_weights:
        print(f"{run.path} keeps no weights: train rate {run.learning_rate:g} with --out runs")
picture = data.train.image[0]
maps = {run.learning_rate: of_runs.first_maps(run.model(), picture) for run in with_weights}
helpers.show(of_images.activation_maps(picture, maps), "activation_maps")

# %%
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes the network in ONNX, a format that many programs can run, with the
# division of the pixels by 256 and the names of the classes inside. It compares the file with
# Keras on the test images before it is kept. ``load`` needs numpy and onnxruntime alone.

path = helpers.file("kmnist_cnn.onnx")
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
# - Permute only within blocks of 4x4 pixels. How much of the advantage comes back?
# - Give the MLP 20 hidden units, so that it has about as many parameters as the CNN. Which claim
#   does that test?
# - Does the order of the three accuracies change with 20 epochs (``--epochs 20``)?
# - :ref:`sphx_glr_gallery_2024_25_q2_intel_cnn.py` asks the same of colour images.
