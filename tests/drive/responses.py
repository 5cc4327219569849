"""HTTP responses for the fixture `server`, as functions of its request handler."""

import json


def respond(status, value=None, *, raw=None, **headers):
    body = json.dumps(value).encode() if raw is None else raw

    def answer(handler):
        handler.send_response(status)
        for name, text in headers.items():
            handler.send_header(name.replace("_", "-"), text)
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    return answer


def respond_in_turn(*answers):
    left = list(answers)

    def answer(handler):
        left.pop(0)(handler)

    return answer
