"""What outlives a run: checkpoints, the step cache, and how values are written down."""
