#!/bin/sh
# Builds a Windows driver with Debian's mingw-w64: drivers/build.sh [OPTION...] -o OUT.sys SOURCE...
#
#   -o OUT.sys    the driver; it is replaced at once when it is complete
#   --symbols     keeps symbols and DWARF, for reports with lines and for gdb
#   --entry NAME  entry point; DriverEntry without it
#   -D.. -I.. -O.. -W.. -f.. -l..   for the compiler, before the libraries
#
# C++ sources (.cpp) are compiled without exceptions and RTTI. The same sources give the same bytes.
set -eu

entry=DriverEntry
out=
strip=-s
compiler=x86_64-w64-mingw32-gcc
sources=
options=
while [ $# -gt 0 ]; do
    case $1 in
        -o) out=$2; shift ;;
        --symbols) strip=-gdwarf-4 ;;
        --entry) entry=$2; shift ;;
        -*) options="$options $1" ;;
        *.cpp) sources="$sources $1"; compiler=x86_64-w64-mingw32-g++ ;;
        *) sources="$sources $1" ;;
    esac
    shift
done
if [ -z "$out" ] || [ -z "$sources" ]; then
    echo "usage: $0 [--symbols] [--entry NAME] -o OUT.sys SOURCE..." >&2
    exit 2
fi
if [ "$compiler" = x86_64-w64-mingw32-g++ ]; then
    options="-fno-exceptions -fno-rtti -fno-threadsafe-statics $options"
fi

include=$(dirname "$(command -v $compiler)")/../x86_64-w64-mingw32/include
drivers=$(cd "$(dirname "$0")" && pwd)
mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The name of the output is in the export table, so the temporary file has the final name.
made=$work/$(basename "$out")
# shellcheck disable=SC2086
$compiler -O2 -Wall -Wextra -Wno-unused-parameter -Wno-array-bounds -ffreestanding -fno-ident \
    -ffile-prefix-map="$drivers"=. -isystem "$include/ddk" -I "$drivers/include" $options $strip \
    -nostdlib -o "$made" $sources \
    -Wl,--subsystem,native,--entry,"$entry",--image-base,0x140000000,--dynamicbase,--no-insert-timestamp \
    -lntoskrnl -lhal -lks -lgcc
mv -f "$made" "$out"
