"""Models with their processors, and what all variants of one model share."""
