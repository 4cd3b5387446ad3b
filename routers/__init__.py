"""One file per published REST dialect; `wire` holds the HTTP plumbing they share."""
