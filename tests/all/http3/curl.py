"""Requests by the curl that pycurl contains: a GET, and a body in each direction."""

import io
import sys

import pycurl


def ask(ip, port, ca, path, body=None):
    curl, answer = pycurl.Curl(), io.BytesIO()
    curl.setopt(pycurl.URL, f"https://a.test:{port}{path}")
    curl.setopt(pycurl.RESOLVE, [f"a.test:{port}:{ip}"])
    curl.setopt(pycurl.CAINFO, ca)
    curl.setopt(pycurl.HTTP_VERSION, pycurl.CURL_HTTP_VERSION_3ONLY)
    curl.setopt(pycurl.TIMEOUT, 20)
    curl.setopt(pycurl.WRITEDATA, answer)
    if body is not None:
        curl.setopt(pycurl.POSTFIELDS, body)
    curl.perform()
    return curl.getinfo(pycurl.RESPONSE_CODE), answer.getvalue()


ip, port, ca = sys.argv[1:]
status, body = ask(ip, port, ca, "/one")
print(status, body.decode())
status, body = ask(ip, port, ca, "/echo", "x" * 50_000)
print(status, len(body) > 50_000)
