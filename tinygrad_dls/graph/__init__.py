"""The graph behind a Tensor: nodes in order, the course's names, and the layer and the line that made them."""
