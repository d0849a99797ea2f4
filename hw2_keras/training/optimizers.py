"""The optimizer that an experiment's record asks for, and its learning rate over the steps."""

import keras

from hw2_keras.experiments import Experiment, named

OPTIMIZERS = {"sgd": keras.optimizers.SGD, "adam": keras.optimizers.Adam}
WARM_UP = 0.25  # share of the steps over which the rate of a one-cycle schedule rises


def optimizer_for(
    experiment: Experiment, learning_rate: float, steps: int
) -> keras.optimizers.Optimizer:
    """A new optimizer.

    Args:
        experiment: its record.
        learning_rate: constant, or the highest one of its schedule.
        steps: of the whole training, over which a schedule is laid.

    Raises:
        UsageError: the record names another optimizer.
    """
    options = {
        "learning_rate": OneCycle(learning_rate, steps) if experiment.schedule else learning_rate,
        "weight_decay": experiment.weight_decay or None,
        "clipvalue": experiment.clip_value,
    }
    if experiment.momentum:
        options |= {"momentum": experiment.momentum, "nesterov": True}
    return named(OPTIMIZERS, "optimizer", experiment)(**options)


class OneCycle(keras.optimizers.schedules.LearningRateSchedule):
    """A rate that rises linearly for a quarter of the steps and falls linearly to almost nothing.

    No step is wasted on a rate of 0. Source: Smith and Topin 2018, "Super-convergence"; momentum
    stays as it is.

    Args:
        peak: the highest rate.
        steps: of the whole training.
    """

    def __init__(self, peak: float, steps: int) -> None:
        super().__init__()
        self.peak, self.steps = peak, steps
        self.warm_up = max(1, round(WARM_UP * steps))

    def __call__(self, step: int | keras.KerasTensor) -> keras.KerasTensor:
        """The rate of one step; they count from 0."""
        step = keras.ops.cast(step, "float32")
        rising = (step + 1) / self.warm_up
        falling = (self.steps - step) / max(1, self.steps - self.warm_up)
        return self.peak * keras.ops.minimum(rising, falling)

    def get_config(self) -> dict[str, float | int]:
        return {"peak": self.peak, "steps": self.steps}
