"""Random configurations in real Lava against the reference: `python tests/conformance/run.py --cases 500`.

Prints one line with the totals, and exits with 1 where any value differs; the numbers of the configurations that differ
are named, each can be made again with `conformance.cases.case(number)`.
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from conformance.cases import case
from conformance.check import Totals, compare, total

from neurodeploy.export import lava

_AT_ONCE = 50  # configurations per start of Lava


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", type=int, default=500, help="how many configurations (default 500)")
    parser.add_argument("--first", type=int, default=0, help="the number of the first one (default 0)")
    options = parser.parse_args()
    started, whole = time.monotonic(), Totals()
    for first in range(options.first, options.first + options.cases, _AT_ONCE):
        cases = [case(index) for index in range(first, min(first + _AT_ONCE, options.first + options.cases))]
        results = lava.execute([one.job() for one in cases])
        whole += total(map(compare, cases, results))
        sys.stderr.write(f"{whole}, {time.monotonic() - started:.0f} s\n")
    differing = f" in configurations {', '.join(map(str, whole.differing))}" if whole.differing else ""
    sys.stdout.write(f"conformance with lava-nc 0.10.0: {whole}{differing}\n")
    return 1 if whole.mismatches else 0


if __name__ == "__main__":
    sys.exit(main())
