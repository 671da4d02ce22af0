"""The paper's numbers and claims, each stated once."""
