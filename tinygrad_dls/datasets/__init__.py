"""Data with the examples as columns: tables from CSV files and DataFrames, the course's flower, and splits."""

from tinygrad_dls.datasets.flower import planar_flower
from tinygrad_dls.datasets.frames import from_frame
from tinygrad_dls.datasets.reader import read_csv
from tinygrad_dls.datasets.splits import train_test_split
from tinygrad_dls.datasets.table import Table, one_hot

__all__ = ["Table", "from_frame", "one_hot", "planar_flower", "read_csv", "train_test_split"]
