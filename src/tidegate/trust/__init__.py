"""Signatures and certificates; knows nothing of devices or rollouts."""
