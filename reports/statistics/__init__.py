"""Scores, intervals and paired comparisons of judged answers."""
