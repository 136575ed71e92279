"""From a table to production with PyTorch: the program that trains, saves and exports."""

import copy

import joblib
import numpy as np
import pandas as pd
import torch
from sklearn.compose import make_column_selector, make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.model_selection import StratifiedKFold, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import LabelEncoder, OneHotEncoder, StandardScaler
from sklearn.utils.class_weight import compute_class_weight
from torch import nn
from torch.utils.data import DataLoader, TensorDataset


def tensors(features, labels, frame):
    X = features.transform(frame.drop(columns="species")).astype(np.float32)
    return torch.from_numpy(X), torch.from_numpy(labels.transform(frame["species"]))


def fitted(frame):
    numbers = make_pipeline(SimpleImputer(), StandardScaler()), make_column_selector(dtype_include="number")
    features = make_column_transformer(numbers, (OneHotEncoder(), ["island"]))
    frame, held_back = train_test_split(frame, test_size=0.1, stratify=frame["species"], random_state=0)
    features.fit(frame.drop(columns="species"))
    labels = LabelEncoder().fit(frame["species"])
    X, y = tensors(features, labels, frame)
    X_held, y_held = tensors(features, labels, held_back)
    model = nn.Sequential(nn.Linear(X.shape[1], 16), nn.ReLU(), nn.Linear(16, len(labels.classes_)))
    weights = compute_class_weight("balanced", classes=np.unique(y), y=y.numpy())
    loss = nn.CrossEntropyLoss(torch.tensor(weights, dtype=torch.float32))
    optimizer = torch.optim.Adam(model.parameters(), lr=0.01)
    best, waited = np.inf, 0
    for _ in range(200):
        model.train()
        for X_batch, y_batch in DataLoader(TensorDataset(X, y), batch_size=32, shuffle=True):
            optimizer.zero_grad()
            loss(model(X_batch), y_batch).backward()
            optimizer.step()
        model.eval()
        with torch.no_grad():
            cost = loss(model(X_held), y_held).item()
        waited += 1
        if cost < best:
            best, waited, state = cost, 0, copy.deepcopy(model.state_dict())
        if waited == 10:
            break
    model.load_state_dict(state)
    return features, labels, model


def score(features, labels, model, frame):
    X, y = tensors(features, labels, frame)
    with torch.no_grad():
        return (model(X).argmax(dim=1) == y).float().mean().item()


torch.manual_seed(0)
train, test = train_test_split(pd.read_csv("penguins.csv").drop(columns="sex"), test_size=0.25, random_state=0)
features, labels, model = fitted(train)
print("accuracy", score(features, labels, model, test))
folds = StratifiedKFold().split(train, train["species"])
print("cross-validated", np.mean([score(*fitted(train.iloc[i]), train.iloc[j]) for i, j in folds]))
joblib.dump((features, labels), "features.joblib")
n_x = model[0].in_features
torch.save((n_x, len(labels.classes_), model.state_dict()), "model.pt")
torch.onnx.export(
    model,
    (torch.zeros(2, n_x),),
    "model.onnx",
    input_names=["X"],
    dynamic_shapes=({0: torch.export.Dim("m")},),
    verbose=False,
)
