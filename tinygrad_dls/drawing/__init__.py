"""Pictures of the graph: from a Tensor, or a model with its input, to SVG, PNG, PDF and a page."""
