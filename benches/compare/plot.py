"""Bars as SVG, written by hand."""

from xml.sax.saxutils import escape

WIDTH, LEFT, RIGHT, TOP, BOTTOM = 760, 210, 70, 56, 52
BAR, GAP, GROUP_GAP = 16, 3, 14
COLORS = ["#1f6fb2", "#d9822b", "#4c9f70", "#8a5fb0", "#777777"]
TICK_COUNT = 6


def bars(title, axis, groups, series):
    """Horizontal bars. `groups` are pairs of a label and bars `(series, value, low, high, aim)`,
    where the last three may be None; `series` are the names, in the order of their colors."""
    most = max(max(filter(None, bar[1:])) for _, row in groups for bar in row)
    step = tick_step(most)
    end = step * (int(most / step) + 1)
    scale = (WIDTH - LEFT - RIGHT) / end
    out, y = [], TOP
    for label, row in groups:
        height = len(row) * (BAR + GAP)
        out.append(text(LEFT - 8, y + height / 2 + 4, label, "end"))
        for bar in row:
            out += one_bar(bar, y, scale, series)
            y += BAR + GAP
        y += GROUP_GAP
    bottom = y
    grid = []
    for index in range(int(end / step) + 1):
        x = LEFT + index * step * scale
        # Even: what most readers look for.
        color = "#999999" if abs(index * step - 1) < 1e-9 else "#dddddd"
        grid.append(line(x, TOP - 6, x, bottom, color))
        grid.append(text(x, bottom + 16, f"{index * step:g}", "middle"))
    grid.append(line(LEFT, TOP - 6, LEFT, bottom, "#333333"))
    height = bottom + BOTTOM
    head = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>',
        text(LEFT, 20, title, "start", 'font-size="15"'),
        *legend(series, any(bar[4] is not None for _, row in groups for bar in row)),
        text(LEFT + (WIDTH - LEFT - RIGHT) / 2, bottom + 38, axis, "middle")]
    return "\n".join([*head, *grid, *out, "</svg>", ""])


def one_bar(bar, y, scale, series):
    name, value, low, high, aim = bar
    color = COLORS[series.index(name) % len(COLORS)]
    out = [f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" '
           f'fill="{color}"/>']
    last = value
    middle = y + BAR / 2
    if low is not None:
        last = max(last, high)
        out.append(line(LEFT + low * scale, middle, LEFT + high * scale, middle, "#222222"))
        for end in (low, high):
            x = LEFT + end * scale
            out.append(line(x, middle - 4, x, middle + 4, "#222222"))
    if aim is not None:
        last = max(last, aim)
        x = LEFT + aim * scale
        out.append(line(x, y - 2, x, y + BAR + 2, "#c22222", 2.5))
    out.append(text(LEFT + last * scale + 5, y + BAR - 4, f"{value:.2f}", "start"))
    return out


def legend(series, has_aims):
    out, x = [], LEFT
    for index, name in enumerate(series):
        out.append(f'<rect x="{x}" y="30" width="10" height="10" '
                   f'fill="{COLORS[index % len(COLORS)]}"/>')
        out.append(text(x + 14, 39, name, "start"))
        x += 30 + 7 * len(name)
    if has_aims:
        out.append(line(x + 4, 29, x + 4, 41, "#c22222", 2.5))
        out.append(text(x + 12, 39, "aim", "start"))
    return out


def tick_step(most):
    """1, 2 or 5 times a power of ten, for about as many ticks as look well."""
    power = 10.0 ** (len(str(int(most))) - 2) / 10
    steps = [digit * power * 10**more for more in range(4) for digit in (1, 2, 5)]
    return next(step for step in steps if most / step <= TICK_COUNT)


def line(x1, y1, x2, y2, color, width=1):
    return (f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" '
            f'stroke="{color}" stroke-width="{width}"/>')


def text(x, y, words, anchor, more=""):
    return (f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="#222222" {more}>'
            f'{escape(words)}</text>')
