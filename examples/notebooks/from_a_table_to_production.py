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
# # From a table to production
#
# A table of customers, with missing cells and a column of text. We want to know who is going to leave, and to use the
# answer elsewhere: in a new process, in scikit-learn's tools, and in a program without Python.

# %%
import tempfile
from pathlib import Path

import numpy as np

import tinygrad_dls as tg

folder = Path(tempfile.mkdtemp())

# %% [markdown]
# ## The table
#
# It is made up here, so that this notebook needs no file: who pays much, has been here for a short time and lives in
# Rome is likelier to leave. Six per cent of the incomes are not known.

# %%
rng = np.random.default_rng(7)
m = 800
city = rng.choice(["Oslo", "Rome", "Lima"], size=m)
months = rng.integers(1, 72, size=m)
income = rng.normal(3000, 800, size=m).round()
fee = rng.normal(60, 15, size=m).round(2)
z = 0.06 * (fee - 60) - 0.07 * (months - 36) + 1.2 * (city == "Rome") - 2.4
leaves = rng.random(m) < 1 / (1 + np.exp(-z))

lines = ["customer,city,months,income,fee,leaves"]
for i in range(m):
    known = "" if rng.random() < 0.06 else f"{income[i]:.0f}"
    lines.append(f"{i},{city[i]},{months[i]},{known},{fee[i]},{'yes' if leaves[i] else 'no'}")
path = folder / "customers.csv"
path.write_text("\n".join(lines) + "\n", encoding="utf-8")
print("\n".join(lines[:5]))

# %% [markdown]
# ## Read and split
#
# What is to become of missing cells and of text must be said: nothing is guessed. Examples become columns, and a city
# becomes one feature for each of its texts. The test examples are drawn so that both classes have their share in them.

# %%
table = tg.datasets.read_csv(path, target="leaves", ignore=["customer"], missing={"income": "mean"}, one_hot=["city"])
print(table.X.shape, table.features)
print("classes:", table.classes, " missing cells:", dict(table.missing))

train, test = tg.datasets.train_test_split(table, test=0.25, rng=0, stratify=True)
fit_on, validate_on = tg.datasets.train_test_split(train, test=0.2, rng=1, stratify=True)
print(f"{fit_on.X.shape[1]} to train, {validate_on.X.shape[1]} to validate, {test.X.shape[1]} to test")

# %% [markdown]
# ## The model
#
# The standardizer is its first layer, with the means of the training examples: so whoever uses the model later passes
# features as they are in the table.

# %%
model = tg.nn.Classifier(
    tg.nn.Standardizer.of(fit_on),
    tg.nn.Linear(len(table.features), 16, rng=2),
    tg.nn.Tanh(),
    tg.nn.Linear(16, 1, rng=3),
)
model

# %% [markdown]
# ## Train
#
# Few customers leave. `class_weight="balanced"` makes both classes count alike. The training stops when the cost of the
# validation examples has not become lower for 30 epochs, and the best parameters come back.

# %%
stop = tg.EarlyStopping(30)
history = tg.fit(
    model,
    fit_on.X,
    fit_on.Y,
    loss=tg.binary_cross_entropy_with_logits,
    optimizer=tg.optim.Adam(model.parameters(), lr=0.01),
    epochs=1000,
    batch_size=64,
    rng=np.random.default_rng(4),
    validation=(validate_on.X, validate_on.Y),
    metrics=["recall", "auc"],
    class_weight="balanced",
    callbacks=[stop],
    progress=False,
)
history

# %%
print(f"stopped after {len(history)} epochs; the best was number {stop.best_epoch}")
(stay, suspected), (missed, found) = tg.confusion_matrix(model.predict(test.X), test.Y)
print(f"Of {missed + found} test customers who leave, the model finds {found};")
print(f"of {stay + suspected} who stay, it suspects {suspected}.")

# %% [markdown]
# ## Save, and load elsewhere
#
# One file holds the architecture, the parameters and the standardizer, and what you want to remember with them. It runs
# no code when it is read. A new process needs nothing of this notebook:

# %%
saved_to = folder / "customers.safetensors"
tg.save(saved_to, model, features=list(table.features), classes=list(table.classes))

# %%
saved = tg.load(saved_to)
same = np.array_equal(saved.model.predict_proba(test.X), model.predict_proba(test.X))
saved, same


# %%
def probability_of_leaving(saved, **customer):
    """What the model says of one customer, by the names of the table's features."""
    x = np.array([[customer.get(name, 0.0)] for name in saved.extra["features"]])
    return float(saved.model.predict_proba(x)[0, 0])


newcomer = {"months": 2, "income": 3000, "fee": 80, "city=Rome": 1}
faithful = {"months": 60, "income": 3000, "fee": 40, "city=Oslo": 1}
print(f"a newcomer: {probability_of_leaving(saved, **newcomer):.0%}")
print(f"a faithful customer: {probability_of_leaving(saved, **faithful):.0%}")

# %% [markdown]
# ## Is it luck?
#
# One split says little. scikit-learn's cross-validation says more, and the estimator of this library is one of its own;
# examples are rows there.

# %%
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tinygrad_dls.sklearn import TinyClassifier

estimator = make_pipeline(
    StandardScaler(),
    TinyClassifier(
        hidden=(16,), activation="tanh", learning_rate=0.01, epochs=60, class_weight="balanced", random_state=0
    ),
)
scores = cross_val_score(estimator, table.X.T, table.Y[0], cv=5, scoring="roc_auc")
print(f"AUC of five parts: {scores.round(2)}, on average {scores.mean():.2f}")

# %% [markdown]
# ## Without Python
#
# ONNX is a file format that other programs run: onnxruntime in C, Java or JavaScript, databases, browsers. The
# standardizer goes along.

# %%
tg.onnx.export(model, folder / "customers.onnx", test.X)
print(f"customers.onnx has {(folder / 'customers.onnx').stat().st_size:,} bytes")

# %%
import onnxruntime

session = onnxruntime.InferenceSession(folder / "customers.onnx")
elsewhere, _ = session.run(None, {"X": test.X})
print("largest difference:", np.max(np.abs(elsewhere - model.predict_proba(test.X))))
