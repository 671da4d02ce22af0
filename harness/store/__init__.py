"""The store: entries on disk, each named by the digest of what it was made from."""
