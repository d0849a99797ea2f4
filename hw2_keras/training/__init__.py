"""From data and a network to a finished run."""
