"""From a table to production with tinygrad_dls: the program that trains, saves and exports."""

import pandas as pd
from sklearn.model_selection import cross_val_score, train_test_split

import tinygrad_dls as tg
from tinygrad_dls.sklearn import TinyClassifier

train, test = train_test_split(pd.read_csv("penguins.csv"), test_size=0.25, random_state=0)
table = tg.datasets.from_frame(train, target="species", ignore=["sex"], missing="mean", one_hot=["island"])
model = TinyClassifier(
    hidden=(16,),
    learning_rate=0.01,
    batch_size=32,
    early_stopping=True,
    standardize=True,
    class_weight="balanced",
    random_state=0,
).fit(*table.rows)
print("accuracy", model.score(*tg.datasets.from_frame(test, like=table.recipe).rows))
print("cross-validated", cross_val_score(model, *table.rows).mean())
tg.save("model.safetensors", model.model_, recipe=table.recipe)
tg.onnx.export(model.model_, "model.onnx", table.X, rows=True)
