"""A chat bot that draws: it acknowledges at once, shows previews, and loses nothing that was paid for.

Chat services such as Discord want an acknowledgement within 3 seconds and take no more follow-ups after 15 minutes. An
image may need longer than that: it is kept in `gallery/` all the same.

pip install openai-images
OPENAI_API_KEY=… python bot.py "an otter on a raft"
"""

import asyncio
import contextlib
import sys
import time
from pathlib import Path
from typing import Protocol

from openai_images import (
    Image,
    ImageResult,
    ImagesClient,
    ImagesError,
    ModerationBlockedError,
    PartialImage,
)
from openai_images.web import run_call, wait_for_background

FOLLOW_UP_SECONDS = 14 * 60.0

client = ImagesClient(model="gpt-image-2")


class ChatError(Exception):
    """The chat did not take a message; in discord.py, `discord.DiscordException`."""


class Interaction(Protocol):
    """One use of the command; in discord.py, `discord.Interaction`."""

    id: int

    async def defer(self) -> None:
        """Acknowledge; `interaction.response.defer()`."""

    async def edit(self, text: str, image: Image | None = None) -> None:
        """Replace the answer; `interaction.edit_original_response(content=…, attachments=[…])`."""


async def imagine(interaction: Interaction, prompt: str, seconds: float = FOLLOW_UP_SECONDS) -> None:
    """Answer the command `/imagine PROMPT` within `seconds`; an image that comes later is kept."""
    await interaction.defer()  # before anything that may take time

    async def keep(result: ImageResult) -> None:
        await asyncio.to_thread(result.image.save, Path("gallery", f"{interaction.id}"))

    drawing = draw(interaction, prompt, time.monotonic() + seconds)
    try:
        async with asyncio.timeout(seconds):
            result = await run_call(drawing, on_disconnect="finish", on_result=keep)
    except ModerationBlockedError:
        await interaction.edit("This cannot be drawn. Please choose other words.")
    except ImagesError:
        await interaction.edit("The image could not be generated. Please try again later.")
    except TimeoutError:  # the call goes on, and its image goes to `keep`
        await interaction.edit(f"This takes longer than the chat waits: look for {interaction.id} later.")
    else:
        await interaction.edit(prompt, result.image)


async def draw(interaction: Interaction, prompt: str, show_until: float) -> ImageResult:
    """Show the previews that come in time, and read on whatever the chat says to them."""
    async with client.stream(prompt, partial_images=2) as stream:
        async for event in stream.images():
            if isinstance(event, PartialImage) and time.monotonic() < show_until:
                with contextlib.suppress(ChatError):
                    await interaction.edit("drawing…", event.image)
    return stream.result


class Terminal:
    """An interaction on the terminal, in the place of a chat."""

    id = time.time_ns()

    async def defer(self) -> None:
        print("thinking…")

    async def edit(self, text: str, image: Image | None = None) -> None:
        print(text, image or "")


async def main(prompt: str) -> None:
    await imagine(Terminal(), prompt)
    await wait_for_background()  # what came too late is still paid for
    await client.aclose()


if __name__ == "__main__":
    asyncio.run(main(" ".join(sys.argv[1:]) or "an otter on a raft"))
