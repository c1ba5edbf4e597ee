# What the scripts share: steps that are printed before they run, and installing what is missing. Sourced, not run.

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
cd "$root"
# Of `rustup`, where the shell that started this has not been told.
[[ -d "$HOME/.cargo/bin" ]] && PATH="$HOME/.cargo/bin:$PATH"
target=${CARGO_TARGET_DIR:-$root/target}
failed=()
passed=0

# Prints a command, then runs it; a failure ends the script.
step() {
    printf '\n==> %s\n' "$*"
    "$@"
}

# Prints a command, then runs it; a failure is listed at the end.
check() {
    local name=$1 started=$SECONDS
    shift
    printf '\n==> %s: %s\n' "$name" "$*"
    if "$@"; then
        passed=$((passed + 1))
        printf -- '--- %s passed in %s s\n' "$name" "$((SECONDS - started))"
    else
        failed+=("$name")
        printf -- '--- %s FAILED after %s s\n' "$name" "$((SECONDS - started))"
    fi
}

# Says what failed; its status is that of the whole script.
summary() {
    printf '\n'
    local name
    for name in "${failed[@]}"; do
        printf 'failed: %s\n' "$name"
    done
    printf '%s passed, %s failed\n' "$passed" "${#failed[@]}"
    [[ ${#failed[@]} -eq 0 ]]
}

as_root() {
    if [[ $(id --user) -eq 0 ]]; then
        "$@"
    elif command -v sudo > /dev/null; then
        sudo "$@"
    else
        printf 'strongroom: this needs root, and there is no sudo: %s\n' "$*" >&2
        return 1
    fi
}

# Installs the Debian packages that are not installed yet.
need_packages() {
    local package missing=()
    for package in "$@"; do
        if ! dpkg-query --show --showformat='${Status}\n' "$package" 2> /dev/null | grep --quiet ' installed$'; then
            missing+=("$package")
        fi
    done
    [[ ${#missing[@]} -eq 0 ]] && return
    if ! command -v apt-get > /dev/null; then
        printf 'strongroom: install what these Debian packages hold, then try again: %s\n' "${missing[*]}" >&2
        return 1
    fi
    step as_root apt-get update --quiet --quiet
    step as_root env DEBIAN_FRONTEND=noninteractive apt-get install --yes --quiet --no-install-recommends "${missing[@]}"
}

need_rust() {
    if ! command -v cargo > /dev/null; then
        printf 'strongroom: there is no Rust toolchain: install one (https://rustup.rs), then try again\n' >&2
        return 1
    fi
}

# A C compiler for AWS-LC and SQLite, and the token.
need_build_packages() {
    need_rust
    need_packages build-essential softhsm2
}

# Python's clients in an environment of their own, made again when their list changes.
need_python_clients() {
    local list=$1 folder=$2
    if [[ -f $folder/requirements.txt ]] && cmp --quiet "$list" "$folder/requirements.txt"; then
        return
    fi
    step python3 -m venv --clear "$folder"
    step "$folder/bin/pip" install --quiet --disable-pip-version-check --requirement "$list"
    cp "$list" "$folder/requirements.txt"
}

# Tokens beside SoftHSM, for the token tests. What cannot be had is printed as absent by the tests themselves.
need_tokens() {
    need_packages p11-kit p11-kit-modules opencryptoki libnss3 libnss3-tools || true
    need_kryoptic || printf 'strongroom: kryoptic cannot be built here: its tests are absent\n' >&2
    start_opencryptoki || printf 'strongroom: opencryptoki cannot be used here: its tests are absent\n' >&2
}

# Built once: outside the workspace, since it needs the headers of OpenSSL and SQLite, and libclang.
need_kryoptic() {
    need_packages pkg-config libssl-dev libsqlite3-dev libclang-dev || return 1
    step cargo build --release --locked --quiet --manifest-path tests/tokens/kryoptic/Cargo.toml --target-dir "$target/tokens"
}

# Its soft token is the machine's, not ours: it is used where it was never initialised, or by us, or in CI.
start_opencryptoki() {
    local folder=/var/lib/opencryptoki/swtok mark=$target/tokens/opencryptoki-is-ours
    [[ $(id --user) -eq 0 ]] || return 1
    if [[ -f $folder/NVTOK.DAT && ! -f $mark && ${CI:-} != true ]]; then
        return 1
    fi
    if ! pgrep --exact pkcsslotd > /dev/null; then
        step pkcsslotd || return 1
        # It ends by this signal only, while a client is attached.
        local daemon
        daemon=$(pgrep --exact pkcsslotd) || return 1
        trap "kill -KILL $daemon" EXIT
    fi
    mkdir --parents "${mark%/*}"
    touch "$mark"
    export STRONGROOM_OPENCRYPTOKI=1
}
