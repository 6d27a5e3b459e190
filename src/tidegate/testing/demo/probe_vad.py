"""The demo's health probe: load the voice-activity model in the folder TIDEGATE_ARTIFACT and run one inference.

Run by the agent as an allowlisted argument vector; exit 0 means healthy, and what it prints comes back with the report.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import onnxruntime


def main() -> int:
    model = next(Path(os.environ["TIDEGATE_ARTIFACT"]).glob("*.onnx"))
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    try:
        session = onnxruntime.InferenceSession(str(model), options, providers=["CPUExecutionProvider"])
        tone = np.sin(np.linspace(0, 40 * np.pi, 512, dtype=np.float32))[np.newaxis, :]
        state = np.zeros((2, 1, 128), dtype=np.float32)
        speech = session.run(None, {"input": tone, "state": state, "sr": np.array(16_000, dtype=np.int64)})[0]
    except Exception as error:  # noqa: BLE001 - whatever the runtime says is the probe's answer
        print(f"cannot run {model.name}: {str(error).splitlines()[0]}", file=sys.stderr)  # noqa: T201
        return 1
    probability = float(speech[0, 0])
    print(f"{model.name}: speech probability {probability:.4f}")  # noqa: T201
    return 0 if 0.0 <= probability <= 1.0 else 2


if __name__ == "__main__":
    raise SystemExit(main())
