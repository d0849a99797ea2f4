import numpy as np

from export.runtime import load

classify = load("results/onnx/fashion_cnn.onnx")
images = np.zeros((2, 28, 28, 1), np.uint8)  # raw pixels, white on black
print(classify(images))  # two labels
print(classify.probabilities(images).shape)  # (2, 10)
