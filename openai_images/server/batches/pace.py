"""How the batches of a server run: how long they take, and what share of their requests fails or expires."""

from typing import Any

import attrs

from openai_images.server.faults import find_fault

_Attribute = attrs.Attribute


def _check_not_negative(_: object, attribute: "_Attribute[Any]", value: float | None) -> None:
    if value is not None and not value >= 0:
        raise ValueError(f"{attribute.name} must not be negative, not {value}")


def _check_above_zero(_: object, attribute: "_Attribute[Any]", value: float | None) -> None:
    if value is not None and not value > 0:
        raise ValueError(f"{attribute.name} must be above 0, not {value}")


def _check_share(_: object, attribute: "_Attribute[Any]", value: float) -> None:
    if not 0 <= value <= 1:
        raise ValueError(f"{attribute.name} must be a share from 0 to 1, not {value}")


def _check_failure(_: object, __: "_Attribute[Any]", name: str) -> None:
    if find_fault(name).plan.reply is None:
        raise ValueError(f"failure must be a fault with a status, such as status:500, not {name!r}")


@attrs.frozen(kw_only=True)
class BatchPace:
    """How the batches of a local server run.

    A batch stays `seconds_per_state` in each of validating, finalizing and cancelling; with `hold` it stays in each
    state until `release()`. It runs `requests_per_second`; None: as fast as the images are drawn. After `window`
    seconds it expires. `failed` is the share of its requests, from 0 to 1, that get the error of the fault `failure`;
    `expired` is the share that is not run in time: a batch with such requests ends as expired. Raises ValueError.
    """

    seconds_per_state: float = attrs.field(default=0.0, validator=_check_not_negative)
    hold: bool = False
    requests_per_second: float | None = attrs.field(default=None, validator=_check_above_zero)
    window: float = attrs.field(default=86_400.0, validator=_check_above_zero)
    failed: float = attrs.field(default=0.0, validator=_check_share)
    failure: str = attrs.field(default="moderation_400", validator=_check_failure)
    expired: float = attrs.field(default=0.0, validator=_check_share)
