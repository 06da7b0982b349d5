#!/bin/sh
# Builds a Windows driver with Debian's mingw-w64: drivers/build.sh [OPTION...] -o OUT.sys SOURCE...
#
#   -o OUT.sys    the driver; it is replaced at once when it is complete
#   --symbols     keeps symbols and DWARF, for reports with lines and for gdb
#   --msvc        clang and lld-link in place of mingw-w64: an image as Microsoft's tools make it, from sources that
#                 include no header of mingw's
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
tools=mingw
while [ $# -gt 0 ]; do
    case $1 in
        -o) out=$2; shift ;;
        --symbols) strip=-gdwarf-4 ;;
        --msvc) tools=msvc ;;
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

mkdir -p "$(dirname "$out")"
work=$(mktemp -d "$out.XXXXXX")
trap 'rm -rf "$work"' EXIT
# The name of the output is in the export table, so the temporary file has the final name.
made=$work/$(basename "$out")
drivers=$(cd "$(dirname "$0")" && pwd)
mingw=$(dirname "$(command -v x86_64-w64-mingw32-gcc)")/../x86_64-w64-mingw32

# shellcheck disable=SC2086
if [ $tools = msvc ]; then
    # No code view: it would have the path of the file that is being made.
    objects=
    for source in $sources; do
        object=$work/$(basename "$source").obj
        clang --target=x86_64-pc-windows-msvc -O2 -Wall -Wextra -ffreestanding -fno-ident -fstack-protector-strong \
            -Xclang -cfguard -ffile-prefix-map="$drivers"=. $options -c "$source" -o "$object"
        objects="$objects $object"
    done
    lld-link /nologo /driver /subsystem:native /entry:"$entry" /nodefaultlib /guard:cf /dynamicbase \
        /base:0x140000000 /Brepro /out:"$made" $objects \
        "$mingw/lib/libntoskrnl.a" "$mingw/lib/libhal.a" "$mingw/lib/libks.a"
else
    if [ "$compiler" = x86_64-w64-mingw32-g++ ]; then
        options="-fno-exceptions -fno-rtti -fno-threadsafe-statics $options"
    fi
    $compiler -O2 -Wall -Wextra -Wno-unused-parameter -Wno-array-bounds -ffreestanding -fno-ident \
        -ffile-prefix-map="$drivers"=. -isystem "$mingw/include/ddk" -I "$drivers/include" $options $strip \
        -nostdlib -o "$made" $sources \
        -Wl,--subsystem,native,--entry,"$entry",--image-base,0x140000000,--dynamicbase,--no-insert-timestamp \
        -lntoskrnl -lhal -lks -lgcc
fi
mv -f "$made" "$out"
