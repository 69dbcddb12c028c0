"""Listening studies: planned by their power, prepared from folders of stems, served, analysed.

Importing this package imports neither numpy, torch nor a web server.
"""
