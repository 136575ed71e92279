"""From a table to production with PyTorch: the program that predicts, in another process."""

import joblib
import numpy as np
import torch
from torch import nn


def predict(frame):
    features, labels = joblib.load("features.joblib")
    n_x, n_y, state = torch.load("model.pt")
    model = nn.Sequential(nn.Linear(n_x, 16), nn.ReLU(), nn.Linear(16, n_y))
    model.load_state_dict(state)
    with torch.no_grad():
        Z = model(torch.from_numpy(features.transform(frame).astype(np.float32)))
    return list(labels.inverse_transform(Z.argmax(dim=1).numpy()))
