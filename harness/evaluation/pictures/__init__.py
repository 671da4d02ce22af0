"""Suites of questions about pictures: tasks of lmms-eval, the drawn mini suites among them."""
