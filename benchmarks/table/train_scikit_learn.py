"""From a table to production with scikit-learn: the program that trains, saves and exports."""

from pathlib import Path

import joblib
import pandas as pd
from skl2onnx import to_onnx
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import cross_val_score, train_test_split
from sklearn.neural_network import MLPClassifier
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_sample_weight

train, test = train_test_split(pd.read_csv("penguins.csv").drop(columns="sex"), test_size=0.25, random_state=0)
X, y = train.drop(columns="species"), train["species"]
numbers = make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")
network = MLPClassifier(
    hidden_layer_sizes=(16,),
    learning_rate_init=0.01,
    batch_size=32,
    early_stopping=True,
    random_state=0,
)
weights = {"mlpclassifier__sample_weight": compute_sample_weight("balanced", y)}
features = make_column_transformer(numbers, (OneHotEncoder(), ["island"]))
model = make_pipeline(features, network).fit(X, y, **weights)
print("accuracy", model.score(test.drop(columns="species"), test["species"]))
print("cross-validated", cross_val_score(model, X, y, params=weights).mean())
joblib.dump(model, "model.joblib")
example = X[:1].astype(dict.fromkeys(X.select_dtypes("number"), "float32"))
Path("model.onnx").write_bytes(to_onnx(model, example, options={"zipmap": False}).SerializeToString())
