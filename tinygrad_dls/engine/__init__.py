"""The engine: arrays that remember the ops that computed them, and the chain rule over them.

Read `tensor` for the Tensor, the `op` decorator and `backward`, and `ops` for every op with its gradient. The engine
imports nothing of the rest of the package.
"""
