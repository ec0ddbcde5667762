#!/usr/bin/env python3
# SPDX-License-Identifier: BSD-3-Clause
# timeout: 300
"""The conformance suite: every case on every transport it is for.

	tests/conform/conform.py [--case TEXT]... [--transport TEXT]... [--list] [--json] [--tap]

A transport is TYPE@PLACE: a row of sockets.c at a place of places.py. Writes
BUILD/conform.md, the table case x transport, and BUILD/conform.json. --case and --transport
take what contains TEXT. One line for each failure, at last "N passed, N failed".
"""
import argparse
import concurrent.futures
import json
import os
import re
import sys
import time

import places_fw  # noqa: F401  pylint: disable=unused-import
import places_linux  # noqa: F401  pylint: disable=unused-import
from places import BUILD, HERE, PLACES, Pair

POSIX_MD = os.path.join(HERE, "..", "..", "docs", "posix.md")
SECTION = "## Where we differ from Linux"
CASE_S = 10      # a case; an emulated or loaded machine is given TIMES of it
TIMES = float(os.environ.get("CONFORM_TIMES", "3"))
AFTER_FAIL_S = 2  # for the other role, once one has failed
LOST_MAX = 4      # pairs that hang or do not come up, until a transport is given up


def rows_of_differences():
    """First cells of the table in docs/posix.md."""
    with open(POSIX_MD, encoding="utf-8") as f:
        text = f.read().split(SECTION, 1)[1].split("\n## ", 1)[0]
    return {re.split(r"(?<!\\)\|", line)[1].strip().replace("`", "")
            for line in text.splitlines() if line.startswith("|")}


ROWS = rows_of_differences()


class Column:
    """One transport: its results by case."""

    def __init__(self, transport, place):
        self.transport, self.place = transport, place
        self.name = f"{transport}@{place}"
        self.results = {}  # case -> (result, note)
        self.cases = []
        self.pair = None
        self.seconds = 0.0
        self.lost = 0

    def start(self):
        """Both roles up, if the type before has left none, and the link between them. A complaint, or nothing."""
        bad = ""
        if not self.pair:
            try:
                self.pair = Pair(self.place)
            except (OSError, AssertionError, SystemExit) as e:
                return f"{e} (make deps conform-programs)"
            _, bad = self.pair.collect("ready", 30 * TIMES)
        if not bad:
            bad = self.list()
        if not bad and self.skips["link.up"] == "":
            bad = "\n".join(self.run("link.up")[0])
        return bad

    def row(self, name):
        """Of sockets.c, for this role."""
        return self.pair.roles[name].prefix + self.transport

    def list(self):
        for name in "ab":
            self.pair.say(name, f"l {self.row(name)}")
        got, bad = self.pair.collect("l", 10 * TIMES)
        self.cases, self.skips = [], {}
        for name in "ab":
            for kind, text in got[name]:
                if kind == "f":
                    bad = bad or text
                if kind != "c":
                    continue
                case, _, why = text.partition(" ")
                if name == "a":
                    self.cases.append(case)
                    self.skips[case] = ""
                if why != "-" and not self.skips.get(case):
                    self.skips[case] = why
        return bad

    def run(self, case):
        """One case: (failures, rows of differences, the pair is still usable)."""
        fails, differs, ended = [], [], set()
        for name in "ab":
            self.pair.say(name, f"r {self.row(name)} {case}")
        deadline = time.monotonic() + CASE_S * TIMES
        while len(ended) < 2:
            name, kind, text = self.pair.event(deadline)
            if not name:
                if not fails:
                    hung = " and ".join(sorted({"a", "b"} - ended))
                    fails.append(f"role {hung} hung: no end after {CASE_S * TIMES:.0f} s")
                return fails, differs, False
            if kind == "gone":
                return fails + [text], differs, False
            if kind == "f":
                fails.append(f"{name}: {text}")
                self.pair.say("b" if name == "a" else "a", "x")
                deadline = min(deadline, time.monotonic() + AFTER_FAIL_S)
            elif kind == "d":
                differs.append(text)
            elif kind == "e":
                ended.add(name)
        return fails, differs, True

    def one(self, case):
        if self.skips[case]:
            self.results[case] = ("skip", self.skips[case])
            return
        bad = f"not run: {self.lost} pairs were lost before" if self.lost >= LOST_MAX else ""
        if not bad and not self.pair:
            bad = self.start()
        if bad:
            self.lost += 1
            self.stop(kill=True)
            self.results[case] = ("fail", bad)
            return
        fails, differs, usable = self.run(case)
        self.lost += not usable
        for row in differs:
            if row.replace("`", "") not in ROWS:
                fails.append(f'docs/posix.md has no row "{row}" under "{SECTION[3:]}"')
        if fails:
            log = [x for r in self.pair.scratch.roles for x in r.words()[-3:]]
            self.results[case] = ("fail", "; ".join(fails + [f"log: {' | '.join(log)}"] * bool(log)))
        elif differs:
            self.results[case] = ("differs", "; ".join(sorted(set(differs))))
        else:
            self.results[case] = ("pass", "")
        # A new pair after a failure: what it left behind is not the next one's.
        if fails:
            self.stop(kill=not usable)

    def stop(self, kill=False):
        if self.pair:
            bad = self.pair.end(kill)
            self.pair = None
            return bad
        return []

    def go(self, wanted, last):
        """All cases that are wanted, in order. The pair stays for the place's next type, unless this is the last."""
        begin = time.monotonic()
        try:
            bad = self.start()
            if bad:
                self.stop(kill=True)
                self.results["link.up"] = ("fail", f"{self.name} does not start: {bad}")
                return
            for case in self.cases:
                if case != "link.up" and wanted(case):
                    self.one(case)
            bad = self.stop() if last else []
            if bad:
                self.results["link.down"] = ("fail", "; ".join(bad))
        except BaseException:
            self.stop(kill=True)
            raise
        finally:
            self.seconds = time.monotonic() - begin


def go_place(columns, wanted):
    """All types of one place, one after the other in the same processes: to boot a machine for each takes longer
    than most cases do."""
    pair = None
    for c in columns:
        c.pair = pair
        c.go(wanted, c is columns[-1])
        pair, c.pair = c.pair, None
    return columns


def write_table(columns, cases, path):
    """Markdown: cases down, transports across."""
    mark = {"pass": "ok", "fail": "**FAIL**", "differs": "differs", "skip": "–"}
    with open(path, "w", encoding="utf-8") as f:
        f.write("# Conformance: case × transport\n\n")
        f.write("ok: as Linux's own sockets. differs: on purpose, docs/posix.md says why. –: does not apply.\n\n")
        f.write("| case | " + " | ".join(c.name for c in columns) + " |\n")
        f.write("|---|" + "---|" * len(columns) + "\n")
        for case in cases:
            cells = [mark[c.results[case][0]] if case in c.results else "" for c in columns]
            f.write(f"| {case} | " + " | ".join(cells) + " |\n")
        notes = [(c.name, case, *c.results[case]) for c in columns for case in cases
                 if case in c.results and c.results[case][0] in ("fail", "differs")]
        if notes:
            f.write("\n| transport | case | result | note |\n|---|---|---|---|\n")
        for column, case, result, note in notes:
            f.write(f"| {column} | {case} | {result} | {note.replace('|', chr(92) + '|')} |\n")


def outcome(columns, opt):
    """Files and summary; the exit status."""
    cases = []
    for c in columns:
        for case in list(c.cases) + [x for x in c.results if x not in c.cases]:
            if case in c.results and case not in cases:
                cases.append(case)
    order = {case: i for c in columns for i, case in enumerate(c.cases)}
    cases.sort(key=lambda x: order.get(x, -1))
    data = {"cases": len([x for x in cases if not x.startswith("link.")]),
            "transports": [c.name for c in columns],
            "results": [{"case": case, "transport": c.name, "result": r, "note": note}
                        for c in columns for case, (r, note) in c.results.items()]}
    os.makedirs(BUILD, exist_ok=True)
    write_table(columns, cases, os.path.join(BUILD, "conform.md"))
    with open(os.path.join(BUILD, "conform.json"), "w", encoding="utf-8") as f:
        json.dump(data, f, indent=1)
        f.write("\n")
    count = {k: sum(1 for r in data["results"] if r["result"] == k) for k in ("pass", "fail", "skip", "differs")}
    if opt.json:
        print(json.dumps(data, indent=1))
    elif opt.tap:
        tap(data)
    else:
        for c in columns:
            say = {k: sum(1 for r, _ in c.results.values() if r == k) for k in count}
            print(f"  {c.name:32} {say['pass']:4} passed {say['differs']:3} differ {say['fail']:3} failed "
                  f"{say['skip']:4} do not apply  {c.seconds:.1f} s")
        print(f"{data['cases']} cases, {len(columns)} transports; {count['differs']} differ on purpose, "
              f"{count['skip']} do not apply")
        print(f"{count['pass'] + count['differs']} passed, {count['fail']} failed")
    return 1 if count["fail"] or not count["pass"] else 0


def tap(data):
    """What does not apply is no test."""
    n = 0
    for r in data["results"]:
        if r["result"] == "skip":
            continue
        n += 1
        if r["result"] == "fail":
            print(f"# {r['note']}")
        print(f"{'not ok' if r['result'] == 'fail' else 'ok'} {n} - {r['transport']} {r['case']}"
              + (" (differs)" if r["result"] == "differs" else ""))
    print(f"1..{n}")


def parse_args():
    p = argparse.ArgumentParser(description="Run the conformance suite.")
    p.add_argument("--case", action="append", default=[], metavar="TEXT")
    p.add_argument("--transport", action="append", default=[], metavar="TEXT")
    p.add_argument("--list", action="store_true", help="the transports, and what is at each place")
    p.add_argument("--json", action="store_true", help="BUILD/conform.json on standard output, nothing else")
    p.add_argument("--tap", action="store_true", help="for tests/run")
    # Of two, one waits most of the time, for the other role or for a time-out that is the case.
    p.add_argument("--jobs", type=int, default=2 * (os.cpu_count() or 1), help="places at the same time")
    opt = p.parse_args()
    # tests/run gives no arguments
    opt.tap = opt.tap or ("AMP_TEST_MARK" in os.environ and not opt.json)
    return opt


def main():
    opt = parse_args()
    columns = [Column(tr, place) for place, (_, trs) in PLACES.items() for tr in trs]
    if opt.list:
        for c in columns:
            print(f"{c.name:32} {PLACES[c.place][0].__doc__}")
        return 0
    columns = [c for c in columns if not opt.transport or any(t in c.name for t in opt.transport)]
    if not columns:
        print("conform.py: no transport has that in its name: see --list", file=sys.stderr)
        return 2
    if opt.jobs < 1:
        print("conform.py: --jobs: 1 or more", file=sys.stderr)
        return 2

    def wanted(case):
        return not opt.case or any(t in case for t in opt.case)

    def go(place):
        for column in go_place([c for c in columns if c.place == place], wanted):
            for case, (result, note) in column.results.items():
                if result == "fail" and not opt.json:
                    print(f"{'# ' if opt.tap else ''}FAIL {column.name} {case}: {note}", flush=True)

    with concurrent.futures.ThreadPoolExecutor(opt.jobs) as pool:
        list(pool.map(go, dict.fromkeys(c.place for c in columns)))
    if not any(c.results for c in columns):
        print("conform.py: no case has that in its name: see build/conform.md", file=sys.stderr)
        return 2
    return outcome(columns, opt)


if __name__ == "__main__":
    sys.exit(main())
