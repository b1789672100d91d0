"""``python -m tuneledger`` is the command ``tuneledger``."""

from tuneledger.cli import main

main()
