#!/usr/bin/env bash
# Installs what the tests need from a Debian or Ubuntu system; does nothing when all of it is there.
set -euo pipefail

missing=()
have_initdb() { command -v initdb >/dev/null || compgen -G '/usr/lib/postgresql/*/bin/initdb' >/dev/null; }
have_initdb || missing+=(postgresql)
command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null || missing+=(chromium)
{ command -v nginx || test -x /usr/sbin/nginx; } >/dev/null || missing+=(nginx-light)
command -v openssl >/dev/null || missing+=(openssl)
command -v curl >/dev/null || missing+=(curl)
# An OpenID provider and other programs of npm that tests run beside ours; locked by each folder's package-lock.json.
command -v node >/dev/null || missing+=(nodejs)
command -v npm >/dev/null || missing+=(npm)
# The shells that `tidegate completion` writes for: each completes a line in its test.
command -v zsh >/dev/null || missing+=(zsh)
command -v fish >/dev/null || missing+=(fish)
# The TUF client takes its time from the C library; a test moves it.
command -v faketime >/dev/null || missing+=(faketime)
# A Prometheus that scrapes a node and evaluates the alert rules, and promtool beside it.
{ command -v prometheus && command -v promtool; } >/dev/null || missing+=(prometheus)
command -v systemd-analyze >/dev/null || missing+=(systemd)
# The agent's installer and unit are tried in a clean Debian root with a systemd of its own.
command -v systemd-nspawn >/dev/null || missing+=(systemd-container)
{ command -v debootstrap || test -x /usr/sbin/debootstrap; } >/dev/null || missing+=(debootstrap)

if [ ${#missing[@]} -eq 0 ]; then
  exit 0
fi

echo "installing for the tests: ${missing[*]}"
if ! command -v apt-get >/dev/null; then
  echo "cannot install them: this is neither Debian nor Ubuntu; install them by hand and run this again" >&2
  exit 1
fi
as_root=()
if [ "$(id -u)" -ne 0 ]; then
  command -v sudo >/dev/null || { echo "cannot install them: neither root nor sudo; as root: apt-get install -y ${missing[*]}" >&2; exit 1; }
  as_root=(sudo)
fi

# Debian starts a cluster of its own right after the installation; the tests use a private one only.
if [[ " ${missing[*]} " == *" postgresql "* ]] && [ ! -e /etc/postgresql-common/createcluster.conf ]; then
  "${as_root[@]}" mkdir -p /etc/postgresql-common
  echo "create_main_cluster = false" | "${as_root[@]}" tee /etc/postgresql-common/createcluster.conf >/dev/null
fi
# Nor is anything else to be started by being installed (Prometheus would be, on its usual port).
if [ ! -e /usr/sbin/policy-rc.d ]; then
  printf '#!/bin/sh\nexit 101\n' | "${as_root[@]}" tee /usr/sbin/policy-rc.d >/dev/null
  "${as_root[@]}" chmod 755 /usr/sbin/policy-rc.d
  trap '"${as_root[@]}" rm -f /usr/sbin/policy-rc.d' EXIT
fi
# A mirror that stumbles is asked again, one that hangs is not waited for: each attempt and their number are bounded.
patient=(-o Acquire::Retries=4 -o Acquire::http::Timeout=30 -o Acquire::https::Timeout=30 -o DPkg::Lock::Timeout=120)
"${as_root[@]}" apt-get "${patient[@]}" update -q ||
  echo "not every package list could be fetched; going on with those that are there" >&2
"${as_root[@]}" env DEBIAN_FRONTEND=noninteractive apt-get "${patient[@]}" install -q -y --no-install-recommends "${missing[@]}" || {
  echo "cannot install ${missing[*]}: see above what apt-get says; nothing of it is kept half, run this again" >&2
  exit 1
}
