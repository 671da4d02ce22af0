"""One figure or table for each question that a store can answer."""
