#!/usr/bin/env bash
# Makes .venv and installs the pinned requirements into it, once; a stamp keyed by the lists' hash
# says that it was done. `install.sh run` installs what the server needs, `install.sh test` what the
# tests need too. Debian packages are installed where this is root on Debian; elsewhere what is
# missing is named, with what it costs.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

want=${1:-run}
lock=requirements.lock
packages=()
[ -f packages.txt ] && mapfile -t packages < <(sed 's/[[:space:]]//g; /^$/d' packages.txt)
if [ "$want" = test ]; then
    lock=requirements-dev.lock
    packages+=(chromium ffmpeg redis-server fonts-dejavu-core podman runc conmon busybox-static)
fi

say() { printf '%s\n' "$*" >&2; }
fail() { say "$@"; exit 1; }

# What a user does without when a Debian package is missing.
cost_of() {
    case $1 in
        ca-certificates) echo "models cannot be fetched from a hub over https" ;;
        espeak-ng) echo "nothing is spoken aloud until a model that speaks was downloaded" ;;
        tesseract-ocr) echo "Cyrillic, Arabic and other scripts cannot be read from pictures" ;;
        tesseract-ocr-*) echo "texts in the language '${1#tesseract-ocr-}' are read worse or not at all" ;;
        chromium) echo "the browser tests cannot run" ;;
        ffmpeg) echo "the tests of sound formats cannot run" ;;
        redis-server) echo "the tests of several processes cannot run" ;;
        podman | runc | conmon | busybox-static) echo "the tests of containers cannot run" ;;
        fonts-dejavu-core) echo "the browser tests see boxes instead of letters" ;;
        *) echo "what needs it will say so" ;;
    esac
}

can_apt() { [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; }

# A package counts as there when dpkg says so, or when a program of its name is.
has_package() {
    command -v "$1" >/dev/null && return
    command -v dpkg-query >/dev/null || return
    [ "$(dpkg-query -W -f='${Status}' "$1" 2>/dev/null)" = "install ok installed" ]
}

apt_install() {
    say "Installing Debian packages: $*"
    export DEBIAN_FRONTEND=noninteractive
    apt-get install -y -qq --no-install-recommends "$@" </dev/null >/dev/null 2>&1 && return
    apt-get update -qq </dev/null >&2 && apt-get install -y -qq --no-install-recommends "$@" </dev/null >&2
}

install_packages() {
    local missing=() package
    for package in "${packages[@]}"; do
        has_package "$package" || missing+=("$package")
    done
    [ ${#missing[@]} = 0 ] && return
    if can_apt && apt_install "${missing[@]}"; then
        return
    fi
    for package in "${missing[@]}"; do
        say "Missing $package: $(cost_of "$package"). On Debian: sudo apt-get install $package"
    done
}

find_python() {
    local name
    for name in "${PYTHON:-python3.11}" python3.12 python3.13 python3; do
        if "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null; then
            command -v "$name"
            return
        fi
    done
    fail "Python 3.11 to 3.13 is needed and none was found. On Debian: apt-get install python3 python3-venv"
}

make_venv() {
    [ -x .venv/bin/python ] && .venv/bin/python -m pip --version >/dev/null 2>&1 && return
    local python
    python=$(find_python)
    say "Making .venv with $("$python" --version)"
    "$python" -m venv --clear .venv >/dev/null 2>&1 && return
    if can_apt && apt_install python3-venv && "$python" -m venv --clear .venv >/dev/null 2>&1; then
        return
    fi
    if command -v virtualenv >/dev/null && virtualenv -q -p "$python" --clear .venv; then
        return
    fi
    rm -rf .venv
    fail "Python's venv module is missing, so .venv cannot be made." \
        "On Debian: sudo apt-get install python3-venv; then run this again."
}

hash_of() { sha256sum "$1" | cut -d ' ' -f 1; }

install_requirements() {
    local stamp=.venv/.installed.$want
    [ "$(cat "$stamp" 2>/dev/null)" = "$(hash_of "$lock")" ] && return
    say "Installing $lock (once; several GB with PyTorch, so some minutes)"
    .venv/bin/python -m pip install --disable-pip-version-check --no-input --progress-bar off -q \
        --require-hashes --no-deps -r "$lock" </dev/null >&2 ||
        fail "The requirements could not be installed; see above. Check the network and run this again."
    hash_of "$lock" >"$stamp"
    hash_of requirements.lock >.venv/.installed.run
}

install_packages
make_venv
install_requirements
