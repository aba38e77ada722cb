#!/bin/sh
# Builds the volunteer-side programs into OUTDIR as PROGRAM_VERSION_PLATFORM.
#
#   wrapper/build.sh OUTDIR [GOOS/GOARCH ...]      default: all five
#   wrapper/build.sh --prepare [GOOS/GOARCH ...]   compiles what they use of Go's library; needs none of our source
#
# Needs Debian's golang-go (>= 1.22), golang-github-burntsushi-toml-dev and
# golang-github-klauspost-compress-dev; downloads nothing. The binaries are static and
# the same in every build of the same source with the same compiler, wherever the checkout lies.
set -eu
[ $# -ge 1 ] || { echo "usage: $0 OUTDIR|--prepare [GOOS/GOARCH ...]" >&2; exit 2; }
here=$(cd "$(dirname "$0")" && pwd)
mode=$1
shift
[ $# -gt 0 ] || set -- linux/amd64 linux/arm64 windows/amd64 darwin/amd64 darwin/arm64
platform() {
    case "$1" in
    linux/amd64) echo x86_64-pc-linux-gnu ;;
    linux/arm64) echo aarch64-unknown-linux-gnu ;;
    windows/amd64) echo windows_x86_64 ;;
    darwin/amd64) echo x86_64-apple-darwin ;;
    darwin/arm64) echo arm64-apple-darwin ;;
    *) echo "error: unknown target $1" >&2; return 1 ;;
    esac
}
# No network, no other toolchain, no version control stamps, nothing from the builder's own settings.
export CGO_ENABLED=0 GOFLAGS=-mod=readonly GOPROXY=off GOSUMDB=off GOTOOLCHAIN=local GOWORK=off GOAMD64=v1 GOARM64=v8.0 GOENV=off
if [ "$mode" = --prepare ]; then
    cd /
    for target in "$@"; do
        platform "$target" > /dev/null
        GOOS=${target%/*} GOARCH=${target#*/} GOFLAGS= go build -trimpath -buildvcs=false \
            archive/tar archive/zip compress/bzip2 compress/gzip crypto/md5 crypto/rand crypto/sha256 encoding/json \
            hash/crc32 net net/url os/exec os/signal reflect regexp runtime/debug slices testing
    done
    exit
fi
mkdir -p "$mode"
out=$(cd "$mode" && pwd)
version=$(cat "$here/VERSION")
cd "$here"
for target in "$@"; do
    name=$(platform "$target")
    suffix=""
    case "$target" in windows/*) suffix=.exe ;; esac
    for program in docker_wrapper wrapper; do
        file=${program}_${version}_${name}${suffix}
        GOOS=${target%/*} GOARCH=${target#*/} go build -trimpath -buildvcs=false \
            -ldflags "-s -w -buildid= -X main.version=$version" -o "$out/$file" "./cmd/$program"
        echo "built $file"
    done
done
