# Sourced by the other scripts: `set_up demo`, `set_up develop` or `set_up release` makes .venv in the checkout, or brings it up to date,
# and puts it first on the PATH.

cd "$(dirname "${BASH_SOURCE[0]}")/.."

set_up() {
    local wanted=$1 target=. python=${PYTHON:-python3} stamp
    if [[ $wanted == develop ]]; then
        target='.[postgres,test,check]'
    elif [[ $wanted == release ]]; then
        target='.[release]'
    fi

    "$python" - <<'PYTHON' || { echo "tuneledger needs Python 3.11 or newer; name one by PYTHON=..." >&2; exit 1; }
import sys

sys.exit(sys.version_info < (3, 11))
PYTHON

    # A venv holds absolute paths and one Python, so a moved checkout or another Python needs a new one; other
    # changes only need pip to look again.
    stamp=$("$python" - <<'PYTHON'
import hashlib
import os
import sys

place = hashlib.sha256(f"{os.getcwd()} {sys.version} {sys.base_prefix}".encode()).hexdigest()
with open("pyproject.toml", "rb") as project:
    print(place, hashlib.sha256(project.read()).hexdigest())
PYTHON
    )
    if [[ ! -x .venv/bin/python || $(cat .venv/place 2>/dev/null) != "${stamp% *}" ]]; then
        echo "Making .venv ..." >&2
        "$python" -m venv --clear .venv
        echo "${stamp% *}" >.venv/place
    fi
    if [[ $(cat ".venv/installed-$wanted" 2>/dev/null) != "${stamp#* }" ]]; then
        echo "Installing $target into .venv (the first time takes a minute) ..." >&2
        .venv/bin/python -m pip install --quiet --disable-pip-version-check --no-input --editable "$target" </dev/null
        echo "${stamp#* }" >".venv/installed-$wanted"
        # What developers need holds what the demo needs.
        echo "${stamp#* }" >.venv/installed-demo
    fi
    export PATH="$PWD/.venv/bin:$PATH"
}
