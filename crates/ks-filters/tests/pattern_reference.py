#!/usr/bin/env python3
"""An independent generator of the test picture, from its specification in the documentation of `media::pattern`.

Usage: pattern_reference.py LAYOUT WIDTH HEIGHT RATE FRAMES [PATH.y4m]

LAYOUT is i420, nv12 or yuy2; RATE is frames a second, as 30 or 30000:1001. Frame n is shown at n / RATE seconds, in
whole units of 100 ns. Prints the MD5 of the bytes of every frame in its layout, one a line; with a path, writes the
frames there as YUV4MPEG2 as well. Needs nothing but Python's standard library.
"""

import hashlib
import sys

COLOURS = {
    "grey": (180, 128, 128),
    "yellow": (162, 44, 142),
    "cyan": (131, 156, 44),
    "green": (112, 72, 58),
    "magenta": (84, 184, 198),
    "red": (65, 100, 212),
    "blue": (35, 212, 114),
    "black": (16, 128, 128),
    "white": (235, 128, 128),
    "minus-I": (16, 158, 95),
    "plus-Q": (16, 174, 149),
    "below black": (7, 128, 128),
    "above black": (25, 128, 128),
}
UPPER = "grey yellow cyan green magenta red blue".split()
LOWER = "blue black magenta black cyan black grey".split()
FOOT = [(15, "minus-I"), (30, "white"), (45, "plus-Q"), (60, "black"), (64, "below black"),
        (68, "black"), (72, "above black"), (84, "black")]
GLYPHS = {
    "0": "0e 11 13 15 19 11 0e",
    "1": "04 0c 04 04 04 04 0e",
    "2": "0e 11 01 06 08 10 1f",
    "3": "1e 01 01 0e 01 01 1e",
    "4": "02 06 0a 12 1f 02 02",
    "5": "1f 10 1e 01 01 11 0e",
    "6": "06 08 10 1e 11 11 0e",
    "7": "1f 01 02 04 08 08 08",
    "8": "0e 11 11 0e 11 11 0e",
    "9": "0e 11 11 0f 01 02 0c",
    ":": "00 04 04 00 04 04 00",
    ".": "00 00 00 00 00 06 06",
}


def background(width, height):
    """The bars, as a list of rows of colours."""
    upper = [COLOURS[UPPER[7 * x // width]] for x in range(width)]
    lower = [COLOURS[LOWER[7 * x // width]] for x in range(width)]
    foot = []
    for x in range(width):
        u = 84 * x // width
        foot.append(COLOURS[next(name for limit, name in FOOT if u < limit)])
    rows = []
    for y in range(height):
        rows.append(upper if y < 2 * height // 3 else lower if y < 3 * height // 4 else foot)
    return rows


def block_grid(width, height):
    """Columns, rows and side of the blocks of the counter for machines, or None."""
    for columns in (32, 16, 8, 4, 2):
        rows = 32 // columns
        side = min(8, 2 * (width // (2 * columns)), 2 * (height // (2 * rows)))
        if side:
            return columns, rows, side
    return None


def draw_text(rows, text, x0, y0, k):
    for index, character in enumerate(text):
        glyph = [int(row, 16) for row in GLYPHS[character].split()]
        for cell_y in range(9):
            for cell_x in range(7):
                inside = 1 <= cell_y <= 7 and 1 <= cell_x <= 5
                lit = inside and glyph[cell_y - 1] & (0x10 >> (cell_x - 1))
                colour = COLOURS["white" if lit else "black"]
                left = x0 + (index * 7 + cell_x) * k
                for y in range(y0 + cell_y * k, y0 + (cell_y + 1) * k):
                    rows[y][left:left + k] = [colour] * k


def picture(width, height, bars, number, time_100ns):
    rows = [list(row) for row in bars]
    grid = block_grid(width, height)
    grid_height = 0
    if grid:
        columns, grid_rows, side = grid
        grid_height = grid_rows * side
        for bit in range(32):
            row, column = divmod(bit, columns)
            colour = COLOURS["white" if (number % 2**32) & (1 << (31 - bit)) else "black"]
            for y in range(row * side, (row + 1) * side):
                rows[y][column * side:(column + 1) * side] = [colour] * side
    k = max(1, min(height // 180, width // 168))
    ms = time_100ns // 10000
    clock = "%02d:%02d:%02d.%03d" % (ms // 3600000 % 100, ms // 60000 % 60, ms // 1000 % 60, ms % 1000)
    lines = [("%08d" % (number % 10**8), 0), (clock, 10 * k)]
    if 19 * k <= height:
        top = 2 * ((height - 19 * k) // 4)
        for text, below in lines:
            text_width = 7 * len(text) * k
            if text_width <= width and top >= grid_height:
                draw_text(rows, text, 2 * ((width - text_width) // 4), top + below, k)
    return rows


def planes_420(rows):
    luma = bytes(colour[0] for row in rows for colour in row)
    cb = bytes(colour[1] for row in rows[::2] for colour in row[::2])
    cr = bytes(colour[2] for row in rows[::2] for colour in row[::2])
    return luma, cb, cr


def planes_422(rows):
    luma = bytes(colour[0] for row in rows for colour in row)
    cb = bytes(colour[1] for row in rows for colour in row[::2])
    cr = bytes(colour[2] for row in rows for colour in row[::2])
    return luma, cb, cr


def frame_bytes(layout, rows):
    if layout == "yuy2":
        out = bytearray()
        for row in rows:
            padded = row + [row[-1]] if len(row) % 2 else row
            for first, second in zip(padded[::2], padded[1::2]):
                out += bytes((first[0], first[1], second[0], first[2]))
        return bytes(out)
    luma, cb, cr = planes_420(rows)
    if layout == "i420":
        return luma + cb + cr
    woven = bytearray(len(cb) * 2)
    woven[::2] = cb
    woven[1::2] = cr
    return luma + bytes(woven)


def main(arguments):
    if len(arguments) not in (5, 6) or arguments[0] not in ("i420", "nv12", "yuy2"):
        sys.exit(__doc__)
    layout, width, height = arguments[0], int(arguments[1]), int(arguments[2])
    rate, _, rate_denominator = arguments[3].partition(":")
    rate, rate_denominator = int(rate), int(rate_denominator or 1)
    bars = background(width, height)
    file = open(arguments[5], "wb") if len(arguments) == 6 else None
    if file:
        space = "422" if layout == "yuy2" else "420jpeg"
        file.write(b"YUV4MPEG2 W%d H%d F%d:%d Ip A1:1 C%s\n"
                   % (width, height, rate, rate_denominator, space.encode()))
    for number in range(int(arguments[4])):
        time_100ns = number * 10000000 * rate_denominator // rate
        rows = picture(width, height, bars, number, time_100ns)
        print(hashlib.md5(frame_bytes(layout, rows)).hexdigest())
        if file:
            file.write(b"FRAME\n")
            for plane in (planes_422 if layout == "yuy2" else planes_420)(rows):
                file.write(plane)
    if file:
        file.close()


main(sys.argv[1:])
