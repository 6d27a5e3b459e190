"""Checking an SBOM: in a child process with limits, since what comes in is anybody's and checking takes its time."""
