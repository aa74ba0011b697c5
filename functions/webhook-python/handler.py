"""Posts every event as it is to a URL.

The requests go through WASI's own HTTP. `poll_loop` comes with componentize-py: it waits for several at once.
"""

import asyncio
import json
from urllib.parse import urlsplit

from componentize_py_types import Err
from poll_loop import PollLoop, Sink, Stream, send
from wit_world import exports
from wit_world.imports import destination, types

SCHEMES = {"https": types.Scheme_Https, "http": types.Scheme_Http}


class Handler(exports.Handler):
    def handle_event(self, event, settings):
        return self.handle_batch([event], settings)[0]

    def handle_batch(self, events, settings):
        settings = json.loads(settings)
        loop = PollLoop()
        asyncio.set_event_loop(loop)
        return loop.run_until_complete(asyncio.gather(*(deliver(event, settings) for event in events)))


async def deliver(event, settings):
    try:
        status, text = await post(settings, event.json.encode())
    except Err as error:
        return no_response(error.value)
    except Exception as error:
        return destination.Answer_Failed(destination.Failure(type(error).__name__, str(error)))
    said = f"HTTP {status}: {text[:200]}" if text else f"HTTP {status}"
    if 200 <= status < 300:
        return destination.Answer_Delivered()
    if status in (401, 403):
        return destination.Answer_InvalidSettings(said)
    if status in (408, 429) or status >= 500:
        return destination.Answer_Retry(destination.Retry(said, None))
    return destination.Answer_Rejected(said)


def no_response(code):
    """What an answer of the gate, which is a case of `error-code`, means for the event."""
    name = type(code).__name__.removeprefix("ErrorCode_")
    message = getattr(code, "value", None) or name
    if isinstance(code, (types.ErrorCode_HttpRequestDenied, types.ErrorCode_InternalError)):
        return destination.Answer_Failed(destination.Failure(name, str(message)))
    return destination.Answer_Retry(destination.Retry(f"no response: {message}", None))


async def post(settings, body):
    """The status and the text of the response."""
    url = urlsplit(settings["url"])
    headers = [("content-type", b"application/json")]
    if token := settings.get("token"):
        headers.append(("authorization", f"Bearer {token}".encode()))
    request = types.OutgoingRequest(types.Fields.from_list(headers))
    request.set_method(types.Method_Post())
    request.set_scheme(SCHEMES[url.scheme]())
    request.set_authority(url.netloc)
    request.set_path_with_query((url.path or "/") + (f"?{url.query}" if url.query else ""))
    sink = Sink(request.body())
    sending = asyncio.ensure_future(send(request))
    await sink.send(body)
    sink.close()
    response = await sending
    stream, text = Stream(response.consume()), b""
    while (chunk := await stream.next()) is not None:
        text += chunk
    return response.status(), text.decode(errors="replace")
