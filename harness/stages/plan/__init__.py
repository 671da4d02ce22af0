"""stage=plan: what a command would store, need and cost."""
