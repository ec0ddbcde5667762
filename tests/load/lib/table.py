#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
"""build/load.json as a table; exit 1 when a figure is beyond its bound."""
import json
import os
import sys

path = os.path.join(os.environ.get("BUILD", "build"), "load.json")
with open(path, encoding="utf-8") as f:
    rows = json.load(f)
bad = 0
for r in rows:
    bound = f"<= {r['most']:g}" if r["most"] is not None else f">= {r['least']:g}" if r["least"] is not None else ""
    beyond = r["most"] is not None and r["value"] > r["most"] or r["least"] is not None and r["value"] < r["least"]
    bad += beyond
    print(f"{r['figure']:28} {r['value']:>10g} {r['unit']:24} {bound:10} {'MISSED ' if beyond else ''}{r['note']}".rstrip())
sys.exit(1 if bad else 0)
