"""Question 1 as running mathematics: NumPy formulas that stand alone.

- ``parameters``: output sizes and parameter counts, with the arithmetic written out.
- ``convolution``: the convolution as a matrix, equivariance, pooling, receptive fields.
- ``attention``: P = softmax(X A Xᵀ), equivalent heads, attention over images.
- ``hopfield``: energy and retrieval of modern and classic Hopfield networks.
- ``derivation``: sizes and counts of any functional Keras model, as a table.

Their plots are in ``hw2_keras.plots.of_theory``.
Functions named ``…_by_report_NNN`` are a report's mistake, kept for its counter-example.
"""
