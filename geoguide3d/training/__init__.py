"""The training loop: moving average, checkpoints that are whole, and resuming as if nothing had happened."""
