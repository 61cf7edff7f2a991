#!/usr/bin/env bash
# What the tests use beyond Rust and Python: PostgreSQL and Redis servers (each test run starts its own, in a temporary
# folder), nginx to stand in front of streams, Chromium to look at pages, curl for the README's tour, Node.js and npm for SDKs, faketime for nodes
# whose clocks are wrong, Prometheus to check alerts and, to link faster, mold. Installs what is missing where it may (root and apt-get), says what is
# missing where it may not, and takes no time when everything is there. Never fails: a test that needs an absent server
# says so itself.
set -euo pipefail

postgres_is_here() { command -v initdb >/dev/null 2>&1 || ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1; }

missing=()
postgres_is_here || missing+=(postgresql)
command -v redis-server >/dev/null 2>&1 || missing+=(redis-server)
{ command -v nginx || [ -x /usr/sbin/nginx ]; } >/dev/null 2>&1 || missing+=(nginx-light)
command -v curl >/dev/null 2>&1 || missing+=(curl)
command -v node >/dev/null 2>&1 || missing+=(nodejs)
command -v npm >/dev/null 2>&1 || missing+=(npm)
command -v chromium >/dev/null 2>&1 || missing+=(chromium)
command -v chromedriver >/dev/null 2>&1 || missing+=(chromium-driver)
command -v promtool >/dev/null 2>&1 || missing+=(prometheus)
ls /usr/lib/*/faketime/libfaketime.so.1 >/dev/null 2>&1 || missing+=(faketime)
command -v mold >/dev/null 2>&1 || missing+=(mold)
if [ "${#missing[@]}" -eq 0 ]; then exit 0; fi

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null 2>&1; then
    echo "tests/setup.sh: not installed here: ${missing[*]}" >&2
    exit 0
fi

# The packages' own servers are not wanted, only their programs: nothing may start by itself, here or at boot.
policy=/usr/sbin/policy-rc.d
made_policy=no
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod +x "$policy" && made_policy=yes
fi
trap 'if [ "$made_policy" = yes ]; then rm -f "$policy"; fi' EXIT

export DEBIAN_FRONTEND=noninteractive
log=$(mktemp)
if ! apt-get update >"$log" 2>&1; then echo "tests/setup.sh: apt-get update failed, trying what is known" >&2; fi
for package in "${missing[@]}"; do
    echo "tests/setup.sh: installing $package" >&2
    if ! apt-get install -y --no-install-recommends "$package" >"$log" 2>&1; then
        echo "tests/setup.sh: $package could not be installed:" >&2
        tail -n 5 "$log" >&2
    fi
done
rm -f "$log"
