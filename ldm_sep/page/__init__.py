"""The page for one song: uploads, a queue, and results to listen to, behind a web server.

Like the rest of the package it decides nothing about separation: `Separator` does the work, in a process of its own.
"""
