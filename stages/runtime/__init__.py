"""How a stage runs: parameters, command line, engines."""
