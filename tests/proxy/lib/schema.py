# SPDX-License-Identifier: BSD-3-Clause
"""The keys that docs/control.md names, and whether a reply has others."""
import os
import re

from harness import ROOT

ROWS = {"links", "sockets", "rules"}
REQUIRED = {"status", "capture", "error", "top", "limits"}  # all of their keys, but for MAY
MAY = {"used", "max"}
SEEN = {}  # which of them were seen


def _named():
    with open(os.path.join(ROOT, "docs", "control.md"), encoding="utf-8") as f:
        text = f.read()
    out = {}
    for part in re.split(r"^### ", text, flags=re.M)[1:]:
        name, body = part.split("\n", 1)
        body = re.split(r"^##", body, maxsplit=1, flags=re.M)[0]
        cells = re.findall(r"^\| (`[^|]*) \|", body, re.M)
        out[name] = {k for c in cells for k in re.findall(r"`([a-z_]+)`", c)}
    return out


NAMED = _named()


def _keys(what, obj, more=()):
    named = NAMED[what] | set(more)
    odd = set(obj) - named
    lacking = named - set(obj) - MAY if what in REQUIRED else set()
    if odd or lacking:
        raise AssertionError(f"{what}: keys that docs/control.md does not name: {sorted(odd)}; that are lacking: {sorted(lacking)}")
    SEEN.setdefault(what, set()).update(obj)


def check(what, value):
    """value: the result of the command, as ampsockctl --json prints it."""
    if what in ROWS:
        for row in value:
            _keys(what, row)
            for limit in row.get("limits", {}).values():
                _keys("limits", limit)
    elif what == "top":
        _keys(what, value)
        rates = NAMED["top rates"]
        SEEN.setdefault("top rates", set()).update(rates)
        for row in value["links"] + [s for s in value["sockets"] if "id" in s]:
            if not rates <= set(row):
                raise AssertionError(f"no rates: {row}")
        for part in ("links", "sockets"):
            check(part, [{k: v for k, v in row.items() if k not in rates} for row in value[part]])
    elif what in NAMED:
        _keys(what, value)
    elif value != {}:
        raise AssertionError(f"{what}: docs/control.md says {{}}, not {value}")
