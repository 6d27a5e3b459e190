#!/bin/sh
# Installs or upgrades tidegate-agent on this device and enrolls it. Carries nothing secret: the enrollment token is read
# from standard input, everything else that matters is checked against the hashes given in the command before it is used.
# Running it again upgrades the program and keeps identity, trust anchor, settings and state. It may be ended at any step:
# what ran before runs on, and running it once more completes it.
set -eu
umask 022

usage() {
    cat <<'TEXT'
usage: sh tidegate-install.sh --url https://HOST:PORT --ca-sha256 HEX --agent-sha256 HEX --root-sha256 HEX [options]
       (the enrollment token on standard input)

  --installer-sha256 HEX  refuse to run unless this script has this hash
  --name NAME             the device's name, when the token does not say it
  --fleet FLEET           the token's fleet (default: default)
  --prefix DIR            install below DIR, without root: program, settings and state in one folder
  --python PATH           the Python to run the agent with (default: python3)
  --allow-older           install an agent that is older than the one on this device
  --no-start              install and enroll only
TEXT
}

fail() {
    printf 'tidegate-install: %s\n' "$1" >&2
    exit 1
}

say() {
    printf 'tidegate-install: %s\n' "$1" >&2
}

url='' ca_sha256='' agent_sha256='' root_sha256='' installer_sha256='' name='' fleet='default' prefix='' python='python3' older=no start=yes
while [ $# -gt 0 ]; do
    case $1 in
    --url | --ca-sha256 | --agent-sha256 | --root-sha256 | --installer-sha256 | --name | --fleet | --prefix | --python)
        [ $# -ge 2 ] || fail "cannot go on: $1 needs a value"
        case $1 in
        --url) url=${2%/} ;;
        --ca-sha256) ca_sha256=$2 ;;
        --agent-sha256) agent_sha256=$2 ;;
        --root-sha256) root_sha256=$2 ;;
        --installer-sha256) installer_sha256=$2 ;;
        --name) name=$2 ;;
        --fleet) fleet=$2 ;;
        --prefix) prefix=$2 ;;
        --python) python=$2 ;;
        esac
        shift 2
        ;;
    --allow-older)
        older=yes
        shift
        ;;
    --no-start)
        start=no
        shift
        ;;
    --help)
        usage
        exit 0
        ;;
    *)
        usage >&2
        fail "cannot go on: unknown option $1"
        ;;
    esac
done

is_hash() {
    [ ${#1} -eq 64 ] || return 1
    case $1 in
    *[!0-9a-f]*) return 1 ;;
    esac
}

case $url in
https://?*) ;;
*) fail "cannot go on: --url must be https://HOST:PORT" ;;
esac
case $url in
*[!A-Za-z0-9:/._\[\]-]*) fail "cannot go on: --url has characters that it may not have" ;;
esac
case $fleet$name in
*[!a-z0-9._-]*) fail "cannot go on: --fleet or --name has characters that they may not have" ;;
esac
is_hash "$ca_sha256" || fail "cannot go on: --ca-sha256 must be 64 hexadecimal digits"
is_hash "$agent_sha256" || fail "cannot go on: --agent-sha256 must be 64 hexadecimal digits"
is_hash "$root_sha256" || fail "cannot go on: --root-sha256 must be 64 hexadecimal digits"

sha256_of() {
    if command -v sha256sum >/dev/null 2>&1; then
        sha256sum <"$1" | cut -c1-64
    else
        openssl dgst -sha256 -r <"$1" | cut -c1-64
    fi
}

check() {
    found=$(sha256_of "$1") || fail "cannot hash $2"
    [ "$found" = "$3" ] || fail "cannot trust $2: its SHA-256 is $found, the command says $3${4-}"
}

if [ -n "$installer_sha256" ]; then
    [ -f "$0" ] || fail "cannot check this script: save it to a file and run that"
    check "$0" "this script" "$installer_sha256"
fi
command -v curl >/dev/null 2>&1 || fail "cannot go on: curl is missing"
command -v "$python" >/dev/null 2>&1 || fail "cannot go on: $python is missing (the agent needs Python 3.11 or newer)"

# -- where everything goes ------------------------------------------------------------------------------------------------
if [ -n "$prefix" ]; then
    case $prefix in
    /*) ;;
    *) prefix=$(pwd)/$prefix ;;
    esac
    program_dir=$prefix/lib bin_dir=$prefix/bin config_dir=$prefix/etc state_dir=$prefix/state run_dir=$prefix/run
else
    [ "$(id -u)" -eq 0 ] || fail "cannot install for the whole device without root; run it as root or give --prefix DIR"
    program_dir=/opt/tidegate bin_dir=/usr/local/bin config_dir=/etc/tidegate state_dir=/var/lib/tidegate run_dir=/run/tidegate
fi
case $program_dir$(command -v "$python") in
*[!A-Za-z0-9/._+-]*) fail "cannot install: the folder and the path of Python must have no blanks or quotes" ;;
esac

# Where nothing can be written it is said before anything is; of two folders of one disk the second may be read-only.
for folder in "$program_dir" "$bin_dir" "$config_dir" "$state_dir" "$run_dir"; do
    there=$folder
    while [ ! -d "$there" ]; do there=$(dirname "$there"); done
    [ -w "$there" ] || fail "cannot write to $there (read-only?); make it writable, or install below another folder with --prefix DIR"
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM

# -- fetch and check, before anything is changed or run -----------------------------------------------------------------
# The CA is the one thing fetched without verifying the server: its hash is what the command vouches for.
curl -fsS --insecure --proto '=https' --max-time 60 --max-filesize 1000000 -o "$work/server-ca.pem" "$url/install/server-ca.pem" ||
    fail "cannot fetch the node's CA from $url"
check "$work/server-ca.pem" "the node's CA" "$ca_sha256"
fetch() {
    curl -fsS --cacert "$work/server-ca.pem" --proto '=https' --max-time 1800 --max-filesize "$3" -o "$work/$2" "$url/install/$1" ||
        fail "cannot fetch $2 from $url"
}
fetch tidegate-agent.pyz tidegate-agent.pyz 200000000
check "$work/tidegate-agent.pyz" "the agent program" "$agent_sha256" "; after an upgrade of the node take a new command from it"
if [ "$fleet" = default ]; then
    fetch root.json root.json 1000000
else
    fetch "root.json?fleet=$fleet" root.json 1000000
fi
check "$work/root.json" "the trust anchor" "$root_sha256"
chmod 755 "$work/tidegate-agent.pyz"
# A program that does not run here must not take the place of one that does. Where there is one, the new one is unpacked in
# its own place already: if there is no room for that, the old one goes on.
installed='' trial=$work/trial
if [ -f "$program_dir/tidegate-agent.pyz" ]; then
    trial=$program_dir/.tidegate-agent
    # One that does not run says no version, and is mended by whatever is installed.
    [ "$older" = yes ] || installed=$("$bin_dir/tidegate-agent" version 2>/dev/null) || installed=''
fi
set -- version
[ -z "$installed" ] || set -- version --not-older-than "${installed#tidegate-agent }"
status=0
TIDEGATE_AGENT_CACHE=$trial "$python" -I "$work/tidegate-agent.pyz" "$@" >/dev/null || status=$?
case $status in
0) ;;
2) fail "cannot replace the agent by an older one; if that is meant, add --allow-older" ;;
*) fail "cannot use the agent program on this device (where $(dirname "$trial") is mounted noexec or full, mend that or set TMPDIR to another folder)" ;;
esac

# -- install ----------------------------------------------------------------------------------------------------------
mkdir -p "$program_dir" "$bin_dir" "$config_dir/agent.d"
[ -d "$state_dir" ] || mkdir -p -m 711 "$state_dir"
mkdir -p "$run_dir"
python_path=$(command -v "$python")

put() {
    # Beside the old one and renamed: at any instant there is a whole program.
    cp "$1" "$2.new"
    chmod "$3" "$2.new"
    sync "$2.new" 2>/dev/null || sync
    mv -f "$2.new" "$2"
}
put "$work/tidegate-agent.pyz" "$program_dir/tidegate-agent.pyz" 755
put "$work/server-ca.pem" "$program_dir/server-ca.pem" 644
put "$work/root.json" "$program_dir/root.json" 644
config=$config_dir/agent.toml
if [ ! -e "$config" ]; then
    printf '# Settings of tidegate-agent; allowlists start empty, which means: refused.\nstate_dir = "%s"\nrun_dir = "%s"\n' \
        "$state_dir" "$run_dir" >"$work/agent.toml"
    put "$work/agent.toml" "$config" 644
fi
printf '#!/bin/sh\nexec %s -I %s --config %s "$@"\n' "$python_path" "$program_dir/tidegate-agent.pyz" "$config" >"$work/tidegate-agent"
put "$work/tidegate-agent" "$bin_dir/tidegate-agent" 755
"$bin_dir/tidegate-agent" version >/dev/null || fail "cannot start the installed agent"

# -- enroll -----------------------------------------------------------------------------------------------------------
# The token goes from standard input to standard input: never into an argument, a variable, a file or the log.
if [ -t 0 ]; then
    printf 'Enrollment token: ' >&2
    stty -echo
    trap 'stty echo; rm -rf "$work"' EXIT
fi
set -- --url "$url" --token-stdin --ca "$program_dir/server-ca.pem" --root "$program_dir/root.json"
[ -z "$name" ] || set -- "$@" --name "$name"
if [ -t 0 ]; then
    head -n 1 | "$bin_dir/tidegate-agent" enroll "$@" || fail "cannot enroll this device"
    stty echo
    trap 'rm -rf "$work"' EXIT
    printf '\n' >&2
else
    "$bin_dir/tidegate-agent" enroll "$@" || fail "cannot enroll this device"
fi

# -- start ------------------------------------------------------------------------------------------------------------
if [ -z "$prefix" ] && [ -d /run/systemd/system ]; then
    "$python" -I -c 'import sys, zipfile; sys.stdout.buffer.write(zipfile.ZipFile(sys.argv[1]).read("deploy/tidegate-agent.service"))' \
        "$program_dir/tidegate-agent.pyz" >"$work/unit"
    sed -e "s|@PROGRAM@|$python_path -I $program_dir/tidegate-agent.pyz|" -e "s|@CONFIG@|$config|" "$work/unit" >"$work/tidegate-agent.service"
    put "$work/tidegate-agent.service" /etc/systemd/system/tidegate-agent.service 644
    systemctl daemon-reload
    systemctl enable --quiet tidegate-agent.service
    if [ "$start" = yes ]; then
        systemctl restart tidegate-agent.service
        # Once more, now that nothing runs from the version before: its unpacked copy is removed.
        "$bin_dir/tidegate-agent" version >/dev/null || true
        say "running; see: systemctl status tidegate-agent, tidegate-agent status"
    fi
else
    say "installed and enrolled; no systemd here, so start it yourself: $bin_dir/tidegate-agent run"
fi
