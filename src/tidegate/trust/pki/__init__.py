"""Certificates: profile, requests, authority."""
