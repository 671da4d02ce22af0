"""Plans for the decoder blocks: scores, orders, budgets and searches."""
