"""Theory stands alone: NumPy and the standard library."""

import subprocess
import sys

PROGRAM = """
import sys
from hw2_keras.theory import attention, convolution, derivation, hopfield, parameters
print(derivation.format_derivation(parameters.parameter_cnn()))
convolution.receptive_gradient([(3, 1), (2, 2)], 20)
loaded = {name.partition(".")[0] for name in sys.modules}
print(sorted(loaded & {"keras", "tensorflow", "matplotlib", "PIL"}))
"""


def test_theory_needs_neither_keras_nor_tensorflow():
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True
    )
    assert ran.stdout.splitlines()[-1] == "[]"
    assert "608 + 9,690 = 10,298" in ran.stdout
