"""
Question 2: landscapes, and where the parameters go
===================================================

Edition 2024-25. A *convolutional network* (CNN) tells six kinds of landscape apart, from colour
photographs of 48x48 pixels. A second network does better with a seventh of the parameters. The
question asks why: where the parameters are, and what small filters and pooling do. Report 004
answered it; its figures stand beside ours.

.. code-block:: bash

    python tutorials/2024_25/q2_intel_cnn.py                  # painted landscapes
    python tutorials/2024_25/q2_intel_cnn.py --source real    # the homework's photographs

With ``--source real`` the finished runs in ``results`` are opened. Where there are none, or with
another ``--out``, they are trained: a quarter to half an hour each on two cores, and there are
four. Figures are saved under ``runs/tutorials/q2_intel_cnn``.
"""

# %%
# Setup
# -----
# ``options`` holds what was given on the command line: where the data come from, how many *epochs*
# (passes over the training images) to train, and where the runs are kept.

import sys
from pathlib import Path

import numpy as np

import export
import hw2_keras as hw2
from export import runtime
from hw2_keras.plots import curves, of_runs, of_theory
from hw2_keras.report import tables
from hw2_keras.theory import convolution, derivation

sys.path.extend([str(Path(sys.argv[0]).resolve().parents[1]), ".."])  # for helpers.py
import helpers

options = helpers.arguments(epochs=2)
plain, slim = hw2.experiments["intel_cnn"], hw2.experiments["intel_cnn_bn"]

# %%
# Question 2.1: the first network at three learning rates
# -------------------------------------------------------
# Three blocks of a *convolution* (a window of 3x3 pixels that slides over the image), ReLU
# (``max(0, x)``), *max-pooling* (the largest of 2x2 numbers) and *dropout* (a random 10 % of the
# numbers set to 0 while training). Then the 6x6 maps of 128 channels are laid out as 4,608 numbers,
# and three *dense* layers, in which every output sees every input, lead to six scores.
#
# *Stochastic gradient descent* moves all weights a little in the direction in which the loss of 8
# images falls; the **learning rate** says how little. The best rate is the one with the best
# accuracy on the *validation* images, which are not trained on. ``running loss`` is the course's
# training loss, the mean over all batches since epoch 1.

runs = hw2.sweep("intel_cnn", epochs=options.epochs, source=options.source, out=options.out)
print(tables.heading(runs[0]))
print(tables.sweep_table(runs))
best = next(run for run in runs if run.best)
print(f"best rate {best.learning_rate:g}, the report's best {plain.best_rate:g}")

# %%
# In two epochs on 2,000 painted scenes, the default here, the smallest rate hardly moves. The
# homework's 40 epochs give every rate time; there the largest learns too, but stays behind: its
# steps are too long to settle.

histories = {run.learning_rate: run.history for run in runs}
reported = plain.reported if options.source == "real" else ()
helpers.show(curves.sweep_curves(histories, best.learning_rate, reported), "curves_all_rates")

# %%
# Question 2.2: the second network
# --------------------------------
# It differs in two ways. **Batch normalisation** brings every channel to mean 0 and spread 1 over
# the batch, then scales and shifts it by two learned numbers; so a layer need not follow every
# change of the layer before. And **global average pooling** replaces the laying out: of each of the
# 128 maps only the mean is kept. The homework trains it at the best rate of the first.

second = hw2.train(
    "intel_cnn_bn", slim.best_rate, options.epochs, source=options.source, out=options.out
)
print(tables.run_table(second))
print(tables.seeds_table([best, second]))
title = of_runs.title(second)
of_report = of_runs.reported_at(second) if options.source == "real" else ()
helpers.show(curves.curves(second.history, title, of_report), "curves_batch_norm")

# %%
# The first table has all figures of the second network, the other one those of both networks on
# images that they have never seen; the last column is report 004's, with accuracies as fractions.
# It found the second network better by five points, though it is so much smaller.
#
# One reason shows in the losses of a long training. With millions of weights the first network can
# learn its training images by heart: their loss goes towards 0, while the validation loss falls
# and then rises again, which is called *overfitting*. (Two epochs are too few to see it.)

for run in (best, second):
    validation = run.history["val_loss"]
    print(
        f"{run.experiment.name:12} training loss {run.metrics['loss']:.4f}, "
        f"validation loss {validation[-1]:.4f}, {min(validation):.4f} at its lowest"
    )

# %%
# Question 2.3: the parameters, layer by layer
# --------------------------------------------
# The blocks are the same in both, and small. The difference is one layer: the first dense layer of
# the first network has a weight for each of 4,608 numbers and each of its 1,024 units. After global
# average pooling there are 128 numbers instead.

trained = {}
for name, experiment in (("intel_cnn", plain), ("intel_cnn_bn", slim)):
    rows = derivation.derive(hw2.build(name))
    print(name)
    for row in rows:
        if row.parameters:
            print(f"  {row.name:8} {row.parameter_formula}")
    trained[name] = sum(row.parameters - row.non_trainable for row in rows)
    print(f"  trainable: {trained[name]:,}, in the homework: {experiment.parameters:,}")

# %%
# Batch normalisation holds four numbers per channel, but two of them, the mean and the spread of
# the images seen so far, are measured rather than trained.

counts = [{row.name: row.parameters for row in derivation.derive(hw2.build(n))} for n in trained]
print("layer        intel_cnn  intel_cnn_bn  difference")
for layer in dict.fromkeys([*counts[0], *counts[1]]):
    first, other = (count.get(layer, 0) for count in counts)
    if first or other:
        print(f"{layer:8}  {first:>12,}  {other:>12,}  {other - first:>+10,}")
print(f"trainable parameters: {trained['intel_cnn_bn'] / trained['intel_cnn'] - 1:+.1%}")

# %%
# Question 2.4: what a small filter sees
# --------------------------------------
# The **receptive field** of a unit is the patch of the image that can influence it. One convolution
# of 3x3 sees 3x3 pixels; a second on top of it sees 5x5, a third 7x7. A pooling of 2x2 makes every
# later step count double. So the three blocks see this much:

stack = [(3, 1), (2, 2)] * 3  # (window, stride) of convolution and pooling, three times
kinds = ["convolution", "pooling"] * 3
for kind, field in zip(kinds, convolution.receptive_fields(stack), strict=True):
    print(f"after a {kind:11}: {field.size:2}x{field.size:<2} pixels, steps of {field.step}")

# %%
# The formula can be checked: the pixels at which the output has a gradient are the ones that it
# sees. The white square is the formula, the colours are the gradient. They also show that the
# middle counts more than the border, since more paths lead through it.

stacks = {"two 3x3": [(3, 1)] * 2, "three 3x3": [(3, 1)] * 3, "three blocks": stack}
helpers.show(of_theory.plot_receptive_fields(stacks), "receptive_fields")

# %%
# Why not one large filter at once? For ``C`` channels in and out, three convolutions of 3x3 have
# ``3 * 9 * C²`` weights and one of 7x7, which sees as much, has ``49 * C²``. The small ones also
# apply a ReLU after each step. Whether that makes them *better* has to be tried. Both networks
# below have the same receptive field; the images are grey and 28x28, which is quicker.

for depth in (2, 3, 4):
    few = convolution.small_against_large(depth, channels=64)
    print(
        f"{depth} filters of 3x3: {few.small:,} weights; "
        f"one of {few.field}x{few.field}: {few.large:,}"
    )

# %%
# .. note::
#    These two comparisons use the images of Kuzushiji-MNIST, or the drawn letters in their place.
#    The networks are small and quick, so they get three times as many epochs, up to 8.

letters = hw2.load_data("kmnist", source=options.source)
rounds = min(8, 3 * (options.epochs or 2))
small, large = helpers.small_against_large_kernels(letters, epochs=rounds)
print(f"{letters.source} data, {rounds} epochs")
print(helpers.format_scores([small, large]))
print(f"parameters {small.parameters / large.parameters - 1:+.0%}, ", end="")
print(f"accuracy {100 * (small.accuracy - large.accuracy):+.1f} points")

# %%
# What is certain is the saving. The accuracy depends on the data and on the length of the training:
# the deeper stack needs more steps to get going. "Small filters are better" is not a law.
#
# Question 2.5: what pooling does
# -------------------------------
# Pooling does three things. It quarters the numbers that the next layer sees, and with them the
# weights of the first dense layer. It doubles how fast the receptive field grows. And it forgives
# small shifts, because the largest of 2x2 numbers often stays the same when the image moves by one
# pixel. The figure shows how much the features of a filter change when the image is moved.

edge = np.array([[1.0, 0.0, -1.0], [2.0, 0.0, -2.0], [1.0, 0.0, -1.0]])[..., None, None]
helpers.show(of_theory.plot_pooling(letters.train.image[:4] / 256, edge), "pooling")
with_pools = convolution.receptive_fields(stack)[-1].size
without_pools = convolution.receptive_fields([(3, 1)] * 3)[-1].size
print(f"receptive field of the three blocks: {with_pools} pixels, without pooling {without_pools}")

# %%
# Now the same network with and without its pools, tested on the test images and on the same images
# moved by two pixels to the right and down.

pooled = helpers.with_and_without_pooling(letters, epochs=rounds)
print(helpers.format_scores(pooled))
print(f"without pooling: {pooled[2].parameters / pooled[0].parameters:.1f} times the parameters")
for name, (still, moved) in (("with   ", pooled[:2]), ("without", pooled[2:])):
    print(f"{name} pooling: {100 * (moved.accuracy - still.accuracy):+.1f} points by the shift")

# %%
# Pooling forgives, it does not make invariant: the last layer still has a weight for each place, so
# a shift costs both networks a lot. Global average pooling goes all the way and forgets the place.
#
# Take it away as one file
# ------------------------
# ``export.to_onnx`` writes the second network in ONNX, a format that many programs can run, with
# the division of the pixels by 256 and the names of the classes inside. It compares the file with
# Keras on the test images before it is kept. ``load`` needs numpy and onnxruntime alone.

path = helpers.file("intel_cnn_bn.onnx")
print(export.to_onnx(second, path))
classify = runtime.load(path)
data = second.data()
sure = classify.probabilities(data.test.image[0]).max()
print(f"ONNX says {classify(data.test.image[0])[0]} ({sure:.0%} sure), ", end="")
print(f"the truth is {data.classes[data.test.label[0]]}")

# %%
# What to try next
# ----------------
# - Which matters more in the second network, batch normalisation or global average pooling? Build
#   one with only one of them (``hw2_keras/models/classifiers.py`` reads like the list of layers).
# - Add a fourth block. How large is its receptive field, compared with the image of 48 pixels?
# - Replace the first pooling by a convolution with stride 2. What happens to the parameters?
# - ``--epochs 5``: does the first network catch up?
# - :ref:`sphx_glr_gallery_2024_25_q1_hopfield_networks.py` is the edition's paper question.
