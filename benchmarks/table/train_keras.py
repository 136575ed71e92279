"""From a table to production with Keras: the program that trains, saves and exports."""

import joblib
import keras
import numpy as np
import pandas as pd
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_class_weight


def fitted(frame):
    numbers = make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")
    features = make_column_transformer(numbers, (OneHotEncoder(), ["island"]))
    labels = LabelEncoder()
    X, y = features.fit_transform(frame.drop(columns="species")), labels.fit_transform(frame["species"])
    hidden, output = keras.layers.Dense(16, "relu"), keras.layers.Dense(len(labels.classes_), "softmax")
    model = keras.Sequential([keras.Input(X.shape[1:]), hidden, output])
    model.compile(keras.optimizers.Adam(0.01), "sparse_categorical_crossentropy", metrics=["accuracy"])
    weights = dict(enumerate(compute_class_weight("balanced", classes=np.unique(y), y=y)))
    stop = keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
    model.fit(
        X,
        y,
        batch_size=32,
        epochs=200,
        class_weight=weights,
        validation_split=0.1,
        callbacks=[stop],
        verbose=0,
    )
    return features, labels, model


def score(features, labels, model, frame):
    X, y = features.transform(frame.drop(columns="species")), labels.transform(frame["species"])
    return model.evaluate(X, y, verbose=0)[1]


keras.utils.set_random_seed(0)
train, test = train_test_split(pd.read_csv("penguins.csv").drop(columns="sex"), test_size=0.25, random_state=0)
features, labels, model = fitted(train)
print("accuracy", score(features, labels, model, test))
folds = StratifiedKFold().split(train, train["species"])
print("cross-validated", np.mean([score(*fitted(train.iloc[i]), train.iloc[j]) for i, j in folds]))
joblib.dump((features, labels), "features.joblib")
model.save("model.keras")
model.export("model.onnx", format="onnx", verbose=False)
