"""One workload against tuneledger, the raw drivers and the peers: ``python -m benchmarks``."""
