"""`python -m openai_images` is the command `openai-images`."""

import sys

from openai_images.cli import main

sys.exit(main())
