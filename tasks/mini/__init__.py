"""Nine small suites about drawn pictures, in the form of the real ones."""
