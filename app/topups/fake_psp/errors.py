"""How the fake payment service refuses: the error object of Stripe's API."""

from typing import Any


class ApiError(Exception):
    """A refusal. `kind` and `code` are Stripe's words; those of a request that did not even begin are not replayed."""

    def __init__(
        self, status: int, message: str, *, kind: str = "invalid_request_error", code: str = "", param: str = ""
    ) -> None:
        super().__init__(message)
        self.status = status
        self.body: dict[str, Any] = {"error": {"type": kind, "message": message}}
        if code:
            self.body["error"]["code"] = code
        if param:
            self.body["error"]["param"] = param
