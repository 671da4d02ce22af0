"""What is kept and what it means: reads results, never runs a model."""
