# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # See the graph
#
# Where does `dZ = A - Y` come from? A cost remembers how it was computed. That graph can be looked at in three ways: as
# a picture, as a derivation, and as NumPy code. Nothing has to be installed for the picture, and nothing is fetched.

# %%
import numpy as np

import tinygrad_dls as tg

# %% [markdown]
# ## The picture
#
# Logistic regression, on four examples that fit on a page. Each box has its formula, its shape and its numbers.

# %%
X = np.array([[1.0, 2.0, -1.0, 0.0], [0.0, 1.0, 2.0, -1.0]])
Y = np.array([[1, 0, 1, 0]])
W = tg.Tensor([[0.5, -0.25]], requires_grad=True, name="W")
b = tg.Tensor([[0.0]], requires_grad=True, name="b")

Z = W @ X + b
A = tg.sigmoid(Z)
J = tg.binary_cross_entropy(A, Y)
tg.draw(J)

# %% [markdown]
# After `backward`, each box has its gradient too, in brown. The dashed arrows are the gradients on their way back; the
# grey text is the local derivative, with which a gradient is multiplied there. So read the chain rule from the bottom
# up: `dA` times `A (1 - A)` is `dZ`, and `dZ` times `Xᵀ` is `dW`.

# %%
J.backward()
tg.draw(J, direction="both")

# %% [markdown]
# The gradients alone:

# %%
tg.draw(J, direction="backward")

# %% [markdown]
# ## The derivation
#
# The same graph, as one would write it on paper: the forward pass, the chain rule for one example, and the backward
# pass with all of them. With `values=True`, each line has its numbers.

# %%
loss = tg.binary_cross_entropy_with_logits
model = tg.nn.LogisticRegression(2)
tg.derive(model, X, Y, loss=loss)

# %% [markdown]
# Here it is, `dz = a - y`, and so `dZ = (A - Y) / m`.
#
# ## The code
#
# And what you would have to type by hand:

# %%
print(tg.numpy_source(model, X, Y, loss=loss))

# %% [markdown]
# ## Your own function
#
# It need not be a network. Any function of arrays can be drawn and derived:


# %%
def distance(W, X, Y):
    return np.mean(np.sqrt((W @ X - Y) ** 2 + 1))


arguments = (np.array([[0.5, -0.25]]), X, Y)
tg.derive(distance, *arguments)

# %% [markdown]
# ## A larger network
#
# Modules have frames of their own. Closed ones are boxes: `depth=0` closes the outermost, and by default all are open.
# On a slide, a picture from left to right has more room.

# %%
network = tg.nn.Sequential(
    tg.nn.Linear(2, 3, rng=0), tg.nn.Tanh(), tg.nn.Linear(3, 2, rng=1), tg.nn.Tanh(), tg.nn.Linear(2, 1, rng=2)
)
tg.draw(network, (2, 400), (1, 400), loss=loss, depth=0, rankdir="LR")

# %%
tg.draw(network, (2, 400), (1, 400), loss=loss)

# %% [markdown]
# `tg.draw(...).save("network.html")` writes a page in which you zoom, fold modules up, and follow the gradient of one
# parameter; `tg.report(network, X, Y, loss=loss).save("report.html")` one with picture, derivation and code.
