"""``python -m hw2_keras``."""

import sys

from hw2_keras.cli import main

sys.exit(main())
