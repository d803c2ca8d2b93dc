"""Training: configuration, the three stages, checkpoints that resume exactly."""
