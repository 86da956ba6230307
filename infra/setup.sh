#!/usr/bin/env bash
# Make .venv hold what requirements.lock says, the project itself, and the launcher of test servers. Does nothing when it does already.
#
#   infra/setup.sh        run it, or
#   . infra/setup.sh      source it: the calling shell is left as it was
#
# PYTHON names the interpreter to use; else the system's own, then the first of python3, python3.11, ... of PATH,
# if it is 3.11 or newer. Distributions build theirs with profile-guided optimisation, version managers often
# do not, and services on such a one take 9 to 22 % more (docs/benchmarks.md).

ringtime_setup() (
    set -euo pipefail
    cd "$(dirname "${BASH_SOURCE[0]}")/.."

    is_new_enough() {
        "$1" -c 'import sys, venv, ensurepip; sys.exit(sys.version_info < (3, 11))' 2>/dev/null
    }

    find_python() {
        local candidate
        for candidate in ${PYTHON:+"$PYTHON"} /usr/bin/python3 python3 python3.11 python3.12 python3.13 python3.14; do
            if is_new_enough "$candidate"; then
                echo "$candidate"
                return
            fi
        done
        echo "setup: needs Python 3.11 or newer with venv (on Debian: apt-get install python3-venv); found none" >&2
        return 1
    }

    make_venv() {
        is_new_enough .venv/bin/python && .venv/bin/python -m pip --version >/dev/null 2>&1 && return
        local python
        python=$(find_python)
        is_new_enough .venv/bin/python || rm -rf .venv
        "$python" -m venv .venv
    }

    # hatchling comes from the lock too, so building the project needs no index of its own.
    install_locked() {
        if awk '/^[^ ]/ { wanted = /^uv==/ } wanted' requirements.lock >.venv/uv.lock &&
            .venv/bin/python -m pip install --quiet --require-hashes -r .venv/uv.lock &&
            .venv/bin/uv pip install --quiet --python .venv/bin/python --require-hashes -r requirements.lock; then
            .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps --no-build-isolation \
                --editable . --editable ./infra
        else
            echo "setup: going on without uv" >&2
            .venv/bin/python -m pip install --quiet --require-hashes -r requirements.lock
            .venv/bin/python -m pip install --quiet --no-deps --no-build-isolation --editable . --editable ./infra
        fi
    }

    stamp=.venv/.ringtime-stamp
    wanted="$(pwd)"$'\n'"$(cat requirements.lock pyproject.toml infra/pyproject.toml | cksum)"

    is_ready() { [ -x .venv/bin/python ] && [ "$(cat "$stamp" 2>/dev/null)" = "$wanted" ]; }
    is_ready && exit 0

    # Two runs at once: the second waits, then finds the work done. Without flock, one at a time is on you.
    mkdir -p .ringtime
    if command -v flock >/dev/null; then
        exec 9>.ringtime/setup.lock
        flock 9
        is_ready && exit 0
    fi

    export PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_INPUT=1 UV_NO_PROGRESS=1 PYTHONNOUSERSITE=1
    unset VIRTUAL_ENV PYTHONPATH PYTHONHOME
    local cache="${XDG_CACHE_HOME:-${HOME:-/nonexistent}/.cache}"
    { mkdir -p "$cache" 2>/dev/null && [ -w "$cache" ]; } || export PIP_NO_CACHE_DIR=1 UV_NO_CACHE=1
    echo "setup: installing into .venv" >&2
    # A checkout that was moved: the scripts in .venv still name the old place.
    [ ! -e "$stamp" ] || [ "$(head -n 1 "$stamp")" = "$(pwd)" ] || rm -rf .venv
    make_venv
    rm -f "$stamp"
    install_locked
    echo "$wanted" >"$stamp"
)

ringtime_setup
