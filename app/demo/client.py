"""A person at the JSON API, as the demonstration's people use it."""

from collections.abc import Mapping
from typing import Any, Self
from uuid import uuid4

import requests

TIMEOUT_S = 30


class ApiError(Exception):
    """The service answered something else than success; the text is its own."""


class Api:
    """One logged-in person; use it as a context, so that the log-in does not outlive its work."""

    def __init__(self, url: str, *, username: str, password: str) -> None:
        self._url = url
        self._credentials = {"username": username, "password": password}
        self._http = requests.Session()

    def __enter__(self) -> Self:
        token = self.post("/log-in", self._credentials)["token"]
        self._http.headers["Authorization"] = f"Bearer {token}"
        return self

    def __exit__(self, *_error: object) -> None:
        self._http.post(f"{self._url}/api/v1/log-out", json={}, timeout=TIMEOUT_S)
        self._http.close()

    def get(self, path: str, **query: Any) -> Any:
        """Read something. Raises ApiError, or requests' error where there is no answer."""
        return _content(self._http.get(f"{self._url}/api/v1{path}", params=query, timeout=TIMEOUT_S))

    def post(self, path: str, body: Mapping[str, Any]) -> Any:
        """Do something. Raises ApiError, or requests' error where there is no answer."""
        return _content(self._http.post(f"{self._url}/api/v1{path}", json=body, timeout=TIMEOUT_S))


def top_up_at_counter(clerk: Api, approver: Api, *, account_id: int, amount_fen: int) -> dict[str, Any]:
    """Bring money by bank transfer: one person enters it, another approves it."""
    entered = clerk.post(
        "/top-ups/counter",
        {
            "id": str(uuid4()),
            "account_id": account_id,
            "amount_fen": amount_fen,
            "method": "bank_transfer",
            "bank_reference": f"DEMO-{uuid4().hex[:12].upper()}",
        },
    )
    decided: dict[str, Any] = approver.post(f"/top-ups/{entered['id']}/approve", {})
    return decided


def _content(answer: requests.Response) -> Any:
    if not answer.ok:
        raise ApiError(f"{answer.request.method} {answer.request.path_url}: {answer.status_code} {answer.text[:500]}")
    return answer.json() if answer.content else None
