"""The engine: arrays that remember the ops that computed them, and the chain rule over them.

Read `autodiff` for the `op` decorator and `backward`, `tensor` for the Tensor, and `ops` for every op with its
gradient. The engine imports nothing of the rest of the package.
"""

from tinygrad_dls.engine import autodiff, copies, ops  # noqa: F401  # which attach to Tensor what it has of them
