"""One page about a model: its picture, the derivation of its gradients, and the code of a step."""
