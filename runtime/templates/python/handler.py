"""Sends events to the API of Example. What each answer means to the host is in README.md."""

import json

from componentize_py_types import Err
from wit_world import exports
from wit_world.imports import destination, http

URL = "https://api.example.com/events"


class Handler(exports.Handler):
    def handle_event(self, event, settings):
        settings, fields = json.loads(settings), json.loads(event.json)
        match fields["type"]:
            case "track":
                return send(event, settings, fields["event"], fields.get("properties"))
            case "identify":
                return send(event, settings, "identify", fields.get("traits"))
            case _:
                return destination.Answer_Unsupported()

    def handle_batch(self, events, settings):
        return [self.handle_event(event, settings) for event in events]


def send(event, settings, name, properties):
    # An event may come again, with the same id: the API drops what it already has.
    user = event.user_id if event.user_id is not None else event.anonymous_id
    body = {"id": event.message_id, "user": user, "name": name, "properties": properties}
    headers = [("authorization", f"Bearer {settings['api_key']}"), ("content-type", "application/json")]
    try:
        response = http.send(http.Request("POST", URL, headers, json.dumps(body).encode()))
    except Err as error:
        return no_response(error.value)
    answer = f"HTTP {response.status}: {response.body.decode(errors='replace')[:200]}"
    if 200 <= response.status < 300:
        return destination.Answer_Delivered()
    if response.status == 429 or response.status >= 500:
        return destination.Answer_Retry(destination.Retry(answer, None))
    if response.status == 401:
        return destination.Answer_InvalidSettings(f"the API key is refused: {answer}")
    return destination.Answer_Rejected(answer)


def no_response(error):
    """What never reached the API comes again, unless this function may not or cannot ask so."""
    if isinstance(error, (http.Error_Denied, http.Error_InvalidRequest, http.Error_Limit)):
        return destination.Answer_Failed(destination.Failure(type(error).__name__, error.value))
    return destination.Answer_Retry(destination.Retry(error.value, None))
