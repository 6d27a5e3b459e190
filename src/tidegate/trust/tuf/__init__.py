"""The Update Framework: what a device verifies with, and what a node and a publisher sign with."""
