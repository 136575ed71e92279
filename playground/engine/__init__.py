"""The playground's Python: what its page shows of a training, computed by `tinygrad_dls` alone.

It runs in the page, and in the tests natively; it knows nothing of a browser. `settings` says what can be chosen,
`data` makes the examples, `session` trains, `views` looks at what is trained, `student` runs and diagnoses a backward
pass that somebody typed, and `bridge` is what the page calls: JSON in, JSON out.
"""
