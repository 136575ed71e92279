"""One runnable file per part of the notes: ``python -m examples.logistic_regression``, and so on."""
