"""Layers and their functions with arrays on a device."""

import numpy as np
import pytest

import tinygrad_dls as tg

ROWS = np.array([[1.0, 2.0, 4.0], [3.0, 5.0, -4.0]])


def test_dropout_takes_masks_on_the_device_and_looks_at_them(device):
    mask = np.array([[1, 0, 1], [1, 1, 0]])
    device.is_close(tg.dropout(device.array(ROWS), device.array(mask), 0.5), tg.dropout(ROWS, mask, 0.5))
    with pytest.raises(ValueError, match=r"the mask holds 0\.5; expected 0 and 1"):
        tg.dropout(device.array(ROWS), device.array(mask / 2), 0.5)


def test_batch_norm_and_l2(device):
    ones, zeros = np.ones((2, 1)), np.zeros((2, 1))
    device.is_close(tg.batch_norm(*map(device.array, (ROWS, ones, zeros))), tg.batch_norm(ROWS, ones, zeros))
    device.is_close(tg.l2([device.array(ROWS)], 0.1, 3), tg.l2([ROWS], 0.1, 3))


def test_standardizers_are_made_of_examples_on_the_device(device):
    layer = tg.nn.Standardizer.of(device.array(ROWS))
    expected = tg.nn.Standardizer.of(ROWS)
    device.is_close(layer.mean, expected.mean)
    device.is_close(layer.inverse()(layer(device.array(ROWS))).data, expected.inverse()(expected(ROWS)).data)
    with pytest.raises(ValueError, match="'b' holds NaN"):
        tg.nn.Standardizer.of(device.array(np.where(ROWS == 5, np.nan, ROWS)), features=["a", "b"])


def test_first_weights_on_the_device_bring_their_bias_with_them(device):
    layer = tg.nn.Linear(3, 2, init=device.array(ROWS))
    device.is_close(layer.b.data, np.zeros((2, 1)))
    device.is_close(layer(device.array(ROWS.T.copy())).data, ROWS @ ROWS.T)


def test_labels_are_smoothed_and_made_columns_on_the_device(device):
    classes = np.array([[2, 0, 1]])
    on = device.array(classes)
    device.is_close(tg.smooth_labels(on, 0.3, n_classes=3), tg.smooth_labels(classes, 0.3, n_classes=3))
    device.is_close(tg.datasets.one_hot(on), tg.datasets.one_hot(classes))


def test_examples_are_split_on_the_device(device):
    found = tg.datasets.train_test_split(*map(device.array, (ROWS, ROWS[:1])), test=1, rng=0)
    for part, expected in zip(found, tg.datasets.train_test_split(ROWS, ROWS[:1], test=1, rng=0), strict=True):
        device.is_close(part, expected)
