"""Covers for titles that come without pictures: shapes and colours by genre, varied by title; the words lie over them.

The same title always has the same cover. No gradients or patterns: those need ids, and a title may stand on a page
more than once. Nothing of a title's text goes in: genres only choose, the id only seeds.
"""

import random
from collections.abc import Callable, Sequence
from functools import lru_cache

from markupsafe import Markup

_WIDTH, _HEIGHT = 200, 300


class _Canvas:
    """Shapes in the colours of one cover: `hue` of the ground, `accent` of what stands out."""

    def __init__(self, rng: random.Random, hue: int, accent: int) -> None:
        self.rng = rng
        self.hue = hue + rng.randint(-24, 24)
        self.accent = accent + rng.randint(-24, 24)
        self.shapes: list[str] = []

    def dark(self, light: int = 20) -> str:
        return f"hsl({self.hue % 360},42%,{light}%)"

    def bright(self, light: int = 62) -> str:
        return f"hsl({self.accent % 360},68%,{light}%)"

    def circle(self, x: float, y: float, radius: float, fill: str, opacity: float = 1) -> None:
        self.shapes.append(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" fill="{fill}" opacity="{opacity:.2f}"/>'
        )

    def ring(self, x: float, y: float, radius: float, stroke: str, width: float, opacity: float = 1) -> None:
        self.shapes.append(
            f'<circle cx="{x:.0f}" cy="{y:.0f}" r="{radius:.1f}" fill="none" stroke="{stroke}" '
            f'stroke-width="{width:.1f}" opacity="{opacity:.2f}"/>'
        )

    def box(self, x: float, y: float, width: float, height: float, fill: str, opacity: float = 1) -> None:
        self.shapes.append(
            f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" rx="2" fill="{fill}" '
            f'opacity="{opacity:.2f}"/>'
        )

    def shape(self, points: Sequence[tuple[float, float]], fill: str, opacity: float = 1) -> None:
        outline = " ".join(f"{x:.0f},{y:.0f}" for x, y in points)
        self.shapes.append(f'<polygon points="{outline}" fill="{fill}" opacity="{opacity:.2f}"/>')

    def ridge(self, base: float, roughness: float, steps: int, fill: str, opacity: float = 1) -> None:
        tops = [(_WIDTH * n / steps, base + self.rng.uniform(-roughness, roughness)) for n in range(steps + 1)]
        self.shape([(0, _HEIGHT), *tops, (_WIDTH, _HEIGHT)], fill, opacity)


def _mountains(c: _Canvas) -> None:
    c.circle(c.rng.randint(50, 150), c.rng.randint(55, 95), c.rng.randint(22, 38), c.bright(70))
    for number, base in enumerate((140, 175, 215)):
        c.ridge(base, 34 - 8 * number, 5 + number, c.dark(34 - 8 * number))


def _moon(c: _Canvas) -> None:
    x, y = c.rng.randint(60, 140), c.rng.randint(70, 100)
    c.circle(x, y, 46, c.bright(48))
    c.circle(x + c.rng.choice((-18, 18)), y - 8, 40, c.dark(14), 0.85)
    for number in range(9):
        foot = number * 25 + c.rng.randint(-8, 8)
        c.shape([(foot - 14, 300), (foot, c.rng.randint(130, 200)), (foot + 14, 300)], c.dark(7))


def _planet(c: _Canvas) -> None:
    for _ in range(34):
        c.circle(c.rng.randint(0, 200), c.rng.randint(0, 220), c.rng.uniform(0.6, 1.8), c.bright(88), 0.8)
    x, y, radius = c.rng.randint(70, 140), c.rng.randint(80, 130), c.rng.randint(34, 52)
    c.ring(x, y, radius * 1.55, c.bright(66), 2.5, 0.7)
    c.circle(x, y, radius, c.bright(56))
    c.circle(x + radius * 0.3, y + radius * 0.12, radius * 0.84, c.dark(18), 0.42)
    c.ring(x, y, radius * 1.95, c.bright(80), 1, 0.45)


def _waves_of_sound(c: _Canvas) -> None:
    for number in range(11):
        height = c.rng.randint(30, 150)
        c.box(14 + number * 16, 130 - height / 2, 9, height, c.bright(52 + 2 * number), 0.9)


def _two_circles(c: _Canvas) -> None:
    y, apart = c.rng.randint(95, 125), c.rng.randint(24, 36)
    c.circle(100 - apart, y, 52, c.bright(60), 0.85)
    c.circle(100 + apart, y, 52, c.bright(74), 0.62)
    c.ring(100, y, 96, c.bright(80), 1.5, 0.4)


def _blinds(c: _Canvas) -> None:
    c.circle(c.rng.randint(30, 170), c.rng.randint(70, 130), c.rng.randint(36, 78), c.bright(56))
    for number in range(13):
        c.box(0, number * 24 + c.rng.randint(-1, 1), 200, 11, c.dark(11), 0.82)


def _rays(c: _Canvas) -> None:
    x, y = c.rng.randint(40, 160), c.rng.randint(150, 200)
    for number in range(-4, 9):
        left = x + (number - 2) * 74
        c.shape([(x, y), (left, -60), (left + 34, -60)], c.bright(54), 0.72)
    c.circle(x, y, 30, c.bright(76))


def _confetti(c: _Canvas) -> None:
    for _ in range(16):
        x, y = c.rng.randint(8, 192), c.rng.randint(8, 190)
        c.circle(x, y, c.rng.randint(5, 17), c.bright(c.rng.randint(48, 78)), c.rng.uniform(0.5, 0.95))
    c.ring(100, 92, 58, c.bright(84), 7, 0.9)


def _lenses(c: _Canvas) -> None:
    x, y = c.rng.randint(80, 120), c.rng.randint(95, 120)
    for number, radius in enumerate((84, 64, 45, 27)):
        c.circle(x, y, radius, c.dark(24 + 9 * number))
    c.circle(x, y, 12, c.bright(68))
    c.circle(x - 24, y - 26, 9, c.bright(90), 0.6)


def _lanes(c: _Canvas) -> None:
    x = c.rng.choice((0, 200))
    for number in range(7):
        c.ring(x, 235, 40 + 30 * number, c.bright(48 + 5 * number), 11, 0.8)


def _hills(c: _Canvas) -> None:
    for _ in range(5):
        x, y = c.rng.randint(30, 170), c.rng.randint(40, 110)
        c.circle(x, y, c.rng.randint(13, 22), c.bright(c.rng.randint(56, 76)), 0.95)
        c.box(x, y + 18, 1, 60, c.bright(84), 0.6)
    c.circle(40, 300, 120, c.dark(34))
    c.circle(170, 320, 130, c.dark(28))


def _columns(c: _Canvas) -> None:
    c.shape([(22, 88), (100, 44), (178, 88)], c.bright(60))
    c.box(26, 92, 148, 9, c.bright(68))
    count = c.rng.randint(3, 6)
    for number in range(count):
        c.box(34 + number * 117 / (count - 1), 106, 15, 130, c.bright(52 + 4 * (number % 2)), 0.92)


def _curtain(c: _Canvas) -> None:
    folds, open_to = c.rng.randint(3, 5), c.rng.randint(34, 62)
    c.circle(100, c.rng.randint(110, 150), c.rng.randint(36, 58), c.bright(64), 0.95)
    for side in (0, 1):
        for number in range(folds):
            width = open_to / folds
            x = number * width if side == 0 else _WIDTH - (number + 1) * width
            c.box(x, 0, width + 1, 300, c.dark(26 + 9 * (number % 2)))
    c.box(0, 0, 200, c.rng.randint(12, 24), c.bright(46), 0.9)


def _window(c: _Canvas) -> None:
    x, y, width, height = c.rng.randint(34, 74), c.rng.randint(30, 60), c.rng.randint(70, 96), c.rng.randint(100, 130)
    c.box(x, y, width, height, c.bright(66))
    c.box(x + width / 2 - 2, y, 4, height, c.dark(15))
    c.box(x, y + height * 0.42, width, 4, c.dark(15))
    c.shape([(x, y + height), (x + width, y + height), (x + width + 46, 300), (x - 20, 300)], c.bright(60), 0.22)


def _horizon(c: _Canvas) -> None:
    y = c.rng.randint(120, 170)
    c.circle(c.rng.randint(40, 160), y, c.rng.randint(40, 66), c.bright(60), 0.95)
    c.box(0, y, 200, 300 - y, c.dark(13))
    for number in range(5):
        width = c.rng.randint(40, 150)
        c.box(c.rng.randint(0, 200 - width), y + 10 + number * 13, width, 3, c.bright(58), 0.75)


def _drama(c: _Canvas) -> None:
    c.rng.choice((_curtain, _window, _horizon))(c)


def _spires(c: _Canvas) -> None:
    c.circle(c.rng.randint(60, 140), 84, 44, c.bright(72), 0.9)
    for number in range(6):
        x, top = 16 + number * 34, c.rng.randint(80, 150)
        c.box(x - 9, top + 26, 18, 220, c.dark(27 - 2 * number))
        c.shape([(x - 13, top + 26), (x, top - 8), (x + 13, top + 26)], c.bright(44))


def _tiles(c: _Canvas) -> None:
    for number in range(12):
        x, y = number % 3 * 66 + 4, number // 3 * 52 + 8
        c.box(x, y, 58, 44, c.bright(c.rng.randint(34, 70)), c.rng.uniform(0.45, 0.95))


# Of each genre: what is drawn, the hue of the ground, the hue of what stands out.
_BY_GENRE: dict[str, tuple[Callable[[_Canvas], None], int, int]] = {
    "action": (_rays, 12, 28),
    "adventure": (_mountains, 196, 38),
    "comedy": (_confetti, 285, 46),
    "crime": (_blinds, 222, 44),
    "documentary": (_lenses, 178, 160),
    "drama": (_drama, 345, 32),
    "family": (_hills, 138, 20),
    "fantasy": (_spires, 262, 312),
    "history": (_columns, 26, 40),
    "horror": (_moon, 190, 2),
    "music": (_waves_of_sound, 240, 318),
    "romance": (_two_circles, 330, 350),
    "science fiction": (_planet, 226, 188),
    "sports": (_lanes, 150, 90),
}


@lru_cache(maxsize=4096)
def cover_art(item_id: int, genre: str) -> Markup:
    """An SVG of 200 x 300 that says nothing to a screen reader; `genre` is the main one, empty where there is none."""
    rng = random.Random(item_id)  # noqa: S311
    draw, hue, accent = _BY_GENRE.get(genre.casefold(), (_tiles, sum(genre.encode()) * 37 % 360, 200))
    canvas = _Canvas(rng, hue, accent)
    draw(canvas)
    shapes = "".join(canvas.shapes)
    if rng.random() < 0.5:
        shapes = f'<g transform="matrix(-1 0 0 1 {_WIDTH} 0)">{shapes}</g>'
    # Every part of it is a number or one of our own colours.
    return Markup(  # noqa: S704
        f'<svg class="art" viewBox="0 0 {_WIDTH} {_HEIGHT}" preserveAspectRatio="xMidYMid slice" aria-hidden="true" '
        f'focusable="false"><rect width="{_WIDTH}" height="{_HEIGHT}" fill="{canvas.dark(17)}"/>{shapes}</svg>'
    )
