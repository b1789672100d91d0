"""How an archive grows: disk, hours of writing, nodes, and how evenly jobs of real lengths lie on shards.

``python -m benchmarks.scale`` prints the tables of docs/scale.md. The bytes and rates are measured ones and
can be given anew; the distribution is simulated: job lengths are heavy-tailed, and each job lies whole on the
shard that a hash of its key names.
"""

from __future__ import annotations

import argparse
import random
from hashlib import blake2b

VALUES = (10**6, 10**8, 10**10, 10**12)
METRICS = 3
"""Metric values a checkpoint, as the measured jobs have."""
JOBS_SIMULATED = 300_000
LONGEST_JOB = 10**7
_STEP = 1000
"""From one unit of bytes to the next."""


def job_lengths(count: int, tail: float, draw: random.Random) -> list[int]:
    """Give checkpoints a job: a median of about 90, and a tail (Pareto) in which few jobs hold most."""
    return [min(LONGEST_JOB, int(50 * draw.paretovariate(tail))) for _ in range(count)]


def shard_loads(lengths: list[int], shards: int) -> list[int]:
    """Give checkpoints a shard, each job on the shard of its key's hash."""
    loads = [0] * shards
    for key, length in enumerate(lengths):
        digest = blake2b(key.to_bytes(8, "big"), digest_size=4).digest()
        loads[int.from_bytes(digest, "big") % shards] += length
    return loads


def shown_bytes(count: float) -> str:
    """Give a size in the largest unit that leaves a number of 1 or more."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if count < _STEP:
            return f"{count:.3g} {unit}"
        count /= _STEP
    return f"{count:.3g} PB"


def shown_hours(seconds: float) -> str:
    """Give hours by three digits."""
    return f"{float(f'{seconds / 3600:.3g}'):,g}"


def sizes(given: argparse.Namespace) -> None:
    """Print disk and hours for each number of values."""
    titles = (
        "metric values",
        "SQLite",
        "PostgreSQL",
        "Parquet",
        "hours, SQLite",
        "hours, PostgreSQL",
        "nodes",
    )
    print(f"| {' | '.join((*titles, 'shards'))} |")
    print("|---|---|---|---|---|---|---|---|")
    for values in VALUES:
        checkpoints = values / METRICS
        stored = checkpoints * given.postgresql_bytes
        nodes = max(1, -(-int(stored) // int(given.node_bytes)))
        cells = (
            f"1e{len(str(values)) - 1}",
            shown_bytes(checkpoints * given.sqlite_bytes),
            shown_bytes(stored),
            shown_bytes(checkpoints * given.parquet_bytes),
            shown_hours(checkpoints / given.sqlite_rate),
            shown_hours(checkpoints / given.postgresql_rate),
            str(nodes),
            str(1 if nodes == 1 else max(32, nodes * given.shards_a_node)),
        )
        print(f"| {' | '.join(cells)} |")


def skew(given: argparse.Namespace) -> None:
    """Print how much more than the mean the fullest shard holds."""
    print("| tail | shards | jobs | longest job's share | fullest shard / mean | emptiest / mean |")
    print("|---|---|---|---|---|---|")
    for tail in (2.5, 1.5, 1.1):
        lengths = job_lengths(given.jobs, tail, random.Random(8))  # noqa: S311 - no secret
        total = sum(lengths)
        for shards in (32, 128, 512):
            loads = shard_loads(lengths, shards)
            mean = total / shards
            print(
                f"| {tail} | {shards} | {len(lengths)} | {max(lengths) / total:.2%} "
                f"| {max(loads) / mean:.2f} | {min(loads) / mean:.2f} |"
            )


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sqlite-bytes", type=float, default=103, help="bytes a checkpoint")
    parser.add_argument("--postgresql-bytes", type=float, default=396, help="the same, keys included")
    parser.add_argument("--parquet-bytes", type=float, default=39, help="the same")
    parser.add_argument("--sqlite-rate", type=float, default=228_000, help="checkpoints a second, one writer")
    parser.add_argument("--postgresql-rate", type=float, default=61_700, help="the same")
    parser.add_argument("--node-bytes", type=float, default=4e12, help="what one node is to hold")
    parser.add_argument("--shards-a-node", type=int, default=16)
    parser.add_argument("--jobs", type=int, default=JOBS_SIMULATED)
    given = parser.parse_args()
    sizes(given)
    print()
    skew(given)


if __name__ == "__main__":
    main()
