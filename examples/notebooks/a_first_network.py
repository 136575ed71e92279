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
# # A first network
#
# Red and blue points lie on the petals of a flower. A straight line cannot tell them apart; a network with one hidden
# layer can. We build it, train it, and look at what it has learned.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_dls as tg

# %% [markdown]
# ## The data
#
# Examples are columns, as in the course: `X` is `(n_x, m)`, here two coordinates of 400 points, and `Y` is `(1, m)`,
# which is 0 for red and 1 for blue.

# %%
X, Y = tg.datasets.planar_flower()
X.shape, Y.shape


# %%
def show(model=None, title="The flower"):
    """Draw the points, and behind them what the model says of the plane."""
    _, axes = plt.subplots(figsize=(4.5, 4))
    if model is not None:
        x, y = np.meshgrid(np.linspace(-5, 5, 200), np.linspace(-5, 5, 200))
        A = model.predict_proba(np.stack([x.ravel(), y.ravel()])).reshape(x.shape)
        axes.contourf(x, y, A, levels=np.linspace(0, 1, 11), cmap="RdBu", alpha=0.6)
    axes.scatter(*X, c=Y[0], cmap="RdBu", s=18, edgecolors="black", linewidths=0.4)
    axes.set(title=title, xticks=[], yticks=[])


show()

# %% [markdown]
# ## A line is not enough
#
# Logistic regression is one linear part and a sigmoid. `fit` trains it: each epoch is one step downhill, over all the
# examples. The line that it finds leaves half of the points on the wrong side.

# %%
loss = tg.binary_cross_entropy_with_logits
line = tg.nn.LogisticRegression(2)
tg.fit(line, X, Y, loss=loss, optimizer=tg.optim.SGD(line.parameters(), lr=0.5), epochs=300, progress=False)
show(line, f"Logistic regression: {tg.accuracy(line.predict(X), Y):.0%} are right")

# %% [markdown]
# ## A hidden layer
#
# Four hidden units bend the line. This is the network of the course's planar flower: tanh in the hidden layer, one
# output. Its random generator has a seed, so that you get the very same numbers.

# %%
model = tg.nn.TwoLayerNetwork(2, 4, rng=3)
model.summary(X)

# %% [markdown]
# This is what it computes, from the input on top down to the cost. Shapes are enough for a picture; no data run through
# it.

# %%
tg.draw(model, (2, 400), (1, 400), loss=loss)

# %% [markdown]
# Now train it. The figures of each epoch are in the history.

# %%
optimizer = tg.optim.SGD(model.parameters(), lr=1.2)
history = tg.fit(model, X, Y, loss=loss, optimizer=optimizer, epochs=3000, progress=False)
history

# %%
_, axes = plt.subplots(figsize=(6, 2.5))
axes.plot(history["cost"])
axes.set(title="The cost goes down", xlabel="epoch", ylabel="J")
axes.grid(alpha=0.3)

# %%
accuracy = tg.accuracy(model.predict(X), Y)
show(model, f"Four hidden units: {accuracy:.0%} are right")

# %% [markdown]
# ## How many units?
#
# One unit still draws a line, if a better one, and two do no more for these points. With three and more, the border
# bends as often as it must; and in the end more often than it should, around single points.

# %%
scores = {}
for n in (1, 2, 3, 5, 20):
    network = tg.nn.TwoLayerNetwork(2, n, rng=3)
    optimizer = tg.optim.SGD(network.parameters(), lr=1.2)
    tg.fit(network, X, Y, loss=loss, optimizer=optimizer, epochs=1500, progress=False)
    scores[n] = tg.accuracy(network.predict(X), Y)
    print(f"{n:2} hidden units: {scores[n]:.1%} are right")

# %% [markdown]
# ## Where to go on
#
# - *Is my backprop right?* checks a backward pass that you wrote by hand.
# - *See the graph* shows where `dZ = A - Y` comes from.
# - *From a table to production* trains on a file, and takes the model to where it is used.
