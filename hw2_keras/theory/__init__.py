"""Question 1 as running mathematics: NumPy formulas that stand alone, and their pictures.

- ``parameters``: output sizes and parameter counts, with the arithmetic written out.
- ``convolution``: the convolution as a matrix, equivariance, pooling, receptive fields.
- ``attention``: P = softmax(X A Xᵀ), equivalent heads, attention over images, masks.
- ``hopfield``: energy and retrieval of modern and classic Hopfield networks.
- ``figures``: the pictures.

Functions named ``…_by_report_NNN`` are a report's mistake, kept for its counter-example.
"""
