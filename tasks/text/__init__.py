"""Suites of plain text, scored by perplexity."""
