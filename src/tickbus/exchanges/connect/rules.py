"""What a venue asks of its clients, as figures."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Rules"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """
    Limits as (count, seconds); times in seconds.

    Attributes:
        attempts: Connection attempts of one address.
        requests: Messages to the venue, pings included.
        requests_by_address: Whether those count over all connections of the address.
        changes: Subscriptions and unsubscriptions of one connection, where they are limited apart.
        rest: REST requests of one address.
        streams_max: Subscriptions a connection can hold.
        args_max: Streams in one message.
        message_bytes_max: Length of one message.
        ping_after_s: Silence of the venue after which it is pinged; None where it is not.
        ping_every_s: Time between pings whatever the venue sends; None for none.
        dead_after_s: Silence after which the connection is given up.
        answer_within_s: Time the venue has to answer a request.
        lifetime_s: Age at which the venue closes a connection; it is replaced before. None for no limit.
        replace_before_s: How long before.
        overlap_s: How long old and new connection run together.
        ban_s: Wait after a refusal for too many attempts that does not say how long.
        open_within_s: Time for a connection to stand.
        steady_s: A connection that lived so long has earned short waits again.
        backoff_first_s, backoff_max_s: Waits between attempts, see `Backoff`.
    """

    attempts: tuple[int, float]
    requests: tuple[int, float]
    requests_by_address: bool = False
    changes: tuple[int, float] | None = None
    rest: tuple[int, float] = (10, 1.0)
    streams_max: int = 1_000
    args_max: int = 100
    message_bytes_max: int = 60_000
    ping_after_s: float | None = None
    ping_every_s: float | None = None
    dead_after_s: float = 30.0
    answer_within_s: float = 10.0
    lifetime_s: float | None = None
    replace_before_s: float = 600.0
    overlap_s: float = 2.0
    ban_s: float = 60.0
    open_within_s: float = 10.0
    steady_s: float = 30.0
    backoff_first_s: float = 0.5
    backoff_max_s: float = 30.0
