"""The running of a stage: parameters, command line, engines."""
