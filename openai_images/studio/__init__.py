"""A page on loopback to generate and edit images in a browser: `openai-images studio`.

`Studio` is the aiohttp.web app, `History` the folder with its images and its journal.
"""

from openai_images.studio.app import Studio, StudioSettings
from openai_images.studio.history import History

__all__ = ["History", "Studio", "StudioSettings"]
