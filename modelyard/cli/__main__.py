"""`python -m modelyard.cli` is `yard`."""

from modelyard.cli.main import main

main()
