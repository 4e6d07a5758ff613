"""Call commands of rolekd one after the other in one process; print their exit codes as JSON.

Imports are paid once. Run as `python commands.py '[["summary"], ["params", "--size"]]'`.
"""

import json
import sys

from rolekd.cli import call, root


def main() -> None:
    codes = []
    for arguments in json.loads(sys.argv[1]):
        sys.argv = ["rolekd", *arguments]
        codes.append(call(root, "rolekd"))
    sys.stdout.write(f"{json.dumps(codes)}\n")


if __name__ == "__main__":
    main()
