#!/bin/bash
# SPDX-License-Identifier: BSD-3-Clause
# demo.sh BUILD BOARD [--stay]
#
# Bare-metal firmware in QEMU against real servers on loopback, everything through
# ampsock-proxy: names, TCP, UDP, and a listener of the firmware's that curl talks to.
# Exits 0 only if every byte was right. --stay: leave it up for a browser until Ctrl-C.
set -u

cd "$(dirname "$0")/.." || exit 1
build=${1:-}
board=${2:-}
stay=${3:-}
limit=${DEMO_SECONDS:-60} # for the whole of it, --stay excepted
firmware=$build/fw/$board/demo.elf

usage() {
	local boards=(boards/qemu-*.mk)
	boards=("${boards[@]#boards/}")
	printf 'demo.sh: %s\nusage: demo.sh BUILD BOARD [--stay], as "make demo" and "make run" call it\nBOARD: %s\n' \
		"$1" "${boards[*]%.mk}" >&2
	exit 2
}

[ $# -eq 2 ] || [ $# -eq 3 ] || usage "expected two arguments or three, found $#"
[ -z "$stay" ] || [ "$stay" = --stay ] || usage "expected --stay, found $stay"
[ -f "boards/$board.mk" ] || usage "there is no board $board"
[ -f "$firmware" ] || usage "there is no $firmware: make $firmware"
dir=$(mktemp -d "${TMPDIR:-/tmp}/ampsock-demo.XXXXXX") || exit 1
pids=()
done_ok=

say() {
	printf '==> %s\n' "$*"
}

fail() {
	say "FAILED: $*"
	for log in "$dir"/*.log; do
		[ -s "$log" ] && [ "$log" != "$dir/console.log" ] && sed "s,^,    $(basename "$log"): ," "$log"
	done
	exit 1
}

# Ends exactly what was started here, newest first, and waits for it.
# shellcheck disable=SC2317
clean_up() {
	local i
	trap - EXIT INT TERM
	for ((i = ${#pids[@]} - 1; i >= 0; i--)); do
		kill "${pids[i]}" 2>/dev/null
	done
	for ((i = 0; i < 100; i++)); do # 5 s to go by themselves
		kill -0 "${pids[@]}" 2>/dev/null || break
		sleep 0.05
	done
	for ((i = 0; i < ${#pids[@]}; i++)); do
		kill -KILL "${pids[i]}" 2>/dev/null
		wait "${pids[i]}" 2>/dev/null
	done
	rm -rf "$dir"
	[ -n "$done_ok" ] && say "all right, and everything that was started is gone"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# until_true WHAT COMMAND...: poll for a condition, with an end
until_true() {
	local what=$1 end=$((SECONDS + limit))
	shift
	until "$@"; do
		[ "$SECONDS" -lt "$end" ] || fail "$what: not within $limit s"
		[ -z "${watch:-}" ] || kill -0 "$watch" 2>/dev/null || "$@" || fail "$what: it has ended"
		sleep 0.05
	done
}

port_of() { # the number in a log's first "port N"
	port=$(sed -n 's/.*port \([0-9][0-9]*\).*/\1/p;T;q' "$1" 2>/dev/null | head -n 1)
	[ -n "$port" ]
}

# --- the world outside: a real web server and a real UDP server -----------------------------
mkdir "$dir/www"
python3 - "$dir/www/page.txt" <<'EOF' || fail "python3"
import random, sys
body = "".join("%06d %030x\n" % (i, random.getrandbits(120)) for i in range(4000)).encode()
h = 2166136261
for b in body:
	h = (h ^ b) * 16777619 & 0xffffffff
open(sys.argv[1], "wb").write(b"%d %d\n" % (len(body), h) + body)
EOF
python3 -u -m http.server --bind 127.0.0.1 --directory "$dir/www" 0 >"$dir/web.log" 2>&1 &
pids+=($!)
watch=$! until_true "web server" port_of "$dir/web.log"
web=$port

python3 -u - >"$dir/udp.log" 2>&1 <<'EOF' &
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("127.0.0.1", 0))
print("port", s.getsockname()[1])
while True:
	data, peer = s.recvfrom(65536)
	s.sendto(data, peer)
EOF
pids+=($!)
watch=$! until_true "UDP server" port_of "$dir/udp.log"
udp=$port

public=$(python3 - <<'EOF'
import random, socket
while True:  # below those that the kernel gives to whoever connects meanwhile
    with socket.socket() as s:
        try:
            s.bind(("127.0.0.1", random.randrange(10240, 32768)))
        except OSError:
            continue
        print(s.getsockname()[1])
        break
EOF
)

# --- the proxy: the guest may reach these two, and is published at one port -------------------
# (QEMU asks for its virtio-vsock device; it is the proxy that asks for the memory that it shares.)
case $board in
qemu-mps2) link=rpmsg-shm:$dir/link.ram,da=0x21000000,elf=$firmware,bell=unix:$dir/link ;;
*) link=vhost-user-vsock:$dir/link,cid=3 ;;
esac
say "proxy: allows tcp localhost:$web and udp 127.0.0.1:$udp, publishes 127.0.0.1:$public"
"$build/ampsock-proxy" \
	--link "$link" \
	--allow "out tcp localhost:$web" \
	--allow "out udp 127.0.0.1:$udp" \
	--allow "in tcp any:80" \
	--publish "tcp 127.0.0.1:$public -> inet:80" >"$dir/proxy.log" 2>&1 &
pids+=($!)
proxy=$!
case $link in
vhost-user-vsock:*) watch=$proxy until_true "ampsock-proxy" test -S "$dir/link" ;;
esac

# --- the firmware ---------------------------------------------------------------------------
say "firmware: $firmware ($(wc -c <"$firmware") bytes) on $board"
: >"$dir/console.log"
boards/run-qemu.sh "$board" "$firmware" -s "$dir/link" \
	localhost "$web" "$udp" 80 </dev/null >"$dir/console.log" 2>&1 &
pids+=($!)
qemu=$!
tail -n +1 -f "$dir/console.log" &
pids+=($!)
watch=$qemu until_true "firmware" grep -q 'serving on port\|FAILED' "$dir/console.log"
grep -q FAILED "$dir/console.log" && fail "the firmware says so"

# --- from outside to the firmware ---------------------------------------------------------------
url=http://127.0.0.1:$public
fetch() {
	curl -sS --max-time 20 -o "$dir/got" "$url$1" || fail "curl $url$1"
}

fetch /
grep -q 'Hello from bare metal' "$dir/got" || fail "the page is not the firmware's"
say "curl $url/ brought the firmware's page"
bytes=200000
fetch /check/$bytes
python3 - "$dir/got" $bytes <<'EOF' || fail "the pattern is not right"
import sys
want = bytes(b"0123456789abcdef"[i * 7 % 16] for i in range(int(sys.argv[2])))
sys.exit(open(sys.argv[1], "rb").read() != want)
EOF
say "curl $url/check/$bytes: all $bytes bytes right"
if [ "$stay" = --stay ]; then
	say "it is up: $url/ (Ctrl-C or $url/quit ends it)"
	wait "$qemu"
	status=$?
else
	fetch /quit
	watch='' until_true "firmware's end" sh -c "! kill -0 $qemu 2>/dev/null"
	wait "$qemu"
	status=$?
fi
[ "$status" -eq 0 ] || fail "the firmware ended with status $status"
grep -q 'all good' "$dir/console.log" || fail "the firmware did not say that all was good"
kill -0 "$proxy" 2>/dev/null || fail "the proxy has ended"
done_ok=1
