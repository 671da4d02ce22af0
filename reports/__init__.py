"""What a store holds and what it means: reads results, runs no model."""
