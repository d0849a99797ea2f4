"""Every plot of the homework."""
