"""Options of all commands that send requests: what to generate, where to send it, what to print.

Invariants: an option that was not typed is not sent.
"""

from __future__ import annotations

from typing import Any

import click
from attrs import frozen

from openai_images.cli.console import Console
from openai_images.cli.endpoint import CommandEndpoint, choose_model
from openai_images.cli.paths import output_format
from openai_images.cli.startup import Streams


@frozen(kw_only=True)
class CallOptions:
    """Options of `generate`, `edit` and `batch`."""

    n: int | None = None
    size: str | None = None
    quality: str | None = None
    model: str | None = None
    output_format: str | None = None
    background: str | None = None
    compression: int | None = None
    moderation: str | None = None
    local: bool = False
    azure: bool | None = None
    base_url: str | None = None
    timeout: float | None = None
    as_json: bool = False
    verbose: bool = False
    quiet: bool = False

    def check(self) -> None:
        """Raise click.UsageError where two servers are named."""
        for option, value in (("--base-url", self.base_url), ("--azure", self.azure)):
            if self.local and value:
                raise click.UsageError(f"--local starts a server of its own; leave {option} out.")

    def make_console(self, streams: Streams) -> Console:
        """Make the console that these options ask for."""
        return Console(streams.out, streams.err, quiet=self.quiet, verbose=self.verbose, as_json=self.as_json)

    def make_endpoint(self) -> CommandEndpoint:
        """Make the endpoint that these options name."""
        return CommandEndpoint(
            local=self.local, azure=self.azure, base_url=self.base_url, timeout=self.timeout
        )

    def request_params(self, endpoint: CommandEndpoint, output: str | None = None) -> dict[str, Any]:
        """Collect the parameters of a request; `output` is `-o`. Raises click.UsageError."""
        params = {
            "model": choose_model(self.model, endpoint),
            "n": self.n,
            "size": self.size,
            "quality": self.quality,
            "background": self.background,
            "output_format": output_format(output, self.output_format),
            "output_compression": self.compression,
            "moderation": self.moderation,
        }
        return {name: value for name, value in params.items() if value is not None}
