"""stage=search: the k of a score threshold or a byte budget."""
