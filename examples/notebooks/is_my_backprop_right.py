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
# # Is my backprop right?
#
# You wrote the backward pass of a network by hand. The cost goes down, and yet you do not trust it. You are right not
# to: wrong gradients often go downhill too, for a while.

# %%
import matplotlib.pyplot as plt
import numpy as np

import tinygrad_dls as tg

X, Y = tg.datasets.planar_flower()
m = X.shape[1]

# %% [markdown]
# ## A program with two mistakes
#
# Here is the two-layer network of the course, in NumPy alone. Can you see them?


# %%
def forward(parameters, X):
    Z1 = parameters["W1"] @ X + parameters["b1"]
    A1 = np.tanh(Z1)
    Z2 = parameters["W2"] @ A1 + parameters["b2"]
    return A1, 1 / (1 + np.exp(-Z2))


def backward(parameters, X, Y):
    A1, A2 = forward(parameters, X)
    dZ2 = A2 - Y
    dW2 = dZ2 @ A1.T / m
    db2 = np.sum(dZ2, axis=1, keepdims=True) / m
    dZ1 = parameters["W2"].T @ dZ2 * A1 * (1 - A1)
    dW1 = dZ1 @ X.T / m
    db1 = np.sum(dZ1) / m
    return {"dZ2": dZ2, "dW2": dW2, "db2": db2, "dZ1": dZ1, "dW1": dW1, "db1": db1}


def train(backward, steps=2000, rate=0.5):
    rng = np.random.default_rng(1)
    parameters = {
        "W1": 0.5 * rng.normal(size=(4, 2)), "b1": np.zeros((4, 1)),
        "W2": 0.5 * rng.normal(size=(1, 4)), "b2": np.zeros((1, 1)),
    }  # fmt: skip
    costs = []
    for _ in range(steps):
        A2 = forward(parameters, X)[-1]
        costs.append(-np.mean(Y * np.log(A2) + (1 - Y) * np.log(1 - A2)))
        gradients = backward(parameters, X, Y)
        for name in parameters:
            parameters[name] = parameters[name] - rate * gradients[f"d{name}"]
    return costs


# %%
costs = train(backward)
print(f"The cost was {costs[0]:.3f}, and {costs[500]:.3f} after 500 steps.")

# %% [markdown]
# That looks well. Who would look for a mistake here?
#
# ## Ask
#
# Give `diagnose` a model with the same parameters, the data, and your gradients. It differentiates the same cost by
# itself, holds its gradients against yours from the output on backwards, and where one is wrong it tries out which
# known mistake explains your numbers.

# %%
model = tg.nn.TwoLayerNetwork(2, 4, rng=3)
parameters = {name: p.data for name, p in model.named_parameters()}
finding = tg.check.diagnose(model, X, Y, backward(parameters, X, Y))
finding

# %% [markdown]
# Read it from the top. `dZ2` and what follows from it are right, and so is leaving out `1/m` there, as the course does.
# `dZ1` is the first wrong one: that is the derivative of a sigmoid, and the layer has a tanh. `dW1` needs no mending,
# it only follows from `dZ1`. And `db1` has a mistake of its own: without `axis=1`, NumPy adds up all four units.
#
# ## Mend it


# %%
def mended(parameters, X, Y):
    A1, A2 = forward(parameters, X)
    dZ2 = A2 - Y
    dZ1 = parameters["W2"].T @ dZ2 * (1 - A1**2)
    return {
        "dZ2": dZ2, "dW2": dZ2 @ A1.T / m, "db2": np.sum(dZ2, axis=1, keepdims=True) / m,
        "dZ1": dZ1, "dW1": dZ1 @ X.T / m, "db1": np.sum(dZ1, axis=1, keepdims=True) / m,
    }  # fmt: skip


after = tg.check.diagnose(model, X, Y, mended(parameters, X, Y))
after

# %% [markdown]
# And this is what the mistakes did, after the first 500 steps:

# %%
_, axes = plt.subplots(figsize=(6, 2.8))
axes.plot(costs, label="with both mistakes")
axes.plot(train(mended), label="mended")
axes.set(xlabel="step", ylabel="J", ylim=(0.2, 0.8))
axes.grid(alpha=0.3)
_ = axes.legend()

# %% [markdown]
# ## A function of your own
#
# `gradcheck` is for what the library differentiates, and for ops that you add to it: it holds each gradient against
# slopes, which are differences of the function itself.


# %%
def swish(Z):
    return Z * tg.sigmoid(Z)


check = tg.check.gradcheck(swish, np.linspace(-4, 4, 9).reshape(1, 9))
check

# %% [markdown]
# ## And the step after it?
#
# The gradients may be right, and the update wrong. `diagnose_update` takes the parameters before and after a step, and
# the optimizer that the step should have been: gradient descent, momentum, RMSprop or Adam. Here, somebody wrote a
# plus:

# %%
gradients = {f"d{name}": mended(parameters, X, Y)[f"d{name}"] for name in parameters}
stepped = {name: x + 0.5 * gradients[f"d{name}"] for name, x in parameters.items()}
descent = tg.optim.SGD(model.parameters(), lr=0.5)
update = tg.check.diagnose_update(model, parameters, gradients, stepped, descent)
update
