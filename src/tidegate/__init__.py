"""Tidegate: signed software delivered to fleets of edge devices, in widening waves."""

__version__ = "0.1.0"
