"""Listeners as programs: they answer over HTTP what the page would send."""

import secrets
from datetime import UTC, datetime
from typing import Any, Protocol


class Reply(Protocol):
    status_code: int
    text: str

    def json(self) -> Any: ...


class Client(Protocol):
    def get(self, url: str, *, headers: Any) -> Reply: ...
    def post(self, url: str, *, json: Any, headers: Any) -> Reply: ...


def now() -> str:
    return datetime.now(UTC).isoformat()


class Caller:
    """One browser tab of the listener whose code is ``code``."""

    def __init__(self, client: Client, code: str) -> None:
        self.client = client
        self.headers = {"authorization": f"Bearer {code}"}
        self.session = secrets.token_hex(8)

    def where(self) -> dict[str, Any]:
        reply = self.client.get("/api/session", headers=self.headers)
        assert reply.status_code == 200, reply.text
        return reply.json()

    def milestone(self, step: str, **rest: Any) -> Reply:
        table = {"kind": "milestone", "session": self.session, "event": secrets.token_hex(8), "step": step, "at": now()}
        return self.client.post("/api/milestones", json={**table, **rest}, headers=self.headers)

    def answers(self, place: dict[str, Any], rating: float = 3.0, listened: float = 5.0) -> list[dict[str, Any]]:
        """Ratings for the whole page of ``place``; A/B prefers the first."""
        page = place["page"]
        return [
            {
                "session": self.session,
                "event": secrets.token_hex(8),
                "trial": page["trial"]["id"],
                "stimulus": stimulus["id"],
                "question": question["id"],
                "rating": (1.0 - k) if place["method"] == "ab" else rating,
                "started": now(),
                "answered": now(),
                "listened": listened,
            }
            for k, stimulus in enumerate(page["stimuli"])
            for question in place["questions"]
        ]

    def rate(self, answers: list[dict[str, Any]]) -> Reply:
        return self.client.post("/api/answers", json={"answers": answers}, headers=self.headers)

    def arrive(self) -> dict[str, Any]:
        """Through consent, level and headphones, as far as they are not passed; the first page."""
        while (place := self.where())["step"] in ("consent", "level", "headphones"):
            assert (
                self.milestone(place["step"], correct=6 if place["step"] == "headphones" else None).status_code == 200
            )
        return place

    def finish(self, rating: float = 3.0) -> None:
        """Everything that is left, to the end."""
        place = self.arrive()
        while place["step"] != "done":
            if place["step"] == "page":
                reply = self.rate(self.answers(place, rating))
            else:
                reply = self.milestone(
                    place["step"], comment="ü, 好, 🎧\u2028\nend" if place["step"] == "finished" else ""
                )
            assert reply.status_code == 200, reply.text
            place = place | reply.json()
