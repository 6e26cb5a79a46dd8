"""Which scene a prompt gets: one its words suggest, else one by chance.

Rules: the words only choose among the scenes there are; nothing of what a prompt describes is drawn. It refuses to
hide that: the caption says so on every picture.
"""

import re
from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from PIL import Image

from openai_images.server.paint.abstracts import cut_paper, flower, planet, ribbons
from openai_images.server.paint.drawing import Palette, Size
from openai_images.server.paint.landscapes import hills, northern_lights, sea

Scene = Callable[[Size, Random, Palette], Image.Image]

SCENES: Final[Mapping[str, Scene]] = {
    "hills": hills,
    "northern_lights": northern_lights,
    "sea": sea,
    "flower": flower,
    "ribbons": ribbons,
    "cut_paper": cut_paper,
    "planet": planet,
}

_WORDS: Final[Mapping[str, str]] = {
    "hills": "hill hills mountain mountains forest valley meadow sunset sunrise landscape desert autumn",
    "northern_lights": "night aurora stars moon lake winter snow dark",
    "sea": "sea ocean beach boat ship wave waves water otter fish whale harbour harbor lighthouse island",
    "flower": "flower flowers rose garden bee butterfly spring petal bouquet",
    "ribbons": "music abstract wind silk dance neon speed light",
    "cut_paper": "paper map collage pattern poster logo",
    "planet": "planet space galaxy robot rocket astronaut cosmos universe alien",
}


def words_of(prompt: str) -> frozenset[str]:
    """The words of a prompt, in small letters."""
    return frozenset(re.findall(r"[a-z]+", prompt[:4000].lower()))


def choose_scene(rng: Random, words: frozenset[str]) -> Scene:
    """The scene for these words."""
    by_chance = rng.choice(sorted(SCENES))
    suggested = [name for name, listed in _WORDS.items() if words & frozenset(listed.split())]
    return SCENES[suggested[0] if suggested else by_chance]
