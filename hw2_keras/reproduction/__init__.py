"""Every figure of every report again: what there is to train, on which workers, what follows."""
