"""`make bench`: every table, or the ones named: ``make bench ARGS="heartbeat plan"``."""

from __future__ import annotations

import sys

from bench import heartbeat, held, plan, publish, rollouts

BENCHES = {
    "plan": plan.run,
    "rollouts": rollouts.main,
    "publish": publish.main,
    "heartbeat": heartbeat.main,
    "held": held.main,
}


def main() -> int:
    unknown = [name for name in sys.argv[1:] if name not in BENCHES]
    if unknown:
        print(f"cannot run {', '.join(unknown)}: there are {', '.join(BENCHES)}", file=sys.stderr)
        return 2
    for name in sys.argv[1:] or BENCHES:
        print(BENCHES[name](), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
