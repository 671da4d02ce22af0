"""Models: found, loaded with their processors, and what all variants of one share."""
