"""What a child process runs to see what a page of the web holds: yt-dlp, trafilatura and PyAV, over foreign data.

It imports nothing of ours but itself: the child finds this package by its folder (`engine.visitors`), not as a part of
the engine. One line of JSON says what to do; lines of JSON go out; it ends with its input.
"""
