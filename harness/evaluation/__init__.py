"""What a variant is evaluated on, and how: suites of questions about pictures and of texts."""
