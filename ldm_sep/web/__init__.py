"""What every page of this package is served with: guarded requests, tokens, packaged files, an orderly end.

Nothing here knows what a page is about. starlette and uvicorn belong to an extra and are imported inside functions, so
importing this package imports no web server.
"""
