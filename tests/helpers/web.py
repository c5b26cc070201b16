"""A web of our own for tests: urllib's openers get from it what they ask for over https."""

import email
import io
import urllib.request
from urllib.response import addinfourl


class Web:
    """Answers every https request of urllib; ``asked`` lists the URLs.

    Args:
        monkeypatch: puts it in place.
        pages: ``{url: bytes, or a URL to redirect to, or an exception}``; ``{url: (bytes,
            headers)}`` too.
    """

    def __init__(self, monkeypatch, **pages) -> None:
        self.pages, self.asked = dict(pages), []
        web = self

        class Handler(urllib.request.BaseHandler):
            def https_open(self, request):
                return web.answer(request.full_url)

        monkeypatch.setattr(urllib.request, 'HTTPSHandler', Handler)

    def answer(self, url: str):
        self.asked.append(url)
        page = self.pages[url]
        if isinstance(page, Exception):
            raise page
        content, headers = page if isinstance(page, tuple) else (page, '')
        code = 200
        if isinstance(content, str):
            code, headers, content = 302, f'Location: {content}\n', b''
        answer = addinfourl(io.BytesIO(content), email.message_from_string(headers), url, code)
        answer.msg = 'OK'
        return answer
