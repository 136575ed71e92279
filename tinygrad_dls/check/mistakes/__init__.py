"""The mistakes that are known from the start, by where they are made; importing this fills `tinygrad_dls.check.causes`.

Most come from few building blocks: a step is a formula of some arrays (`steps`), and another array can stand in the
place of each, or another operation between them.
"""

from tinygrad_dls.check.mistakes import scale, sums, derivatives, wrong_arrays, output, forward  # noqa: F401, I001
