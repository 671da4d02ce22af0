"""The nine real suites of the paper."""
