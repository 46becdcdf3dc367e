# SPDX-License-Identifier: Apache-2.0
"""Rows of benchmarks: medians over repeats, what they were measured on, cells of a table."""
import os
import platform
import statistics
import subprocess
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD", os.path.join(ROOT, "build"))
OUT = os.path.join(BUILD, "bench")
MIB = 1 << 20


class Results:
    def __init__(self):
        self.rows = {}  # (bench, case) -> unit, [values], params

    def add(self, bench, case, unit, value, params):
        self.rows.setdefault((bench, case), (unit, [], params))[1].append(value)

    def median(self, bench, case):
        row = self.rows.get((bench, case))
        return statistics.median(row[1]) if row else None

    def export(self):
        return [{"bench": b, "case": c, "unit": u, "median": round(statistics.median(v), 6), "min": round(min(v), 6),
                 "max": round(max(v), 6), "values": [round(x, 6) for x in v], "params": p} for (b, c), (u, v, p) in self.rows.items()]


def cell(results, bench, case, spread):
    row = results.rows.get((bench, case))
    if not row:
        return "-"
    text = "%.3g" % statistics.median(row[1])
    return text + " (%.3g-%.3g)" % (min(row[1]), max(row[1])) if spread and len(row[1]) > 1 else text


def cpu_model():
    try:
        with open("/proc/cpuinfo") as f:
            return next(l.split(":", 1)[1].strip() for l in f if l.startswith("model name"))
    except (OSError, StopIteration):
        return platform.machine()


def about(repeats, size):
    commit = subprocess.run(["git", "-C", ROOT, "describe", "--always", "--dirty"], text=True, stdout=subprocess.PIPE,
                            stderr=subprocess.DEVNULL).stdout.strip()
    with open("/proc/meminfo") as f:
        memory = int(f.readline().split()[1]) // 1024
    with open("/sys/kernel/mm/transparent_hugepage/enabled") as f:
        thp = f.read().strip()
    return {"commit": commit or "unknown", "kernel": platform.release(), "cpu": cpu_model(), "cpus": os.cpu_count(), "memory_mib": memory,
            "thp": thp, "repeats": repeats, "size": size, "at": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())}
