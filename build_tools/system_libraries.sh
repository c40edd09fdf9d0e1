#!/usr/bin/env bash
# Installs the shared libraries that Open3D's wheel expects of the system, where they are missing and it is permitted.
set -euo pipefail

declare -A package_of=([libusb-1.0.so.0]=libusb-1.0-0 [libGL.so.1]=libgl1 [libEGL.so.1]=libegl1 [libgomp.so.1]=libgomp1)
[ "$(uname -s)" = Linux ] || exit 0

known=$(PATH="$PATH:/sbin:/usr/sbin" ldconfig -p)
missing=()
for library in "${!package_of[@]}"; do
  grep -q "$library" <<<"$known" || missing+=("${package_of[$library]}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

as_root=()
[ "$(id -u)" -eq 0 ] || as_root=(sudo -n)
if command -v apt-get >/dev/null && { [ "$(id -u)" -eq 0 ] || sudo -n true 2>/dev/null; }; then
  echo "installing system libraries: ${missing[*]}"
  "${as_root[@]}" apt-get update -qq
  DEBIAN_FRONTEND=noninteractive "${as_root[@]}" apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
else
  echo "Open3D needs system libraries that are missing here. Please ask an administrator to run:" >&2
  echo "    apt-get install ${missing[*]}" >&2
  exit 1
fi
