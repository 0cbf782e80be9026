"""The gate of the Coq theories: ``make formal``, ``make formal-pin``.

Compiles derivations/coq in a fresh folder, audits what the theorems assume, compares what they say with
what is pinned, and prints the claims whose verdict is ``formal``. With ``--pin`` the pinned statements are
written anew, for review; with ``--kernel`` coqchk checks the compiled files again, libraries included.
Exits with 1 if anything is not as it must be, with 2 if Coq is not installed.
"""

from __future__ import annotations

import sys

from balproof.errors import MissingToolError
from balproof.formal import THEORIES, kernel_recheck, run_gate
from balproof.formal.gate import PINNED
from balproof.importers.files import write_atomically
from balproof.theorems.formal import FORMAL, formal_claims, registered


def main(arguments: list[str]) -> int:
    unknown = [a for a in arguments if a not in ("--pin", "--kernel")]
    if unknown:
        print(f"{unknown[0]} is not an option: say --pin or --kernel", file=sys.stderr)
        return 2
    pin = "--pin" in arguments
    try:
        gate = run_gate(registered(), check_pins=not pin)
        faults = list(gate.faults)
        if "--kernel" in arguments and not faults:
            faults += kernel_recheck()
    except MissingToolError as missing:
        print(missing, file=sys.stderr)
        return 2
    if pin and not faults:
        write_atomically(THEORIES / PINNED, gate.pins.encode())
        print(f"pinned: {len(gate.theorems)} theorems, with the definitions, in {PINNED}")
    print(f"Coq {gate.version}: {gate.names} names, {len(gate.theorems)} registered, {gate.seconds:.0f} s")
    print(f"assumed: {', '.join(gate.assumed) or 'nothing'}")
    for fault in faults:
        print(f"fault: {fault}", file=sys.stderr)
    if faults:
        return 1
    print("\nformal:")
    for name in formal_claims(gate):
        print(f"  {name}")
    print("in part:")
    for name, formal in FORMAL.items():
        if formal.rest:
            print(f"  {name}: left {formal.rest}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
